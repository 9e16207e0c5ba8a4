// The number format of a plan: how many bits after the point each wire has, from the public grid
// of the weights and from bounds that the model states. A bound that does not fit is an error that
// names the wire; nothing overflows silently unless calibrated bounds were asked for.

import { ensure } from "../errors.ts";
import type { SplineTable } from "../gate/spline.ts";

/** Bounds of one layer's wires in real units; see model/config.ts. */
export interface LayerRange {
  readonly u: { readonly proven: number; readonly calibrated: number };
  readonly o: { readonly proven: number; readonly calibrated: number };
  readonly variance: {
    readonly proven: number;
    readonly calibrated: readonly [number, number];
  };
}

/** What is proven of a wire of an ordinary decoder, and what was seen; see model/config.ts. */
export interface WireRange {
  readonly proven: number;
  readonly calibrated: readonly [number, number];
}

/** What a model says about its numbers; a part of its public config.json. */
export interface Numbers {
  readonly positionCount?: number | undefined;
  readonly ranges?: Readonly<Record<string, WireRange>> | undefined;
  readonly operandBits?: number | undefined;
  readonly weightFracBits?: Readonly<Record<string, number>> | undefined;
  readonly wireBounds?: readonly LayerRange[] | undefined;
  readonly logitBound?: { readonly proven: number; readonly calibrated: number } | undefined;
  /** Take calibrated bounds where proven ones do not fit: overflow is then possible and silent. */
  readonly calibratedBounds?: boolean | undefined;
}

/** Bits after the point of a layer's input and of every re-sent state: f_y + f_g. */
export const STATE_BITS = 24;
/** Bits of the activation's input and of the norm's operands that are aimed at. */
export const OPERAND_BITS = 12;
export const RING_BITS = 64;
/** A shared value must stay below 2^(64 - 2) to be opened. */
export const HEADROOM_BITS = RING_BITS - 2;
/** What helps a stream whose proven bound has outgrown the ring. */
export const REMEDY = "allow calibrated bounds (--calibrated-bounds)";
/** Room for the rounding of a stated bound, which is a floating-point number. */
const ROUNDING_BITS = 2 ** -10;
/** Bits after the point of a spline's value before truncation, at least. */
const SPLINE_BITS = 38;
/** Bits of a logit as C sees it. */
export const LOGIT_BITS = 16;

/** Bits of V at the low end of its calibrated range for which SPLINE_BITS suffice. */
const ARGUMENT_BITS = 12;
const KNOTS_PER_OCTAVE = 16;

/** Bits of the operands of a plan's nonlinear gates; more mean finer tables and states, too. */
export function operandBitsOf({ operandBits = OPERAND_BITS }: Numbers): number {
  return operandBits;
}

/** Bits after the point of a plan's states: twice the operands'. */
export function stateBitsOf(numbers: Numbers): number {
  return 2 * operandBitsOf(numbers);
}

/** Bits of a logit as C sees it. */
export function logitBitsOf(numbers: Numbers): number {
  return LOGIT_BITS + operandBitsOf(numbers) - OPERAND_BITS;
}

/** Beyond the calibrated range the spline is a staircase below the function: so many steps. */
const STEPS_PER_OCTAVE = 2;
/**
 * The norm's output stays below this times sqrt(d), for every input of an honest client: the
 * planner checks it on the table, and the bounds of what follows rely on it.
 */
export const NORM_EXCESS = 1.1;
/** How far beyond the seen range the fine knots reach, either way. */
const CALIBRATION_MARGIN = 1.5;

/**
 * Bits of the ring in which a wire of this magnitude (real units) is opened: |z| < 2^(bits - 2).
 * @throws E_PLAN naming a wire that needs more than the ring has
 */
export function openingBits(wireName: string, fracBits: number, magnitude: number): number {
  const bits = fracBits + Math.log2(magnitude);
  ensure(
    bits < HEADROOM_BITS,
    "E_PLAN",
    `wire ${wireName} needs ${bits.toFixed(1)} bits of ${HEADROOM_BITS}: its bound does not fit ` +
      `the ring; export the model with fewer fractional bits, or ${REMEDY}`,
  );
  return Math.min(RING_BITS, Math.ceil(bits + ROUNDING_BITS) + 2);
}

