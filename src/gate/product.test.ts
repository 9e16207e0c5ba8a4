import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { checkGates } from "../../test/privacy/check.ts";
import { gate, openGate } from "../../test/privacy/gates.ts";
import { type RunOptions, runParties, seeded } from "../../test/privacy/harness.ts";
import { sharedWire, within } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";
import { product } from "./product.ts";

const reference = referenceRingKernels();
const wasm = await loadRingKernels();

function productOf(
  bits: number,
  shifts: readonly [number, number],
  [m, n]: readonly [number, number],
  seed: number,
): RunOptions {
  const ring = new Ring(bits === 64 ? wasm : reference, bits);
  const bound = 1n << BigInt(bits - 2);
  return {
    ring,
    gates: [
      openGate({ from: 0, to: 2 }, [m, n], shifts[0]),
      openGate({ from: 1, to: 3 }, [m, 1], shifts[1], { offline: false }),
      gate("product", { from: [2, 3], to: 4 }, [m, n], { shifts }),
    ],
    inputs: new Map([
      [0, sharedWire(ring, within(ring, bound, seed, m * n), seed + 1)],
      [1, sharedWire(ring, within(ring, bound, seed + 2, m), seed + 3)],
    ]),
    random: seeded(reference, seed),
  };
}

const widths = fc.constantFrom(3, 4, 5, 6, 8, 9, 33, 63, 64);
const side = fc.integer({ min: 1, max: 5 });

describe("product", () => {
  test("secure equals reference for all shifts, together below and above the ring's width", () => {
    fc.assert(
      fc.property(widths, fc.nat(), fc.nat(), side, side, fc.nat(), (bits, a, b, m, n, seed) => {
        const shifts = [1 + (a % (bits - 2)), 1 + (b % (bits - 2))] as const;
        checkGates(productOf(bits, shifts, [m, n], seed));
      }),
      { numRuns: 200 },
    );
  });

  test("the share of b_y b_g is dealt exactly where the shifts exceed the width", () => {
    for (const [shifts, both] of [
      [[32, 32], 0],
      [[33, 32], 1],
      [[62, 62], 60],
    ] as const) {
      const options = productOf(64, shifts, [2, 3], 7);
      checkGates(options);
      const cost = product.cost(gate("product", { from: [2, 3], to: 4 }, [2, 3], { shifts }), 64);
      const widthsInBytes = [64, shifts[0], shifts[1], both].map((bits) => Math.ceil(bits / 8));
      expect(cost.dealerToServer).toBe(6 * widthsInBytes.reduce((sum, width) => sum + width, 0));
    }
  });

  test("operands that are not opened, or by other shifts, are refused", () => {
    const options = productOf(8, [2, 2], [1, 1], 1);
    const gates = [gate("product", { from: [0, 1], to: 4 }, [1, 1], { shifts: [2, 2] })];
    errorOf("E_INTERNAL", () => runParties({ ...options, gates }));
    const wrong = gate("product", { from: [2, 3], to: 4 }, [1, 1], { shifts: [2, 3] });
    const last = [...options.gates.slice(0, 2), wrong];
    errorOf("E_INTERNAL", () => runParties({ ...options, gates: last }));
  });
});
