// Gates that square an opened wire: quad, and the sum of squares.

import fc from "fast-check";
import { describe, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate, openGate } from "../../test/privacy/gates.ts";
import { seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform, within } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";

const reference = referenceRingKernels();
const wasm = await loadRingKernels();
const side = fc.integer({ min: 1, max: 5 });
const bitsAndShift = fc
  .constantFrom(3, 4, 5, 6, 8, 9, 33, 63, 64)
  .chain((bits) => fc.tuple(fc.constant(bits), fc.integer({ min: 1, max: bits - 2 })));

const ringOf = (bits: number) => new Ring(bits === 64 ? wasm : reference, bits);

describe("quad", () => {
  test("secure equals reference, also where the square wraps", () => {
    fc.assert(
      fc.property(bitsAndShift, side, side, fc.nat(), ([bits, shift], m, n, seed) => {
        const ring = ringOf(bits);
        const [linear, constant] = uniform(seed + 2, 2, bits);
        checkGates({
          ring,
          gates: [
            openGate({ from: 0, to: 1 }, [m, n], shift, { squares: "each" }),
            gate("quad", { from: [1], to: 2 }, [m, n], { linear: linear!, constant: constant! }),
          ],
          inputs: new Map([
            [0, sharedWire(ring, within(ring, 1n << BigInt(bits - 2), seed, m * n), seed + 1)],
          ]),
          random: seeded(reference, seed),
        });
      }),
      { numRuns: 120 },
    );
  });

  test("negative coefficients", () => {
    const ring = ringOf(64);
    checkGates({
      ring,
      gates: [
        openGate({ from: 0, to: 1 }, [2, 2], 36, { squares: "each", offline: false }),
        gate("quad", { from: [1], to: 2 }, [2, 2], { linear: -3n << 12n, constant: -1n }),
      ],
      inputs: new Map([[0, sharedWire(ring, within(ring, 1n << 55n, 1, 4), 2)]]),
      random: seeded(reference, 3),
    });
  });
});

describe("sumSquares", () => {
  test("secure equals reference", () => {
    fc.assert(
      fc.property(bitsAndShift, side, side, fc.nat(), ([bits, shift], m, n, seed) => {
        const ring = ringOf(bits);
        checkGates({
          ring,
          gates: [
            openGate({ from: 0, to: 1 }, [m, n], shift, { squares: "rows", offline: seed % 2 > 0 }),
            gate("sumSquares", { from: [1], to: 2 }, [m, 1], { width: n }),
          ],
          inputs: new Map([
            [0, sharedWire(ring, within(ring, 1n << BigInt(bits - 2), seed, m * n), seed + 1)],
          ]),
          random: seeded(reference, seed),
        });
      }),
      { numRuns: 120 },
    );
  });
});
