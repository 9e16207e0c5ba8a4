// Weights of a model that nobody trained: random numbers of the size that trained ones have, every
// one on its int16 grid. States stay normalised, attention averages earlier rows, and a block
// changes its input by about a fifth, so that rounding errors neither grow nor vanish from layer to
// layer and token to token.

import { reciprocalStart } from "../recipe/reciprocal.ts";
import type { ModelConfig } from "./config.ts";
import { weightShapes } from "./decoder.ts";
import { MOST_FRAC_BITS } from "./grid.ts";
import { Random } from "./random.ts";
import type { Weights } from "./safetensors.ts";

/** Entries of the table that normal numbers are drawn from; see Random.fillFrom. */
const TABLE = 1 << 16;
const ATTENTION_BITS = 14;
/** A layer's second matrix has fewer bits: with more, its input would get fewer. */
const OUTPUT_BITS = 11;
/** Times an affine norm's scale it is rounded once more, and its entries are small. */
const AFFINE_BITS = 15;
const BIAS_BITS = 10;
const OTHER_BITS = 14;
/** No normal number of a table is farther from 0, in deviations: it has 2^16 entries. */
const FARTHEST = 6;
/** Of an ordinary decoder's logits, over the vocabulary. */
const LOGIT_DEVIATION = 2.5;
/** How much a branch of an ordinary decoder adds, in the unit of what it is given. */
const BRANCH = 0.2;

/** The config that says the grid, and the weights; the same for the same seed. */
export function randomWeights(
  config: ModelConfig,
  seed: number,
): { config: ModelConfig; weights: Weights } {
  const weights: Weights = new Map();
  const weightFracBits: Record<string, number> = {};
  const normals = normalTable(new Random(seed));
  let index = 0;
  for (const [name, shape] of weightShapes(config)) {
    const random = new Random(seed, ++index);
    const data = new Float32Array(shape.reduce((total, size) => total * size, 1));
    const reciprocal = reciprocalStart(config, name);
    const { mean, deviation } = sizeOf(config, name, shape);
    const bits = reciprocal ? gridOf(reciprocal) : bitsOf(config, name, deviation);
    if (reciprocal) data.set(reciprocal.map((value) => onGrid(value, bits)));
    else if (name.endsWith(".constant")) fillAttention(data, shape, random);
    else {
      const values = normals.map((value) => onGrid(mean + deviation * value, bits));
      random.fillFrom(new Float32Array(values), data);
    }
    weights.set(name, { shape: [...shape], data });
    weightFracBits[name] = bits;
  }
  const made = { config: { ...config, weightFracBits }, weights };
  for (let layer = 0; layer < config.layerCount; layer++) centreOutput(made, layer);
  return made;
}

/** Normal numbers in pairs x, -x, scaled to a variance of exactly 1. */
function normalTable(random: Random): Float64Array {
  const half = Float64Array.from({ length: TABLE / 2 }, () => random.normal());
  const scale = Math.sqrt(half.length / half.reduce((sum, value) => sum + value * value, 0));
  return Float64Array.from({ length: TABLE }, (_, i) => scale * (i & 1 ? -1 : 1) * half[i >> 1]);
}

function bitsOf({ norm, attention }: ModelConfig, name: string, deviation: number): number {
  if (attention !== "constant" && deviation > 0) {
    return Math.min(MOST_FRAC_BITS, Math.floor(Math.log2(32767 / (FARTHEST * deviation))));
  }
  if (name.endsWith(".constant")) return ATTENTION_BITS;
  if (name.endsWith(".o.weight")) return norm.kind === "affine" ? AFFINE_BITS : OUTPUT_BITS;
  return name.endsWith(".bias") ? BIAS_BITS : OTHER_BITS;
}

/** Most bits, up to OTHER_BITS, with which all values fit int16. */
export function gridOf(data: Float32Array): number {
  const greatest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 2 ** -OTHER_BITS);
  return Math.min(OTHER_BITS, Math.floor(Math.log2(32767 / greatest)));
}

export function onGrid(value: number, bits: number): number {
  return Math.round(value * 2 ** bits) / 2 ** bits;
}

function sizeOf(
  config: ModelConfig,
  name: string,
  shape: readonly number[],
): { mean: number; deviation: number } {
  const affine = config.norm.kind === "affine";
  if (name.endsWith(".mean")) return { mean: 0, deviation: 0 };
  if (name.endsWith(".variance")) return { mean: 1, deviation: 0 };
  if (name.endsWith(".scale")) {
    return affine ? { mean: affineScale(config), deviation: 0.01 } : { mean: 1, deviation: 0 };
  }
  if (name.endsWith(".shift")) {
    const kept = affineScale(config) ** 2;
    return { mean: 0, deviation: affine ? Math.sqrt(0.7 * (1 - kept)) : 0.02 };
  }
  return { mean: 0, deviation: deviationOf(config, name, shape) };
}

