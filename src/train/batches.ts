// The order of training data: each epoch a new shuffle, cut into batches of outputs of like length.
// A batch depends on seed and step alone, so a resumed run goes on as an uninterrupted one.

import { ensure } from "../errors.ts";
import { Random } from "../model/random.ts";

export interface Batch {
  /** Items of the set. */
  readonly items: Int32Array;
  /** Least bucket length that holds every output of it. */
  readonly length: number;
}

export class Batches {
  readonly #groups: readonly { length: number; items: Int32Array }[];
  readonly #size: number;
  readonly #seed: number;
  readonly perEpoch: number;
  #epoch = -1;
  #order: Batch[] = [];

  /** Outputs longer than the last bucket are left out. */
  constructor(
    lengths: Int32Array,
    { buckets, size, seed }: { buckets: readonly number[]; size: number; seed: number },
  ) {
    const rising = [...buckets].sort((a, b) => a - b);
    const groups = rising.map((length) => ({ length, items: [] as number[] }));
    for (let item = 0; item < lengths.length; item++) {
      groups.find(({ length }) => lengths[item] <= length)?.items.push(item);
    }
    this.#groups = groups.map(({ length, items }) => ({ length, items: Int32Array.from(items) }));
    this.#size = size;
    this.#seed = seed;
    this.perEpoch = groups.reduce((sum, { items }) => sum + Math.floor(items.length / size), 0);
    ensure(this.perEpoch > 0, "E_DATA", `no bucket of lengths holds a batch of ${size}`);
  }

  at(step: number): Batch {
    const epoch = Math.floor(step / this.perEpoch);
    if (epoch !== this.#epoch) {
      this.#order = this.#shuffled(epoch);
      this.#epoch = epoch;
    }
    return this.#order[step % this.perEpoch];
  }

  #shuffled(epoch: number): Batch[] {
    const random = new Random(this.#seed, 1, epoch);
    const batches: Batch[] = [];
    for (const { length, items } of this.#groups) {
      const order = random.shuffle(items.slice());
      for (let from = 0; from + this.#size <= order.length; from += this.#size) {
        batches.push({ items: order.subarray(from, from + this.#size), length });
      }
    }
    const order = random.shuffle(Int32Array.from(batches.keys()));
    return [...order].map((index) => batches[index]);
  }
}

/** Which rows of every shard are meant, and what a position behind the end token weighs. */
export interface SharedRows {
  readonly shard: { readonly index: number; readonly count: number };
  readonly from: number;
  readonly rows: number;
  readonly tailWeight: number;
}

/**
 * What all positions of some rows of a shard weigh, by the mean over all shards. A loss is a mean
 * over positions: times this number, the mean of the shards' losses is that of the whole batch,
 * however long the texts in each of them are.
 */
export function weightShare(
  lengths: Int32Array,
  whole: Batch,
  { shard, from, rows, tailWeight }: SharedRows,
): number {
  const weightOf = (index: number) => {
    const { items } = shardOf(whole, { index, count: shard.count });
    const weigh = (sum: number, item: number) =>
      sum + lengths[item] + tailWeight * (whole.length - lengths[item]);
    return items.subarray(from, from + rows).reduce(weigh, 0);
  };
  let total = 0;
  for (let index = 0; index < shard.count; index++) total += weightOf(index);
  return (shard.count * weightOf(shard.index)) / total;
}

/** The part of a batch that one of several threads works on. */
export function shardOf(batch: Batch, shard: { index: number; count: number }): Batch {
  const size = batch.items.length / shard.count;
  const items = batch.items.subarray(shard.index * size, (shard.index + 1) * size);
  return { items, length: batch.length };
}
