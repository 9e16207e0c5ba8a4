import { describe, expect, it } from "vitest";
import { uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "./load-node.ts";
import { composedPiecewise } from "./piecewise.ts";
import type { PiecewiseOptions } from "./ring-kernels.ts";

const kernels = await loadRingKernels();

/** A task with random keys, table and shares; its entries fill a batch and a bit. */
function task(options: {
  degree: number;
  knots: number;
  domainBits: number;
  blockBits?: number;
  entries: number;
}) {
  const { degree, knots, domainBits, blockBits = 0, entries } = options;
  const words = degree + 1;
  const [mine] = kernels.dcfGenerateMany({
    domainBits: domainBits - blockBits,
    words,
    alphas: uniform(1, entries, domainBits - blockBits),
    payloads: uniform(2, entries * words, 64),
    random: new Uint8Array(uniform(3, 4 * entries, 64).buffer),
  });
  const block = BigInt(blockBits);
  const offsets = uniform(4, knots, domainBits).map((offset) => (offset >> block) << block);
  offsets[0] = 0n;
  const lists = (seed: number, count: number) =>
    Array.from({ length: words }, (_, i) => {
      const list = uniform(seed + i, count, 64);
      // The factor of r^j has no power of x above degree - j.
      return list.map((word, at) => ((at % words) + i > degree ? 0n : word));
    });
  return {
    domainBits,
    blockBits,
    party: 1,
    keys: mine,
    a: uniform(5, entries, domainBits),
    powers: Array.from({ length: degree }, (_, j) => uniform(20 + j, entries, 64)),
    offsets,
    coefficients: lists(30, knots * words),
    first: lists(40, words),
    out: new BigUint64Array(entries),
  } satisfies PiecewiseOptions;
}

describe("piecewise of the kernels in use", () => {
  for (const [degree, knots, domainBits, blockBits, entries] of [
    [1, 1, 1, 0, 3],
    [1, 25, 40, 0, 600],
    [2, 9, 18, 0, 1025],
    [3, 4, 63, 0, 5],
    [3, 16, 18, 9, 1025],
    [2, 5, 63, 50, 9],
    [2, 3, 7, 0, 512],
  ] as const) {
    const bits = `${domainBits} bits, ${blockBits} in a block`;
    it(`is what the other kernels give: degree ${degree}, ${knots} knots, ${bits}`, () => {
      for (const party of [0, 1] as const) {
        const options = { ...task({ degree, knots, domainBits, blockBits, entries }), party };
        kernels.piecewise(options);
        const composed = { ...options, out: new BigUint64Array(entries) };
        composedPiecewise(kernels, composed);
        expect(options.out).toEqual(composed.out);
      }
    });
  }

  it("is nothing of nothing", () => {
    const options = task({ degree: 2, knots: 3, domainBits: 8, entries: 1 });
    const none = { ...options, keys: options.keys.subarray(0, 0), a: options.a.subarray(0, 0) };
    const powers = options.powers.map((power) => power.subarray(0, 0));
    const out = new BigUint64Array(0);
    kernels.piecewise({ ...none, powers, out });
    expect(out).toHaveLength(0);
  });
});