/** Scales of one normalised layer's operands. */
export interface NormScales {
  /** Centring multiplies by columns = kappa 2^growth. */
  readonly growth: number;
  readonly kappa: number;
  /** Bits of y = kappa (z - mean) after its opening. */
  readonly operandBits: number;
  /** Bits of g = 1 / (kappa deviation) after its opening. */
  readonly factorBits: number;
  readonly table: SplineTable;
  /** Greatest value of g, real units. */
  readonly greatestFactor: number;
}

/**
 * Chooses the scales of LayerNorm over `columns`, given the range of the variance; or of RMSNorm,
 * which does not centre, given that of the mean square.
 */
export function normScales(
  wireName: string,
  columns: number,
  eps: number,
  variance: LayerRange["variance"],
  { centred = true, bits = OPERAND_BITS }: { centred?: boolean; bits?: number } = {},
): NormScales {
  const growth = centred ? Math.ceil(Math.log2(columns)) : 0;
  const kappa = centred ? columns / 2 ** growth : 1;
  const greatest = kappa * kappa * columns * variance.proven;
  const room = Math.floor((HEADROOM_BITS - 1 - Math.log2(greatest)) / 2);
  const operandBits = Math.min(centred ? bits : balancedBits(variance, 2 * bits), room);
  ensure(operandBits >= 6, "E_PLAN", `wire ${wireName}: too wide for a sum of squares`);
  const factorBits = 2 * bits - operandBits;
  const perOctave = KNOTS_PER_OCTAVE * 2 ** Math.ceil((bits - OPERAND_BITS) / 2);
  const options = { columns, kappa, eps, operandBits, factorBits, perOctave };
  const table = rsqrtTable({ ...options, variance });
  const excess = normExcess(table, columns, { operandBits, factorBits });
  ensure(
    excess <= NORM_EXCESS,
    "E_PLAN",
    `wire ${wireName}: the norm's output may reach ${excess.toFixed(2)} sqrt(d), planned for ` +
      `${NORM_EXCESS}: calibrate the model on inputs whose variance spreads less`,
  );
  const greatestFactor = Number(table.c0[0]!) / 2 ** table.fracBits;
  return { growth, kappa, operandBits, factorBits, table, greatestFactor };
}

/**
 * Bits of a norm's operand with which it has as many before its first digit as the reciprocal
 * deviation has, in the middle of the range that was seen; both together make a state's bits.
 */
function balancedBits(
  { calibrated: [least, greatest] }: LayerRange["variance"],
  stateBits: number,
): number {
  const deviation = (least * greatest) ** (1 / 4);
  const bits = Math.round(stateBits / 2 - Math.log2(deviation));
  return Math.min(stateBits - 4, Math.max(6, bits));
}

/**
 * The greatest |n| / sqrt(d) that a table allows: on each segment sqrt(V) g(V) is greatest at one
 * of its ends (or, between them, within the chord's error), g is rounded up by less than one unit
 * when it is opened unless it is a whole number of them.
 */
function normExcess(
  { domainBits, fracBits, knots, c0, c1 }: SplineTable,
  columns: number,
  { operandBits, factorBits }: { operandBits: number; factorBits: number },
): number {
  const scale = 2 ** -operandBits / Math.sqrt(columns);
  const whole = 1n << BigInt(fracBits - factorBits);
  let greatest = 0;
  for (let k = 0; k < knots.length; k++) {
    const exact = c1[k] === 0n && c0[k]! % whole === 0n;
    const rounding = exact ? 0 : 2 ** -factorBits;
    const right = k + 1 < knots.length ? Number(knots[k + 1]!) : 2 ** domainBits;
    for (const v of [Number(knots[k]!), right - 1]) {
      const g = (Number(c0[k]!) + Number(c1[k]!) * v) / 2 ** fracBits + rounding;
      greatest = Math.max(greatest, g * Math.sqrt(v) * scale);
    }
  }
  return greatest * 1.001;
}

/**
 * sqrt(d) / sqrt(V + eps kappa^2 d) as a piecewise linear function of V: minimax chords between 16
 * knots an octave where the variance was seen, a staircase from below beyond it (so the norm's
 * output stays within NORM_EXCESS for every input), constant before it.
 */
