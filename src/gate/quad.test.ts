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
/** A ring's bits, those of t, the shift, and the bits of the result that are needed. */
const widths = fc
  .tuple(fc.constantFrom(3, 4, 5, 6, 8, 9, 33, 63, 64), fc.nat(), fc.nat(), fc.nat(), fc.boolean())
  .map(([ringBits, a, b, c, whole]) => {
    const openBits = whole ? ringBits : 3 + (a % (ringBits - 2));
    const shift = 1 + (b % (openBits - 2));
    return { ringBits, openBits, shift, bits: whole ? ringBits : 1 + (c % ringBits) };
  });

const ringOf = (bits: number) => new Ring(bits === 64 ? wasm : reference, bits);

describe("quad", () => {
  test("secure equals reference, also where the square wraps", () => {
    fc.assert(
      fc.property(
        widths,
        side,
        side,
        fc.nat(),
        ({ ringBits, openBits, shift, bits }, m, n, seed) => {
          const ring = ringOf(ringBits);
          const [linear, constant] = uniform(seed + 2, 2, ringBits);
          const rest = { linear: linear!, constant: constant!, bits };
          const values = within(ring, 1n << BigInt(openBits - 2), seed, m * n);
          checkGates({
            ring,
            gates: [
              openGate({ from: 0, to: 1 }, [m, n], shift, { squares: "each", openBits, bits }),
              gate("quad", { from: [1], to: 2 }, [m, n], rest),
            ],
            inputs: new Map([[0, sharedWire(ring, values, seed + 1)]]),
            random: seeded(reference, seed),
          });
        },
      ),
      { numRuns: 200 },
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
      fc.property(
        widths,
        side,
        side,
        fc.nat(),
        ({ ringBits, openBits, shift, bits }, m, n, seed) => {
          const ring = ringOf(ringBits);
          const opening = { squares: "rows", offline: seed % 2 > 0, openBits, bits } as const;
          const values = within(ring, 1n << BigInt(openBits - 2), seed, m * n);
          checkGates({
            ring,
            gates: [
              openGate({ from: 0, to: 1 }, [m, n], shift, opening),
              gate("sumSquares", { from: [1], to: 2 }, [m, 1], { width: n, bits }),
            ],
            inputs: new Map([[0, sharedWire(ring, values, seed + 1)]]),
            random: seeded(reference, seed),
          });
        },
      ),
      { numRuns: 200 },
    );
  });
});
