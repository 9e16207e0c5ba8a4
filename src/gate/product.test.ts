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

interface Spec {
  readonly ringBits: number;
  /** Widths of t, of y and of g. */
  readonly openBits: readonly [number, number];
  readonly shifts: readonly [number, number];
  readonly bits: number;
}

/** Every word as wide as the ring. */
const whole = (ringBits: number, shifts: readonly [number, number]): Spec => ({
  ringBits,
  openBits: [ringBits, ringBits],
  shifts,
  bits: ringBits,
});

const upperBitsOf = ({ openBits, shifts }: Spec) =>
  [openBits[0] - shifts[0], openBits[1] - shifts[1]] as const;

function productOf(spec: Spec, [m, n]: readonly [number, number], seed: number): RunOptions {
  const { ringBits, openBits, shifts, bits } = spec;
  const ring = new Ring(ringBits === 64 ? wasm : reference, ringBits);
  const [y, g] = openBits.map((width) => 1n << BigInt(width - 2));
  const upperBits = upperBitsOf(spec);
  const first = { openBits: openBits[0], bits };
  const second = { openBits: openBits[1], bits, offline: false };
  return {
    ring,
    gates: [
      openGate({ from: 0, to: 2 }, [m, n], shifts[0], first),
      openGate({ from: 1, to: 3 }, [m, 1], shifts[1], second),
      gate("product", { from: [2, 3], to: 4 }, [m, n], { upperBits, bits }),
    ],
    inputs: new Map([
      [0, sharedWire(ring, within(ring, y!, seed, m * n), seed + 1)],
      [1, sharedWire(ring, within(ring, g!, seed + 2, m), seed + 3)],
    ]),
    random: seeded(reference, seed),
  };
}

const widths = fc.constantFrom(3, 4, 5, 6, 8, 9, 33, 63, 64);
const side = fc.integer({ min: 1, max: 5 });
const nat = fc.nat();

describe("product", () => {
  test("secure equals reference for all shifts, together below and above the ring's width", () => {
    fc.assert(
      fc.property(widths, nat, nat, side, side, nat, (bits, a, b, m, n, seed) => {
        const shifts = [1 + (a % (bits - 2)), 1 + (b % (bits - 2))] as const;
        checkGates(productOf(whole(bits, shifts), [m, n], seed));
      }),
      { numRuns: 200 },
    );
  });

  test("secure equals reference where t and the result have fewer bits than the ring", () => {
    const numbers = fc.tuple(nat, nat, nat, nat, nat);
    fc.assert(
      fc.property(widths, numbers, side, side, nat, (ringBits, [a, b, c, d, e], m, n, seed) => {
        const openBits = [3 + (a % (ringBits - 2)), 3 + (b % (ringBits - 2))] as const;
        const shifts = [1 + (c % (openBits[0] - 2)), 1 + (d % (openBits[1] - 2))] as const;
        const bits = 1 + (e % ringBits);
        checkGates(productOf({ ringBits, openBits, shifts, bits }, [m, n], seed));
      }),
      { numRuns: 200 },
    );
  });

  test("every value of 4-bit operands under many masks, for every width of the result", () => {
    const values = [-3n, -2n, -1n, 0n, 1n, 2n, 3n];
    const pairs = values.flatMap((y) => values.map((g) => [y, g] as const));
    for (const bits of [1, 2, 3, 4, 5, 6]) {
      const openBits = [4, 4] as const;
      for (const shifts of [[1, 1] as const, [1, 2] as const, [2, 2] as const]) {
        const spec: Spec = { ringBits: 6, openBits, shifts, bits };
        for (let seed = 0; seed < 12; seed++) {
          const options = productOf(spec, [pairs.length, 1], seed);
          const { ring } = options;
          const column = (k: 0 | 1) => BigUint64Array.from(pairs, (pair) => ring.residue(pair[k]));
          const inputs = new Map([
            [0, sharedWire(ring, column(0), seed + 1)],
            [1, sharedWire(ring, column(1), seed + 2)],
          ]);
          checkGates({ ...options, inputs });
        }
      }
    }
  });

  test("the shares of b are dealt with the bits that their factors leave, if any", () => {
    const cases: readonly (readonly [Spec, readonly number[]])[] = [
      [whole(64, [32, 32]), [64, 32, 32, 0]],
      [whole(64, [33, 32]), [64, 33, 32, 1]],
      [whole(64, [62, 62]), [64, 62, 62, 60]],
      [{ ringBits: 64, openBits: [40, 30], shifts: [20, 12], bits: 44 }, [44, 24, 26, 6]],
      [{ ringBits: 64, openBits: [40, 30], shifts: [20, 12], bits: 19 }, [19, 0, 1, 0]],
    ];
    for (const [spec, dealt] of cases) {
      const options = productOf(spec, [2, 4], 7);
      checkGates(options);
      const { bits } = spec;
      const rest = { upperBits: upperBitsOf(spec), bits };
      const cost = product.cost(gate("product", { from: [2, 3], to: 4 }, [2, 4], rest), 64);
      expect(cost.dealerToServer).toBe(dealt.reduce((sum, width) => sum + width, 0)); // 8 words
    }
  });

  test("operands that are not opened, or with other widths, are refused", () => {
    const options = productOf(whole(8, [2, 2]), [1, 1], 1);
    const gates = [gate("product", { from: [0, 1], to: 4 }, [1, 1], { upperBits: [6, 6] })];
    errorOf("E_INTERNAL", () => runParties({ ...options, gates }));
    const wrong = gate("product", { from: [2, 3], to: 4 }, [1, 1], { upperBits: [6, 5] });
    const last = [...options.gates.slice(0, 2), wrong];
    errorOf("E_INTERNAL", () => runParties({ ...options, gates: last }));
  });
});
