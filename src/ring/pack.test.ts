import { describe, expect, test } from "vitest";
import { joinBytes, packedBytes } from "./pack.ts";

describe("packed words", () => {
  test("take bits alone: only a vector's last byte has some to spare", () => {
    for (let bits = 0; bits <= 64; bits++) {
      for (const count of [0, 1, 2, 7, 8, 9, 1000]) {
        const bytes = packedBytes(count, bits);
        expect(8 * bytes).toBeGreaterThanOrEqual(count * bits);
        expect(8 * bytes).toBeLessThan(count * bits + 8);
      }
    }
    expect(packedBytes(3, 3)).toBe(2);
  });

  test("byte strings are joined in order, views of longer ones and empty ones too", () => {
    const long = Uint8Array.from({ length: 9 }, (_, i) => i);
    const parts = [long.subarray(7), new Uint8Array(0), long.subarray(2, 4), Uint8Array.of(255)];
    expect([...joinBytes(parts)]).toEqual([7, 8, 2, 3, 255]);
    expect(joinBytes([])).toHaveLength(0);
    const one = joinBytes([long]);
    one[0] = 9;
    expect(long[0]).toBe(0);
  });
});
