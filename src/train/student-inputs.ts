// What a student's step is given: prompts, tokens and targets of its part of the batch, and random
// masks, noise and dropout.

import type { Random } from "../model/random.ts";
import { type Batch, shardOf, weightShare } from "./batches.ts";
import type { StudentOptions, StudentPhase } from "./student-phases.ts";
import { dropMask } from "./teacher.ts";
import type { TokenSet } from "./token-set.ts";

export interface RandomUse {
  readonly phase: StudentPhase;
  readonly progress: number;
  readonly options: StudentOptions;
  readonly random: Random;
}

/** Masks, noise and dropout, by the input's name. */
export function randomInput(name: string, shape: readonly number[], use: RandomUse): Float32Array {
  const [part, what] = name.split(".");
  const { options, random } = use;
  const values = new Float32Array(shape.reduce((total, size) => total * size, 1));
  if (what === "drop") return dropMask(values.length, options.dropout, random);
  if (what === "noise") {
    for (let i = 0; i < values.length; i++) values[i] = options.noise * (2 * random.uniform() - 1);
    return values;
  }
  const [from, to] = use.phase.parts[Number(part)].probability;
  const probability = from + (to - from) * use.progress;
  for (let i = 0; i < values.length; i++) values[i] = Number(random.uniform() < probability);
  return values;
}

export interface InputUse {
  /** Rows of a shard that each part takes. */
  readonly rows: readonly number[];
  readonly tailWeight: number;
  readonly shard: { readonly index: number; readonly count: number };
}

/** Inputs of all parts, named `{part}.{what}`, from the batch that all shards have. */
export function studentInputs(data: TokenSet, whole: Batch, { rows, tailWeight, shard }: InputUse) {
  const inputs = new Map<string, Float32Array | Int32Array>();
  const { items, length } = shardOf(whole, shard);
  let from = 0;
  for (const [part, count] of rows.entries()) {
    const taken = items.subarray(from, from + count);
    for (const [name, values] of partInputs(data, { items: taken, length }, tailWeight)) {
      inputs.set(`${part}.${name}`, values);
    }
    const place = { shard, from, rows: count };
    const share = weightShare(data.lengths, whole, { ...place, tailWeight });
    const shareToEnd = weightShare(data.lengths, whole, { ...place, tailWeight: 0 });
    inputs.set(`${part}.share`, Float32Array.of(share));
    inputs.set(`${part}.shareToEnd`, Float32Array.of(shareToEnd));
    from += count;
  }
  return inputs;
}

function partInputs(data: TokenSet, { items, length }: Batch, tailWeight: number) {
  const { promptLength, outputLength } = data;
  const prompt = new Int32Array(items.length * promptLength);
  const tokens = new Int32Array(items.length * (length - 1));
  const targets = new Int32Array(items.length * length);
  const weights = new Float32Array(items.length * length).fill(tailWeight);
  const toEnd = new Float32Array(items.length * length);
  for (let row = 0; row < items.length; row++) {
    const item = items[row];
    const from = item * outputLength;
    const ids = data.prompts.subarray(item * promptLength, (item + 1) * promptLength);
    prompt.set(ids, row * promptLength);
    tokens.set(data.outputs.subarray(from, from + length - 1), row * (length - 1));
    targets.set(data.outputs.subarray(from, from + length), row * length);
    weights.fill(1, row * length, row * length + data.lengths[item]);
    toEnd.fill(1, row * length, row * length + data.lengths[item]);
  }
  return new Map<string, Float32Array | Int32Array>([
    ["prompt", prompt],
    ["tokens", tokens],
    ["targets", targets],
    ["weights", weights],
    ["toEnd", toEnd],
  ]);
}
