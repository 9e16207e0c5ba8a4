import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { checkGates } from "../../test/privacy/check.ts";
import { gate } from "../../test/privacy/gates.ts";
import { type RunOptions, runParties, seeded } from "../../test/privacy/harness.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";

const kernels = referenceRingKernels();

function oneHotOf(
  ring: Ring,
  ids: readonly number[],
  columns: number,
  fracBits: number,
  bits?: number,
): RunOptions {
  const spec = gate("oneHot", { from: [], to: 0 }, [ids.length, columns], {
    name: "ids",
    fracBits,
    bits,
  });
  return { ring, gates: [spec], ids: new Map([["ids", ids]]), random: seeded(kernels, 5) };
}

describe("oneHot", () => {
  test("the first and the last id, repeated ids, every scale", () => {
    for (const ring of [new Ring(kernels, 8), new Ring(kernels, 33), new Ring(kernels)]) {
      for (const fracBits of [0, 3, ring.bits - 1]) {
        const run = checkGates(oneHotOf(ring, [0, 6, 6, 2], 7, fracBits));
        expect(run.value(0).filter((word) => word !== 0n)).toEqual(
          new BigUint64Array(4).fill(1n << BigInt(fracBits)),
        );
      }
    }
  });

  test("as many bits as are needed are sent, and are right", () => {
    const ring = new Ring(kernels, 33);
    for (const bits of [1, 2, 5, 32]) {
      for (const fracBits of [0, bits - 1]) {
        const run = checkGates(oneHotOf(ring, [0, 6, 6, 2], 7, fracBits, bits));
        expect(run.value(0).reduce((sum, word) => sum + word, 0n)).toBe(4n << BigInt(fracBits));
        expect(run.messages.map(({ bytes }) => bytes.length)).toEqual([Math.ceil((28 * bits) / 8)]);
      }
      // A 1 above what is needed is as good as 0.
      const above = checkGates(oneHotOf(ring, [1], 7, bits, bits));
      expect(above.value(0)).toEqual(new BigUint64Array(7));
    }
  });

  test("ids outside the vocabulary and a wrong number of ids are refused", () => {
    const ring = new Ring(kernels);
    errorOf("E_TOKENIZER", () => runParties(oneHotOf(ring, [7], 7, 0)));
    errorOf("E_TOKENIZER", () => runParties(oneHotOf(ring, [-1], 7, 0)));
    const options = oneHotOf(ring, [1, 2], 7, 0);
    errorOf("E_INTERNAL", () => runParties({ ...options, ids: new Map([["ids", [1]]]) }));
    errorOf("E_INTERNAL", () => runParties({ ...options, ids: new Map() }));
  });
});
