// Memory of results: arenas that are given back as a whole, and rows that are appended in place.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { referenceRingKernels } from "../kernel/reference.ts";
import {
  Arena,
  ArenaPool,
  appended,
  isGrown,
  type Memory,
  ownMemory,
  SegmentArenas,
} from "./memory.ts";
import { Prg, SEED_BYTES } from "./prg.ts";
import { Ring, type Words } from "./ring.ts";

const kernels = referenceRingKernels();
const counts = fc.array(fc.oneof(fc.nat(70), fc.nat(20_000), fc.constant(300_000)), {
  minLength: 1,
  maxLength: 12,
});

describe("an arena", () => {
  test("gives what is asked for, each apart from all others, until it is reset", () => {
    const arena = new Arena({ poisoned: true });
    fc.assert(
      fc.property(counts, (sizes) => {
        const given = sizes.map((size, i) => (i % 3 === 0 ? arena.bytes(size) : arena.words(size)));
        given.forEach((part, i) => {
          expect(part.length).toBe(sizes[i]);
          if (part instanceof BigUint64Array) part.fill(BigInt(i + 1));
          else part.fill(i + 1);
        });
        given.forEach((part, i) => {
          const own = (value: bigint | number) => Number(value) === i + 1;
          expect(part instanceof BigUint64Array ? part.every(own) : part.every(own)).toBe(true);
        });
        arena.reset();
      }),
      { numRuns: 40 },
    );
  });

  test("gives the same memory again after a reset, and poisons it where that is asked for", () => {
    for (const poisoned of [true, false]) {
      const arena = new Arena({ poisoned });
      const before = arena.words(100).fill(7n);
      arena.reset();
      expect(before[99]).toBe(poisoned ? 0xa5a5a5a5a5a5a5a5n : 7n);
      const after = arena.words(100);
      expect([after.buffer === before.buffer, after.byteOffset]).toEqual([true, before.byteOffset]);
    }
  });

  test("starts results at cache lines, and goes on over few buffers, also with large ones", () => {
    const arena = new Arena();
    const small = Array.from({ length: 60 }, () => arena.words(33_333));
    for (const { byteOffset } of small) expect(byteOffset % 64).toBe(0);
    expect(new Set(small.map(({ buffer }) => buffer)).size).toBeGreaterThan(2);
    const large = arena.words(1 << 20);
    expect(large.buffer).toBe(small.at(-1)!.buffer);
    expect(large.buffer.byteLength).toBe(16 << 20);
    // One that is larger than any buffer has its own, and what follows goes on behind it.
    const larger = arena.bytes(100 << 20);
    expect(larger.buffer.byteLength).toBe(100 << 20);
    expect(arena.words(9).buffer.byteLength).toBe(64 << 20);
    expect(arena.size).toBe((4 + 8 + 16 + 100 + 64) << 20);
    expect(arena.lasting).toBe(false);
    expect(ownMemory.lasting).toBe(true);
    expect([...ownMemory.words(3), ...ownMemory.bytes(2)].map(Number)).toEqual([0, 0, 0, 0, 0]);
  });

  test("keeps no more from reset to reset than it is told", () => {
    const arena = new Arena();
    for (const mega of [3, 7, 15]) arena.bytes(mega << 20);
    expect(arena.size).toBe(28 << 20);
    arena.reset();
    expect(arena.size).toBe(28 << 20);
    arena.reset(13 << 20);
    expect(arena.size).toBe(12 << 20);
    arena.erase(0);
    expect([arena.size, arena.bytes(2).length]).toEqual([0, 2]);
  });

  test("holds the results of a ring and the words of a generator, right whatever it held", () => {
    const arena = new Arena({ poisoned: true });
    const seed = new Uint8Array(SEED_BYTES).fill(3);
    const prg = new Prg(kernels, seed);
    const place = { segment: 1, gate: 2 };
    for (const bits of [64, 13]) {
      const [own, within] = [new Ring(kernels, bits), new Ring(kernels, bits, arena)];
      arena.words(500);
      arena.reset();
      const source = prg.within(arena);
      for (const width of [0, 1, 13, 64]) {
        const words = source.words(place, "mask", 9, width);
        expect(words).toEqual(prg.words(place, "mask", 9, width));
      }
      const a = own.lowBits(prg.words(place, "mask", 6, 64), bits);
      const results = (ring: Ring): (Words | Uint8Array)[] => [
        ring.zeros(5),
        ring.copy(a),
        ring.addScaled(a, a, 5n),
        ring.lowBits(a, 0),
        ring.lowBits(a, 3),
        ring.shiftRightSigned(a, 2),
        ring.sumRows(a, 2),
        ring.spread(a, 2),
        ring.repeat(a, 2),
        ring.matmul(a, kernels.loadRing(a, 2, 3)),
        ring.pack(a, 11),
        ring.unpack(ring.pack(a, 11), 6, 11),
        ring.attend(a, a.subarray(0, 4), { heads: 1, positions: 2, start: 1, columns: 3 }),
      ];
      expect(results(within)).toEqual(results(own));
    }
    prg.erase();
    expect(() => prg.within(arena).words(place, "mask", 1, 64)).toThrow("erased");
  });

  test("what a generator within it gives ends when the first one is erased", () => {
    const prg = new Prg(kernels, new Uint8Array(SEED_BYTES));
    const inner = prg.within(new Arena());
    inner.words({ segment: 0, gate: 0 }, "mask", 1, 64);
    prg.erase();
    expect(() => inner.words({ segment: 0, gate: 0 }, "mask", 1, 64)).toThrow("erased");
    expect(() => inner.bytes({ segment: 0, gate: 0 }, "mask", 1)).toThrow("erased");
  });
});

