// What the gates that compare have in common: tournaments, as subarrays of entries, and one
// comparison under a mask. d is shared with -2^(n-1) <= d < 2^(n-1), n = domainBits. Both parties
// learn D^ = D + R mod 2^k, k >= n, of a D whose low n bits are those of d. Below bit n - 1, with
// A = D^ mod 2^(n-1) and r = R mod 2^(n-1), the subtraction D^ - R borrows c = [r > A]; with
// rho = bit n - 1 of R and s = bit n - 1 of D^, the sign of d is s xor rho xor c. D deals a DCF key
// for F(x) = [r > x] (1 - 2 rho) p, p any words that it knows, p_0 = 1, and shares of p and rho p:
//   (rho xor c) p = rho p + F(A),   [d >= 0] p = (1 - s) p - (1 - 2 s) (rho p + F(A)).
// Exact for every d and R; one evaluation of a key of n - 1 bits.
// Source: DCF of Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee (EUROCRYPT 2021); the sign
// from a comparison below it as in their and later signed comparison gates.

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

  /** The inverse of wordsOf: the words of the first levels together, 0 where there are none. */
  together(ring: Ring, parts: readonly Words[]): Words {
    const out = ring.zeros(this.size);
    for (const [i, part] of parts.entries()) {
      const { lengths, starts } = this.levels[i]!;
      let at = 0;
      for (const [row, length] of lengths.entries()) {
        const count = (length >> 1) * this.#heads;
        out.set(part.subarray(at, at + count), starts[row]!);
        at += count;
      }
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

/** Bit n - 1 of each word. */
const signOf = (ring: Ring, words: Words, domainBits: number) =>
  ring.shiftRight(ring.lowBits(words, domainBits), domainBits - 1);

/** Two values to a payload word need no more bits than this. */
const HALF_BITS = 32;

/**
 * Domain and payload of a comparison's key, for p of `words` words, the leading 1 included, of
 * which `bits` bits count. Two words that fit share one (kernel/function-key.ts): 8 bytes a bit of
 * the domain less.
 */
export function keyShape(domainBits: number, words: number, bits: number) {
  const halved = words === 2 && bits <= HALF_BITS;
  return { domainBits: domainBits - 1, words: halved ? 1 : words, halved };
}

/** Words of two columns [count], the first one's low half below the second one's. */
function paired(ring: Ring, [low, high]: readonly Words[]): Words {
  const out = ring.words(low!.length);
  const [to, below, above] = [halvesOf(out), halvesOf(low!), halvesOf(high!)];
  for (let i = 0; i < to.length; i += 2) {
    to[i] = below[i]!;
    to[i + 1] = above[i]!;
  }
  return out;
}

/** Its inverse: what the low halves were. */
function unpaired(ring: Ring, words: Words): Words[] {
  const from = halvesOf(words);
  return [0, 1].map((half) => {
    const out = ring.zeros(words.length);
    const to = halvesOf(out);
    for (let i = 0; i < to.length; i += 2) to[i] = from[i + half]!;
    return out;
  });
}

/** How D makes keys. */
export interface KeyMaking {
  readonly prg: FunctionPrg;
  readonly random: Uint8Array;
  readonly room?: ((byteLength: number) => Uint8Array) | undefined;
}

/** What D makes for comparisons: keys, and what it deals shares of. */
export interface DealtComparisons {
  readonly forClient: Uint8Array;
  readonly forServer: Uint8Array;
  /** rho p: of the leading 1, then of each word after it. */
  readonly signed: readonly Words[];
}

/**
 * Keys for masks R [count].
 * @param payload p after its leading 1: columns [count]
 * @param bits those of the results that count
 */
export function dealComparisons(
  ring: Ring,
  { domainBits, bits }: { readonly domainBits: number; readonly bits: number },
  masks: Words,
  payload: readonly Words[],
  { prg, random, room }: KeyMaking,
): DealtComparisons {
  const rho = signOf(ring, masks, domainBits);
  const turned = ring.addConstant(ring.scale(rho, -2n), 1n); // 1 - 2 rho
  const shape = keyShape(domainBits, payload.length + 1, bits);
  const columns = [turned, ...payload.map((p) => ring.mul(turned, p))];
  const [forClient, forServer] = ring.kernels.dcfGenerateMany({
    ...shape,
    prg,
    alphas: ring.lowBits(masks, domainBits - 1),
    payloads: shape.halved ? paired(ring, columns) : interleave(ring, columns),
    random,
    room,
  });
  return { forClient, forServer, signed: [rho, ...payload.map((p) => ring.mul(rho, p))] };
}

/** What a party has of comparisons. */
export interface ComparisonShares {
  readonly party: 0 | 1;
  readonly prg: FunctionPrg;
  readonly keys: Uint8Array;
  /** Shares of p after its leading 1. */
  readonly payload: readonly Words[];
  /** Shares of rho p, for the leading 1 too. */
  readonly signed: readonly Words[];
}

/**
 * Shares of [d >= 0] p, for the leading 1 first, from the public D^ [count]: modulo 2^bits, what
 * stands above is of no meaning.
 */
export function compareMasked(
  ring: Ring,
  { domainBits, bits }: { readonly domainBits: number; readonly bits: number },
  masked: Words,
  { party, prg, keys, payload, signed }: ComparisonShares,
): Words[] {
  const shape = keyShape(domainBits, signed.length, bits);
  const { words } = shape;
  const out = ring.words(words * masked.length);
  ring.kernels.dcfEvaluateMany({
    ...shape,
    prg,
    party,
    keys,
    points: ring.lowBits(masked, domainBits - 1),
    out,
  });
  const sign = signOf(ring, masked, domainBits);
  const kept = ring.addConstant(ring.negate(sign), 1n); // 1 - s
  const turned = ring.sub(kept, sign); // 1 - 2 s
  const values = shape.halved
    ? unpaired(ring, out)
    : signed.map((_, k) => columnOf(ring, out, words, k));
  return signed.map((share, k) => {
    const value = ring.reduce(values[k]!);
    const flipped = ring.mul(turned, ring.add(share, value));
    if (k > 0) return ring.sub(ring.mul(kept, payload[k - 1]!), flipped);
    return party === 1 ? ring.sub(kept, flipped) : ring.negate(flipped);
  });
}