function rsqrtTable(options: {
  columns: number;
  kappa: number;
  eps: number;
  operandBits: number;
  factorBits: number;
  perOctave: number;
  variance: LayerRange["variance"];
}): SplineTable {
  const { columns, kappa, eps, operandBits, factorBits, variance } = options;
  const perVariance = kappa * kappa * columns * 2 ** (2 * operandBits);
  const [seenLow, seenHigh] = variance.calibrated;
  const low = (seenLow / CALIBRATION_MARGIN) * perVariance;
  const proven = variance.proven * perVariance;
  const high = Math.min(seenHigh * CALIBRATION_MARGIN * perVariance, proven);
  // Each of its entries is rounded by less than one unit.
  const greatest = (Math.sqrt(proven) + Math.sqrt(columns)) ** 2;
  const domainBits = Math.ceil(Math.log2(greatest + 1));
  const added = eps * kappa * kappa * columns * 2 ** (2 * operandBits);
  const real = (v: number) => (Math.sqrt(columns) * 2 ** operandBits) / Math.sqrt(v + added);
  const fine = geometric(low, high, options.perOctave);
  const fracBits = splineBits(low, real(fine[0]!));
  const value = (v: number) => real(v) * 2 ** fracBits;
  const coarse = geometric(fine.at(-1)!, 2 ** domainBits, STEPS_PER_OCTAVE).slice(1, -1);
  const knots = [0n];
  const c0 = [BigInt(Math.round(value(fine[0]!)))];
  const c1 = [0n];
  for (let k = 0; k + 1 < fine.length; k++) {
    const [intercept, slope] = minimaxChord(value, fine[k]!, fine[k + 1]!);
    knots.push(BigInt(fine[k]!));
    c0.push(intercept);
    c1.push(slope);
  }
  // Each step is the function at its right end, in whole units of g, which opening leaves alone.
  const unitOfFactor = 2 ** (fracBits - factorBits);
  const edges = [fine.at(-1)!, ...coarse, 2 ** domainBits];
  for (let k = 0; k + 1 < edges.length; k++) {
    knots.push(BigInt(edges[k]!));
    c0.push(BigInt(Math.floor(value(edges[k + 1]!) / unitOfFactor) * unitOfFactor));
    c1.push(0n);
  }
  return { shift: 0, domainBits, fracBits, knots, c0, c1 };
}

/**
 * Bits of the value: slopes are integers per unit of V, so the finer V is, the more. V is taken
 * whole (shift 0): its opened mask would else tell C which way it was rounded.
 */
function splineBits(low: number, greatest: number): number {
  const wanted = SPLINE_BITS + Math.max(0, Math.floor(Math.log2(low)) - ARGUMENT_BITS);
  return Math.min(wanted, HEADROOM_BITS - 1 - Math.ceil(Math.log2(greatest)));
}

/** Distinct integers from round(low) to round(high), about `perOctave` to a factor of two. */
function geometric(low: number, high: number, perOctave: number): number[] {
  const count = Math.max(1, Math.ceil(Math.log2(high / low) * perOctave));
  const points = Array.from({ length: count + 1 }, (_, i) =>
    Math.round(low * (high / low) ** (i / count)),
  );
  return [...new Set(points)];
}

/** The line between two points of a convex function, lowered by half its greatest error. */
function minimaxChord(value: (v: number) => number, a: number, b: number): [bigint, bigint] {
  const slope = (value(b) - value(a)) / (b - a);
  const chord = (v: number) => value(a) + slope * (v - a);
  let [left, right] = [a, b];
  for (let i = 0; i < 60; i++) {
    const [p, q] = [left + (right - left) / 3, right - (right - left) / 3];
    if (chord(p) - value(p) < chord(q) - value(q)) left = p;
    else right = q;
  }
  const error = chord(left) - value(left);
  const rounded = Math.round(slope);
  // The slope is rounded around the middle of the segment, so its error stays within half a unit
  // times half the segment.
  const middle = (a + b) / 2;
  const intercept = Math.round(chord(middle) - error / 2 - rounded * middle);
  return [BigInt(intercept), BigInt(rounded)];
}
