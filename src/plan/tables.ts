// The tables of nonlinear gates of ordinary decoders, by public numbers. A plan has thousands of
// gates and few tables: each is made once.

import { ensure, MergenError } from "../errors.ts";
import { type PiecewiseTable, topOf } from "../gate/piecewise.ts";
import type { ExpForm, PiecewisePolynomial } from "../graph/ops.ts";
import {
  exp,
  expBy,
  type FitOptions,
  fitTable,
  geluOf,
  pieceAt,
  polynomialAt,
  silu,
} from "./functions.ts";

/** The argument of a table: a wire opened with these bits. */
export interface Argument {
  readonly fracBits: number;
  /** u. */
  readonly bits: number;
  /** Bits to which a table's values are right. */
  readonly precision: number;
}

const made = new Map<string, PiecewiseTable>();

function once(key: readonly (string | number)[], make: () => FitOptions): PiecewiseTable {
  return onceMade(key, () => fitTable(make()));
}

type AnyDegree = Omit<FitOptions, "degree" | "blockBits">;

/** The table of the degree with which a point costs least time; of two alike, the lower one. */
function onceFastest(key: readonly (string | number)[], make: () => AnyDegree): PiecewiseTable {
  return onceMade(key, () => {
    const options = make();
    return fastest(([1, 2, 3] as const).map((degree) => fitTable({ ...options, degree })));
  });
}

/**
 * The same of a function that is smooth: of each degree with the largest blocks that its error
 * allows, which give the shortest keys and walks. `make` takes the bits of a block.
 */
function onceCoarse(
  key: readonly (string | number)[],
  most: number,
  make: (blockBits: number) => AnyDegree,
): PiecewiseTable {
  return onceMade(key, () =>
    fastest(([1, 2, 3] as const).map((degree) => coarsest(most, degree, make))),
  );
}

/** Bits of the largest block of which two fit in the arguments that a domain has to spare. */
function largestBlock(spare: number, fracBits: number): number {
  return Math.min(fracBits, Math.max(0, Math.floor(Math.log2(Math.max(spare, 1))) - 1));
}

function coarsest(
  most: number,
  degree: 1 | 2 | 3,
  make: (blockBits: number) => AnyDegree,
): PiecewiseTable {
  for (let blockBits = most; blockBits > 0; blockBits--) {
    try {
      return fitTable({ ...make(blockBits), degree, blockBits });
    } catch (error) {
      if (!(error instanceof MergenError && error.code === "E_PLAN")) throw error;
    }
  }
  return fitTable({ ...make(0), degree });
}

function fastest(tables: readonly PiecewiseTable[]): PiecewiseTable {
  return tables.reduce((best, table) => (timeOf(table) < timeOf(best) ? table : best));
}

/**
 * Blocks of a function key's generator that an entry takes: at each node on the way to a knot one
 * for the node and one for every two words, and the latter again at a leaf. Neighbouring knots
 * share nodes: of cells of n blocks each, a gap of g blocks between knots makes min(g / n, 1) new.
 */
function timeOf({ knots, coefficients, domainBits, blockBits }: PiecewiseTable): number {
  const perLeaf = Math.ceil(coefficients[0]!.length / 2);
  const levels = domainBits - blockBits - 1;
  const blocks = knots.map((knot) => Number(knot >> BigInt(blockBits)));
  const around = blocks[0]! + 2 ** (levels + 1);
  const gaps = blocks.map((block, k) => (blocks[k + 1] ?? around) - block);
  let nodes = 0;
  for (let level = 1; level <= levels; level++) {
    const cell = 2 ** (levels + 1 - level);
    for (const gap of gaps) nodes += Math.min(gap / cell, 1);
  }
  return nodes * (1 + perLeaf) + knots.length * perLeaf;
}

function onceMade(key: readonly (string | number)[], make: () => PiecewiseTable): PiecewiseTable {
  const name = key.join();
  const known = made.get(name);
  if (known) return known;
  const table = make();
  made.set(name, table);
  return table;
}

const signed = ({ fracBits, bits }: Pick<Argument, "fracBits" | "bits">) => ({
  fracBits,
  bits,
  least: -(1n << BigInt(bits - 1)),
});

/** From where on an activation is a line to its last bit that counts. */
const activationReach = {
  tanh: (bits: number) => 3 + bits / 6,
  erf: (bits: number) => 3 + bits / 6,
  silu: (bits: number) => bits,
} as const;
/** Bits after the point of the reciprocal: of z >= 1 it fits the ring with them. */
export const RECIPROCAL_BITS = 58;

/**
 * Pieces of degree 3 come near to their error nearly everywhere, and the layer behind an activation
 * adds thousands of them up: so they aim at a little less. It costs no knot of GELU's.
 */
const AIMED_BITS_MORE = 0.8;

/** Real units that a bounded argument's domain has beyond its bound, for blocks of its table. */
const ACTIVATION_SPARE = 2 ** -1;

