// What the gates that compare have in common: tournaments, as subarrays of entries, and one
// comparison under a mask. d is shared with -2^(n-1) <= d < 2^(n-1), n = domainBits. Both parties
// learn D^ = D + R mod 2^k, k >= n, of a D whose low n bits are those of d, so with A = D^ mod 2^n
// and r = R mod 2^n
//   d mod 2^n = A - r, or A - r + 2^n where r > A (it wrapped).
// D deals a DCF key for F(x) = [r > x] payload. d >= 0 exactly if d mod 2^n < 2^(n-1): if
//   A - 2^(n-1) < r <= A               where A >= 2^(n-1), and it has not wrapped then
//   r <= A, or A + 2^(n-1) < r         where A < 2^(n-1); the latter has wrapped
// so with A' = (A + 2^(n-1)) mod 2^n and low = [A < 2^(n-1)], for every word p of the payload,
//   [d >= 0] p = F(A') - F(A) + low p,
// and low F(A') is the part of it that has wrapped. Exact for every d and r.
// Source: DCF of Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee (EUROCRYPT 2021), as in the
// spline gate.

import { ensure } from "../errors.ts";
import { areInside, rootBytes } from "../kernel/function-key.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import type { Ring, Words } from "../ring/ring.ts";

/** Words as 32-bit halves: their elements are plain numbers. */
const halvesOf = (words: Words) =>
  new Uint32Array(words.buffer, words.byteOffset, 2 * words.length);

/** Words of n columns [count] as [count, n]. */
export function interleave(ring: Ring, columns: readonly Words[]): Words {
  const width = columns.length;
  const out = ring.words(columns[0]!.length * width);
  const to = halvesOf(out);
  columns.forEach((column, k) => {
    const from = halvesOf(column);
    for (let i = 0, at = 2 * k; i < from.length; i += 2, at += 2 * width) {
      to[at] = from[i]!;
      to[at + 1] = from[i + 1]!;
    }
  });
  return out;
}

/** Column `index` of words [count, width]. */
export function columnOf(ring: Ring, words: Words, width: number, index: number): Words {
  const out = ring.words(words.length / width);
  const [to, from] = [halvesOf(out), halvesOf(words)];
  for (let i = 0, at = 2 * index; i < to.length; i += 2, at += 2 * width) {
    to[i] = from[at]!;
    to[i + 1] = from[at + 1]!;
  }
  return out;
}

/** Each row [width] with the entry `order[i]` at i. */
export function reordered(ring: Ring, words: Words, order: Int32Array): Words {
  const out = ring.words(words.length);
  const [to, from] = [halvesOf(out), halvesOf(words)];
  const width = order.length;
  for (let row = 0; row < words.length; row += width) {
    for (let i = 0; i < width; i++) {
      const source = 2 * (row + order[i]!);
      to[2 * (row + i)] = from[source]!;
      to[2 * (row + i) + 1] = from[source + 1]!;
    }
  }
  return out;
}

/** One level of a tournament. */
export interface Level {
  /** Entries that each row still has. */
  readonly lengths: readonly number[];
  /** Where each row's words of this level start among its tournament's words: see Tournament. */
  readonly starts: readonly number[];
  /** Comparisons, all rows and heads together. */
  readonly comparisons: number;
}

/**
 * Rows of entries of `heads` words each, [row][entry][head], of which the first half meets the
 * second, level by level, until a row has one entry; an odd one, the last, passes. Words that
 * belong to comparisons (masks, shares) are laid out [row][level][pair][head], so that each row's
 * lie together; `extra` words of each row follow its own.
 */
export class Tournament {
  readonly levels: readonly Level[];
  /** Comparisons of all levels. */
  readonly comparisons: number;
  readonly #heads: number;
  readonly #extra: number;
  readonly #rows: number;

  constructor(lengths: readonly number[], heads: number, extra = 0) {
    ensure(
      heads >= 1 && lengths.every((length) => length >= 1),
      "E_INTERNAL",
      "a row to compare is empty",
    );
    this.#heads = heads;
    this.#extra = extra;
    this.#rows = lengths.length;
    const levels: Level[] = [];
    let at = 0;
    let starts = lengths.map((length) => {
      const start = at;
      at += (length - 1) * heads + extra;
      return start;
    });
    let left = lengths;
    while (left.some((length) => length > 1)) {
      const pairs = left.map((length) => length >> 1);
      const comparisons = heads * pairs.reduce((sum, count) => sum + count, 0);
      levels.push({ lengths: left, starts, comparisons });
      starts = starts.map((start, row) => start + pairs[row]! * heads);
      left = left.map((length, row) => length - pairs[row]!);
    }
    this.levels = levels;
    this.comparisons = levels.reduce((sum, { comparisons }) => sum + comparisons, 0);
  }

  /** All words that belong to comparisons, the extra ones included. */
  get size(): number {
    return this.comparisons + this.#rows * this.#extra;
  }

