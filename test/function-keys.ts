// Conformance of function-secret-sharing keys: one suite for every kernel set, on every generator
// that the set has. Keys and shares must equal the reference's bit for bit, so keys that one set
// deals can be evaluated by another.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FunctionKind } from "../src/kernel/function-key.ts";
import { referenceRingKernels } from "../src/kernel/reference.ts";
import type {
  FunctionKernels,
  FunctionPrg,
  FunctionShape,
  GenerateManyOptions,
  GenerateOptions,
} from "../src/kernel/ring-kernels.ts";
import { bytesOf, codeOf, fromHex, mod, seed, wordsOf } from "./kernel-data.ts";

const reference = referenceRingKernels();

/** See test/vectors/function-keys.py. */
interface Vector {
  readonly name: string;
  readonly kind: FunctionKind;
  readonly prg: FunctionPrg;
  readonly domainBits: number;
  readonly alpha: string;
  readonly payload: string[];
  readonly roots: string;
  readonly key: string;
  readonly points: string[];
  readonly shares: string[];
}

const { vectors } = JSON.parse(
  readFileSync(new URL("vectors/function-keys.json", import.meta.url), "utf8"),
) as { vectors: Vector[] };

interface Subject {
  readonly kernels: FunctionKernels;
  readonly kind: FunctionKind;
  readonly prg: FunctionPrg;
  /** Words are pairs of 32-bit values. */
  readonly halved: boolean;
  /** Big jobs are left out. */
  readonly isSlow: boolean;
}

const kinds = [
  ["dcf", false],
  ["dcf", true],
  ["dpf", false],
] as const;

export function functionKeys(
  kernels: FunctionKernels,
  { isSlow = false }: { isSlow?: boolean } = {},
): void {
  for (const prg of kernels.functionPrgs) {
    for (const [kind, halved] of kinds) {
      const subject = { kernels, kind, prg, halved, isSlow };
      describe(`${kind} on ${prg}${halved ? ", halved words" : ""}`, () => {
        if (!halved) knownAnswers(subject);
        singleKeys(subject);
        manyKeys(subject);
        anyBytes(subject);
        mistakes(subject);
      });
    }
  }

  test("chacha12 is there, and the default", () => {
    expect(kernels.functionPrgs).toContain("chacha12");
    const options = { domainBits: 9, alpha: 3n, payload: wordsOf(1, 2), random: bytesOf(2, 32) };
    const named = kernels.dcfGenerate({ ...options, prg: "chacha12" });
    expect(kernels.dcfGenerate(options)).toEqual(named);
  });
}

/** The operations of one kind. */
function of(kernels: FunctionKernels, kind: FunctionKind) {
  const isDcf = kind === "dcf";
  return {
    generate: (isDcf ? kernels.dcfGenerate : kernels.dpfGenerate).bind(kernels),
    generateMany: (isDcf ? kernels.dcfGenerateMany : kernels.dpfGenerateMany).bind(kernels),
    evaluate: (isDcf ? kernels.dcfEvaluate : kernels.dpfEvaluate).bind(kernels),
    evaluateMany: (isDcf ? kernels.dcfEvaluateMany : kernels.dpfEvaluateMany).bind(kernels),
    keyBytes: (isDcf ? kernels.dcfKeyBytes : kernels.dpfKeyBytes).bind(kernels),
  };
}

/** The sum of two words. */
function sumOf(a: bigint, b: bigint, halved: boolean): bigint {
  if (!halved) return mod(a + b);
  const low = (x: bigint) => BigInt.asUintN(32, x);
  return (low((a >> 32n) + (b >> 32n)) << 32n) | low(a + b);
}

function isHit(kind: FunctionKind, x: bigint, alpha: bigint): boolean {
  return kind === "dcf" ? x < alpha : x === alpha;
}

