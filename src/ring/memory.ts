// Where results are put. A typed array of its own costs 3 us for 768 words and 11 us for 3072 in
// V8, a view of memory that is there already 0.1 us; a step makes some thousand of them. So the
// online part takes its results from an arena for each segment, given back as a whole when the
// segment is done. What outlives it is copied out, or lies in buffers that grow row by row.

import type { Words } from "./ring.ts";

export interface Memory {
  /** Words with arbitrary content. */
  words(count: number): Words;
  bytes(count: number): Uint8Array<ArrayBuffer>;
  /** Whether what it gives stays until nobody refers to it. */
  readonly lasting: boolean;
}

/** Every result has memory of its own. */
export const ownMemory: Memory = {
  words: (count) => new BigUint64Array(count),
  bytes: (count) => new Uint8Array(count),
  lasting: true,
};

const PAGE_BYTES = 1 << 22;
/** Large results have buffers of their own, of whole steps, so that others fit in later. */
const LARGE_STEP = 1 << 20;
/** What an arena keeps of those, at the most: a layer of 128 rows of GPT-2 takes about 0.5 GB. */
const KEPT_LARGE_BYTES = 1 << 30;
/** Results start at cache lines. */
const ALIGNMENT = 64;
const POISON = 0xa5;

export class Arena implements Memory {
  readonly lasting = false;
  readonly #pages: ArrayBuffer[] = [];
  readonly #poisoned: boolean;
  #page = 0;
  #at = 0;
  /** Buffers of large results that can be used again, and those in use. */
  #largeFree: ArrayBuffer[] = [];
  readonly #largeUsed: ArrayBuffer[] = [];

  /** `poisoned`: what is given back is overwritten, so that a late reader shows (for tests). */
  constructor({ poisoned = false }: { poisoned?: boolean } = {}) {
    this.#poisoned = poisoned;
  }

  words(count: number): Words {
    if (8 * count > PAGE_BYTES / 2) return new BigUint64Array(this.#large(8 * count), 0, count);
    const at = this.#take(8 * count);
    return new BigUint64Array(this.#pages[this.#page]!, at, count);
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    if (count > PAGE_BYTES / 2) return new Uint8Array(this.#large(count), 0, count);
    const at = this.#take(count);
    return new Uint8Array(this.#pages[this.#page]!, at, count);
  }

  /** Takes everything back. */
  reset(): void {
    if (this.#poisoned) {
      for (const page of [...this.#pages, ...this.#largeUsed]) new Uint8Array(page).fill(POISON);
    }
    this.#page = 0;
    this.#at = 0;
    this.#keepLarge();
  }

  /** A place on the current page. */
  #take(bytes: number): number {
    if (this.#at + bytes > PAGE_BYTES) {
      this.#page++;
      this.#at = 0;
    }
    if (this.#page === this.#pages.length) this.#pages.push(new ArrayBuffer(PAGE_BYTES));
    const at = this.#at;
    this.#at = Math.ceil((at + bytes) / ALIGNMENT) * ALIGNMENT;
    return at;
  }

  /** The smallest free buffer that is large enough, and not twice too large; else a new one. */
  #large(bytes: number): ArrayBuffer {
    let best = -1;
    for (const [i, { byteLength }] of this.#largeFree.entries()) {
      if (byteLength < bytes || byteLength > 2 * bytes) continue;
      if (best < 0 || byteLength < this.#largeFree[best]!.byteLength) best = i;
    }
    const whole = Math.ceil(bytes / LARGE_STEP) * LARGE_STEP;
    const buffer = best < 0 ? new ArrayBuffer(whole) : this.#largeFree.splice(best, 1)[0]!;
    this.#largeUsed.push(buffer);
    return buffer;
  }

  /** Those used last are kept. */
  #keepLarge(): void {
    const all = [...this.#largeUsed.splice(0), ...this.#largeFree];
    let bytes = 0;
    this.#largeFree = all.filter(({ byteLength }) => {
      bytes += byteLength;
      return bytes <= KEPT_LARGE_BYTES;
    });
  }
}

/** The arenas of one party's session, by the segment that uses them. */
export class SegmentArenas {
  readonly #free: Arena[] = [];
  readonly #used = new Map<number, Arena>();
  readonly #finished: number[] = [];

  /**
   * Memory of a segment. It gets its arena when it first asks for words: of many segments that are
   * added together, few are under way at a time.
   */
  of(segment: number): Memory {
    return {
      lasting: false,
      words: (count) => this.#arenaOf(segment).words(count),
      bytes: (count) => this.#arenaOf(segment).bytes(count),
    };
  }

  /** The segment is done, but what it has to say may not have been sent. */
  finish(segment: number): void {
    this.#finished.push(segment);
  }

  /** Everything has been sent: takes back what finished segments used. */
  release(): void {
    for (const segment of this.#finished) {
      const arena = this.#used.get(segment);
      if (!arena) continue;
      arena.reset();
      this.#used.delete(segment);
      this.#free.push(arena);
    }
    this.#finished.length = 0;
  }

  #arenaOf(segment: number): Arena {
    const known = this.#used.get(segment);
    if (known) return known;
    const arena = this.#free.pop() ?? new Arena();
    this.#used.set(segment, arena);
    return arena;
  }
}

/** Words in use of each buffer that rows are appended to. */
const grown = new WeakMap<ArrayBufferLike, number>();

/** Whether words lie where they stay: in a growing buffer. */
export function isGrown(words: Words): boolean {
  return grown.has(words.buffer);
}

/**
 * Parts one after the other. Where the first ends a growing buffer with room behind it, the others
 * are written there and nothing is copied: what was appended to it before stays a prefix.
 */
export function appended(parts: readonly Words[]): Words {
  const [first] = parts as readonly [Words];
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  const { buffer } = first;
  const fits = grown.get(buffer) === first.length && 8 * total <= buffer.byteLength;
  const target = fits ? new BigUint64Array(buffer, 0, total) : newBuffer(total);
  let at = fits ? first.length : 0;
  for (const part of fits ? parts.slice(1) : parts) {
    target.set(part, at);
    at += part.length;
  }
  grown.set(target.buffer, total);
  return target;
}

function newBuffer(count: number): Words {
  const capacity = Math.max(1024, 2 * count);
  return new BigUint64Array(new ArrayBuffer(8 * capacity), 0, count);
}
