import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { crc32c } from "./crc32c.ts";

function bitwise(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

describe("crc32c", () => {
  // RFC 3720, appendix B.4, and the usual check value.
  test.each([
    ["nothing", [], 0],
    ["123456789", [...new TextEncoder().encode("123456789")], 0xe3069283],
    ["32 zeros", Array(32).fill(0), 0x8a9136aa],
    ["32 ones", Array(32).fill(255), 0x62a8ab43],
    ["0 to 31", Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ["31 to 0", Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
  ])("known answer: %s", (_name, bytes, expected) => {
    expect(crc32c(Uint8Array.from(bytes))).toBe(expected);
  });

  test("equals the bit-by-bit form, whole or continued at any place", () => {
    const bytes = fc.uint8Array({ maxLength: 200 });
    fc.assert(
      fc.property(bytes, fc.nat(200), (all, cut) => {
        const expected = bitwise(all);
        expect(crc32c(all)).toBe(expected);
        expect(crc32c(all.subarray(cut), crc32c(all.subarray(0, cut)))).toBe(expected);
      }),
    );
  });
});
