import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { freshSeed, type Place, Prg, type Purpose, purposes, SEED_BYTES } from "./prg.ts";

const kernels = referenceRingKernels();
const seed = Uint8Array.from({ length: SEED_BYTES }, (_, i) => i);
const all = Object.keys(purposes) as Purpose[];

describe("prg", () => {
  test("is ChaCha12 under the seed, with segment, gate and purpose as the nonce", () => {
    const nonce = Uint8Array.of(4, 3, 2, 1, 8, 7, 6, 5, purposes.rho, 0, 0, 0);
    const wanted = new Uint8Array(80);
    kernels.chacha12(wanted, seed, nonce, 0);
    const place = { segment: 0x01020304, gate: 0x05060708 };
    const prg = new Prg(kernels, seed);
    expect(prg.bytes(place, "rho", 80)).toEqual(wanted);
    expect(new Uint8Array(prg.words(place, "rho", 10, 64).buffer)).toEqual(wanted);
  });

  test("no two places and purposes share a word", () => {
    const prg = new Prg(kernels, seed);
    const places: Place[] = [0, 1, 255, 256, 65536].flatMap((segment) =>
      [0, 1, 255, 256, 65535].map((gate) => ({ segment, gate })),
    );
    const seen = new Set<bigint>();
    for (const place of places) {
      for (const purpose of all)
        for (const word of prg.words(place, purpose, 4, 64)) seen.add(word);
    }
    expect(seen.size).toBe(places.length * all.length * 4);
    expect(new Set(Object.values(purposes)).size).toBe(all.length);
  });

  test("fewer words are the first of more, and narrow ones their low bits", () => {
    const prg = new Prg(kernels, seed);
    const place = { segment: 1, gate: 2 };
    const long = prg.words(place, "mask", 9, 64);
    expect(prg.words(place, "mask", 4, 64)).toEqual(long.slice(0, 4));
    expect(prg.words(place, "mask", 9, 5)).toEqual(long.map((word) => word & 31n));
  });

  test("keeps its own seed, and gives nothing once it is erased", () => {
    const own = seed.slice();
    const prg = new Prg(kernels, own);
    const place = { segment: 1, gate: 2 };
    const before = prg.words(place, "mask", 2, 64);
    own.fill(9);
    expect(prg.words(place, "mask", 2, 64)).toEqual(before);
    prg.erase();
    errorOf("E_INTERNAL", () => prg.words(place, "mask", 2, 64));
    errorOf("E_INTERNAL", () => prg.bytes(place, "mask", 2));
  });

  test("seeds have 32 bytes and are fresh", () => {
    errorOf("E_INTERNAL", () => new Prg(kernels, new Uint8Array(31)));
    expect(freshSeed()).not.toEqual(freshSeed());
    expect(freshSeed()).toHaveLength(SEED_BYTES);
    // Every bit is 0 in some of 64 and 1 in others: but for chance, 2^-55.
    const seeds = Array.from({ length: 64 }, freshSeed);
    for (let i = 0; i < SEED_BYTES; i++) {
      expect(seeds.reduce((bits, one) => bits | one[i]!, 0)).toBe(255);
      expect(seeds.reduce((bits, one) => bits & one[i]!, 255)).toBe(0);
    }
  });
});
