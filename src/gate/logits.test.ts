import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate, matrixMap } from "../../test/privacy/gates.ts";
import { makeTensors, type RunOptions, runReference, seeded } from "../../test/privacy/harness.ts";
import { maskedWire, uniform, within } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";

const reference = referenceRingKernels();
const wasm = await loadRingKernels();

function head(
  ring: Ring,
  [m, k, n]: readonly [number, number, number],
  sent: { shift: number; sentBits: number; biased: boolean },
  seed: number,
): RunOptions {
  const tensors = new Map([
    [
      "w",
      {
        rows: k,
        columns: n,
        weights: within(ring, 1n << 1n, seed, k * n),
        mask: uniform(seed + 1, k * n, ring.bits),
      },
    ],
    ["b", { rows: 1, columns: n, weights: uniform(seed + 2, n, 2), mask: new BigUint64Array(n) }],
  ]);
  const spec = gate("logits", { from: [0], to: 1 }, [m, n], {
    map: matrixMap("w", k),
    bias: sent.biased ? "b" : undefined,
    shift: sent.shift,
    sentBits: sent.sentBits,
    fracBits: 1,
    name: "logits",
  });
  const bound = 1n << BigInt(Math.min(sent.shift + sent.sentBits - 4, ring.bits - 4));
  const x = within(ring, bound, seed + 3, m * k);
  return {
    ring,
    gates: [spec],
    inputs: new Map([[0, maskedWire(ring, x, seed + 4, sent.shift + sent.sentBits)]]),
    random: seeded(reference, seed),
    tensors: makeTensors(ring, tensors),
  };
}

describe("logits", () => {
  test("secure equals reference, where sent bits and shift fill the ring and where not", () => {
    const side = fc.integer({ min: 1, max: 4 });
    const format = fc.constantFrom(
      { ringBits: 64, shift: 40, sentBits: 16 },
      { ringBits: 64, shift: 1, sentBits: 16 },
      { ringBits: 64, shift: 48, sentBits: 16 },
      { ringBits: 33, shift: 20, sentBits: 13 },
      { ringBits: 8, shift: 2, sentBits: 6 },
      { ringBits: 8, shift: 3, sentBits: 4 },
    );
    fc.assert(
      fc.property(
        side,
        side,
        side,
        format,
        fc.boolean(),
        fc.nat(),
        (m, k, n, format, biased, seed) => {
          const ring = new Ring(format.ringBits === 64 ? wasm : reference, format.ringBits);
          checkGates(head(ring, [m, k, n], { ...format, biased }, seed));
        },
      ),
      { numRuns: 80 },
    );
  });

  test("within two units of the value, while it fits the sent bits", () => {
    const ring = new Ring(wasm);
    const options = head(ring, [5, 1, 4], { shift: 30, sentBits: 16, biased: false }, 6);
    const run = checkGates(options);
    const rounded = runReference(options, false).logits.get("logits")!;
    const secure = run.client.logits.get("logits")!;
    secure.forEach((logit, i) => {
      expect(Math.abs(logit - rounded[i]!)).toBeLessThanOrEqual(2);
    });
  });

  test("all shares of a small ring: the message is z_S >> shift, low bits and all above cut", () => {
    const ring = new Ring(reference, 6);
    for (let seed = 0; seed < 40; seed++) {
      checkGates(head(ring, [3, 2, 3], { shift: 2, sentBits: 4, biased: true }, seed));
    }
  });
});
