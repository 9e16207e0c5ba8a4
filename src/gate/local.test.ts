import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { checkGates } from "../../test/privacy/check.ts";
import { gate } from "../../test/privacy/gates.ts";
import { makeTensors, type RunOptions, runParties, seeded } from "../../test/privacy/harness.ts";
import { maskedWire, sharedWire, uniform } from "../../test/privacy/values.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";

const kernels = referenceRingKernels();
const rings = [3, 8, 33, 64].map((bits) => new Ring(kernels, bits));

/** Wire 0 shared, 1 client-masked, 2 client-masked, all [3, 4]; words "b" [6, 4] at S. */
function given(ring: Ring, gates: RunOptions["gates"], bits = ring.bits): RunOptions {
  const words = (seed: number) => uniform(seed, 12, ring.bits);
  const b = {
    rows: 6,
    columns: 4,
    weights: uniform(9, 24, ring.bits),
    mask: new BigUint64Array(24),
  };
  return {
    ring,
    gates,
    inputs: new Map([
      [0, sharedWire(ring, words(1), 4)],
      [1, maskedWire(ring, words(2), 5, bits)],
      [2, maskedWire(ring, words(3), 6, bits)],
    ]),
    random: seeded(kernels, ring.bits),
    tensors: makeTensors(ring, new Map([["b", b]])),
  };
}

/** Runs with whole and with narrower words, checks, and sees that nothing was sent. */
function silent(ring: Ring, gates: RunOptions["gates"]): void {
  for (const bits of [ring.bits, ring.bits - 1, 1]) {
    const needed = gates.map((spec) => ({ ...spec, bits }));
    expect(checkGates(given(ring, needed, bits)).messages).toEqual([]);
  }
}

describe("local gates", () => {
  for (const ring of rings) {
    test(`bias on ${ring.bits} bits: a row for all, rows from a position, both forms`, () => {
      for (const offline of [true, false]) {
        for (const from of [undefined, 0, 3]) {
          const shared = { form: "shared", constant: "b", from, offline } as const;
          silent(ring, [gate("bias", { from: [0], to: 9 }, [3, 4], shared)]);
          const client = { form: "client", constant: "b", from, offline } as const;
          silent(ring, [gate("bias", { from: [1], to: 9 }, [3, 4], client)]);
        }
      }
    });

    test(`sum on ${ring.bits} bits: all forms and shifts`, () => {
      // Wire 0 is shared, wires 1 and 2 are client-masked.
      for (const from of [
        [0, 0],
        [0, 1],
        [2, 0],
        [1, 2],
      ]) {
        for (const offline of [true, false]) {
          const rest = { shifts: [0, 2], offline } as const;
          silent(ring, [gate("sum", { from, to: 9 }, [3, 4], rest)]);
        }
      }
    });

    test(`center, concat and slice on ${ring.bits} bits`, () => {
      for (const offline of [true, false]) {
        silent(ring, [gate("center", { from: [0], to: 9 }, [3, 4], { offline })]);
        const rest = { from: 1, form: "shared", offline } as const;
        silent(ring, [gate("slice", { from: [0], to: 9 }, [2, 4], rest)]);
      }
      silent(ring, [
        gate("concat", { from: [1, 2], to: 9 }, [6, 4], {}),
        gate("slice", { from: [9], to: 10 }, [2, 4], { from: 2, form: "client", offline: true }),
        gate("slice", { from: [9], to: 11 }, [1, 4], { from: 5, form: "client", offline: true }),
      ]);
    });

    test(`store and load on ${ring.bits} bits carry a client-masked wire`, () => {
      const run = runParties(
        given(ring, [
          gate("store", { from: [1], to: 8 }, [3, 4], { name: "a", replaces: undefined }),
          gate("store", { from: [2], to: 9 }, [3, 4], { name: "b", replaces: "a" }),
          gate("load", { from: [], to: 10 }, [3, 4], { name: "b" }),
        ]),
      );
      expect(run.value(10)).toEqual(run.value(2));
      expect(run.messages).toEqual([]);
      for (const { states } of [run.dealer, run.client, run.server]) {
        expect([...states.keys()]).toEqual(["b"]);
      }
    });
  }

  test("a sum needs fewer bits of an operand that it shifts", () => {
    for (const ring of rings) {
      const [x, y] = [uniform(1, 12, ring.bits), uniform(2, 12, ring.bits)];
      const options = given(ring, [
        gate("sum", { from: [1, 2], to: 9 }, [3, 4], { shifts: [0, 2], offline: true }),
      ]);
      const wide = maskedWire(ring, x, 3);
      const narrow = maskedWire(ring, y, 4, ring.bits - 2);
      checkGates({ ...options, inputs: new Map([...options.inputs!, [1, wide], [2, narrow]]) });
    }
  });

  test("centring is columns * z - sum z", () => {
    const ring = rings[3]!;
    const run = runParties(
      given(ring, [gate("center", { from: [0], to: 9 }, [3, 4], { offline: true })]),
    );
    const z = run.value(0);
    const total = z.subarray(0, 4).reduce((sum, word) => sum + word, 0n);
    expect(run.value(9)[1]).toBe(ring.residue(4n * z[1]! - total));
  });

  test("a missing state and a wire in another form are refused", () => {
    const ring = rings[0]!;
    const load = gate("load", { from: [], to: 9 }, [3, 4], { name: "none" });
    errorOf("E_INTERNAL", () => runParties(given(ring, [load])));
    const slice = gate("slice", { from: [0], to: 9 }, [1, 4], {
      from: 0,
      form: "client",
      offline: true,
    });
    errorOf("E_INTERNAL", () => runParties(given(ring, [slice])));
    const missing = gate("slice", { from: [42], to: 9 }, [1, 4], {
      from: 0,
      form: "client",
      offline: true,
    });
    errorOf("E_INTERNAL", () => runParties(given(ring, [missing])));
  });
});
