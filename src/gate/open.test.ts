import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { checkGates } from "../../test/privacy/check.ts";
import { openGate } from "../../test/privacy/gates.ts";
import { type RunOptions, runReference, seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform, within } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";

const reference = referenceRingKernels();
const wasm = await loadRingKernels();
const widths = [3, 4, 5, 8, 9, 16, 33, 47, 63, 64];

function opening(
  ring: Ring,
  shape: readonly [number, number],
  spec: { shift: number; squares: "none" | "each" | "rows"; offline: boolean },
  values: BigUint64Array,
  seed: number,
): RunOptions {
  return {
    ring,
    gates: [openGate({ from: 0, to: 1 }, shape, spec.shift, spec)],
    inputs: new Map([[0, sharedWire(ring, values, seed + 1)]]),
    random: seeded(reference, seed),
  };
}

const specs = {
  rows: fc.integer({ min: 1, max: 5 }),
  columns: fc.integer({ min: 1, max: 5 }),
  bits: fc.constantFrom(...widths),
  shift: fc.nat(),
  squares: fc.constantFrom("none" as const, "each" as const, "rows" as const),
  offline: fc.boolean(),
  seed: fc.nat(),
};

describe("open", () => {
  test("secure equals reference on every width, shift and shape, up to the bound", () => {
    fc.assert(
      fc.property(fc.record(specs), (given) => {
        const { rows, columns, bits, squares, offline, seed } = given;
        const ring = new Ring(bits === 64 ? wasm : reference, bits);
        const shift = 1 + (given.shift % (bits - 2));
        const values = within(ring, 1n << BigInt(bits - 2), seed, rows * columns);
        checkGates(opening(ring, [rows, columns], { shift, squares, offline }, values, seed));
      }),
      { numRuns: 150 },
    );
  });

  test("all inputs and all masks of 3 to 6 bits", () => {
    for (const bits of [3, 4, 5, 6]) {
      const ring = new Ring(reference, bits);
      const bound = 1 << (bits - 2);
      const inputs = Array.from({ length: 2 * bound - 1 }, (_, i) => BigInt(i - bound + 1));
      const masks = Array.from({ length: 2 ** bits }, (_, i) => BigInt(i));
      const values = BigUint64Array.from(inputs.flatMap((z) => masks.map(() => ring.residue(z))));
      const own = BigUint64Array.from(inputs.flatMap(() => masks));
      const random = seeded(reference, bits);
      const server = {
        ...random.server,
        words: () => new BigUint64Array(own.length),
        bytes: (_place: unknown, _purpose: unknown, count: number) => new Uint8Array(count),
      };
      const client = {
        bytes: server.bytes,
        words: (...[place, purpose, count, width]: Parameters<typeof random.client.words>) =>
          purpose === "mask" ? own : random.client.words(place, purpose, count, width),
      };
      for (let shift = 1; shift <= bits - 2; shift++) {
        const spec = { shift, squares: "each" as const, offline: true };
        const options = opening(ring, [values.length, 1], spec, values, bits);
        checkGates({ ...options, random: { ...random, client, server } });
      }
    }
  });

  test("the law: y = (z + (r mod 2^shift)) >> shift, or round to nearest without parties", () => {
    const ring = new Ring(wasm);
    const values = within(ring, 1n << 62n, 5, 64);
    const spec = { shift: 24, squares: "none" as const, offline: true };
    const options = opening(ring, [64, 1], spec, values, 5);
    const rounded = runReference(options, false).wires.get(1)!.values;
    rounded.forEach((word, i) => {
      expect(ring.signed(word)).toBe((ring.signed(values[i]!) + (1n << 23n)) >> 24n);
    });
    const dithered = runReference(options).wires.get(1)!.values;
    dithered.forEach((word, i) => {
      const floor = ring.signed(values[i]!) >> 24n;
      expect([floor, floor + 1n]).toContain(ring.signed(word));
    });
  });

  test("a value at the bound is E_RANGE, naming the wire", () => {
    for (const bits of [4, 33, 64]) {
      const ring = new Ring(reference, bits);
      const bound = 1n << BigInt(bits - 2);
      for (const value of [bound, -bound, 2n * bound - 1n, -2n * bound]) {
        const values = BigUint64Array.of(0n, ring.residue(value));
        const spec = { shift: 1, squares: "none" as const, offline: true };
        const error = errorOf("E_RANGE", () =>
          runReference(opening(ring, [1, 2], spec, values, 1)),
        );
        expect(error.message).toContain("wire0");
      }
    }
  });

  test("S never sends the low bits of t", () => {
    const ring = new Ring(wasm);
    const spec = { shift: 24, squares: "none" as const, offline: true };
    const options = opening(ring, [3, 5], spec, uniform(3, 15, 60), 3);
    const sent = checkGates(options).messages.filter(({ channel }) => channel === "server-client");
    expect(sent.map(({ bytes }) => bytes.length)).toEqual([15 * 5]);
  });
});
