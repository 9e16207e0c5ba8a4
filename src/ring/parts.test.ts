// Long vectors part by part: the same words as at once, whatever their length and unit.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Arena } from "./memory.ts";
import { byParts, packByParts, unpackPart } from "./parts.ts";
import { Ring, type Words } from "./ring.ts";

const ring = new Ring(referenceRingKernels());
const counted = (count: number, times = 1n) =>
  BigUint64Array.from({ length: count }, (_, i) => BigInt(i) * times);

/** Lengths that are one part, and several with a rest. */
const lengths = [0, 1, 7, 8192, 8193, 12_289, 20_000];

describe("a chain of operations by parts", () => {
  test.each(lengths)("gives the words of the whole for %i entries", (count) => {
    const [a, b] = [counted(count), counted(count, 12_345_678_901n)];
    let parts = 0;
    const { sum, product, nothing } = byParts(ring, { count }, (part) => {
      parts++;
      expect(part.of(a)).toHaveLength(part.count);
      const sum = part.ring.add(part.of(a), part.of(b));
      return { sum, product: part.ring.mul(sum, part.of(b)), nothing: undefined };
    });
    expect(parts > 1).toBe(count > 8192);
    expect(sum).toEqual(ring.add(a, b));
    expect(product).toEqual(ring.mul(ring.add(a, b), b));
    expect(nothing).toBeUndefined();
  });

  test("keeps rows together, and cuts vectors of one word a row between them", () => {
    const wide = fc.constantFrom(3, 768, 4097, 9000);
    fc.assert(
      fc.property(wide, fc.integer({ min: 1, max: 40 }), (columns, rows) => {
        const x = counted(rows * columns);
        const offsets = counted(rows, 1000n);
        const { sums } = byParts(ring, { count: x.length, unit: columns }, (part) => {
          expect(part.from % columns).toBe(0);
          const sums = part.ring.sumRows(part.of(x), columns);
          return { sums: part.ring.add(sums, part.of(offsets)) };
        });
        expect(sums).toEqual(ring.add(ring.sumRows(x, columns), offsets));
      }),
      { numRuns: 25 },
    );
  });

  test("within a part is done at once, also where a unit is longer than a part", () => {
    const columns = 20_000;
    const x = counted(2 * columns);
    const calls: number[] = [];
    const double = (own: Ring, words: Words) =>
      byParts(own, { count: words.length }, (part) => {
        calls.push(part.count);
        return { twice: part.ring.scale(part.of(words), 2n) };
      }).twice;
    const { out } = byParts(ring, { count: x.length, unit: columns }, (part) => {
      const once = part.ring.copy(part.of(x));
      const twice = double(part.ring, once);
      return { out: part.ring.add(once, twice) }; // `once` has not been overwritten
    });
    expect(calls).toEqual([columns, columns]);
    expect(out).toEqual(ring.scale(x, 3n));
  });

  test("of one unit alone gives what stays, however long it is", () => {
    const x = counted(20_000);
    const twice = (words: Words) =>
      byParts(ring, { count: words.length, unit: 20_000 }, (part) => ({
        twice: part.ring.scale(part.of(words), 2n),
      })).twice;
    const first = twice(x);
    twice(first);
    byParts(ring, { count: 60_000 }, (part) => ({ nothing: part.ring.zeros(part.count) }));
    expect(first).toEqual(ring.scale(x, 2n));
  });

  test("computes nothing else than a part on the whole's ring", () => {
    const x = counted(20_000);
    const double = (own: Ring) =>
      byParts(own, { count: x.length }, (part) => ({ twice: part.ring.scale(part.of(x), 2n) }));
    const nested = () => byParts(ring, { count: x.length }, () => double(ring));
    expect(nested).toThrow("on the part's ring alone");
    expect(double(ring).twice).toEqual(ring.scale(x, 2n)); // Free again.
  });

  test("puts results into the memory of the ring that it was given", () => {
    const arena = new Arena();
    const own = new Ring(ring.kernels, 64, arena);
    const x = counted(30_000);
    const { out } = byParts(own, { count: x.length }, (part) => ({
      out: part.ring.copy(part.of(x)),
    }));
    arena.reset();
    expect(own.words(30_000).buffer).toBe(out.buffer);
  });
});

describe("packed vectors by parts", () => {
  test.each(lengths)("are those of the whole for %i entries, and come apart again", (count) => {
    const a = counted(count, 0x9e3779b97f4a7c15n);
    for (const bits of [1, 13, 37, 64]) {
      const packed = packByParts(ring, { count, bits }, (part) => part.ring.copy(part.of(a)));
      expect(packed).toEqual(ring.pack(a, bits));
      const { words } = byParts(ring, { count }, (part) => ({
        words: unpackPart(part, packed, bits),
      }));
      expect(words).toEqual(ring.lowBits(a, bits));
    }
  });

  test("are not cut within a byte", () => {
    const packed = ring.pack(counted(9 * 2001), 13);
    const take = () =>
      byParts(ring, { count: 9 * 2001, unit: 2001 }, (part) => ({
        words: unpackPart(part, packed, 13),
      }));
    expect(take).toThrow("within a byte");
  });

  test("of another length, or with bits to spare, are refused", () => {
    for (const count of [9, 10_001]) {
      const take = (bytes: Uint8Array) =>
        byParts(ring, { count }, (part) => ({ words: unpackPart(part, bytes, 13) }));
      const right = ring.pack(counted(count), 13);
      expect(take(right).words).toEqual(ring.lowBits(counted(count), 13));
      for (const bytes of [right.subarray(1), new Uint8Array([...right, 0])]) {
        expect(() => take(bytes)).toThrow(`expected ${count} words of 13 bits`);
      }
      const spare = right.slice();
      spare[spare.length - 1]! |= 0x80;
      expect(() => take(spare)).toThrow("bits beyond its last word");
    }
  });
});
