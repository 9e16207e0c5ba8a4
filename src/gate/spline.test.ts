import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { checkGates } from "../../test/privacy/check.ts";
import { splineGate } from "../../test/privacy/gates.ts";
import { type AllRandomness, runReference, seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring, type Words } from "../ring/ring.ts";
import type { SplineTable } from "./spline.ts";

const reference = referenceRingKernels();
const wasm = await loadRingKernels();

/** A table with random knots and coefficients; segments of one step and long ones. */
function tableOf(shift: number, domainBits: number, knotCount: number, seed: number): SplineTable {
  const random = uniform(seed, 3 * knotCount, 48);
  const knots = new Set([0n]);
  for (const word of random.subarray(1, knotCount)) knots.add(word % (1n << BigInt(domainBits)));
  const sorted = [...knots].sort((a, b) => (a < b ? -1 : 1));
  const signed = (i: number) => BigInt.asIntN(40, random[knotCount + i]!);
  return {
    shift,
    domainBits,
    fracBits: 0,
    knots: sorted,
    c0: sorted.map((_, k) => signed(k)),
    c1: sorted.map((_, k) => signed(k + knotCount)),
  };
}

function splineOn(
  ring: Ring,
  table: SplineTable,
  values: Words,
  random: AllRandomness,
  bits = ring.bits,
) {
  return {
    ring,
    gates: [splineGate({ from: 0, to: 1 }, values.length, table, bits)],
    inputs: new Map([[0, sharedWire(ring, values, 77)]]),
    random,
  };
}

/** The least and greatest arguments, both sides of every knot, and a few between. */
function argumentsOf({ shift, domainBits, knots }: SplineTable, seed: number): Words {
  const top = 1n << BigInt(domainBits + shift);
  const last = top - (1n << BigInt(shift));
  const near = knots.flatMap((knot) => [-1n, 0n, 1n].map((step) => (knot << BigInt(shift)) + step));
  const some = [...uniform(seed, 6, 64)].map((word) => word % top);
  return BigUint64Array.from([0n, last, ...near, ...some].filter((v) => v >= 0n && v <= last));
}

describe("spline", () => {
  test("secure equals reference on 64 bits: at the knots, beside them and at the domain's ends", () => {
    const domain = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 0, max: 30 }));
    fc.assert(
      fc.property(
        domain,
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom(64, 64, 63, 40, 33, 9, 1),
        fc.nat(),
        ([domainBits, shift], count, bits, seed) => {
          const table = tableOf(shift, domainBits, count, seed);
          const values = argumentsOf(table, seed);
          checkGates(splineOn(new Ring(wasm), table, values, seeded(reference, seed), bits));
        },
      ),
      { numRuns: 50 },
    );
  });

  test("all arguments and all masks of a ring of 6 bits: A = 0, rn = 0 and every wrap", () => {
    const ring = new Ring(reference, 6);
    for (const [shift, domainBits, knots] of [
      [0, 4, [0n, 1n, 7n, 15n]],
      [0, 1, [0n, 1n]],
      [1, 3, [0n, 3n]],
      [2, 3, [0n]],
    ] as const) {
      const table = {
        ...tableOf(shift, domainBits, knots.length, 5),
        knots,
        c0: [9n, -5n, 20n, 3n].slice(0, knots.length),
        c1: [-7n, 2n, 0n, 1n].slice(0, knots.length),
      };
      const last = (1 << (domainBits + shift)) - (1 << shift);
      const pairs = Array.from({ length: last + 1 }, (_, v) =>
        Array.from({ length: 64 }, (_unused, r) => [BigInt(v), BigInt(r)] as const),
      ).flat();
      const masks = BigUint64Array.from(pairs, ([, r]) => r);
      const random = seeded(reference, shift);
      const zeros = { ...random.own, words: () => new BigUint64Array(masks.length) };
      const client = {
        bytes: () => new Uint8Array(0),
        words: (...[place, purpose, count, bits]: Parameters<typeof random.client.words>) =>
          purpose === "mask" ? masks : random.client.words(place, purpose, count, bits),
      };
      const server = { bytes: () => new Uint8Array(0), words: zeros.words };
      const values = BigUint64Array.from(pairs, ([v]) => v);
      for (const bits of [6, 4, 1]) {
        checkGates(splineOn(ring, table, values, { ...random, client, server }, bits));
      }
    }
  });

  test("only the argument's own bits are sent and masked, packed one after the other", () => {
    const ring = new Ring(wasm);
    const table = tableOf(0, 21, 5, 3);
    const values = argumentsOf(table, 3).slice(0, 8);
    const { messages } = checkGates(splineOn(ring, table, values, seeded(reference, 3), 40));
    const online = messages.filter(({ channel }) => !channel.startsWith("dealer"));
    expect(online.map(({ bytes }) => bytes.length)).toEqual([21, 21]); // 8 words
    const [forServer, forClient] = ["dealer-server", "dealer-client"].map(
      (name) => messages.find(({ channel }) => channel === name)!.bytes.length,
    );
    expect(forServer! - forClient!).toBe(40);
  });

  test("an argument outside the domain is E_RANGE, naming the wire", () => {
    const ring = new Ring(reference);
    const table = tableOf(3, 5, 2, 1);
    for (const value of [1n << 8n, (1n << 8n) - 4n, ring.residue(-8n)]) {
      const options = splineOn(ring, table, BigUint64Array.of(value), seeded(reference, 1));
      const error = errorOf("E_RANGE", () => runReference(options, false));
      expect(error.message).toContain("wire0");
    }
  });
});
