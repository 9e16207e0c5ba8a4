import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { pack, packedBytes, unpack } from "./pack.ts";

const width = fc.integer({ min: 1, max: 64 });
const words = fc
  .array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { maxLength: 9 })
  .map((values) => BigUint64Array.from(values));

describe("pack", () => {
  test("keeps the low bits of every word, for every width", () => {
    fc.assert(
      fc.property(words, width, (given, bits) => {
        const bytes = pack(given, bits);
        expect(bytes.length).toBe(packedBytes(given.length, bits));
        const low = given.map((word) => BigInt.asUintN(bits, word));
        expect(unpack(bytes, given.length, bits)).toEqual(low);
      }),
      { numRuns: 300 },
    );
  });

  test("is little-endian, each word in whole bytes", () => {
    expect(pack(BigUint64Array.of(0x1234n, 0xffffn), 12)).toEqual(
      Uint8Array.of(0x34, 0x02, 0xff, 0x0f),
    );
    expect(pack(BigUint64Array.of((1n << 64n) - 2n), 64)).toEqual(
      Uint8Array.of(254, 255, 255, 255, 255, 255, 255, 255),
    );
  });

  test("reads a part of a larger buffer, at any offset", () => {
    const bytes = Uint8Array.of(9, 9, 9, 1, 0, 0, 0, 0, 0, 0, 128);
    expect(unpack(bytes.subarray(3), 1, 64)).toEqual(BigUint64Array.of((1n << 63n) + 1n));
  });

  test("no words and no bits take no bytes", () => {
    expect(packedBytes(0, 64)).toBe(0);
    expect(packedBytes(7, 0)).toBe(0);
    expect(pack(new BigUint64Array(0), 13)).toEqual(new Uint8Array(0));
    expect(unpack(new Uint8Array(0), 0, 13)).toEqual(new BigUint64Array(0));
  });

  test("a wrong length and bits above the width are refused", () => {
    errorOf("E_FRAME", () => unpack(new Uint8Array(3), 2, 12));
    errorOf("E_FRAME", () => unpack(new Uint8Array(5), 2, 12));
    fc.assert(
      fc.property(width, (bits) => {
        fc.pre(bits % 8 > 0);
        const bytes = pack(BigUint64Array.of(0n, 0n), bits);
        bytes[bytes.length - 1]! |= 1 << (bits % 8);
        errorOf("E_FRAME", () => unpack(bytes, 2, bits));
      }),
    );
  });
});