/** Both parties' outputs at the points; throws unless they add up to the function. */
function checkPoints(
  { kernels, kind, prg, halved }: Subject,
  keys: [Uint8Array, Uint8Array],
  at: { domainBits: number; alpha: bigint; payload: BigUint64Array; points: BigUint64Array },
): BigUint64Array[] {
  const { domainBits, alpha, payload, points } = at;
  const words = payload.length;
  const outs = ([0, 1] as const).map((party) => {
    const out = wordsOf(party, points.length * words);
    const at = { domainBits, words, prg, halved, points, out };
    of(kernels, kind).evaluate({ ...at, party, key: keys[party] });
    return out;
  });
  points.forEach((point, i) => {
    for (let j = 0; j < words; j++) {
      const sum = sumOf(outs[0][i * words + j], outs[1][i * words + j], halved);
      const expected = isHit(kind, point, alpha) ? payload[j] : 0n;
      if (sum !== expected) throw new Error(`${kind} ${domainBits} bits ${alpha} at ${point}`);
    }
  });
  return outs;
}

/** Keys and shares are the reference's, and the shares add up. */
function checkAgainstReference(
  subject: Subject,
  options: GenerateOptions & { points: BigUint64Array },
): void {
  const { kernels, kind, prg, halved } = subject;
  const { domainBits, payload, points } = options;
  const words = payload.length;
  const keys = of(kernels, kind).generate(options);
  expect(keys).toEqual(of(reference, kind).generate(options));
  expect(keys[0].length).toBe(of(kernels, kind).keyBytes({ domainBits, words, prg }));
  const outs = checkPoints(subject, keys, options);
  const expected = new BigUint64Array(points.length * words);
  const at = { domainBits, words, prg, halved, points, out: expected };
  of(reference, kind).evaluate({ ...at, party: 1, key: keys[1] });
  expect(outs[1]).toEqual(expected);
}

function knownAnswers({ kernels, kind, prg }: Subject): void {
  const own = vectors.filter((vector) => vector.kind === kind && vector.prg === prg);

  test.each(own)("vector: $name", (vector) => {
    const wordsFrom = (hex: string[]) => BigUint64Array.from(hex, BigInt);
    const { domainBits } = vector;
    const [payload, points] = [wordsFrom(vector.payload), wordsFrom(vector.points)];
    const words = payload.length;
    const random = fromHex(vector.roots);
    const options = { domainBits, prg, alpha: BigInt(vector.alpha), payload, random };
    const [key, other] = of(kernels, kind).generate(options);
    expect(Buffer.from(key).toString("hex")).toBe(vector.key);
    key.set(random.subarray(16));
    expect(other).toEqual(key);
    const out = new BigUint64Array(points.length * words);
    const at = { domainBits, words, prg, points, out };
    of(kernels, kind).evaluate({ ...at, party: 0, key: fromHex(vector.key) });
    expect(out).toEqual(wordsFrom(vector.shares));
  });
}

function singleKeys(subject: Subject): void {
  const { kernels, kind, prg, halved } = subject;

  test.each([1, 2, 3, 4, 5, 6])("exhaustive on %i bits", (domainBits) => {
    const size = 1 << domainBits;
    const points = BigUint64Array.from({ length: size }, (_, i) => BigInt(i));
    for (let alpha = 0; alpha < size; alpha++) {
      const words = 1 + (alpha % 4);
      const payload = wordsOf(alpha, words);
      const random = bytesOf(alpha + 100, 32);
      const options = { domainBits, prg, halved, alpha: BigInt(alpha), payload, random };
      checkPoints(subject, of(kernels, kind).generate(options), { ...options, points });
    }
  });

  test("random domains: shares add up, keys and shares equal the reference", () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 64 }),
      fc.oneof(fc.integer({ min: 1, max: 8 }), fc.constantFrom(13, 14, 22)),
      fc.integer({ min: 0, max: 9 }),
      seed,
      (domainBits, words, count, start) => {
        const cut = (x: bigint) => BigInt.asUintN(domainBits, x);
        const [alpha] = wordsOf(start, 1).map(cut);
        const payload = wordsOf(start + 1, words);
        // Around alpha as well as anywhere, some in a row, some twice.
        const near = BigUint64Array.of(alpha, cut(alpha + 1n), cut(alpha - 1n), alpha);
        const points = BigUint64Array.from([...near, ...wordsOf(start + 2, count).map(cut)]);
        const random = bytesOf(start + 3, 32);
        const options = { domainBits, prg, halved, alpha, payload, random, points };
        checkAgainstReference(subject, options);
      },
    );
    fc.assert(property, { numRuns: 40 });
  });

  test("a spline's points: many to a key, in falling order", () => {
    const domainBits = 57;
    const [alpha] = wordsOf(7, 1).map((x) => x >> 7n);
    const points = BigUint64Array.from({ length: 300 }, (_, i) => {
      const knot = BigInt(Math.floor(2 ** (i / 6)));
      return BigInt.asUintN(domainBits, alpha + (1n << 47n) - knot);
    });
    const options = { domainBits, prg, halved, alpha, payload: wordsOf(8, 2), points };
    checkAgainstReference(subject, { ...options, random: bytesOf(9, 32) });
  });

  test.each([255, 256])("a payload of %i words", (words) => {
    const points = BigUint64Array.of(0n, 3n, 4n, 5n, 15n, 4n);
    const options = { alpha: 4n, payload: wordsOf(1, words), random: bytesOf(2, 32), points };
    checkAgainstReference(subject, { domainBits: 4, prg, halved, ...options });
  });
}

