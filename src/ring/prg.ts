// Pseudo-random words from a 32-byte seed. Every (segment, gate, purpose) has its own ChaCha12
// nonce, so no two masks of one bundle share keystream, and a party that knows the seed can make
// any of them alone.

import { ensure } from "../errors.ts";
import type { RingKernels } from "../kernel/ring-kernels.ts";
import { type Memory, ownMemory } from "./memory.ts";
import type { Words } from "./ring.ts";

export const SEED_BYTES = 32;

/** What the words are for; each has its own nonce. */
export const purposes = {
  /** The mask of a wire: r, or a party's part of it. */
  mask: 1,
  /** C's part of the product r D_W: rho. */
  rho: 2,
  /** A party's share of a correlation, by its place in the gate. */
  shareA: 3,
  shareB: 4,
  shareC: 5,
  shareD: 6,
  /** Root seeds of function-secret-sharing keys (D only). */
  keys: 7,
  /** The masking matrix D_W; `segment` is the tensor's number. */
  weights: 8,
} as const;

export type Purpose = keyof typeof purposes;

/** Where a piece of randomness belongs. */
export interface Place {
  readonly segment: number;
  readonly gate: number;
}

/** A source of words by place and purpose; tests put enumerated randomness in its stead. */
export interface Randomness {
  /** `count` uniform words of 0 <= `bits` <= 64 bits. */
  words(place: Place, purpose: Purpose, count: number, bits: number): Words;
  /** `count` uniform bytes. */
  bytes(place: Place, purpose: Purpose, count: number): Uint8Array;
}

export class Prg implements Randomness {
  readonly #kernels: RingKernels;
  readonly #seed: Uint8Array;
  readonly #memory: Memory;
  readonly #nonce = new Uint8Array(12);
  /** Shared by all that were made from one. */
  readonly #state: { erased: boolean };

  constructor(
    kernels: RingKernels,
    seed: Uint8Array,
    { memory = ownMemory, of }: { memory?: Memory; of?: Prg } = {},
  ) {
    ensure(seed.length === SEED_BYTES, "E_INTERNAL", "a PRG seed has 32 bytes");
    this.#kernels = kernels;
    this.#seed = of ? seed : seed.slice();
    this.#memory = memory;
    this.#state = of ? of.#state : { erased: false };
  }

  /** The same source with its words in this memory; erased together with it. */
  within(memory: Memory): Prg {
    return new Prg(this.#kernels, this.#seed, { memory, of: this });
  }

  words(place: Place, purpose: Purpose, count: number, bits: number): Words {
    const words = this.#memory.words(count);
    if (bits === 0) return words.fill(0n);
    this.#fill(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), place, purpose);
    if (bits < 64) this.#kernels.lowBits(words, words, bits);
    return words;
  }

  bytes(place: Place, purpose: Purpose, count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    this.#fill(bytes, place, purpose);
    return bytes;
  }

  /** Overwrites the seed; asked for words afterwards, the PRG throws E_INTERNAL. */
  erase(): void {
    this.#state.erased = true;
    this.#seed.fill(0);
  }

  #fill(out: Uint8Array, place: Place, purpose: Purpose): void {
    const usable = !this.#state.erased;
    ensure(usable, "E_INTERNAL", "a PRG was used after its seed had been erased");
    writeNonce(this.#nonce, place, purpose);
    this.#kernels.chacha12(out, this.#seed, this.#nonce, 0);
  }
}

/** The ChaCha12 nonce of a place and purpose: three 32-bit numbers, little-endian. */
export function nonceOf(place: Place, purpose: Purpose): Uint8Array {
  const nonce = new Uint8Array(12);
  writeNonce(nonce, place, purpose);
  return nonce;
}

function writeNonce(nonce: Uint8Array, place: Place, purpose: Purpose): void {
  const numbers = [place.segment, place.gate, purposes[purpose]] as const;
  for (let i = 0; i < 12; i++) nonce[i] = numbers[i >> 2]! >>> (8 * (i & 3));
}

/** 32 bytes from the platform's secure generator. */
export function freshSeed(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(SEED_BYTES));
}
