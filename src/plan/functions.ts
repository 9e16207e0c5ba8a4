// Tables of piecewise polynomials for the functions that a model needs. All parties make the same
// table from public numbers alone, so everything here is plain IEEE arithmetic: no Math.exp, whose
// last digit depends on the engine.

import { ensure } from "../errors.ts";
import type { PiecewiseTable } from "../gate/piecewise.ts";
import type { ExpForm, PiecewisePolynomial } from "../graph/ops.ts";

export interface FitOptions {
  readonly of: (x: number) => number;
  /** Where the function is fitted, real units; beyond it the outer pieces hold. */
  readonly from: number;
  readonly to: number;
  /** Polynomials before `from` and after `to`, in x itself, integers and halves at most. */
  readonly before: readonly [constant: number, slope: number];
  readonly after: readonly [constant: number, slope: number];
  /** Error aimed at, absolute; `relative` takes it times |f|. */
  readonly error: number;
  readonly relative?: boolean | undefined;
  /** Whether the error stays below f, so that the table of a positive f has no negative value. */
  readonly positive?: boolean | undefined;
  readonly degree: 1 | 2 | 3;
  /** The argument: bits after the point, the word's bits, its least value as an integer. */
  readonly argument: { readonly fracBits: number; readonly bits: number; readonly least: bigint };
  /**
   * e: knots are multiples of 2^e from `least` on, and pieces hold from 2^(e+1) - 2 below theirs on
   * (gate/piecewise.ts). Default 0.
   */
  readonly blockBits?: number | undefined;
  /** Whether the domain's last argument is `to`, and the value there is exact. */
  readonly pinned?: boolean | undefined;
  /** Bits after the point of the value. */
  readonly fracBits: number;
  /** Ends that pieces must not cross, real units. */
  readonly breaks?: readonly number[] | undefined;
}

/** Points of a piece at which its error is looked at. */
const SAMPLES = 33;
/** Of the error, what pieces aim at: between two of those points it may be a little greater. */
const AIM = 0.98;

/**
 * The fewest pieces that keep the error, found greedily from the left: each as long as it can be.
 * @throws E_PLAN when a single step of the argument is too long for the error
 */
export function fitTable(options: FitOptions): PiecewiseTable {
  const { argument, fracBits, degree } = options;
  const { blockBits = 0 } = options;
  const unit = 2 ** argument.fracBits;
  const block = 1n << BigInt(blockBits);
  const below = (y: bigint) => y - BigInt.asUintN(blockBits, y - argument.least);
  const first = below(BigInt(Math.round(options.from * unit)));
  const to = BigInt(Math.round(options.to * unit));
  // What holds behind the last knot must hold from nearly two blocks before it on.
  const last = options.pinned ? to : below(to + 3n * block - 3n);
  const top = argument.least + (1n << BigInt(argument.bits));
  const knots: bigint[] = [];
  const coefficients: (readonly bigint[])[] = [];
  const push = (knot: bigint, piece: readonly bigint[]) => {
    if (knot >= top) return;
    knots.push(knot < argument.least ? 0n : knot - argument.least);
    coefficients.push([...piece, ...new Array<bigint>(degree + 1 - piece.length).fill(0n)]);
  };
  const start = first < argument.least ? argument.least : first;
  if (first > argument.least) push(argument.least, line(options.before, argument.least, options));
  const stops = (options.breaks ?? []).map((x) => BigInt(Math.round(x * unit)));
  for (let at = start; at < last && at < top; ) {
    const limit = stops.reduce((least, stop) => (stop > at && stop < least ? stop : least), last);
    const { end, piece } = longestPiece(options, at, limit);
    push(at, piece);
    at = end;
  }
  push(last, options.pinned ? fitPinned(options, last) : line(options.after, last, options));
  const { bits: domainBits, least } = argument;
  return { domainBits, blockBits, least, fracBits, knots, coefficients };
}

/** constant + slope x around the knot, as integers of the table. */
function line([constant, slope]: readonly [number, number], knot: bigint, options: FitOptions) {
  const { argument, fracBits } = options;
  const perStep = slope * 2 ** (fracBits - argument.fracBits);
  ensure(Number.isInteger(perStep), "E_INTERNAL", "an outer piece's slope is no integer");
  const base = BigInt(Math.round(constant * 2 ** fracBits)) + BigInt(perStep) * knot;
  return slope === 0 ? [base] : [base, BigInt(perStep)];
}

function longestPiece(options: FitOptions, at: bigint, limit: bigint) {
  const block = 1n << BigInt(options.blockBits ?? 0);
  const fits = (blocks: bigint) => {
    const length = Number(blocks * block);
    const piece = fitPiece(options, at, [2 - 2 * Number(block), length - 1]);
    return piece.error <= 1 ? piece : undefined;
  };
  let [low, high] = [1n, (limit - at) / block];
  let best = fits(low);
  ensure(best, "E_PLAN", "a table's error is below what its argument's bits can give");
  const whole = fits(high);
  if (whole) return { end: at + high * block, piece: whole.piece };
  while (high - low > 1n) {
    const middle = (low + high) / 2n;
    const found = fits(middle);
    if (found) [low, best] = [middle, found];
    else high = middle;
  }
  return { end: at + low * block, piece: best.piece };
}

/** The piece up to the last argument, where it gives the function's value exactly. */
function fitPinned(options: FitOptions, at: bigint): bigint[] {
  const { of, argument, fracBits, degree, blockBits = 0 } = options;
  const value = of(Number(at) * 2 ** -argument.fracBits);
  const pinned = BigInt(Math.round(value * 2 ** fracBits));
  if (blockBits === 0) return [pinned];
  // What is left is v times a polynomial of one degree less.
  const range = [2 - 2 * 2 ** blockBits, 0] as const;
  const { piece, error } = fitPiece({ ...options, degree, pin: value }, at, range);
  ensure(error <= 1, "E_PLAN", "a table's error is below what its argument's bits can give");
  return [pinned, ...piece.slice(1)];
}

