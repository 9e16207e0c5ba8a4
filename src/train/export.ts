// Rounds weights to the int16 grid of the secure modes: one public number of bits per tensor.

import type { ModelConfig } from "../model/config.ts";
import type { Weights, WeightTensor } from "../model/safetensors.ts";
import { attentionPattern } from "../run/attention-pattern.ts";

const LIMIT = 32767;

/** Most bits after the point with which every value fits int16; negative for values above it. */
export function fracBitsFor(data: Float32Array, most: number): number {
  let greatest = 0;
  for (let i = 0; i < data.length; i++) greatest = Math.max(greatest, Math.abs(data[i]));
  let bits = most;
  while (Math.round(greatest * 2 ** bits) > LIMIT) bits--;
  return bits;
}

/** A model whose constant attention stands by itself, its shared parts added up. */
export function foldAttention(model: { config: ModelConfig; weights: Weights }): {
  config: ModelConfig;
  weights: Weights;
} {
  const { sharedAttention, ...config } = model.config;
  if (!sharedAttention) return model;
  const weights: Weights = new Map();
  for (const [name, tensor] of model.weights) {
    if (/\.attention\.(column|relative)$/.test(name)) continue;
    weights.set(name, name.endsWith(".attention.constant") ? folded(model.weights, name) : tensor);
  }
  return { config, weights };
}

/** A model whose batch norms are the affine maps that their statistics make of them. */
export function foldNorms(model: { config: ModelConfig; weights: Weights }): {
  config: ModelConfig;
  weights: Weights;
} {
  const { norm } = model.config;
  if (norm.kind !== "batchnorm") return model;
  const weights: Weights = new Map();
  for (const [name, tensor] of model.weights) {
    const [base, part] = [name.replace(/\.[^.]*$/, ""), name.replace(/.*\./, "")];
    const variance = model.weights.get(`${base}.variance`)?.data;
    const mean = model.weights.get(`${base}.mean`)?.data;
    if (!variance || !mean) weights.set(name, tensor);
    else if (part === "scale" || part === "shift") {
      const scale = model.weights.get(`${base}.scale`)!.data;
      const inverse = variance.map((value) => 1 / Math.sqrt(value + norm.eps));
      const data =
        part === "scale"
          ? scale.map((value, i) => value * inverse[i]!)
          : tensor.data.map((value, i) => value - mean[i]! * scale[i]! * inverse[i]!);
      weights.set(name, { shape: tensor.shape, data });
    }
  }
  return { config: { ...model.config, norm: { kind: "affine", eps: 0, scale: true } }, weights };
}

function folded(weights: Weights, name: string): WeightTensor {
  const { shape, data } = weights.get(name)!;
  const part = (suffix: string) => weights.get(name.replace(/constant$/, suffix))!.data;
  const out = new Float32Array(data.length);
  const parts = { column: part("column"), relative: part("relative") };
  attentionPattern(data, parts, shape[1]!, out);
  return { shape, data: out };
}

/** Weights whose every value is a multiple of 2^-bits, and the config that says the bits. */
export function roundToGrid(
  { config, weights }: { config: ModelConfig; weights: Weights },
  { maxFracBits = 15 }: { maxFracBits?: number } = {},
): { config: ModelConfig; weights: Weights } {
  const rounded: Weights = new Map();
  const weightFracBits: Record<string, number> = {};
  for (const [name, { shape, data }] of weights) {
    const bits = fracBitsFor(data, maxFracBits);
    const scale = 2 ** bits;
    weightFracBits[name] = bits;
    rounded.set(name, { shape, data: data.map((value) => Math.round(value * scale) / scale) });
  }
  return { config: { ...config, weightFracBits }, weights: rounded };
}