/** Bits of an argument of which |x| <= magnitude holds, in real units, with room for its blocks. */
export function boundedBits(magnitude: number, fracBits: number): number {
  return 1 + Math.ceil(Math.log2((magnitude + ACTIVATION_SPARE) * 2 ** fracBits + 1));
}

/** GELU or SiLU for |x| <= magnitude, in real units. */
export function activationTable(
  kind: "tanh" | "erf" | "silu",
  argument: Argument,
  { magnitude, fracBits }: { readonly magnitude: number; readonly fracBits: number },
): PiecewiseTable {
  const { precision } = argument;
  const reach = activationReach[kind](precision);
  const spare = 2 ** (argument.bits - 1) - Math.ceil(magnitude * 2 ** argument.fracBits) - 1;
  const most = largestBlock(spare, argument.fracBits);
  const key = [kind, argument.fracBits, argument.bits, precision, fracBits, most];
  return onceCoarse(key, most, () => ({
    of: kind === "silu" ? silu : geluOf[kind],
    from: -reach,
    to: reach,
    before: [0, 0],
    after: [0, 1],
    error: 2 ** -(precision + AIMED_BITS_MORE),
    argument: signed(argument),
    fracBits,
  }));
}

/** max(x, 0), exactly. */
export function reluTable(argument: Omit<Argument, "precision">, fracBits: number): PiecewiseTable {
  return once(["relu", argument.fracBits, argument.bits, fracBits], () => ({
    of: (x) => Math.max(x, 0),
    from: 0,
    to: 0,
    before: [0, 0],
    after: [0, 1],
    error: 1,
    degree: 1,
    argument: signed(argument),
    fracBits,
  }));
}

/**
 * e^x for `least` <= x <= 0, real units, in arguments of `bits` bits; 0 where it is below its
 * error, never less, and exactly 1 at 0: a sum of weights is then 1 at the least, of any number.
 */
export function expTable(argument: Argument, least: number, valueBits: number): PiecewiseTable {
  const { fracBits, bits, precision } = argument;
  const spare = 2 ** bits - Math.ceil(-least * 2 ** fracBits);
  ensure(spare > 0, "E_INTERNAL", `exponents down to ${least} have more than ${bits} bits`);
  const most = largestBlock(spare, fracBits);
  return onceCoarse(["exp", fracBits, bits, precision, most, valueBits], most, (blockBits) => ({
    of: exp,
    from: -0.7 * (precision + 3),
    to: 0,
    before: [0, 0],
    after: [1, 0],
    pinned: true,
    error: 2 ** -(precision + 1),
    positive: true,
    argument: { fracBits, bits, least: -topOf({ domainBits: bits, blockBits }) },
    fracBits: valueBits,
  }));
}

/** 1 / z for 1 <= z <= greatest; below, that of its least argument. */
export function reciprocalTable(argument: Argument, greatest: number): PiecewiseTable {
  const { fracBits, bits, precision } = argument;
  const least = 1 - 2 ** -6;
  const make = () => ({
    of: (z: number) => 1 / z,
    from: least,
    to: greatest,
    before: [1 / least, 0] as const,
    after: [1 / greatest, 0] as const,
    error: 2 ** -(precision + 1),
    relative: true,
    argument: { fracBits, bits, least: 0n },
    fracBits: RECIPROCAL_BITS,
  });
  const key = ["reciprocal", fracBits, bits, precision, greatest];
  // Half of the domain is above the greatest sum. Of degree 2 the leading coefficient would be
  // below one unit.
  return onceMade(key, () => coarsest(fracBits, 1, make));
}

/** Edges as the first multiples of the argument's unit that lie on or above them. */
function onUnits(edges: readonly number[], fracBits: number): number[] {
  return edges.map((edge) => Math.ceil(edge * 2 ** fracBits) / 2 ** fracBits);
}

/**
 * An activation by parts (0 before its first edge, x from its last on), over all of the argument's
 * bits. Its polynomials have degrees up to 6; the table follows them, steps at edges included, by
 * pieces of degree 3 at most with an error of 2^-precision: of the approximation itself, not of
 * GELU.
 */
export function partsTable(
  form: PiecewisePolynomial,
  argument: Argument,
  fracBits: number,
): PiecewiseTable {
  const { precision, bits } = argument;
  const [first, last] = [form.pieces[0]!, form.pieces.at(-1)!];
  const ends = first.every((c) => c === 0) && last.join() === "0,1";
  ensure(ends, "E_PLAN", "an activation by parts that does not end as 0 and as x");
  const name = JSON.stringify(form);
  return onceFastest(["parts", name, argument.fracBits, bits, precision, fracBits], () => {
    const edges = onUnits(form.edges, argument.fracBits);
    return {
      of: (x) => polynomialAt(pieceAt(form, x), x),
      from: edges[0]!,
      to: edges.at(-1)!,
      before: [0, 0],
      after: [0, 1],
      breaks: edges,
      error: 2 ** -precision,
      argument: signed(argument),
      fracBits,
    };
  });
}

