import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { checkGates } from "../../test/privacy/check.ts";
import { argmaxGate } from "../../test/privacy/gates.ts";
import { type AllRandomness, runReference, seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import { Ring, type Words } from "../ring/ring.ts";
import { type Argmax, leafOrder } from "./argmax.ts";

const reference = referenceRingKernels();
const kernels = await loadRingKernels();
/** Every kernel set with every generator that it has. */
const everyPrg = [reference, kernels].flatMap((set) =>
  set.functionPrgs.map((prg) => ({ set, prg })),
);

function argmaxOn(
  ring: Ring,
  values: Words,
  gate: Argmax,
  random: AllRandomness = seeded(reference, 1),
  functionPrg: FunctionPrg = "chacha12",
) {
  const inputs = new Map([[0, sharedWire(ring, values, 77)]]);
  return { ring, gates: [gate], inputs, random, functionPrg };
}

const ends = { from: 0, to: 1 };
const bitsFor = (entries: number) => Math.max(1, Math.ceil(Math.log2(entries)));

/** The index of the greatest, lowest first, by plain comparison. */
function plainArgmax(ring: Ring, values: Words, entries: number): number[] {
  const out: number[] = [];
  for (let from = 0; from < values.length; from += entries) {
    const row = [...values.subarray(from, from + entries)].map((word) => ring.signed(word));
    out.push(row.indexOf(row.reduce((a, b) => (b > a ? b : a))));
  }
  return out;
}

describe("argmax", () => {
  test("secure equals reference and plain comparison, ties and ends included", () => {
    const shape = fc.record({
      rows: fc.integer({ min: 1, max: 3 }),
      entries: fc.integer({ min: 1, max: 21 }),
      domainBits: fc.integer({ min: 2, max: 30 }),
      /** Values are so many bits at most: few bits make ties. */
      valueBits: fc.integer({ min: 1, max: 29 }),
      spareBits: fc.integer({ min: 0, max: 4 }),
      how: fc.constantFrom(...everyPrg),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(shape, ({ rows, entries, domainBits, valueBits, spareBits, how, seed }) => {
        const ring = new Ring(how.set);
        const width = Math.min(valueBits, domainBits - 1);
        const values = uniform(seed, rows * entries, width).map((word) =>
          ring.residue(BigInt.asIntN(width, word)),
        );
        const bits = bitsFor(entries) + spareBits;
        const gate = argmaxGate(ends, [rows, entries], { domainBits, bits });
        const random = seeded(reference, seed);
        const run = checkGates(argmaxOn(ring, values, gate, random, how.prg));
        expect([...run.value(1)].map(Number)).toEqual(plainArgmax(ring, values, entries));
      }),
      { numRuns: 80 },
    );
  });

  test("every place of the greatest, and every pair of places of two", () => {
    const ring = new Ring(kernels);
    for (const entries of [2, 3, 4, 5, 6, 7, 8, 11]) {
      const rows: bigint[][] = [];
      for (let a = 0; a < entries; a++) {
        for (let b = a; b < entries; b++) {
          rows.push(Array.from({ length: entries }, (_, i) => (i === a || i === b ? 1n : -2n)));
        }
      }
      const values = BigUint64Array.from(rows.flat(), (value) => ring.residue(value));
      const options = { domainBits: 3, bits: bitsFor(entries) };
      const gate = argmaxGate(ends, [rows.length, entries], options);
      const run = checkGates(argmaxOn(ring, values, gate));
      expect([...run.value(1)].map(Number)).toEqual(rows.map((row) => row.indexOf(1n)));
    }
  });

  test("all values and all masks of two entries on a ring of 4 bits", () => {
    const ring = new Ring(reference, 4);
    const cases: bigint[][] = [];
    for (const a of [-2n, -1n, 0n, 1n]) {
      for (const b of [-2n, -1n, 0n, 1n]) {
        for (let r = 0n; r < 16n; r++) for (let s = 0n; s < 16n; s++) cases.push([a, b, r, s]);
      }
    }
    const values = BigUint64Array.from(
      cases.flatMap(([a, b]) => [ring.residue(a!), ring.residue(b!)]),
    );
    const masks = BigUint64Array.from(cases.flatMap(([, , r, s]) => [r!, s!]));
    const random = seeded(reference, 4);
    const fixed = (words: Words): AllRandomness["client"] => ({
      bytes: random.client.bytes.bind(random.client),
      words: (place, purpose, count, bits) =>
        purpose === "mask" ? words : random.client.words(place, purpose, count, bits),
    });
    const gate = argmaxGate(ends, [cases.length, 2], { domainBits: 3, bits: 1 });
    const zeros = new BigUint64Array(masks.length);
    for (const [client, server] of [
      [masks, zeros],
      [zeros, masks],
    ] as const) {
      const options = argmaxOn(ring, values, gate, {
        ...random,
        client: fixed(client),
        server: fixed(server),
      });
      const wanted = cases.map(([a, b]) => (a! >= b! ? 0 : 1));
      expect([...checkGates(options).value(1)].map(Number)).toEqual(wanted);
    }
  });

  test("on every level, indices of the first half lie below those of the second", () => {
    for (let entries = 1; entries <= 70; entries++) {
      let behind = [...leafOrder(entries)].map((index) => [index]);
      expect(behind.flat().sort((a, b) => a - b)).toEqual([...behind.keys()]);
      while (behind.length > 1) {
        const half = behind.length >> 1;
        for (let i = 0; i < half; i++) {
          expect(Math.max(...behind[i]!)).toBeLessThan(Math.min(...behind[half + i]!));
        }
        const pairs = behind.slice(0, half).map((own, i) => [...own, ...behind[half + i]!]);
        behind = [...pairs, ...behind.slice(2 * half)];
      }
    }
  });

  test("bytes: n + m bits a comparison, one key of n - 1 bits each", () => {
    const ring = new Ring(kernels);
    const gate = argmaxGate(ends, [1, 100], { domainBits: 17, bits: 7 });
    const { messages } = checkGates(argmaxOn(ring, new BigUint64Array(100), gate));
    const sent = (channel: string) =>
      messages.filter((one) => one.channel === channel).map(({ bytes }) => bytes.length);
    const bits = [50 * 24, 25 * 24, 12 * 24, 6 * 24, 3 * 24, 2 * 24, 2 * 24];
    expect(sent("client-server")).toEqual(bits.map((count) => Math.ceil(count / 8)));
    expect(sent("server-client")).toEqual(sent("client-server"));
    const key = (words: number) => 16 + 15 * (16 + 8 * words) + 16 * words + 4;
    // 24 bits: two values share a word. On the last level there are four.
    expect(sent("dealer-client")).toEqual([98 * key(1) + key(4)]);
    expect(sent("dealer-server")).toEqual([98 * key(1) + key(4) + 2 * 98 * 3 + 7]);
    const wide = checkGates(argmaxOn(ring, new BigUint64Array(100), { ...gate, bits: 16 }));
    const dealt = wide.messages.find(({ channel }) => channel === "dealer-client")!;
    expect(dealt.bytes.length).toBe(98 * key(2) + key(4));
  });

  test("a value outside the domain is E_RANGE, naming the wire", () => {
    const ring = new Ring(kernels);
    const gate = argmaxGate(ends, [1, 2], { domainBits: 6, bits: 1 });
    for (const value of [16n, -17n]) {
      const options = argmaxOn(ring, BigUint64Array.of(ring.residue(value), 0n), gate);
      expect(errorOf("E_RANGE", () => runReference(options)).message).toContain("wire0");
    }
    checkGates(argmaxOn(ring, BigUint64Array.of(15n, ring.residue(-16n)), gate));
  });
});
