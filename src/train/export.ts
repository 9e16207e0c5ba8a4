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
