import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { checkGates } from "../../test/privacy/check.ts";
import { maxGate } from "../../test/privacy/gates.ts";
import { type AllRandomness, runReference, seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform, within } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import { Ring, type Words } from "../ring/ring.ts";
import type { Max } from "./max.ts";

const reference = referenceRingKernels();
const kernels = await loadRingKernels();
/** Every kernel set with every generator that it has. */
const everyPrg = [reference, kernels].flatMap((set) =>
  set.functionPrgs.map((prg) => ({ set, prg })),
);

function maxOn(
  ring: Ring,
  values: Words,
  gate: Max,
  random: AllRandomness = seeded(reference, 1),
  functionPrg: FunctionPrg = "chacha12",
) {
  const inputs = new Map([[0, sharedWire(ring, values, 77)]]);
  return { ring, gates: [gate], inputs, random, functionPrg };
}

const ends = { from: 0, to: 1 };

describe("max", () => {
  test("secure equals reference, for every shape, domain and width", () => {
    const shape = fc.record({
      lengths: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
      heads: fc.integer({ min: 1, max: 3 }),
      domainBits: fc.integer({ min: 2, max: 40 }),
      bits: fc.constantFrom(64, 63, 40, 17, 3, 1),
      how: fc.constantFrom(...everyPrg),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(shape, ({ lengths, heads, domainBits, bits, how, seed }) => {
        const ring = new Ring(how.set);
        const count = heads * lengths.reduce((sum, length) => sum + length, 0);
        // Differences reach both ends of what n bits hold, around any level.
        const offset = uniform(seed, 1, 64)[0]! & 0xffff_ffff_ffffn;
        const bound = 1n << BigInt(domainBits - 2);
        const values = ring.addConstant(within(ring, bound + 1n, seed, count), offset);
        const gate = maxGate(ends, lengths, { heads, domainBits, bits });
        const { client, server } = checkGates(
          maxOn(ring, clamped(ring, values, bound, offset), gate, seeded(reference, seed), how.prg),
        );
        expect(client.wires.get(1)?.form).toBe("shared");
        expect(server.wires.get(1)?.form).toBe("shared");
      }),
      { numRuns: 60 },
    );
  });

  /** Takes the greatest value back by one: the greatest difference is 2^(n-1) - 1. */
  function clamped(ring: Ring, values: Words, bound: bigint, offset: bigint): Words {
    return values.map((word) => {
      const value = ring.signed(word - offset);
      return value === bound ? ring.residue(word - 1n) : word;
    });
  }

  test("the greatest element, spelled out", () => {
    const ring = new Ring(kernels);
    const signed = [5, -3, 7, 7, 2, -9, -4, -8, -5, 0].map((x) => ring.residue(BigInt(x)));
    const values = BigUint64Array.from(signed);
    const run = checkGates(maxOn(ring, values, maxGate(ends, [5, 4, 1], { domainBits: 6 })));
    expect([...run.value(1)].map((word) => ring.signed(word))).toEqual([7n, -4n, 0n]);
  });

  test("all differences and all masks of a ring of 5 bits, both sides of every wrap", () => {
    const ring = new Ring(reference, 5);
    for (const domainBits of [2, 3, 4]) {
      const half = 1 << (domainBits - 1);
      const masks = 1 << domainBits;
      const pairs: [bigint, bigint, bigint][] = [];
      for (let d = -half; d < half; d++) {
        for (let r = 0; r < masks; r++) pairs.push([BigInt(d - 3), -3n, BigInt(r)]);
      }
      const values = BigUint64Array.from(
        pairs.flatMap(([a, b]) => [ring.residue(a), ring.residue(b)]),
      );
      const rs = BigUint64Array.from(pairs, ([, , r]) => r);
      const random = seeded(reference, domainBits);
      const masked = (words: Words): AllRandomness["client"] => ({
        bytes: random.client.bytes.bind(random.client),
        words: (place, purpose, count, bits) =>
          purpose === "mask" ? words : random.client.words(place, purpose, count, bits),
      });
      const zeros = new BigUint64Array(rs.length);
      const lengths = pairs.map(() => 2);
      for (const bits of [5, domainBits, 1]) {
        const gate = maxGate(ends, lengths, { domainBits, bits });
        for (const [client, server] of [
          [rs, zeros],
          [zeros, rs],
        ] as const) {
          checkGates(
            maxOn(ring, values, gate, {
              ...random,
              client: masked(client),
              server: masked(server),
            }),
          );
        }
      }
    }
  });

  test("one entry a row: nothing is dealt, nothing is sent", () => {
    const ring = new Ring(kernels);
    const gate = maxGate(ends, [1, 1], { domainBits: 8, heads: 2 });
    const run = checkGates(maxOn(ring, uniform(3, 4, 64), gate));
    expect(run.messages).toEqual([]);
  });

  test("each level is one message of the domain's or the result's bits in each direction", () => {
    const ring = new Ring(kernels);
    const gate = maxGate(ends, [6, 3], { domainBits: 13, heads: 2, bits: 13 });
    const { messages } = checkGates(maxOn(ring, within(ring, 1000n, 5, 18), gate));
    const sent = (channel: string) =>
      messages.filter((one) => one.channel === channel).map(({ bytes }) => bytes.length);
    // 8, 4 and 2 comparisons: (3 + 1) 2, (1 + 1) 2 and 1 * 2.
    expect(sent("client-server")).toEqual([13, 7, 4]);
    expect(sent("server-client")).toEqual([13, 7, 4]);
    // A key of 12 bits for each of 14, and two shares of 13 bits.
    const keys = 14 * (16 + 11 * 24 + 16 + 3);
    expect(sent("dealer-client")).toEqual([keys]);
    expect(sent("dealer-server")).toEqual([keys + 2 * Math.ceil((14 * 13) / 8)]);
    const wide = checkGates(maxOn(ring, within(ring, 1000n, 5, 18), { ...gate, bits: 20 }));
    const first = wide.messages.find(({ channel }) => channel === "client-server")!;
    expect(first.bytes.length).toBe(20);
    const widest = checkGates(maxOn(ring, within(ring, 1000n, 5, 18), { ...gate, bits: 33 }));
    const dealt = widest.messages.find(({ channel }) => channel === "dealer-client")!;
    expect(dealt.bytes.length).toBe(14 * (16 + 11 * 32 + 32 + 3));
  });

  test("a difference outside the domain is E_RANGE, naming the wire", () => {
    const ring = new Ring(kernels);
    for (const difference of [128n, -129n]) {
      const values = BigUint64Array.of(ring.residue(difference), 0n);
      const options = maxOn(ring, values, maxGate(ends, [2], { domainBits: 8 }));
      expect(errorOf("E_RANGE", () => runReference(options)).message).toContain("wire0");
    }
    const values = BigUint64Array.of(127n, 0n, ring.residue(-128n), 0n);
    checkGates(maxOn(ring, values, maxGate(ends, [2, 2], { domainBits: 8 })));
  });
});