describe("the arenas of a session's segments", () => {
  const words = (memory: Memory) => memory.words(8);

  test("are used again once their segment is done and all has been sent, not before", () => {
    const arenas = new SegmentArenas();
    const [first, second] = [words(arenas.of(1)), words(arenas.of(2))];
    expect(second.buffer).not.toBe(first.buffer);
    arenas.finish(1);
    expect(words(arenas.of(3)).buffer).not.toBe(first.buffer);
    arenas.release();
    const again = words(arenas.of(4));
    expect([again.buffer, again.byteOffset]).toEqual([first.buffer, first.byteOffset]);
    arenas.release(); // Nothing is done since.
    expect([first.buffer, second.buffer]).not.toContain(words(arenas.of(5)).buffer);
  });

  test("a segment has one arena, whoever asks for its memory, and none before words are", () => {
    const arenas = new SegmentArenas();
    const [early, one, other] = [arenas.of(8), arenas.of(7), arenas.of(7)];
    const [a, b] = [words(one), other.bytes(5)];
    expect(b.buffer).toBe(a.buffer);
    expect(b.byteOffset).not.toBe(a.byteOffset);
    expect([one.lasting, early.lasting]).toEqual([false, false]);
    arenas.finish(7);
    arenas.release();
    // What was added first and asks last takes what the other one has given back.
    expect(words(early).buffer).toBe(a.buffer);
  });

  test("a segment that has taken none, or is done twice, is no fault", () => {
    const arenas = new SegmentArenas();
    arenas.finish(9);
    arenas.release();
    const one = words(arenas.of(9));
    arenas.finish(9);
    arenas.finish(9);
    arenas.release();
    expect(words(arenas.of(10)).buffer).toBe(one.buffer);
    expect(words(arenas.of(11)).buffer).not.toBe(one.buffer);
  });

  test("go on to the next session without what they held, up to a limit", () => {
    const pool = new ArenaPool();
    const session = new SegmentArenas(pool);
    const [done, underWay] = [words(session.of(1)).fill(5n), words(session.of(2)).fill(6n)];
    session.finish(1);
    session.release();
    const other = new SegmentArenas(pool);
    expect([done.buffer, underWay.buffer]).not.toContain(words(other.of(1)).buffer);
    session.close();
    const next = new SegmentArenas(pool);
    const given = [words(next.of(3)), words(next.of(4)), words(next.of(5))];
    const buffers = given.map(({ buffer }) => buffer);
    expect(buffers).toEqual(expect.arrayContaining([done.buffer, underWay.buffer]));
    for (const part of given) expect([...part]).toEqual(new Array(8).fill(0n));
  });

  test("give the first who asks the largest, and keep the first buffers of too many", () => {
    const pool = new ArenaPool();
    const session = new SegmentArenas(pool);
    for (const [segment, mega] of [2, 20, 1].entries()) {
      session.of(segment).bytes(mega << 20);
      session.finish(segment);
    }
    session.release();
    session.close();
    expect([pool.take(), pool.take(), pool.take()].map(({ size }) => size >> 20)).toEqual([
      20, 4, 4,
    ]);
    const large = new SegmentArenas(pool);
    words(large.of(0));
    for (let i = 0; i < 12; i++) large.of(1).bytes(60 << 20);
    large.close();
    expect(pool.take().size >> 20).toBe(4 * 60 + 4 * 64);
    expect([pool.take().size >> 20, pool.take().size]).toEqual([4, 0]);
  });
});

describe("rows that are appended", () => {
  const row = (value: number, count = 4) => new BigUint64Array(count).fill(BigInt(value));

  test("stand one after the other, and do not move while there is room", () => {
    let whole = appended([row(1), row(2)]);
    const { buffer } = whole;
    const earlier: Words[] = [];
    let moved = 0;
    for (let i = 3; i < 600; i++) {
      earlier.push(whole);
      const next = appended([whole, row(i)]);
      if (next.buffer !== whole.buffer) moved++;
      whole = next;
      expect(isGrown(whole)).toBe(true);
    }
    expect([...whole]).toEqual(Array.from({ length: 599 * 4 }, (_, i) => BigInt((i >> 2) + 1)));
    expect(whole.buffer).not.toBe(buffer);
    expect(moved).toBeLessThan(4); // Capacity doubles.
    earlier.forEach((part, i) => {
      expect(part).toEqual(whole.slice(0, 4 * (i + 2)));
    });
  });

  test("to one beginning twice are two vectors", () => {
    const start = appended([row(1), row(2)]);
    const [one, other] = [appended([start, row(3)]), appended([start, row(4)])];
    expect(one.buffer).toBe(start.buffer);
    expect(other.buffer).not.toBe(start.buffer);
    expect([...one.subarray(8)]).toEqual([...row(3)]);
    expect([...other]).toEqual([...row(1), ...row(2), ...row(4)]);
    // And the second one grows by itself.
    const third = appended([other, row(5), row(6)]);
    expect([...third]).toEqual([...row(1), ...row(2), ...row(4), ...row(5), ...row(6)]);
    expect([...one]).toEqual([...row(1), ...row(2), ...row(3)]);
  });

  test("leave parts alone that are no growing buffers, of any length", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { minLength: 1, maxLength: 5 }), (sizes) => {
        const parts = sizes.map((size, i) => row(i, size));
        const whole = appended(parts);
        expect([...whole]).toEqual(parts.flatMap((part) => [...part]));
        for (const part of parts) {
          expect(isGrown(part)).toBe(false);
          expect(part.buffer).not.toBe(whole.buffer);
        }
      }),
    );
  });
});
