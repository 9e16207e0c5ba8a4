// Rounds weights to the int16 grid of the secure modes: one public number of bits per tensor.

import type { ModelConfig } from "../model/config.ts";
import type { Weights } from "../model/safetensors.ts";

const LIMIT = 32767;

/** Most bits after the point with which every value fits int16; negative for values above it. */
export function fracBitsFor(data: Float32Array, most: number): number {
  let greatest = 0;
  for (let i = 0; i < data.length; i++) greatest = Math.max(greatest, Math.abs(data[i]));
  let bits = most;
  while (Math.round(greatest * 2 ** bits) > LIMIT) bits--;
  return bits;
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
