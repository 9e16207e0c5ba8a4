// One party's share of a piecewise polynomial at many entries, from a DCF key for each: what
// gate/piecewise.ts computes online, put together of the other kernels. The native addon has a loop
// of its own.

import type { PiecewiseOptions, RingKernels } from "./ring-kernels.ts";
import { interleaveInto, repeatInto, spreadInto } from "./words.ts";

/** Entries that are evaluated at one time: what they need stays in the cache. */
const BATCH = 512;

/** Entries from..to-1 of the same task. */
function part(options: PiecewiseOptions, from: number, to: number): PiecewiseOptions {
  const keyBytes = options.keys.length / options.a.length;
  return {
    ...options,
    a: options.a.subarray(from, to),
    keys: options.keys.subarray(from * keyBytes, to * keyBytes),
    powers: options.powers.map((power) => power.subarray(from, to)),
    out: options.out.subarray(from, to),
  };
}

/** Runs a task batch by batch. */
export function inBatches(
  options: PiecewiseOptions,
  run: (options: PiecewiseOptions) => void,
): void {
  const size = options.a.length;
  for (let from = 0; from < size; from += BATCH) {
    run(part(options, from, Math.min(size, from + BATCH)));
  }
}

type Parts = Pick<
  RingKernels,
  "add" | "sub" | "mul" | "shiftRight" | "lowBits" | "sumRows" | "dcfEvaluateMany"
>;

/** See RingKernels.piecewise. */
export function composedPiecewise(kernels: Parts, options: PiecewiseOptions): void {
  inBatches(options, (some) => evaluate(kernels, some));
}

function evaluate(kernels: Parts, options: PiecewiseOptions): void {
  const { prg, party, keys, a, powers, offsets, coefficients, first, out } = options;
  const { domainBits, blockBits } = options;
  const [rows, count, words] = [a.length, offsets.length, first.length];
  const make = (length: number) => new BigUint64Array(length);
  const spread = (column: BigUint64Array, times: number) => {
    const wide = make(column.length * times);
    spreadInto(wide, column, times);
    return wide;
  };
  const points = spread(a, count);
  const shifts = make(points.length);
  repeatInto(shifts, offsets);
  kernels.add(points, points, shifts);
  // A - a_k carries into bit u exactly if a_k <= A; at knot 0 it never counts.
  const reached = make(points.length);
  kernels.shiftRight(reached, points, domainBits);
  kernels.lowBits(points, points, domainBits);
  const blocks = make(points.length);
  kernels.shiftRight(blocks, points, blockBits);
  const values = make(points.length * words);
  const shape = { domainBits: domainBits - blockBits, words, prg };
  kernels.dcfEvaluateMany({ ...shape, party, keys, points: blocks, out: values });
  const shares = make(rows * words);
  interleaveInto(shares, [make(rows).fill(BigInt(party)), ...powers]);
  const certain = make(values.length);
  for (let at = 0, to = 0; at < shares.length; at += words) {
    const row = shares.subarray(at, at + words);
    for (let k = 0; k < count; k++, to += words) certain.set(row, to);
  }
  kernels.mul(certain, certain, spread(reached, words));
  kernels.sub(values, values, certain);
  kernels.mul(values, values, polynomial(kernels, spread(points, words), coefficients));
  kernels.mul(shares, shares, polynomial(kernels, spread(a, words), first));
  const ends = make(rows);
  kernels.sumRows(out, values, count * words);
  kernels.sumRows(ends, shares, words);
  kernels.add(out, out, ends);
}

/** The sum over i of x^i rows[i], by Horner's rule; rows [width], x [n * width]. */
function polynomial(kernels: Parts, x: BigUint64Array, rows: readonly BigUint64Array[]) {
  const out = new BigUint64Array(x.length);
  const term = new BigUint64Array(x.length);
  repeatInto(out, rows.at(-1)!);
  for (let i = rows.length - 2; i >= 0; i--) {
    kernels.mul(out, out, x);
    repeatInto(term, rows[i]!);
    kernels.add(out, out, term);
  }
  return out;
}