  /** A level's words of all that belong to comparisons: [row][pair][head]. */
  wordsOf(ring: Ring, { lengths, starts, comparisons }: Level, words: Words): Words {
    const out = ring.words(comparisons);
    let at = 0;
    for (const [row, length] of lengths.entries()) {
      const count = (length >> 1) * this.#heads;
      out.set(words.subarray(starts[row]!, starts[row]! + count), at);
      at += count;
    }
    return out;
  }

  /** A level's two sides of x [row][entry][head]: [row][pair][head] each. */
  sides(ring: Ring, { lengths, comparisons }: Level, x: Words): { a: Words; b: Words } {
    const [a, b] = [ring.words(comparisons), ring.words(comparisons)];
    let [at, from] = [0, 0];
    for (const length of lengths) {
      const count = (length >> 1) * this.#heads;
      a.set(x.subarray(from, from + count), at);
      b.set(x.subarray(from + count, from + 2 * count), at);
      at += count;
      from += length * this.#heads;
    }
    return { a, b };
  }

  /** What goes on to the next level: the best of each pair, and the entries that pass. */
  next(ring: Ring, { lengths, comparisons }: Level, x: Words, best: Words): Words {
    const out = ring.words(x.length - comparisons);
    let [at, from, to] = [0, 0, 0];
    for (const length of lengths) {
      const count = (length >> 1) * this.#heads;
      out.set(best.subarray(at, at + count), to);
      out.set(x.subarray(from + 2 * count, from + length * this.#heads), to + count);
      at += count;
      from += length * this.#heads;
      to += length * this.#heads - count;
    }
    return out;
  }
}

/** -2^(bits-1) <= d < 2^(bits-1) for all signed words. @throws E_RANGE naming the wire */
export function checkSigned(ring: Ring, d: Words, bits: number, wireName: string): void {
  const lifted = ring.addConstant(d, 1n << BigInt(bits - 1));
  ensure(areInside(lifted, bits), "E_RANGE", `wire ${wireName} left its bound`);
}

/** [d >= 0] in the clear, 0 or 1. */
export function isPositive(ring: Ring, d: Words): Words {
  return ring.addConstant(ring.negate(ring.shiftRight(d, ring.bits - 1)), 1n);
}

/** Roots of one comparison's keys. */
export const KEY_ROOT_BYTES = rootBytes;

/**
 * Keys of F for masks R of which the low n bits count: C's, then S's.
 * @param masks [count]
 * @param payload columns [count] each, after the 1 that every payload starts with
 */
export function comparisonKeys(
  ring: Ring,
  domainBits: number,
  masks: Words,
  payload: readonly Words[],
  { prg, random }: { prg: FunctionPrg; random: Uint8Array },
): [Uint8Array, Uint8Array] {
  const ones = ring.words(masks.length).fill(1n);
  return ring.kernels.dcfGenerateMany({
    domainBits,
    words: payload.length + 1,
    prg,
    alphas: ring.lowBits(masks, domainBits),
    payloads: interleave(ring, [ones, ...payload]),
    random,
  });
}

/** What a party has of comparisons once D^ is known. */
export interface Compared {
  /** Shares of [d >= 0]. */
  readonly positive: Words;
  /** Shares of [d >= 0] times each payload word after the first, less `low` times that word. */
  readonly products: readonly Words[];
  /** Shares of [d >= 0] where it has wrapped: d is D^ mod 2^n - r + 2^n then. */
  readonly wrapped: Words;
  /** Public: [A < 2^(n-1)], 0 or 1. */
  readonly low: Words;
}

/** Evaluates keys at the public D^ [count]. */
export function compareMasked(
  ring: Ring,
  domainBits: number,
  masked: Words,
  keys: { party: 0 | 1; bytes: Uint8Array; words: number; prg: FunctionPrg },
): Compared {
  const { party, words, prg } = keys;
  const a = ring.lowBits(masked, domainBits);
  const other = ring.words(a.length);
  ring.kernels.addConstant(other, a, 1n << BigInt(domainBits - 1));
  ring.kernels.lowBits(other, other, domainBits);
  const out = ring.words(2 * words * a.length);
  ring.kernels.dcfEvaluateMany({
    domainBits,
    words,
    prg,
    party,
    keys: keys.bytes,
    points: interleave(ring, [a, other]),
    out,
  });
  const wordAt = (index: number) => ring.reduce(columnOf(ring, out, 2 * words, index));
  const difference = (word: number) => ring.sub(wordAt(words + word), wordAt(word));
  const low = ring.addConstant(ring.negate(ring.shiftRight(a, domainBits - 1)), 1n);
  const positive = difference(0);
  return {
    positive: party === 1 ? ring.add(positive, low) : positive,
    products: Array.from({ length: words - 1 }, (_, k) => difference(k + 1)),
    wrapped: ring.mul(low, wordAt(words)),
    low,
  };
}