function manyKeys({ kernels, kind, prg, halved, isSlow }: Subject): void {
  const many = isSlow
    ? [[5, 1]]
    : [
        [1, 5000],
        [5, 1],
        [3, 4097],
        [1400, 3],
      ];

  test.each(many)("%i keys at once, %i points each", (keyCount, perKey) => {
    const [domainBits, words] = [11, 2];
    const alphaOf = (index: number) => BigInt((index * 37) % 2048);
    const [keys, others] = of(kernels, kind).generateMany({
      domainBits,
      words,
      prg,
      halved,
      alphas: BigUint64Array.from({ length: keyCount }, (_, i) => alphaOf(i)),
      payloads: BigUint64Array.from({ length: 2 * keyCount }, (_, i) => (i % 2 ? mod(-1n) : 7n)),
      random: bytesOf(keyCount, 32 * keyCount),
    });
    const points = wordsOf(3, keyCount * perKey).map((x) => x & 2047n);
    const outs = ([0, 1] as const).map((party) => {
      const out = new BigUint64Array(points.length * words);
      const shape = { domainBits, words, prg, halved };
      of(kernels, kind).evaluateMany({ ...shape, party, keys: [keys, others][party], points, out });
      return out;
    });
    points.forEach((point, i) => {
      const [first, second] = [0, 1].map((j) =>
        sumOf(outs[0][2 * i + j], outs[1][2 * i + j], halved),
      );
      const [one, two] = isHit(kind, point, alphaOf(Math.floor(i / perKey)))
        ? [7n, mod(-1n)]
        : [0n, 0n];
      if (first !== one || second !== two) throw new Error(`point ${i}: ${point}`);
    });
  });

  test("many key pairs at once equal single ones of the reference", () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 64 }),
      fc.constantFrom(1, 2, 3, 6),
      fc.constantFrom(0, 1, 2, 9, 37),
      seed,
      (domainBits, words, count, start) => {
        const alphas = wordsOf(start, count).map((x) => BigInt.asUintN(domainBits, x));
        const payloads = wordsOf(start + 1, count * words);
        const random = bytesOf(start + 2, 32 * count);
        const shape = { domainBits, words, prg, halved };
        const options: GenerateManyOptions = { ...shape, alphas, payloads, random };
        const pairs = Array.from(alphas, (alpha, i) =>
          of(reference, kind).generate({
            domainBits,
            prg,
            halved,
            alpha,
            payload: payloads.subarray(i * words, (i + 1) * words),
            random: random.subarray(32 * i, 32 * (i + 1)),
          }),
        );
        const joined = of(kernels, kind).generateMany(options);
        expect(Buffer.compare(joined[0], Buffer.concat(pairs.map((pair) => pair[0])))).toBe(0);
        expect(Buffer.compare(joined[1], Buffer.concat(pairs.map((pair) => pair[1])))).toBe(0);
      },
    );
    fc.assert(property, { numRuns: 15 });
  });
}

