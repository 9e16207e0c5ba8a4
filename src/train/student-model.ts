// A student that begins as its teacher under another recipe: the same weights where the shapes are,
// norms fitted to the teacher's where statistics fall away, fresh weights in a merged module.

import { Graph } from "../graph/graph.ts";
import type { Op } from "../graph/ops.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import type { ModelConfig } from "../model/config.ts";
import { decoder, embed } from "../model/decoder.ts";
import { initialWeights } from "../model/initial.ts";
import type { Weights } from "../model/safetensors.ts";
import { isMerged, presetNamed, studentPreset } from "../recipe/presets.ts";
import { FloatProgram } from "../run/float.ts";
import type { TokenSet } from "./token-set.ts";

type Teacher = Pick<Model, "config" | "weights">;

/** Texts that norms are fitted to. */
const FIT_TEXTS = 32;

/**
 * The config of a teacher's student, without the teacher's grid and bounds. A merged student of an
 * ordinary decoder has as many positions as prompt and text take; constant attention has a weight
 * for each pair of them.
 * @throws E_CONFIG when there is no such recipe, or it needs weights that the teacher has not
 */
export function studentConfig(
  teacher: ModelConfig,
  { recipe, promptLength }: { recipe: string; promptLength: number },
): ModelConfig {
  const { weightFracBits, wireBounds, logitBound, ...config } = studentPreset(teacher, recipe);
  if (!isFresh(teacher, recipe)) return config;
  const positionCount = promptLength + config.generation.maxTokens - 1;
  return { ...config, positionCount, sharedAttention: true };
}

/** Whether a student of this recipe takes no weights of its teacher. */
export function isFresh(teacher: ModelConfig, recipe: string): boolean {
  return isMerged(presetNamed(recipe)) && teacher.attention !== "constant";
}

/** Weights to begin with; `data` are texts that the teacher reads so that norms can be fitted. */
export function studentWeights(
  teacher: Teacher,
  config: ModelConfig,
  { data, seed, kernels }: { data: TokenSet; seed: number; kernels: FloatKernels },
): Weights {
  const weights = initialWeights(config, seed);
  if (isFresh(teacher.config, config.recipe)) return weights;
  for (const [name, { shape, data }] of teacher.weights) {
    const own = weights.get(name);
    if (own && String(own.shape) === String(shape)) own.data.set(data);
  }
  const { kind } = config.norm;
  if (kind === teacher.config.norm.kind || kind === "layernorm") return weights;
  for (const { name, x, y, columns } of teacherNorms(teacher, data, kernels)) {
    const target = (part: string) => weights.get(`${name}.${part}`)!.data;
    for (let column = 0; column < columns; column++) {
      const line = fitLine(x, y, { column, columns });
      if (kind === "affine") {
        target("scale")[column] = line.slope;
        target("shift")[column] = line.offset;
      } else {
        target("mean")[column] = line.mean;
        target("variance")[column] = line.variance;
        const deviation = Math.sqrt(line.variance + config.norm.eps);
        target("scale")[column] = line.slope * deviation;
        target("shift")[column] = line.offset + line.slope * line.mean;
      }
    }
  }
  return weights;
}

interface NormSeen {
  /** What its weights' names begin with. */
  readonly name: string;
  /** Its inputs and outputs, scale and shift included, [rows, columns]. */
  readonly x: Float32Array;
  readonly y: Float32Array;
  readonly columns: number;
}

/** What the norms of a teacher with scale and shift take and give on some texts. */
function teacherNorms(teacher: Teacher, data: TokenSet, kernels: FloatKernels): NormSeen[] {
  const rows = Math.min(FIT_TEXTS, data.count);
  const positions = data.promptLength + data.outputLength - 1;
  const ids = new Int32Array(rows * positions);
  for (let row = 0; row < rows; row++) {
    const { promptLength, outputLength } = data;
    const prompt = data.prompts.subarray(row * promptLength, (row + 1) * promptLength);
    ids.set(prompt, row * positions);
    const output = data.outputs.subarray(row * outputLength, (row + 1) * outputLength - 1);
    ids.set(output, row * positions + promptLength);
  }
  const graph = new Graph();
  const x = embed(graph, teacher.config, graph.ids("ids", [rows, positions]));
  decoder(graph, teacher.config, { x, start: 0 });
  const program = new FloatProgram(graph, kernels);
  const weights = new Map([...teacher.weights].map(([name, tensor]) => [name, tensor.data]));
  program.run(new Map([["ids", ids]]), weights);
  return graph.ops.flatMap((op) => {
    const parts = normParts(graph.ops, op);
    if (!parts) return [];
    const { name, input } = parts;
    const [before, after] = [program.values[input]!, program.values[op.out]!];
    return [{ name, x: before, y: after, columns: op.shape.at(-1)! }];
  });
}

/** The name and the input of the norm whose shift this op adds, if it does. */
function normParts(ops: readonly Op[], op: Op): { name: string; input: number } | undefined {
  if (op.kind !== "add") return undefined;
  const scaled = ops[op.a]!;
  if (scaled.kind !== "mul") return undefined;
  const [normal, scale] = [ops[scaled.a]!, ops[scaled.b]!];
  if (normal.kind !== "layerNorm" || scale.kind !== "weight") return undefined;
  return { name: scale.name.replace(/\.scale$/, ""), input: normal.x };
}

/** Least squares of y by x in one column, and x's mean and variance. */
function fitLine(
  x: Float32Array,
  y: Float32Array,
  { column, columns }: { column: number; columns: number },
) {
  const count = x.length / columns;
  let [sumX, sumY] = [0, 0];
  for (let at = column; at < x.length; at += columns) {
    sumX += x[at]!;
    sumY += y[at]!;
  }
  const [mean, meanY] = [sumX / count, sumY / count];
  let [squares, products] = [0, 0];
  for (let at = column; at < x.length; at += columns) {
    squares += (x[at]! - mean) ** 2;
    products += (x[at]! - mean) * (y[at]! - meanY);
  }
  const slope = squares > 0 ? products / squares : 0;
  return { mean, variance: squares / count, slope, offset: meanY - slope * mean };
}
