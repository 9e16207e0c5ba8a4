// Gates that go through long wires part by part: secure equals reference beyond one part, with
// lengths and row widths at which no part ends in step with anything.

import { describe, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate, openGate } from "../../test/privacy/gates.ts";
import { makeTensors, type RunOptions, seeded } from "../../test/privacy/harness.ts";
import { maskedWire, sharedWire, uniform, within } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";

const kernels = await loadRingKernels();
const ring = new Ring(kernels);
const [rows, columns] = [17, 1003];
const shape = [rows, columns] as const;
const count = rows * columns;

/** Wires 0 shared and small, 1 and 2 client-masked; words "b" of a row. */
function given(gates: RunOptions["gates"]): RunOptions {
  const b = { rows: 1, columns, weights: uniform(9, columns, 64), mask: uniform(8, columns, 64) };
  return {
    ring,
    gates,
    inputs: new Map([
      [0, sharedWire(ring, within(ring, 1n << 40n, 1, count), 4)],
      [1, maskedWire(ring, uniform(2, count, 64), 5)],
      [2, maskedWire(ring, uniform(3, count, 64), 6)],
    ]),
    random: seeded(referenceRingKernels(), 7),
    tensors: makeTensors(ring, new Map([["b", b]])),
  };
}

describe("long wires", () => {
  test("local gates and a linear one", () => {
    const map = { type: "diagonal", weight: "b" } as const;
    const bias = { form: "client", constant: "b", from: undefined, offline: true } as const;
    checkGates(
      given([
        gate("linear", { from: [1], to: 3 }, shape, { map }),
        gate("bias", { from: [2], to: 4 }, shape, bias),
        gate("sum", { from: [3, 4], to: 5 }, shape, { shifts: [3, 0], offline: true }),
        gate("center", { from: [5], to: 6 }, shape, { offline: true }),
      ]),
    );
  });

  test.each([true, false])("openings with C's part offline %s, and what reads them", (offline) => {
    for (const bits of [64, 37]) {
      const opening = { openBits: 43, offline, bits };
      checkGates(
        given([
          openGate({ from: 0, to: 3 }, shape, 9, { ...opening, squares: "each" }),
          gate("quad", { from: [3], to: 4 }, shape, { linear: -5n, constant: 77n, bits }),
          openGate({ from: 0, to: 5 }, shape, 12, { ...opening, squares: "rows" }),
          gate("sumSquares", { from: [5], to: 6 }, [rows, 1], { width: columns, bits }),
          gate("unmask", { from: [3], to: 7 }, shape, { lift: true, bits }),
          gate("remask", { from: [3], to: 8 }, shape, { offline: false, bits }),
          gate("remask", { from: [7], to: 9 }, shape, { offline: false, bits }),
        ]),
      );
    }
  });

  test("a shared wire masked again, online and offline", () => {
    for (const offline of [true, false]) {
      checkGates(given([gate("remask", { from: [0], to: 3 }, shape, { offline, bits: 43 })]));
    }
  });
});
