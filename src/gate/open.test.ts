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
  spec: {
    shift: number;
    squares: "none" | "each" | "rows";
    offline: boolean;
    openBits?: number;
    bits?: number;
  },
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
  ringBits: fc.constantFrom(...widths),
  /** 0 for the ring's. */
  openBits: fc.oneof(fc.constant(0), fc.nat()),
  bits: fc.oneof(fc.constant(0), fc.nat()),
  shift: fc.nat(),
  squares: fc.constantFrom("none" as const, "each" as const, "rows" as const),
  offline: fc.boolean(),
  seed: fc.nat(),
};

describe("open", () => {
  test("secure equals reference on every width, shift and shape, up to the bound", () => {
    fc.assert(
      fc.property(fc.record(specs), (given) => {
        const { rows, columns, ringBits, squares, offline, seed } = given;
        const ring = new Ring(ringBits === 64 ? wasm : reference, ringBits);
        const openBits = given.openBits === 0 ? ringBits : 3 + (given.openBits % (ringBits - 2));
        const bits = given.bits === 0 ? ringBits : 1 + (given.bits % ringBits);
        const shift = 1 + (given.shift % (openBits - 2));
        const values = within(ring, 1n << BigInt(openBits - 2), seed, rows * columns);
        const spec = { shift, squares, offline, openBits, bits };
        checkGates(opening(ring, [rows, columns], spec, values, seed));
      }),
      { numRuns: 250 },
    );
  });

  /** Every width of t, with the ring's bits. */
  const narrower = [3, 4, 5, 6].flatMap((ringBits) =>
    Array.from({ length: ringBits - 2 }, (_, i) => [i + 3, ringBits] as const),
  );

  test.each(narrower)(
    "all inputs and all masks: t of %i bits in a ring of %i",
    (bits, ringBits) => {
      const ring = new Ring(reference, ringBits);
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
        for (let needed = 1; needed <= ringBits; needed++) {
          const widths = { openBits: bits, bits: needed };
          const spec = { shift, squares: "each" as const, offline: true, ...widths };
          const options = opening(ring, [values.length, 1], spec, values, bits);
          checkGates({ ...options, random: { ...random, client, server } });
        }
      }
    },
  );

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
    for (const [ringBits, openBits] of [
      [4, 4],
      [33, 33],
      [64, 64],
      [6, 4],
      [64, 3],
      [64, 33],
    ] as const) {
      const ring = new Ring(reference, ringBits);
      const bound = 1n << BigInt(openBits - 2);
      for (const value of [bound, -bound, 2n * bound - 1n, -2n * bound]) {
        const values = BigUint64Array.of(0n, ring.residue(value));
        const spec = { shift: 1, squares: "none" as const, offline: true, openBits };
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

  test("what matters of the shares: b and b r1 lose the bits that their factors push out", () => {
    const ring = new Ring(wasm);
    const values = within(ring, 1n << 38n, 4, 8);
    // t of 40 bits of which 25 are sent, 30 bits of y needed.
    const widths = { openBits: 40, bits: 30 };
    const spec = { shift: 15, squares: "each" as const, offline: true, ...widths };
    const { messages } = checkGates(opening(ring, [8, 1], spec, values, 4));
    const sizes = Object.fromEntries(
      messages.map(({ channel, bytes }) => [channel, bytes.length] as const),
    );
    expect(sizes).toEqual({
      upload: 40, // 8 words of 40 bits
      "server-client": 25,
      "dealer-server": 30 + 5 + 4 + 30,
    });
  });
});
