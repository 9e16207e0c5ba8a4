import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate, openGate } from "../../test/privacy/gates.ts";
import { seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform, within } from "../../test/privacy/values.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";

const kernels = referenceRingKernels();
const rings = [2, 5, 8, 9, 33, 64].map((bits) => new Ring(kernels, bits));
const side = fc.integer({ min: 1, max: 5 });

describe("remask", () => {
  test("a shared wire: secure equals reference, online and offline", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...rings),
        side,
        side,
        fc.boolean(),
        fc.nat(),
        (ring, m, n, offline, seed) => {
          const values = uniform(seed, m * n, ring.bits);
          const run = checkGates({
            ring,
            gates: [gate("remask", { from: [0], to: 1 }, [m, n], { offline })],
            inputs: new Map([[0, sharedWire(ring, values, seed + 1)]]),
            random: seeded(kernels, seed),
          });
          expect(run.value(1)).toEqual(values);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("an opened wire: secure equals reference", () => {
    for (const ring of rings.slice(1)) {
      checkGates({
        ring,
        gates: [
          openGate({ from: 0, to: 1 }, [4, 3], 2),
          gate("remask", { from: [1], to: 2 }, [4, 3], { offline: false }),
        ],
        inputs: new Map([
          [0, sharedWire(ring, within(ring, 1n << BigInt(ring.bits - 2), 3, 12), 4)],
        ]),
        random: seeded(kernels, ring.bits),
      });
    }
  });
});
