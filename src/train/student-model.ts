// A student that begins as its teacher under another recipe: the same weights where the shapes are,
// norms fitted to the teacher's where statistics fall away, parts of the teacher in a merged
// module.

import { ensure } from "../errors.ts";
import { Graph } from "../graph/graph.ts";
import { type Op, operands } from "../graph/ops.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import { decoder, embed } from "../model/decoder.ts";
import { initialWeights } from "../model/initial.ts";
import type { Weights } from "../model/safetensors.ts";
import { studentPreset } from "../recipe/presets.ts";
import { FloatProgram } from "../run/float.ts";
import { type StartPart, startMerged, usualParts } from "./merged-start.ts";
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
  if (!isFresh(teacher, config)) return config;
  const positionCount = promptLength + config.generation.maxTokens - 1;
  return { ...config, positionCount, sharedAttention: true };
}

/** What a configuration may put in the place of a recipe's own parts. */
export interface OwnParts {
  readonly norm?: "affine" | undefined;
  readonly hybrid?: ModelConfig["hybrid"];
}

/** @throws E_MODEL when a part is none of the model's kind */
export function withParts(model: ModelConfig, { norm, hybrid }: OwnParts): ModelConfig {
  if (!norm && !hybrid) return model;
  const own = {
    ...(norm === "affine" && { norm: { kind: "affine", eps: 0, scale: true } }),
    ...(hybrid && { hybrid }),
  };
  return parseConfig({ ...model, ...own }, "student");
}

/** Whether a student of this recipe has weights of another kind than its teacher. */
function isFresh(teacher: ModelConfig, student: ModelConfig): boolean {
  return student.attention === "constant" && teacher.attention !== "constant";
}

export interface WeightsUse {
  /** Texts that the teacher reads, for norms and attention. */
  readonly data: TokenSet;
  readonly seed: number;
  readonly kernels: FloatKernels;
  /** What a merged student of an ordinary decoder takes of it; `usualParts` if absent. */
  readonly startFrom?: readonly StartPart[] | undefined;
}

/** Weights to begin with. @throws E_CONFIG when the teacher has not what `startFrom` asks for */
export function studentWeights(
  teacher: Teacher,
  config: ModelConfig,
  { data, seed, kernels, startFrom }: WeightsUse,
): Weights {
  const weights = initialWeights(config, seed);
  if (isFresh(teacher.config, config)) {
    startMerged({ teacher, config, weights }, startFrom ?? usualParts, { data, kernels });
    return weights;
  }
  const message = "startFrom is for merged students of ordinary decoders";
  ensure(!startFrom?.length, "E_CONFIG", message);
  for (const [name, { shape, data }] of teacher.weights) {
    const own = weights.get(name);
    if (own && String(own.shape) === String(shape)) own.data.set(data);
  }
  if (config.norm.kind !== teacher.config.norm.kind && config.norm.kind !== "layernorm") {
    fitNorms(teacher, { config, weights }, { data, kernels });
  }
  return weights;
}

/**
 * Norms without statistics of a row, one after the other: each as the lines that bring what the
 * student has at this place, behind the norms already fitted, nearest to what the teacher's norm
 * gives. Fitted to the teacher's own states instead, THE-X's would let them grow from layer to
 * layer beyond all numbers.
 */
function fitNorms(
  teacher: Teacher,
  student: Teacher,
  { data, kernels }: { data: TokenSet; kernels: FloatKernels },
): void {
  const { kind, eps } = student.config.norm;
  const texts = fitTexts(data);
  const given = new Reading(teacher, texts, kernels);
  const own = new Reading(student, texts, kernels);
  given.run();
  ensure(
    given.norms.length === own.norms.length,
    "E_INTERNAL",
    "teacher and student differ in norms",
  );
  for (const [index, { name, columns }] of own.norms.entries()) {
    own.run();
    const x = own.inputOf(index);
    const y = given.outputOf(index);
    const target = (part: string) => student.weights.get(`${name}.${part}`)!.data;
    for (let column = 0; column < columns; column++) {
      const line = fitLine(x, y, { column, columns });
      if (kind === "affine") {
        target("scale")[column] = line.slope;
        target("shift")[column] = line.offset;
      } else {
        target("mean")[column] = line.mean;
        target("variance")[column] = line.variance;
        target("scale")[column] = line.slope * Math.sqrt(line.variance + eps);
        target("shift")[column] = line.offset + line.slope * line.mean;
      }
    }
  }
}

