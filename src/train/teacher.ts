// The teacher's task: next-token cross entropy on the text behind each prompt.

import { Graph, type Tensor } from "../graph/graph.ts";
import { crossEntropy } from "../graph/losses.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import { decoder, embed, head } from "../model/decoder.ts";
import { Random } from "../model/random.ts";
import { Arena } from "../run/arena.ts";
import { FloatProgram } from "../run/float.ts";
import { type Batch, Batches, shardOf, weightShare } from "./batches.ts";
import { addStatistics, trainedOnly } from "./statistics.ts";
import type { Task, TaskSpec } from "./task.ts";
import type { TokenSet } from "./token-set.ts";

export interface TeacherOptions {
  /** Share of the target spread over the vocabulary. */
  readonly smoothing: number;
  /** Share of elements dropped from embeddings and from each branch of a block. */
  readonly dropout: number;
}

interface Traced {
  readonly program: FloatProgram;
  readonly loss: Tensor;
  readonly drops: readonly { name: string; length: number }[];
}

export function teacherTask(
  { model, data, batchSize, buckets, seed }: TaskSpec,
  options: TeacherOptions,
  kernels: FloatKernels,
): Task {
  const batches = new Batches(data.lengths, { buckets, size: batchSize, seed });
  const arena = new Arena();
  const traced = new Map<string, Traced>();
  return {
    step({ step, shard, weights, gradients }) {
      const whole = batches.at(step);
      const batch = shardOf(whole, shard);
      const shape = { rows: batch.items.length, length: batch.length };
      const key = `${shape.rows} ${shape.length}`;
      let entry = traced.get(key);
      if (!entry) {
        entry = trace(model, data.promptLength, shape, options, { kernels, arena });
        traced.set(key, entry);
      }
      const inputs = teacherInputs(data, batch);
      const rows = { shard, from: 0, rows: shape.rows, tailWeight: 0 };
      inputs.set("share", Float32Array.of(weightShare(data.lengths, whole, rows)));
      const random = new Random(seed, 2, step, shard.index);
      for (const { name, length } of entry.drops) {
        inputs.set(name, dropMask(length, options.dropout, random));
      }
      const { program, loss } = entry;
      program.run(inputs, weights);
      const value = program.value(loss)[0];
      addStatistics(program, gradients);
      program.backward(loss, trainedOnly(gradients));
      program.release();
      return {
        loss: value,
        parts: { text: value },
        tokens: shape.rows * (data.promptLength + shape.length - 1),
        multiplyAdds: 3 * program.multiplyAdds,
      };
    },
  };
}

function trace(
  model: ModelConfig,
  promptLength: number,
  { rows, length }: { rows: number; length: number },
  { smoothing, dropout }: TeacherOptions,
  { kernels, arena }: { kernels: FloatKernels; arena: Arena },
): Traced {
  const graph = new Graph();
  const drops: { name: string; length: number }[] = [];
  const regularise = (x: Tensor): Tensor => {
    if (dropout === 0) return x;
    const name = `drop.${drops.length}`;
    drops.push({ name, length: x.shape.reduce((total, size) => total * size, 1) });
    return x.mul(graph.input(name, x.shape));
  };
  const positions = promptLength + length - 1;
  const ids = graph.ids("ids", [rows, positions]);
  const x = regularise(embed(graph, model, ids));
  const { hidden } = decoder(graph, model, { x, start: 0, regularise });
  const logits = head(graph, model, hidden.sliceRows(promptLength - 1, positions)); // [B, n, V]
  const targets = graph.ids("targets", [rows, length]);
  const mean = crossEntropy(logits, targets, graph.input("weights", [rows, length]), smoothing);
  const loss = mean.mul(graph.input("share", [1])); // see weightShare
  return { program: new FloatProgram(graph, kernels, arena), loss, drops };
}

/** Prompt and output but for its last token; the outputs as targets; 1 up to the end token. */
function teacherInputs(data: TokenSet, { items, length }: Batch) {
  const { promptLength, outputLength, prompts, outputs, lengths } = data;
  const positions = promptLength + length - 1;
  const ids = new Int32Array(items.length * positions);
  const targets = new Int32Array(items.length * length);
  const weights = new Float32Array(items.length * length);
  for (let row = 0; row < items.length; row++) {
    const item = items[row];
    const from = item * outputLength;
    const prompt = prompts.subarray(item * promptLength, (item + 1) * promptLength);
    ids.set(prompt, row * positions);
    ids.set(outputs.subarray(from, from + length - 1), row * positions + promptLength);
    targets.set(outputs.subarray(from, from + length), row * length);
    weights.fill(1, row * length, row * length + lengths[item]);
  }
  return new Map<string, Float32Array | Int32Array>([
    ["ids", ids],
    ["targets", targets],
    ["weights", weights],
  ]);
}

/** 0 with probability p, else 1 / (1 - p). */
export function dropMask(length: number, p: number, random: Random): Float32Array {
  const mask = new Float32Array(length);
  const bound = p * 2 ** 32;
  const kept = 1 / (1 - p);
  for (let i = 0; i < length; i++) mask[i] = random.word() < bound ? 0 : kept;
  return mask;
}