/**
 * Nothing but this takes off what a block adds: a state that goes round all layers keeps a quarter
 * of itself, so that what every round adds stays bounded. Shifts keep it from going out.
 */
function affineScale({ layerCount }: ModelConfig): number {
  return Math.min(0.9, 0.25 ** (1 / layerCount));
}

function deviationOf(config: ModelConfig, name: string, shape: readonly number[]): number {
  if (config.attention !== "constant") return ordinaryDeviation(config, name, shape);
  const affine = config.norm.kind === "affine";
  if (name.endsWith(".bias")) return 0.02;
  if (name === "embedding.weight" || name === "head.weight") return 1 / 16;
  if (name === "position.weight") return 0.2;
  return (name.endsWith(".o.weight") ? (affine ? 0.4 : 4.1) : 0.7) / Math.sqrt(shape[0]!);
}

/**
 * Of an ordinary decoder: GPT-2's own start (Radford et al. 2019, section 2.3), where each of the
 * 2 layerCount branches adds about as much, with scores and logits as wide as trained models have.
 */
function ordinaryDeviation(config: ModelConfig, name: string, shape: readonly number[]): number {
  const { hiddenSize, headCount, layerCount } = config;
  if (name === "embedding.weight" || name === "position.weight") {
    // What no norm scales is as wide as a norm would make it.
    return config.norm.kind === "affine" ? Math.SQRT1_2 : 0.02;
  }
  if (name === "head.weight") return LOGIT_DEVIATION / Math.sqrt(hiddenSize);
  const bias = name.endsWith(".bias");
  const unit = bias ? 0.02 : 1 / Math.sqrt(shape[0]!);
  // A bias as large as the embeddings would make all states alike.
  if (/\.(output|o)\.[a-z]+$/.test(name)) return (BRANCH * unit) / Math.sqrt(2 * layerCount);
  if (name.includes(".query.")) return unit / Math.sqrt(hiddenSize / headCount);
  return unit;
}

/**
 * Causal rows of positive numbers that sum to exactly 1: half of each is the row's own, the rest
 * falls off with distance, in each head at another rate.
 */
function fillAttention(data: Float32Array, shape: readonly number[], random: Random): void {
  const [heads, positions] = shape as [number, number];
  const unit = 2 ** -ATTENTION_BITS;
  const strengths = new Float64Array(positions);
  for (let head = 0; head < heads; head++) {
    const reach = 2 ** (1 + (8 * head) / heads);
    const falls = Float64Array.from({ length: positions }, (_, i) => Math.exp(-i / reach));
    for (let row = 0; row < positions; row++) {
      const at = (head * positions + row) * positions;
      let total = 0;
      for (let j = 0; j < row; j++) {
        strengths[j] = falls[row - j]! * (0.5 + random.uniform());
        total += strengths[j]!;
      }
      let own = 2 ** ATTENTION_BITS;
      const share = own / 2 / total;
      for (let j = 0; j < row; j++) {
        const units = Math.round(strengths[j]! * share);
        data[at + j] = units * unit;
        own -= units;
      }
      data[at + row] = own * unit;
    }
  }
}

/**
 * Takes the activation's mean off by the second bias: else each block would add the same large
 * vector to every state, and all texts would be the same.
 */
function centreOutput(
  { config, weights }: { config: ModelConfig; weights: Weights },
  layer: number,
): void {
  const { hiddenSize: d } = config;
  const mean = activationMean(config);
  if (mean === undefined) return;
  const matrix = weights.get(`layers.${layer}.o.weight`)!.data;
  const bias = weights.get(`layers.${layer}.o.bias`)?.data;
  if (!bias) return; // A Llama block has none.
  const bits = config.weightFracBits![`layers.${layer}.o.bias`]!;
  const sums = new Float64Array(d);
  for (let at = 0; at < matrix.length; at += d) {
    for (let k = 0; k < d; k++) sums[k]! += matrix[at + k]!;
  }
  for (let k = 0; k < d; k++) bias[k] = onGrid(bias[k]! - mean * sums[k]!, bits);
}

/** Mean of the activation over the numbers that it is given. */
function activationMean({ attention, activation }: ModelConfig): number | undefined {
  // The mean of x Phi(x) over normal x of variance 1.
  if (activation.kind === "gelu" && attention !== "constant") return 0.5 / Math.sqrt(Math.PI);
  if (activation.kind !== "quad" || attention !== "constant") return undefined;
  const [c2, , c0] = activation.coefficients;
  // u has a variance of about 0.4: what attention leaves of the rows' 1.
  return c2 * 0.4 + c0;
}