interface Texts {
  /** [rows, positions]. */
  readonly ids: Int32Array;
  readonly rows: number;
  readonly positions: number;
}

/** The first texts of a set, prompt and output but for its last token. */
function fitTexts({ promptLength, outputLength, prompts, outputs, count }: TokenSet): Texts {
  const rows = Math.min(FIT_TEXTS, count);
  const positions = promptLength + outputLength - 1;
  const ids = new Int32Array(rows * positions);
  for (let row = 0; row < rows; row++) {
    const prompt = prompts.subarray(row * promptLength, (row + 1) * promptLength);
    ids.set(prompt, row * positions);
    const output = outputs.subarray(row * outputLength, (row + 1) * outputLength - 1);
    ids.set(output, row * positions + promptLength);
  }
  return { ids, rows, positions };
}

interface Norm {
  /** What its weights' names begin with. */
  readonly name: string;
  readonly columns: number;
  /** Tensor ids of what it takes, and gives with scale and shift. */
  readonly input: number;
  readonly output: number;
}

/** A model that reads some texts, for what its norms take and give. */
class Reading {
  readonly norms: readonly Norm[];
  readonly #program: FloatProgram;
  readonly #ids: Int32Array;
  readonly #weights: ReadonlyMap<string, Float32Array>;

  constructor({ config, weights }: Teacher, texts: Texts, kernels: FloatKernels) {
    const graph = new Graph();
    const ids = graph.ids("ids", [texts.rows, texts.positions]);
    decoder(graph, config, { x: embed(graph, config, ids), start: 0 });
    this.norms = normsOf(graph.ops);
    this.#program = new FloatProgram(graph, kernels);
    this.#ids = texts.ids;
    this.#weights = new Map([...weights].map(([name, tensor]) => [name, tensor.data]));
  }

  run(): void {
    this.#program.run(new Map([["ids", this.#ids]]), this.#weights);
  }

  /** What a norm has taken in the last run, [rows, columns]. */
  inputOf(index: number): Float32Array {
    return this.#program.values[this.norms[index]!.input]!;
  }

  /** What it has given. */
  outputOf(index: number): Float32Array {
    return this.#program.values[this.norms[index]!.output]!;
  }
}

/** Ops that normalise; an affine norm has none of them. */
const normalising = new Set<string>(["layerNorm", "rmsNorm", "batchNorm"]);

/** The norms of a decoder in order, with their scales and shifts where they have them. */
function normsOf(ops: readonly Op[]): Norm[] {
  const norms: Norm[] = [];
  const nameOf = (id: number) => {
    const op = ops[id]!;
    return op.kind === "weight" ? op.name : "";
  };
  for (const op of ops) {
    const last = norms.at(-1);
    const columns = op.shape.at(-1)!;
    if (normalising.has(op.kind)) {
      const [input] = operands(op);
      norms.push({ name: "", columns, input: input!, output: op.out });
    } else if (op.kind === "mul" && /(?:^|\.)norm\.scale$/.test(nameOf(op.b))) {
      const input = last?.output === op.a ? norms.pop()!.input : op.a;
      const name = nameOf(op.b).replace(/\.scale$/, "");
      norms.push({ name, columns, input, output: op.out });
    } else if (op.kind === "add" && last?.output === op.a && nameOf(op.b).endsWith("norm.shift")) {
      norms.push({ ...norms.pop()!, output: op.out });
    }
  }
  return norms;
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