/**
 * A method's own approximation of e^x for -2^bits < x <= 0, in units of the argument, clipped where
 * the method clips: with an error of 2^-(precision + 1) against the approximation.
 */
export function expFormTable(form: ExpForm, argument: Argument, valueBits: number): PiecewiseTable {
  const { fracBits, bits, precision } = argument;
  const of = expBy(form);
  const edges = form.kind === "limit" ? [form.least] : form.edges;
  return onceFastest(["form", JSON.stringify(form), fracBits, bits, precision, valueBits], () => ({
    of,
    from: onUnits(edges, fracBits)[0]!,
    to: 0,
    before: [0, 0],
    after: [of(0), 0],
    breaks: onUnits(edges, fracBits),
    error: 2 ** -(precision + 1),
    argument: { fracBits, bits, least: 1n - (1n << BigInt(bits)) },
    fracBits: valueBits,
  }));
}

/** max(x / 2 + 1, 0)^3, exactly, at 3 (fracBits + 1) bits. */
export function cubeTable({ fracBits, bits }: Omit<Argument, "precision">): PiecewiseTable {
  return onceMade(["cube", fracBits, bits], () => {
    const { least } = signed({ fracBits, bits });
    const knot = -(2n << BigInt(fracBits)) - least;
    const value = { domainBits: bits, blockBits: 0, least, fracBits: 3 * (fracBits + 1) };
    if (knot > 0n) {
      const none = [0n, 0n, 0n, 0n];
      return { ...value, knots: [0n, knot], coefficients: [none, [0n, 0n, 0n, 1n]] };
    }
    const c = -knot; // (v + c)^3: the least argument is above -2.
    return { ...value, knots: [0n], coefficients: [[c ** 3n, 3n * c * c, 3n * c, 1n]] };
  });
}

/** Steps to a factor of two beyond the range in which an inverse is exact. */
const STEPS_PER_OCTAVE = 4;
/** Its relative error below the range that was seen. */
const COARSE = 2 ** -10;

export interface InverseRange {
  /** Below, 1 / least; from here to `low` the error is 2^-10 of the value. */
  readonly least: number;
  /** Between these the error is 2^-(precision + 1) of the value. */
  readonly low: number;
  readonly high: number;
  /** What is added to z before. */
  readonly added: number;
  /** Bits after the point that the value is truncated to afterwards. */
  readonly unitBits: number;
}

/**
 * 1 / (z + added) for 0 <= z < 2^bits in units of the argument. Beyond `high` a staircase that lies
 * below the function, by no more than a factor of 2^(1/4) until it is under one unit: so that
 * weights that it divides never sum to more than 1. Degree 1: a second would add 8 bytes a bit to
 * keys, and the number of knots adds none.
 */
export function inverseTable(
  argument: Argument,
  { least, low, high, added, unitBits }: InverseRange,
  fracBits: number,
): PiecewiseTable {
  const { bits, precision } = argument;
  const range = [least, low, high, added, unitBits];
  const key = ["inverse", argument.fracBits, bits, precision, ...range, fracBits];
  return onceMade(key, () => {
    const of = (z: number) => 1 / (z + added);
    const part = (from: number, to: number, error: number) =>
      fitTable({
        of,
        from,
        to,
        before: [of(from), 0],
        after: [0, 0],
        error,
        relative: true,
        degree: 1,
        argument: { fracBits: argument.fracBits, bits, least: 0n },
        fracBits,
      });
    const coarse = part(least, low, COARSE);
    const fine = part(low, high, 2 ** -(precision + 1));
    const stairs = staircase(of, { bits, fracBits, unitBits, high, scale: 2 ** argument.fracBits });
    // Each part's last piece is where the next one starts, whose first one is what lies before.
    const knots = [coarse.knots.slice(0, -1), fine.knots.slice(1, -1), stairs.knots].flat();
    const coefficients = [
      coarse.coefficients.slice(0, -1),
      fine.coefficients.slice(1, -1),
      stairs.coefficients,
    ].flat();
    return { ...fine, knots, coefficients };
  });
}

/** Constants from `high` on, each the function at its right end in whole units of 2^-unitBits. */
function staircase(
  of: (z: number) => number,
  options: { bits: number; fracBits: number; unitBits: number; high: number; scale: number },
): { knots: bigint[]; coefficients: bigint[][] } {
  const { bits, fracBits, unitBits, high, scale } = options;
  const knots: bigint[] = [];
  const coefficients: bigint[][] = [];
  const whole = 1n << BigInt(fracBits - unitBits);
  const top = 2 ** bits;
  let last: bigint | undefined;
  for (let i = 0; last !== 0n; i++) {
    const at = Math.round(high * 2 ** (i / STEPS_PER_OCTAVE) * scale);
    if (at >= top) break;
    const value = of(high * 2 ** ((i + 1) / STEPS_PER_OCTAVE)) * 2 ** unitBits;
    last = BigInt(Math.floor(value)) * whole;
    knots.push(BigInt(at));
    coefficients.push([last, 0n]);
  }
  return { knots, coefficients };
}