/**
 * Integer coefficients for low <= v - at <= high, the highest first rounded and the rest fitted
 * anew, so that a rounded coefficient costs what the lower ones cannot mend; and the error in units
 * of the one that is allowed. With `pin` the constant is given, the value at 0.
 */
function fitPiece(
  options: FitOptions & { pin?: number },
  at: bigint,
  [low, high]: readonly [number, number],
) {
  const { of, degree, argument, fracBits, pin } = options;
  const step = 2 ** -argument.fracBits;
  const scale = 2 ** fracBits;
  const start = Number(at) * step;
  const wanted = (v: number) => of(start + v * step) * scale;
  const fixed: number[] = new Array(degree + 1).fill(0);
  let left = wanted;
  const take = (j: number, rounded: number) => {
    fixed[j] = rounded;
    const before = left;
    left = (v) => before(v) - rounded * v ** j;
  };
  if (pin !== undefined) {
    take(0, Math.round(pin * scale));
    // Nodes lie inside the range, never at 0.
    for (let j = degree; j > 0; j--) {
      take(j, Math.round(interpolate((v) => left(v) / v, j - 1, [low, -1])));
    }
  } else {
    for (let j = degree; j >= 0; j--) take(j, Math.round(interpolate(left, j, [low, high])));
  }
  let error = 0;
  const length = high - low + 1;
  const count = Math.min(SAMPLES, length);
  for (let i = 0; i < count; i++) {
    const v = low + (count === 1 ? 0 : Math.round((i * (length - 1)) / (count - 1)));
    const value = Math.abs(wanted(v));
    const stated = options.error * (options.relative ? value : scale);
    const allowed = AIM * (options.positive ? Math.min(stated, value) : stated);
    error = Math.max(error, Math.abs(left(v)) / Math.max(allowed, 1));
  }
  return { piece: fixed.map((value) => BigInt(value)), error };
}

/** The leading coefficient of degree j through Chebyshev nodes of [from, to]. */
function interpolate(
  f: (v: number) => number,
  j: number,
  [from, to]: readonly [number, number],
): number {
  const length = to - from;
  if (length <= 0) return j === 0 ? f(from) : 0;
  if (j === 0) {
    // The middle of the range of what is left: its greatest error is then least.
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (let i = 0; i < SAMPLES; i++) {
      const value = f(from + (i * length) / (SAMPLES - 1));
      [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    return (low + high) / 2;
  }
  const nodes = Array.from(
    { length: j + 1 },
    (_, i) => from + (length * (1 - chebyshev(i, j + 1))) / 2,
  );
  // Divided differences: the last is the leading coefficient.
  const values = nodes.map(f);
  for (let order = 1; order <= j; order++) {
    for (let i = j; i >= order; i--) {
      values[i] = (values[i]! - values[i - 1]!) / (nodes[i]! - nodes[i - order]!);
    }
  }
  return values[j]!;
}

/** cos(pi (2 i + 1) / (2 n)) for n <= 4. */
function chebyshev(i: number, n: number): number {
  const half = Math.sqrt(0.5);
  const [large, small] = [Math.sqrt(2 + Math.SQRT2) / 2, Math.sqrt(2 - Math.SQRT2) / 2];
  const [high] = [Math.sqrt(3) / 2];
  return [[0], [half, -half], [high, 0, -high], [large, small, -small, -large]][n - 1]![i]!;
}

// ---- functions ---------------------------------------------------------------------------------

const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;

/** e^x by plain arithmetic, to about 1e-15 relative. */
export function exp(x: number): number {
  const k = Math.round(x / (LN2_HIGH + LN2_LOW));
  const r = x - k * LN2_HIGH - k * LN2_LOW;
  let sum = 1;
  for (let i = 18; i >= 1; i--) sum = 1 + (sum * r) / i;
  return sum * 2 ** k;
}

export const sigmoid = (x: number): number => 1 / (1 + exp(-x));

/** tanh by plain arithmetic. */
export const tanh = (x: number): number => 1 - 2 / (1 + exp(2 * x));

/** erf by its series, or the continued fraction of erfc from 3 on. */
export function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x < 3) {
    let [term, sum] = [x, x];
    for (let n = 1; n < 80; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let k = 60; k >= 1; k--) fraction = k / 2 / (x + fraction);
  return 1 - exp(-x * x) / (Math.sqrt(Math.PI) * (x + fraction));
}

export const geluOf = {
  tanh: (x: number) => 0.5 * x * (1 + tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  erf: (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
} as const;

export const silu = (x: number): number => x * sigmoid(x);

/** The piece of a function by parts that holds at x. */
export function pieceAt({ edges, pieces }: PiecewisePolynomial, x: number): readonly number[] {
  let i = 0;
  while (i < edges.length && x >= edges[i]!) i++;
  return pieces[i]!;
}

/** A polynomial, coefficients constant first. */
export function polynomialAt(piece: readonly number[], x: number): number {
  return piece.reduceRight((sum, c) => sum * x + c, 0);
}

/** An approximation of e^x for x <= 0, as its authors define it. */
export function expBy(form: ExpForm): (x: number) => number {
  if (form.kind === "piecewise") return (x) => polynomialAt(pieceAt(form, x), x);
  const { least, doublings } = form;
  return (x) => {
    if (x < least) return 0;
    let value = 1 + x * 2 ** -doublings;
    for (let i = 0; i < doublings; i++) value *= value;
    return value;
  };
}
