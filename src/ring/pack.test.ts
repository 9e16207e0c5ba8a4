import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MergenError } from "../errors.ts";
import { pack, packedBytes, trim, unpack } from "./pack.ts";

const word = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(0n, 1n, (1n << 64n) - 1n, 1n << 63n, 0xffffffffn, 1n << 32n),
);
const many = fc.array(word, { maxLength: 13 }).map((list) => BigUint64Array.from(list));
const width = fc.integer({ min: 0, max: 64 });

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as MergenError).code;
  }
  return "nothing thrown";
}

describe("packed words", () => {
  test("are the low bytes of each word, little-endian, and come back trimmed", () => {
    const property = fc.property(many, width, fc.integer({ min: 0, max: 9 }), (words, bits, at) => {
      const before = words.slice();
      const bytes = pack(words, bits);
      expect(words).toEqual(before);
      expect(bytes.length).toBe(packedBytes(words.length, bits));
      expect(bytes.buffer.byteLength).toBe(bytes.length);
      const trimmed = words.map((word) => BigInt.asUintN(bits, word));
      const size = Math.ceil(bits / 8);
      const expected = Array.from(trimmed).flatMap((word) =>
        Array.from({ length: size }, (_, k) => Number((word >> BigInt(8 * k)) & 255n)),
      );
      expect([...bytes]).toEqual(expected);
      // As a part of a frame, at any address.
      const frame = new Uint8Array(bytes.length + at + 3).fill(255);
      frame.set(bytes, at);
      expect(unpack(frame.subarray(at, at + bytes.length), words.length, bits)).toEqual(trimmed);
      expect(trim(words.slice(), bits)).toEqual(trimmed);
    });
    fc.assert(property, { numRuns: 400 });
  });

  test("views of a longer vector", () => {
    const words = BigUint64Array.from({ length: 12 }, (_, i) => BigInt(i) * 0x0123456789abcdefn);
    for (const bits of [16, 20, 24, 32, 40, 44, 56, 64]) {
      const part = words.subarray(3, 11);
      expect(pack(part, bits)).toEqual(pack(part.slice(), bits));
    }
  });

  test("a bit above the field, or a wrong length, is an error", () => {
    for (let bits = 1; bits <= 64; bits++) {
      const bytes = pack(new BigUint64Array(6).fill((1n << 64n) - 1n), bits);
      expect(unpack(bytes, 6, bits)[5]).toBe((1n << BigInt(bits)) - 1n);
      expect(codeOf(() => unpack(bytes.subarray(1), 6, bits))).toBe("E_FRAME");
      expect(codeOf(() => unpack(bytes, 7, bits))).toBe("E_FRAME");
      if (bits % 8 === 0) continue;
      for (const row of [0, 5]) {
        const wide = bytes.slice();
        wide[(row + 1) * Math.ceil(bits / 8) - 1]! |= 1 << (bits % 8);
        expect(codeOf(() => unpack(wide, 6, bits))).toBe("E_FRAME");
      }
    }
  });
});
