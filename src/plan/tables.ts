// The tables of nonlinear gates of ordinary decoders, by public numbers. A plan has thousands of
// gates and few tables: each is made once.

import type { PiecewiseTable } from "../gate/piecewise.ts";
import { exp, type FitOptions, fitTable, geluOf, silu } from "./functions.ts";

/** The argument of a table: a wire opened with these bits. */
export interface Argument {
  readonly fracBits: number;
  /** u. */
  readonly bits: number;
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

const signed = ({ fracBits, bits }: Argument) => ({
  fracBits,
  bits,
  least: -(1n << BigInt(bits - 1)),
});

/** Errors of activations, absolute. */
const ACTIVATION_ERROR = 2 ** -12;
/** Where an activation is a line to its last bit that counts. */
const ACTIVATION_REACH = { tanh: 5, erf: 5, silu: 12 } as const;
/** Error of e^x for x <= 0, absolute; below -EXP_REACH it counts as 0. */
const EXP_ERROR = 2 ** -13;
const EXP_REACH = 10;
/** Error of 1 / z, relative. */
const RECIPROCAL_ERROR = 2 ** -13;
/** Bits after the point of the reciprocal: of z >= 1 it fits the ring with them. */
export const RECIPROCAL_BITS = 58;

/** GELU or SiLU over all of the argument's bits. */
export function activationTable(
  kind: "tanh" | "erf" | "silu",
  argument: Argument,
  fracBits: number,
): PiecewiseTable {
  return once([kind, argument.fracBits, argument.bits, fracBits], () => ({
    of: kind === "silu" ? silu : geluOf[kind],
    from: -ACTIVATION_REACH[kind],
    to: ACTIVATION_REACH[kind],
    before: [0, 0],
    after: [0, 1],
    error: ACTIVATION_ERROR,
    degree: 2,
    argument: signed(argument),
    fracBits,
  }));
}

/** max(x, 0), exactly. */
export function reluTable(argument: Argument, fracBits: number): PiecewiseTable {
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

/** e^x for -2^bits < x <= 0, in units of the argument. */
export function expTable({ fracBits, bits }: Argument, valueBits: number): PiecewiseTable {
  return once(["exp", fracBits, bits, valueBits], () => ({
    of: exp,
    from: -EXP_REACH,
    to: 0,
    before: [0, 0],
    after: [1, 0],
    error: EXP_ERROR,
    degree: 2,
    argument: { fracBits, bits, least: 1n - (1n << BigInt(bits)) },
    fracBits: valueBits,
  }));
}

/** 1 / z for 1 <= z <= greatest; below, that of its least argument. */
export function reciprocalTable({ fracBits, bits }: Argument, greatest: number): PiecewiseTable {
  const least = 1 - 2 ** -6;
  return once(["reciprocal", fracBits, bits, greatest], () => ({
    of: (z) => 1 / z,
    from: least,
    to: greatest,
    before: [1 / least, 0],
    after: [1 / greatest, 0],
    error: RECIPROCAL_ERROR,
    relative: true,
    degree: 1,
    argument: { fracBits, bits, least: 0n },
    fracBits: RECIPROCAL_BITS,
  }));
}
