// AdamW (Loshchilov and Hutter 2019) on a slice of the flat weight vector, and the learning rate's
// schedule: linear warm-up, then half a cosine.

import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Layout } from "./parameters.ts";
import { STATISTIC_STEP } from "./statistics.ts";

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

interface AdamRun {
  readonly layout: Layout;
  readonly gradients: readonly Float32Array[];
  readonly adam: AdamOptions;
}

/**
 * Updates weights from..to-1 by the first gradient times `scale`; `step` counts from 1. Decay
 * acts on the parameters that the layout says.
 */
export function adamUpdate(
  { layout, gradients, adam, ...state }: AdamState & AdamRun,
  kernels: FloatKernels,
  options: { from: number; to: number; rate: number; scale: number; step: number },
): void {
  for (const { offset, length, decays, isStatistic } of layout.parameters) {
    const from = Math.max(offset, options.from);
    const to = Math.min(offset + length, options.to);
    if (from >= to) continue;
    if (isStatistic) {
      for (let i = from; i < to; i++) state.weights[i]! -= STATISTIC_STEP * gradients[0]![i]!;
      continue;
    }
    kernels.adamw({
      weights: state.weights.subarray(from, to),
      gradients: gradients[0].subarray(from, to),
      firstMoment: state.moment1.subarray(from, to),
      secondMoment: state.moment2.subarray(from, to),
      step: options.step,
      learningRate: options.rate,
      beta1: adam.betas[0],
      beta2: adam.betas[1],
      epsilon: adam.eps,
      weightDecay: decays ? adam.weightDecay : 0,
      gradientScale: options.scale,
    });
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
