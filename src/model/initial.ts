// Weights to start training from.

import { reciprocalStart } from "../recipe/reciprocal.ts";
import { type ModelConfig, promptPositions } from "./config.ts";
import { weightShapes } from "./decoder.ts";
import { Random } from "./random.ts";
import type { Weights } from "./safetensors.ts";

/** Deterministic by seed. A merged block starts as o = a / 2; see mirrorBlocks. */
export function initialWeights(config: ModelConfig, seed: number): Weights {
  const weights: Weights = new Map();
  let index = 0;
  for (const [name, shape] of weightShapes(config)) {
    const random = new Random(seed, index++);
    const data = new Float32Array(shape.reduce((total, size) => total * size, 1));
    fill(config, { name, shape, data }, random);
    weights.set(name, { shape, data });
  }
  mirrorBlocks(config, weights);
  return weights;
}

interface Named {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

function fill(config: ModelConfig, { name, shape, data }: Named, random: Random): void {
  const reciprocal = reciprocalStart(config, name);
  if (reciprocal) data.set(reciprocal);
  else if (config.sharedAttention && /\.attention\.(?:constant|column|relative)$/.test(name)) {
    fillPattern(data, name, shape[1]!, { random, prompt: promptPositions(config.prompt) });
  } else if (name.endsWith(".constant")) {
    fillConstantAttention(data, shape[1]!, random);
  } else if (name.endsWith(".scale") || name.endsWith(".variance")) {
    data.fill(1);
  } else if (!/\.(?:bias|shift|mean)$/.test(name)) {
    const deviation = startDeviation(config, name, shape);
    for (let i = 0; i < data.length; i++) data[i] = deviation * random.normal();
  }
}

function startDeviation(config: ModelConfig, name: string, shape: readonly number[]): number {
  const merged = config.attention === "constant";
  if (name === "position.weight") return merged ? 0.3 : 0.02;
  if (name === "embedding.weight" || name === "head.weight") return 0.05;
  if (name.endsWith(".o.weight") || name.endsWith(".output.weight")) return 0.02;
  if (merged && name.endsWith(".attention.query.weight")) {
    return Math.sqrt(config.headCount) / config.hiddenSize;
  }
  // A hybrid layer begins as a merged one, all but.
  if (merged && name.endsWith(".attention.value.weight")) return 0.02;
  return merged ? 1 / Math.sqrt(shape[0]!) : 1 / Math.sqrt(3 * shape[0]!);
}

/** The running mean of all rows so far plus half of the row itself. */
function fillConstantAttention(data: Float32Array, positions: number, random: Random): void {
  for (let i = 0; i < data.length; i++) {
    const row = Math.floor(i / positions) % positions;
    const column = i % positions;
    const noise = 0.02 * random.normal();
    if (column <= row) data[i] = 1 / (row + 1) + (column === row ? 0.5 : 0) + noise;
  }
}

/**
 * Shared parts: each head looks at prompt positions with random strength, at itself with a half,
 * and at earlier rows with strengths that fall off with distance; its own entries start at 0.
 */
function fillPattern(
  data: Float32Array,
  name: string,
  positions: number,
  { random, prompt }: { random: Random; prompt: number },
): void {
  if (name.endsWith(".constant")) return;
  for (let i = 0; i < data.length; i++) {
    const at = i % positions;
    if (name.endsWith(".column")) data[i] = at < prompt ? 0.3 * random.normal() : 0;
    else data[i] = at === 0 ? 0.5 : (0.3 * random.normal()) / (at + 1);
  }
}

/**
 * The second matrix of a merged block as the first one's transpose, scaled so that the linear term
 * of the activation gives o = a / 2 at the start, and a bias that takes off its constant term.
 */
function mirrorBlocks(config: ModelConfig, weights: Weights): void {
  if (config.attention !== "constant" || config.activation.kind !== "quad") return;
  const { hiddenSize: d, innerSize: inner } = config;
  const [, c1, c0] = config.activation.coefficients;
  const factor = d / (2 * c1 * inner);
  for (let layer = 0; layer < config.layerCount; layer++) {
    const first = weights.get(`layers.${layer}.u.weight`)!.data;
    const second = weights.get(`layers.${layer}.o.weight`)!.data;
    const bias = weights.get(`layers.${layer}.o.bias`)!.data;
    for (let j = 0; j < inner; j++) {
      for (let k = 0; k < d; k++) {
        const value = factor * first[k * inner + j]!;
        second[j * d + k] = value;
        bias[k]! -= c0 * value;
      }
    }
  }
}
