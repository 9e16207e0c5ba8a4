// Picks a token from logits in the clear. The generator behind it is small and seeded so that a
// text can be repeated; it makes no secrets and no masks.

import { en } from "zod/locales";
import * as z from "zod/mini";
import { MergenError } from "../errors.ts";

const optionsSchema = z.strictObject({
  /** 0 always takes the greatest logit. */
  temperature: z._default(z.number().check(z.gte(0), z.lte(100)), 0),
  /** How many of the greatest logits may be taken; 0 all. */
  topK: z._default(z.int().check(z.nonnegative()), 0),
  /** Least probability that the tokens which may be taken make up together; 1 all. */
  topP: z._default(z.number().check(z.gt(0), z.lte(1)), 1),
  /** Fixes the choices; without it they differ from run to run. */
  seed: z.optional(z.int().check(z.nonnegative())),
});

export type SampleOptions = z.input<typeof optionsSchema>;

/** Picks one token id after the other. */
export interface Sampler {
  /** @throws E_SHAPE when there are no logits, E_RANGE when one is not a number */
  pick(logits: ArrayLike<number>): number;
}

/**
 * A sampler: temperature, then top-k, then top-p, as in the usual libraries.
 * @throws E_USAGE naming the option that is wrong
 */
export function createSampler(options: SampleOptions = {}): Sampler {
  const result = optionsSchema.safeParse(options, { error: en().localeError });
  if (!result.success) {
    const issue = result.error.issues[0];
    const message = `sampling: ${issue?.path.join(".")}: ${issue?.message}`;
    throw new MergenError("E_USAGE", `${message}; see the options of generate`);
  }
  const { temperature, topK, topP, seed } = result.data;
  if (temperature === 0) return { pick: greedy };
  const random = Random.fromSeed(seed ?? freshSeed());
  return {
    pick: (logits) => {
      const greatest = logits[greedy(logits)];
      const order = candidates(logits, topK, topP < 1);
      const odds = order.map((id) => Math.exp((logits[id] - greatest) / temperature));
      const count = topP < 1 ? nucleus(odds, topP) : odds.length;
      return order[draw(odds, count, random)];
    },
  };
}

/** The id of the greatest logit, the lowest on ties. @throws E_SHAPE, E_RANGE */
export function greedy(logits: ArrayLike<number>): number {
  if (logits.length === 0) throw new MergenError("E_SHAPE", "there are no logits to pick from");
  let best = 0;
  for (let id = 0; id < logits.length; id++) {
    if (!Number.isFinite(logits[id])) {
      throw new MergenError("E_RANGE", "a logit is not a finite number; check the model's weights");
    }
    if (logits[id] > logits[best]) best = id;
  }
  return best;
}

/** Token ids, the greatest logit first where a limit needs that, lower ids first on ties. */
function candidates(logits: ArrayLike<number>, topK: number, sorted: boolean): number[] {
  const ids = Array.from({ length: logits.length }, (_, id) => id);
  if (topK === 0 && !sorted) return ids;
  ids.sort((a, b) => logits[b] - logits[a] || a - b);
  return topK === 0 ? ids : ids.slice(0, topK);
}

/** How many of the descending odds make up the share topP of their sum; at least one. */
function nucleus(odds: readonly number[], topP: number): number {
  const enough = topP * odds.reduce((sum, odd) => sum + odd, 0);
  let sum = 0;
  for (let i = 0; i < odds.length; i++) {
    sum += odds[i];
    if (sum >= enough) return i + 1;
  }
  return odds.length;
}

/** The place of one of the first `count` odds, drawn in proportion to them. */
function draw(odds: readonly number[], count: number, random: Random): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += odds[i];
  let left = random.uniform() * total;
  let last = 0;
  for (let i = 0; i < count; i++) {
    if (odds[i] === 0) continue;
    last = i;
    left -= odds[i];
    if (left < 0) return i;
  }
  return last;
}

function freshSeed(): number {
  const words = crypto.getRandomValues(new Uint32Array(2));
  return words[0] * 2 ** 21 + (words[1] >>> 11);
}

/** xoshiro128**, Blackman and Vigna 2018; not for anything secret. */
export class Random {
  readonly #state: Uint32Array;

  /** From four words, not all 0. */
  constructor(state: Uint32Array) {
    if (state.length !== 4 || state.every((word) => word === 0)) {
      throw new MergenError("E_USAGE", "a generator's state has four words, not all 0");
    }
    this.#state = state.slice();
  }

  /** The state spread out of an integer of at most 53 bits by SplitMix64. */
  static fromSeed(seed: number): Random {
    const words = new Uint32Array(4);
    let sum = BigInt(seed);
    for (let i = 0; i < 4; i += 2) {
      sum = BigInt.asUintN(64, sum + 0x9e3779b97f4a7c15n);
      let mixed = BigInt.asUintN(64, (sum ^ (sum >> 30n)) * 0xbf58476d1ce4e5b9n);
      mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn);
      mixed ^= mixed >> 31n;
      words[i] = Number(mixed & 0xffffffffn);
      words[i + 1] = Number(mixed >> 32n);
    }
    return new Random(words);
  }

  /** The next 32 bits. */
  word(): number {
    const s = this.#state;
    const result = Math.imul(rotateLeft(Math.imul(s[1], 5), 7), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotateLeft(s[3], 11);
    return result;
  }

  /** A multiple of 2^-53 in [0, 1). */
  uniform(): number {
    const high = this.word() >>> 5;
    return (high * 2 ** 26 + (this.word() >>> 6)) / 2 ** 53;
  }
}

function rotateLeft(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}
