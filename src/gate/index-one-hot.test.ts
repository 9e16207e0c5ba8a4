import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate } from "../../test/privacy/gates.ts";
import { runReference, seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";

const reference = referenceRingKernels();
const kernels = await loadRingKernels();
const everyPrg = [reference, kernels].flatMap((set) =>
  set.functionPrgs.map((prg) => ({ set, prg })),
);

describe("indexOneHot", () => {
  test("the row that one-hot makes of the same id, under C's mask, for every width", () => {
    const shape = fc.record({
      rows: fc.integer({ min: 1, max: 3 }),
      columns: fc.integer({ min: 1, max: 40 }),
      spareBits: fc.integer({ min: 0, max: 3 }),
      fracBits: fc.integer({ min: 0, max: 24 }),
      bits: fc.constantFrom(64, 40, 25),
      how: fc.constantFrom(...everyPrg),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(shape, ({ rows, columns, spareBits, fracBits, bits, how, seed }) => {
        const ring = new Ring(how.set);
        const indexBits = Math.max(1, Math.ceil(Math.log2(columns))) + spareBits;
        const ids = [...uniform(seed, rows, 32)].map((word) => Number(word) % columns);
        ids[0] = seed % 2 === 0 ? columns - 1 : 0;
        // What stands above the index's bits may be anything.
        const values = BigUint64Array.from(
          ids,
          (id, row) => (BigInt(row + seed) << BigInt(indexBits)) + BigInt(id),
        );
        const options = {
          ring,
          gates: [
            gate("indexOneHot", { from: [0], to: 1 }, [rows, columns], {
              indexBits,
              fracBits,
              bits,
            }),
          ],
          inputs: new Map([[0, sharedWire(ring, values, 7)]]),
          random: seeded(reference, seed),
          functionPrg: how.prg,
        };
        const run = checkGates(options);
        expect(run.client.wires.get(1)?.form).toBe("client");
        const oneHot = runReference({
          ...options,
          gates: [gate("oneHot", { from: [], to: 1 }, [rows, columns], { name: "ids", fracBits })],
          ids: new Map([["ids", ids]]),
        });
        const wanted = ring.lowBits(oneHot.wires.get(1)!.values, bits);
        expect(run.value(1)).toEqual(wanted);
      }),
      { numRuns: 60 },
    );
  });

  test("one message each way, S's first; the keys of m bits", () => {
    const ring = new Ring(kernels);
    const body = { indexBits: 7, fracBits: 15, bits: 33 };
    const { messages } = checkGates({
      ring,
      gates: [gate("indexOneHot", { from: [0], to: 1 }, [1, 100], body)],
      inputs: new Map([[0, sharedWire(ring, BigUint64Array.of(99n), 7)]]),
      random: seeded(kernels, 1),
    });
    const key = 16 + 6 * 16 + 16 + 2;
    expect(messages.map(({ channel, bytes }) => [channel, bytes.length])).toEqual([
      ["dealer-client", key],
      ["dealer-server", key],
      ["server-client", 1],
      ["client-server", 1 + Math.ceil(3300 / 8)],
    ]);
  });
});
