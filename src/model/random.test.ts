import { describe, expect, it } from "vitest";
import { Random } from "./random.ts";

describe("fillFrom", () => {
  const table = Float32Array.from({ length: 1 << 16 }, (_, i) => i);

  it.each([0, 1, 2, 7, 1000])("takes %i entries as the generator's words say", (length) => {
    const [one, other] = [new Random(3, 4), new Random(3, 4)];
    const data = new Float32Array(length);
    one.fillFrom(table, data);
    const expected: number[] = [];
    while (expected.length < length) {
      const word = other.word();
      expected.push(word & 0xffff, word >>> 16);
    }
    expect([...data]).toEqual(expected.slice(0, length));
    expect(one.word()).toBe(other.word());
  });
});
