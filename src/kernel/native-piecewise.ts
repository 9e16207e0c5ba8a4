// Piecewise polynomials on the native addon: points, keys and sums batch by batch.

import type { AddonKernels } from "./addon.ts";
import { inBatches } from "./piecewise.ts";
import type { FunctionKernels, PiecewiseOptions } from "./ring-kernels.ts";

/** Scratch of one batch, kept: a new array of this size costs more than what is done with it. */
let points = new BigUint64Array(0);
let blocks = new BigUint64Array(0);
let values = new BigUint64Array(0);

export function nativePiecewise(
  kernels: AddonKernels,
  trees: Pick<FunctionKernels, "dcfEvaluateMany">,
  options: PiecewiseOptions,
): void {
  const { domainBits, blockBits, prg, party, offsets, coefficients, first } = options;
  const words = first.length;
  const flat = flatTable(coefficients, first);
  inBatches(options, ({ a, keys, powers, out }) => {
    const count = a.length * offsets.length;
    if (points.length < count) points = new BigUint64Array(count);
    if (blocks.length < count) blocks = new BigUint64Array(count);
    if (values.length < count * words) values = new BigUint64Array(count * words);
    const x = points.subarray(0, count);
    const found = values.subarray(0, count * words);
    const whole = blocks.subarray(0, count);
    kernels.piecewisePoints(x, whole, a, offsets, domainBits, blockBits);
    const shape = { domainBits: domainBits - blockBits, words, prg };
    trees.dcfEvaluateMany({ ...shape, party, keys, points: whole, out: found });
    // The addon takes three powers; what the degree has not is never read.
    const [r1, r2 = r1!, r3 = r1!] = powers;
    kernels.piecewiseSums(out, found, x, a, r1!, r2, r3, flat.coefficients, flat.first, party);
  });
}

const flattened = new WeakMap<object, { coefficients: BigUint64Array; first: BigUint64Array }>();

/** The lists of coefficients one after the other, once a table. */
function flatTable(coefficients: readonly BigUint64Array[], first: readonly BigUint64Array[]) {
  const known = flattened.get(coefficients);
  if (known) return known;
  const made = { coefficients: joined(coefficients), first: joined(first) };
  flattened.set(coefficients, made);
  return made;
}

function joined(parts: readonly BigUint64Array[]): BigUint64Array {
  const out = new BigUint64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