function anyBytes({ kernels, kind, prg, halved }: Subject): void {
  // A key from the network is whatever was sent; every set must make the same of it.
  test("bytes that nobody dealt evaluate as in the reference, and only out is written", () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 64 }),
      fc.integer({ min: 1, max: 8 }),
      fc.constantFrom([1, 1], [1, 7], [2, 3], [5, 1], [17, 1], [18, 2], [3, 6]),
      fc.constantFrom(0 as const, 1 as const),
      seed,
      (domainBits, words, [keyCount, perKey], party, start) => {
        const shape: FunctionShape = { domainBits, words, prg, halved };
        const keyBytes = of(kernels, kind).keyBytes(shape);
        const keys = bytesOf(start, keyCount * keyBytes + 1).subarray(1); // not aligned
        // Neighbours part at any level: each changes bits of the one before from some bit on.
        const points = wordsOf(start + 1, keyCount * perKey).map((x) =>
          BigInt.asUintN(domainBits, x),
        );
        wordsOf(start + 2, points.length).forEach((x, i) => {
          if (i > 0) points[i] = points[i - 1] ^ (points[i] >> (x & 63n));
        });
        const room = wordsOf(start + 3, points.length * words + 2);
        const expected = room.slice();
        const inner = (all: BigUint64Array) => all.subarray(1, all.length - 1);
        const at = { ...shape, party, keys, points };
        of(kernels, kind).evaluateMany({ ...at, out: inner(room) });
        of(reference, kind).evaluateMany({ ...at, out: inner(expected) });
        expect(room).toEqual(expected);
      },
    );
    fc.assert(property, { numRuns: 60 });
  });
}

function mistakes({ kernels, kind, prg, halved }: Subject): void {
  const { generate, evaluate } = of(kernels, kind);

  test("wrong sizes are named errors", () => {
    const payload = new BigUint64Array(2);
    const random = new Uint8Array(32);
    const good = { domainBits: 8, prg, halved, alpha: 255n, payload, random };
    expect(codeOf(() => generate({ ...good, domainBits: 0 }))).toBe("E_KERNEL");
    expect(codeOf(() => generate({ ...good, domainBits: 65 }))).toBe("E_KERNEL");
    expect(codeOf(() => generate({ ...good, alpha: 256n }))).toBe("E_RANGE");
    expect(codeOf(() => generate({ ...good, alpha: -1n }))).toBe("E_RANGE");
    expect(codeOf(() => generate({ ...good, alpha: 1n << 64n }))).toBe("E_RANGE");
    const long = { ...good, domainBits: 40, alpha: 1n << 40n };
    expect(codeOf(() => generate(long))).toBe("E_RANGE");
    expect(codeOf(() => generate({ ...good, payload: new BigUint64Array(0) }))).toBe("E_KERNEL");
    expect(codeOf(() => generate({ ...good, random: new Uint8Array(31) }))).toBe("E_KERNEL");
    expect(codeOf(() => generate({ ...good, prg: "aes256" as never }))).toBe("E_KERNEL");
    const [key] = generate(good);
    const points = BigUint64Array.of(1n, 2n);
    const out = new BigUint64Array(4);
    const at = { party: 0, key, domainBits: 8, words: 2, prg, halved, points, out } as const;
    expect(codeOf(() => evaluate({ ...at, key: key.subarray(1) }))).toBe("E_KERNEL");
    expect(codeOf(() => evaluate({ ...at, out: out.subarray(1) }))).toBe("E_KERNEL");
    expect(codeOf(() => evaluate({ ...at, party: 2 as never }))).toBe("E_KERNEL");
    expect(codeOf(() => evaluate({ ...at, prg: "aes256" as never }))).toBe("E_KERNEL");
    if (kind === "dpf") {
      expect(codeOf(() => generate({ ...good, halved: true }))).toBe("E_KERNEL");
      expect(codeOf(() => evaluate({ ...at, halved: true }))).toBe("E_KERNEL");
    }
    const outside = BigUint64Array.of(1n, 256n);
    expect(codeOf(() => evaluate({ ...at, points: outside }))).toBe("E_RANGE");
  });
}
