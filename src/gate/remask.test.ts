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
        fc.oneof(fc.constant(0), fc.nat()),
        fc.nat(),
        (ring, m, n, offline, by, seed) => {
          const values = uniform(seed, m * n, ring.bits);
          const bits = by === 0 ? ring.bits : 1 + (by % ring.bits);
          const run = checkGates({
            ring,
            gates: [gate("remask", { from: [0], to: 1 }, [m, n], { offline, bits })],
            inputs: new Map([[0, sharedWire(ring, values, seed + 1)]]),
            random: seeded(kernels, seed),
          });
          expect(run.value(1)).toEqual(ring.lowBits(values, bits));
          const sent = run.messages.map(({ bytes }) => bytes.length);
          expect(sent).toEqual([Math.ceil((m * n * bits) / 8)]);
        },
      ),
      { numRuns: 100 },
    );
  });

  test("an opened wire: secure equals reference", () => {
    for (const ring of rings.slice(1)) {
      for (const openBits of [ring.bits, ring.bits - 1]) {
        for (const bits of [ring.bits, openBits - 2, 1]) {
          checkGates({
            ring,
            gates: [
              openGate({ from: 0, to: 1 }, [4, 3], 2, { openBits, bits }),
              gate("remask", { from: [1], to: 2 }, [4, 3], { offline: false, bits }),
            ],
            inputs: new Map([
              [0, sharedWire(ring, within(ring, 1n << BigInt(openBits - 2), 3, 12), 4)],
            ]),
            random: seeded(kernels, ring.bits),
          });
        }
      }
    }
  });
});
