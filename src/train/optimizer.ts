// AdamW (Loshchilov and Hutter 2019) on a slice of the flat weight vector, and the learning rate's
// schedule: linear warm-up, then half a cosine.

import type { Layout } from "./parameters.ts";

export interface AdamOptions {
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
}

export interface AdamState {
  readonly weights: Float32Array;
  readonly moment1: Float32Array;
  readonly moment2: Float32Array;
}

/** Updates weights from..to-1 by gradient times `scale`; `step` counts from 1. */
export function adamUpdate(
  layout: Layout,
  state: AdamState,
  gradient: Float32Array,
  options: AdamOptions & { from: number; to: number; rate: number; scale: number; step: number },
): void {
  for (const { offset, length, decays } of layout.parameters) {
    const from = Math.max(offset, options.from);
    const to = Math.min(offset + length, options.to);
    if (from < to) updateRange(state, gradient, { ...options, from, to, decays });
  }
}

function updateRange(
  { weights, moment1, moment2 }: AdamState,
  gradient: Float32Array,
  options: AdamOptions & {
    from: number;
    to: number;
    rate: number;
    scale: number;
    step: number;
    decays: boolean;
  },
): void {
  const { from, to, rate, scale, step, eps } = options;
  const [beta1, beta2] = options.betas;
  const keep = 1 - (options.decays ? rate * options.weightDecay : 0);
  const stepSize = rate / (1 - beta1 ** step);
  const correction = 1 / (1 - beta2 ** step);
  for (let i = from; i < to; i++) {
    const g = gradient[i] * scale;
    const m = beta1 * moment1[i] + (1 - beta1) * g;
    const v = beta2 * moment2[i] + (1 - beta2) * g * g;
    moment1[i] = m;
    moment2[i] = v;
    weights[i] = weights[i] * keep - (stepSize * m) / (Math.sqrt(v * correction) + eps);
  }
}

export interface Schedule {
  /** The peak rate. */
  readonly rate: number;
  readonly warmupSteps: number;
  /** The last rate, as a share of the peak. */
  readonly finalShare: number;
  readonly steps: number;
}

/** Learning rate of a step, counted from 0. */
export function learningRate({ rate, warmupSteps, finalShare, steps }: Schedule, step: number) {
  if (step < warmupSteps) return (rate * (step + 1)) / warmupSteps;
  const progress = (step - warmupSteps) / Math.max(1, steps - warmupSteps);
  const cosine = 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress)));
  return rate * (finalShare + (1 - finalShare) * cosine);
}
