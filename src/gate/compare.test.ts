import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring, type Words } from "../ring/ring.ts";
import { columnOf, interleave, reordered, Tournament } from "./compare.ts";

const ring = new Ring(referenceRingKernels());

describe("a tournament", () => {
  test("meets every entry of every row, and each row's words lie together", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 13 }), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 2 }),
        (lengths, heads, extra) => {
          const tournament = new Tournament(lengths, heads, extra);
          const entries = lengths.reduce((sum, length) => sum + length, 0);
          expect(tournament.comparisons).toBe(heads * (entries - lengths.length));
          const depth = Math.max(...lengths.map((length) => Math.ceil(Math.log2(length))));
          expect(tournament.levels.length).toBe(depth);
          // Words that say where they stand, each of which is taken by one comparison.
          const words = BigUint64Array.from({ length: tournament.size }, (_, i) => BigInt(i));
          const taken: number[] = [];
          let x: Words = BigUint64Array.from({ length: heads * entries }, (_, i) => {
            return (7919n * BigInt(i + 1)) % 8191n;
          });
          const wanted: bigint[] = [];
          let from = 0;
          for (const length of lengths) {
            for (let head = 0; head < heads; head++) {
              const own = Array.from({ length }, (_, j) => x[from + j * heads + head]!);
              wanted.push(own.reduce((a, b) => (a > b ? a : b)));
            }
            from += length * heads;
          }
          for (const level of tournament.levels) {
            const { a, b } = tournament.sides(ring, level, x);
            taken.push(...[...tournament.wordsOf(ring, level, words)].map(Number));
            x = tournament.next(
              ring,
              level,
              x,
              a.map((word, i) => (word > b[i]! ? word : b[i]!)),
            );
          }
          expect([...x]).toEqual(wanted);
          expect(new Set(taken).size).toBe(tournament.comparisons);
          const perRow = lengths.map((length) => (length - 1) * heads + extra);
          let start = 0;
          for (const [row, size] of perRow.entries()) {
            const own = taken.filter((at) => at >= start && at < start + size);
            expect(own.length).toBe((lengths[row]! - 1) * heads);
            start += size;
          }
        },
      ),
      { numRuns: 50 },
    );
  });
});

test("columns are put together and taken apart", () => {
  const columns = [0, 1, 2].map((k) =>
    BigUint64Array.from({ length: 5 }, (_, i) => (BigInt(k) << 40n) + BigInt(i)),
  );
  const together = interleave(ring, columns);
  expect(together[3]).toBe(columns[0]![1]);
  for (const k of [0, 1, 2]) expect(columnOf(ring, together, 3, k)).toEqual(columns[k]);
});

test("rows are put in another order", () => {
  const words = BigUint64Array.of(10n, 11n, 12n, 1n << 63n, 21n, 22n);
  expect(reordered(ring, words, Int32Array.of(2, 0, 1))).toEqual(
    BigUint64Array.of(12n, 10n, 11n, 22n, 1n << 63n, 21n),
  );
});
