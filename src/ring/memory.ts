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

/** The first buffer of an arena holds a step's results; each further one is twice as large. */
const FIRST_BYTES = 1 << 22;
const LAST_BYTES = 1 << 26;
/** What an arena keeps from segment to segment: a prompt of 128 rows of GPT-2 takes 0.6 GB. */
const KEPT_BYTES = 1 << 30;
/** Results start at cache lines. */
const ALIGNMENT = 64;
const POISON = 0xa5;

/**
 * Results lie one after the other in few buffers, also the large ones: each new buffer of some MB
 * costs its zeros, the system's pages and V8 a collection every 64 MB.
 */
export class Arena implements Memory {
  readonly lasting = false;
  readonly #poisoned: boolean;
  #buffers: ArrayBuffer[] = [];
  /** The buffer that is being filled, and the next free byte in it. */
  #filling = 0;
  #at = 0;

  /** `poisoned`: what is given back is overwritten, so that a late reader shows (for tests). */
  constructor({ poisoned = false }: { poisoned?: boolean } = {}) {
    this.#poisoned = poisoned;
  }

  /** Bytes of its buffers. */
  get size(): number {
    return this.#buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  words(count: number): Words {
    const at = this.#take(8 * count);
    return new BigUint64Array(this.#buffers[this.#filling]!, at, count);
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    const at = this.#take(count);
    return new Uint8Array(this.#buffers[this.#filling]!, at, count);
  }

  /** Takes everything back, and keeps buffers of up to so many bytes. */
  reset(kept = KEPT_BYTES): void {
    if (this.#poisoned) this.#overwrite(POISON);
    this.#filling = 0;
    this.#at = 0;
    let bytes = 0;
    this.#buffers = this.#buffers.filter(({ byteLength }) => {
      bytes += byteLength;
      return bytes <= kept;
    });
  }

  /** The same, and leaves nothing of what it held. */
  erase(kept: number): void {
    this.reset(kept);
    this.#overwrite(0);
  }

  #overwrite(byte: number): void {
    for (const buffer of this.#buffers) new Uint8Array(buffer).fill(byte);
  }

  /** A place in the buffer that is being filled, or the first of the next ones with room. */
  #take(bytes: number): number {
    while (this.#at + bytes > (this.#buffers[this.#filling]?.byteLength ?? this.#grow(bytes))) {
      this.#filling++;
      this.#at = 0;
    }
    const at = this.#at;
    this.#at = Math.ceil((at + bytes) / ALIGNMENT) * ALIGNMENT;
    return at;
  }

  /** Adds a buffer that holds so many bytes. @returns its size */
  #grow(bytes: number): number {
    const usual = Math.min(FIRST_BYTES * 2 ** this.#buffers.length, LAST_BYTES);
    const whole = Math.max(usual, Math.ceil(bytes / FIRST_BYTES) * FIRST_BYTES);
    this.#buffers.push(new ArrayBuffer(whole));
    return whole;
  }
}

/** What all sessions of a party leave to later ones, at the most. */
const POOLED_BYTES = 1 << 29;

/** Takes out the largest: a session asks first for its prompt, which needs most. */
function takeLargest(free: Arena[]): Arena | undefined {
  const sizes = free.map(({ size }) => size);
  return free.splice(sizes.indexOf(Math.max(...sizes)), 1)[0];
}

/** Arenas that no session uses: memory that has been touched is much faster than new memory. */
export class ArenaPool {
  readonly #free: Arena[] = [];

  take(): Arena {
    return takeLargest(this.#free) ?? new Arena();
  }

  /** Takes back, as zeros, what nobody refers to any more: the largest first. */
  put(arenas: Iterable<Arena>): void {
    const given = [...arenas];
    let room = POOLED_BYTES - this.#free.reduce((sum, { size }) => sum + size, 0);
    for (let arena = takeLargest(given); arena; arena = takeLargest(given)) {
      arena.erase(room);
      if (arena.size === 0) continue;
      room -= arena.size;
      this.#free.push(arena);
    }
  }
}

/** The arenas of one party's session, by the segment that uses them. */
export class SegmentArenas {
  readonly #pool: ArenaPool;
  readonly #free: Arena[] = [];
  readonly #used = new Map<number, Arena>();
  readonly #finished: number[] = [];

  constructor(pool: ArenaPool = new ArenaPool()) {
    this.#pool = pool;
  }

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

  /** The session has ended in order: leaves its arenas to later ones. */
  close(): void {
    this.#pool.put([...this.#free.splice(0), ...this.#used.values()]);
    this.#used.clear();
  }

  #arenaOf(segment: number): Arena {
    const known = this.#used.get(segment);
    if (known) return known;
    const arena = takeLargest(this.#free) ?? this.#pool.take();
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
