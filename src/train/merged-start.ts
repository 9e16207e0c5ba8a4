// What a merged student of an ordinary decoder can begin with: its teacher's attention, averaged
// over texts, as the constant one; its embeddings; the products of its matrices (MERGE, Liang et
// al. 2024, §3.3). The rest is fresh. Which of these help, docs/decisions/0021 says.

import { ensure } from "../errors.ts";
import { Graph } from "../graph/graph.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import type { ModelConfig } from "../model/config.ts";
import { decoder, embed } from "../model/decoder.ts";
import type { Weights } from "../model/safetensors.ts";
import { FloatProgram } from "../run/float.ts";
import type { TokenSet } from "./token-set.ts";

type Teacher = Pick<Model, "config" | "weights">;

export type StartPart = "attention" | "embedding" | "matrices";

/** What a student that a recipe makes of its teacher begins with. */
export const usualParts: readonly StartPart[] = ["attention", "embedding"];

/** What teacher and student must have in common. */
const shapeKeys = ["hiddenSize", "layerCount", "headCount", "vocabSize"] as const;

/** Texts over which attention is averaged. */
const TEXTS = 256;
/** Of them, read at a time. */
const ROWS = 8;
/** How much a row sees of itself beside the teacher's attention. */
const OWN = 0.5;

/**
 * Puts parts of the teacher into the fresh weights of its merged student.
 * @throws E_CONFIG when the two do not have the same shapes
 */
export function startMerged(
  { teacher, config, weights }: { teacher: Teacher; config: ModelConfig; weights: Weights },
  parts: readonly StartPart[],
  { data, kernels }: { data: TokenSet; kernels: FloatKernels },
): void {
  const ordinary = parts.length === 0 || teacher.config.attention !== "constant";
  ensure(ordinary, "E_CONFIG", "startFrom: the teacher is a merged module itself");
  const keys = parts.length === 0 ? [] : shapeKeys;
  for (const key of keys) {
    const fits = teacher.config[key] === config[key];
    ensure(fits, "E_CONFIG", `startFrom: teacher and student differ in ${key}`);
  }
  if (parts.includes("attention")) startAttention(teacher, { config, weights }, { data, kernels });
  if (parts.includes("embedding")) startEmbedding(teacher, { config, weights });
  if (parts.includes("matrices")) startMatrices(teacher, { config, weights }, kernels);
}

function startAttention(
  teacher: Teacher,
  { config, weights }: Teacher,
  means: { data: TokenSet; kernels: FloatKernels },
): void {
  const { headCount, positionCount } = config;
  for (const [layer, averages] of averageAttention(teacher, means).entries()) {
    const name = `layers.${layer}.attention`;
    const target = weights.get(`${name}.constant`)!.data;
    target.fill(0);
    const seen = Math.sqrt(averages.length / headCount);
    for (let head = 0; head < headCount; head++) {
      for (let row = 0; row < positionCount; row++) {
        const to = (head * positionCount + row) * positionCount;
        // Rows that no text reaches see all that came before alike.
        if (row >= seen) target.fill(1 / (row + 1), to, to + row + 1);
        else {
          const from = (head * seen + row) * seen;
          target.set(averages.subarray(from, from + row + 1), to);
        }
        target[to + row] += OWN;
      }
    }
    for (const part of ["column", "relative"]) weights.get(`${name}.${part}`)?.data.fill(0);
  }
}

/**
 * The teacher's attention weights, layer by layer [heads, T, T], T the positions of prompt and
 * text as far as it has them, as means over the first texts of a set; each row over the texts that
 * are so long.
 */
export function averageAttention(
  { config, weights }: Teacher,
  { data, kernels }: { data: TokenSet; kernels: FloatKernels },
): Float32Array[] {
  const { promptLength, outputLength, prompts, outputs, lengths, count } = data;
  const all = promptLength + outputLength - 1;
  const positions = config.rope ? all : Math.min(all, config.positionCount);
  const reads = promptLength <= positions;
  ensure(reads, "E_CONFIG", `startFrom: the teacher has but ${positions} positions`);
  const texts = Math.min(TEXTS, count);
  const rows = Math.min(ROWS, texts);
  const graph = new Graph();
  const input = graph.ids("ids", [rows, positions]);
  decoder(graph, config, { x: embed(graph, config, input), start: 0 });
  const program = new FloatProgram(graph, kernels);
  const values = new Map([...weights].map(([name, { data }]) => [name, data]));
  const found = attentionIds(graph);
  const square = positions * positions;
  const sums = found.map(() => new Float64Array(config.headCount * square));
  const counts = new Float64Array(positions);
  for (let first = 0; first + rows <= texts; first += rows) {
    const ids = new Int32Array(rows * positions);
    for (let row = 0; row < rows; row++) {
      const text = first + row;
      ids.set(prompts.subarray(text * promptLength, (text + 1) * promptLength), row * positions);
      const from = text * outputLength;
      const output = outputs.subarray(from, from + positions - promptLength);
      ids.set(output, row * positions + promptLength);
      const end = Math.min(positions, promptLength + lengths[text] - 1);
      for (let at = 0; at < end; at++) counts[at]! += 1;
    }
    program.run(new Map([["ids", ids]]), values);
    for (const [layer, id] of found.entries()) {
      addRows(program.values[id]!, { first, rows, positions, data }, sums[layer]!);
    }
  }
  program.release();
  return sums.map((sum) =>
    Float32Array.from(sum, (value, at) => {
      const row = Math.floor(at / positions) % positions;
      return value / Math.max(1, counts[row]!);
    }),
  );
}

