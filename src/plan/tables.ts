// The tables of nonlinear gates of ordinary decoders, by public numbers. A plan has thousands of
// gates and few tables: each is made once.

import type { PiecewiseTable } from "../gate/piecewise.ts";
import { exp, type FitOptions, fitTable, geluOf, silu } from "./functions.ts";

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
  const name = key.join();
  const known = made.get(name);
  if (known) return known;
  const table = fitTable(make());
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

/** GELU or SiLU over all of the argument's bits. */
export function activationTable(
  kind: "tanh" | "erf" | "silu",
  argument: Argument,
  fracBits: number,
): PiecewiseTable {
  const { precision } = argument;
  const reach = activationReach[kind](precision);
  return once([kind, argument.fracBits, argument.bits, precision, fracBits], () => ({
    of: kind === "silu" ? silu : geluOf[kind],
    from: -reach,
    to: reach,
    before: [0, 0],
    after: [0, 1],
    error: 2 ** -precision,
    degree: 2,
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
 * e^x for -2^bits < x <= 0, in units of the argument; 0 where it is below its error, never less,
 * and exactly 1 at 0: a sum of weights is then 1 at the least, however many there are.
 */
export function expTable(argument: Argument, valueBits: number): PiecewiseTable {
  const { fracBits, bits, precision } = argument;
  return once(["exp", fracBits, bits, precision, valueBits], () => ({
    of: exp,
    from: -0.7 * (precision + 3),
    to: 0,
    before: [0, 0],
    after: [1, 0],
    error: 2 ** -(precision + 1),
    positive: true,
    degree: 2,
    argument: { fracBits, bits, least: 1n - (1n << BigInt(bits)) },
    fracBits: valueBits,
  }));
}

/** 1 / z for 1 <= z <= greatest; below, that of its least argument. */
export function reciprocalTable(argument: Argument, greatest: number): PiecewiseTable {
  const { fracBits, bits, precision } = argument;
  const least = 1 - 2 ** -6;
  return once(["reciprocal", fracBits, bits, precision, greatest], () => ({
    of: (z) => 1 / z,
    from: least,
    to: greatest,
    before: [1 / least, 0],
    after: [1 / greatest, 0],
    error: 2 ** -(precision + 1),
    relative: true,
    degree: 1,
    argument: { fracBits, bits, least: 0n },
    fracBits: RECIPROCAL_BITS,
  }));
}