/** Adds the attention [rows, heads, T, T] of those rows that stand before a text's end. */
function addRows(
  attention: Float32Array,
  texts: { first: number; rows: number; positions: number; data: TokenSet },
  sum: Float64Array,
): void {
  const { first, rows, positions, data } = texts;
  const heads = sum.length / (positions * positions);
  for (let row = 0; row < rows; row++) {
    const end = Math.min(positions, data.promptLength + data.lengths[first + row]! - 1);
    for (let head = 0; head < heads; head++) {
      const from = (row * heads + head) * positions * positions;
      const to = head * positions * positions;
      for (let i = 0; i < end * positions; i++) sum[to + i]! += attention[from + i]!;
    }
  }
}

/** Tensor ids of the attention weights of all layers: what the values are multiplied with. */
function attentionIds({ ops }: Graph): number[] {
  return ops.flatMap((op) => {
    if (op.kind !== "mergeHeads") return [];
    const product = ops[op.x]!;
    return product.kind === "matmul" ? [product.a] : [];
  });
}

/** Tokens and positions of the teacher, so large that inputs have the size of states. */
function startEmbedding(teacher: Teacher, { config, weights }: Teacher): void {
  const table = teacher.weights.get("embedding.weight")!.data;
  const { embeddingScale = 1 } = config;
  const squares = table.reduce((sum, value) => sum + value * value, 0);
  const factor = 1 / (embeddingScale * Math.sqrt(squares / table.length));
  weights.set("embedding.weight", {
    shape: weights.get("embedding.weight")!.shape,
    data: table.map((value) => value * factor),
  });
  const positions = teacher.weights.get("position.weight")?.data;
  const own = weights.get("position.weight")!.data;
  if (!positions || positions.length < own.length) return;
  for (let i = 0; i < own.length; i++) own[i] = positions[i]! * factor * embeddingScale;
}

/**
 * u = (I + V O) U and o = the teacher's second matrix, V, O, U its value, output and first
 * feed-forward matrix with the scales of the norms before them.
 */
function startMatrices(
  teacher: Teacher,
  { config, weights }: Teacher,
  kernels: FloatKernels,
): void {
  const { hiddenSize: d, innerSize: inner, layerCount, activation } = config;
  const { block, kvHeadCount, headCount } = teacher.config;
  const plain = block !== "llama" && (kvHeadCount ?? headCount) === headCount;
  ensure(plain, "E_CONFIG", "startFrom: the teacher's matrices are not of the kind that merges");
  ensure(teacher.config.innerSize === inner, "E_CONFIG", "startFrom: innerSize differs");
  for (let layer = 0; layer < layerCount; layer++) {
    const name = `layers.${layer}`;
    const of = (part: string) => teacher.weights.get(`${name}.${part}`)?.data;
    const value = scaledRows(of("attention.value.weight")!, of("attention.norm.scale"), d);
    const path = product(kernels, value, of("attention.output.weight")!, [d, d, d]);
    for (let i = 0; i < d; i++) path[i * d + i]! += 1;
    const first = scaledRows(of("u.weight")!, of("norm.scale"), inner);
    const own = (part: string) => weights.get(`${name}.${part}`)!.data;
    own("u.weight").set(product(kernels, path, first, [d, inner, d]));
    own("u.bias").set(of("u.bias")!);
    own("o.weight").set(of("o.weight")!);
    own("o.bias").set(of("o.bias")!);
    if (activation.kind !== "quad") continue;
    // The activation's constant, which GELU has not.
    const bias = own("o.bias");
    const second = own("o.weight");
    for (let i = 0; i < second.length; i++) {
      bias[i % d]! -= activation.coefficients[2] * second[i]!;
    }
  }
}

/** diag(scale) matrix; without a scale the matrix itself. */
function scaledRows(matrix: Float32Array, scale: Float32Array | undefined, columns: number) {
  return scale ? matrix.map((value, i) => value * scale[Math.floor(i / columns)]!) : matrix;
}

function product(
  kernels: FloatKernels,
  a: Float32Array,
  b: Float32Array,
  [m, n, k]: readonly [number, number, number],
): Float32Array {
  const out = new Float32Array(m * n);
  kernels.gemm({ m, n, k, a, b, out });
  return out;
}
