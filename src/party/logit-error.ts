// How far the logits of ring arithmetic lie from those of float32: what a recipe's tables, its
// truncations and its widths cost in accuracy. Both read the same weights and the same tokens.

import { schedule } from "../generate/schedule.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { RingKernels } from "../kernel/ring-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import { ServerTensors } from "../plan/tensors.ts";
import { Ring } from "../ring/ring.ts";
import { type FixedStates, runFixed } from "../run/fixed.ts";
import { FloatDecoder } from "./float-decoder.ts";
import { privateIds } from "./picker.ts";
import { generationOptions, IDS, planGeneration, realLogits } from "./plan.ts";

export interface LogitErrorOptions {
  /** Token ids. */
  readonly prompt: readonly number[];
  readonly maxTokens: number;
}

export interface LogitError {
  /** Greatest and root mean square of |fixed - float| over all logits, and greatest |logit|. */
  readonly greatest: number;
  readonly rms: number;
  readonly peak: number;
  /** Where the float run was nearest to another token: by how much, and the two logits' error. */
  readonly narrowest: { readonly margin: number; readonly error: number };
}

/**
 * Runs a generation in both modes, each step behind the greedy token of the float run; truncations
 * round to nearest.
 * @throws E_PLAN when the model has no secure form
 */
export async function logitError(
  { config, weights }: Pick<Model, "config" | "weights">,
  kernels: { readonly ring: RingKernels; readonly float: FloatKernels },
  { prompt, maxTokens }: LogitErrorOptions,
): Promise<LogitError> {
  const options = generationOptions(config, prompt.length, { maxTokens });
  const plan = await planGeneration(config, options);
  const numbers = { weights, numbers: config, tensors: plan.tensors };
  const tensors = new ServerTensors({ kernels: kernels.ring, ...numbers });
  const ring = new Ring(kernels.ring);
  const states: FixedStates = new Map();
  const decoder = new FloatDecoder(config, weights, kernels.float);
  decoder.begin();
  const tokens: number[] = [];
  let [greatest, squares, count, peak] = [0, 0, 0, 0];
  let narrowest = { margin: Number.POSITIVE_INFINITY, error: 0 };
  const whole = schedule(options).values();
  for (const segment of plan.segments) {
    const ids = privateIds(segment.segment, prompt, tokens);
    const given = new Map(ids ? [[IDS, ids]] : []);
    const run = { ring, states, tensors, parties: undefined, ids: given };
    const [fixed] = runFixed({ ...run, segment }).values();
    if (!fixed) continue;
    // In float a prompt is one segment, in a plan it may be many: they meet at the heads.
    let float: Float32Array | undefined;
    while (!float) {
      const next = whole.next().value!;
      float = decoder.run(next, privateIds(next, prompt, tokens));
    }
    const real = realLogits(plan, fixed);
    for (const [i, value] of float.entries()) {
      const error = Math.abs(real[i]! - value);
      greatest = Math.max(greatest, error);
      squares += error * error;
      peak = Math.max(peak, Math.abs(value));
    }
    count += float.length;
    for (let from = 0; from < float.length; from += config.vocabSize) {
      const [first, second] = topTwo(float.subarray(from, from + config.vocabSize));
      tokens.push(first);
      const margin = float[from + first]! - float[from + second]!;
      if (margin >= narrowest.margin) continue;
      const errors = [first, second].map((at) => Math.abs(real[from + at]! - float![from + at]!));
      narrowest = { margin, error: Math.max(...errors) };
    }
  }
  return { greatest, rms: Math.sqrt(squares / count), peak, narrowest };
}

/** The indices of a row's greatest logit and the next; of equal ones the first. */
function topTwo(row: Float32Array): [first: number, second: number] {
  let [first, second] = row[1]! > row[0]! ? [1, 0] : [0, 1];
  for (let i = 2; i < row.length; i++) {
    if (row[i]! > row[first]!) [first, second] = [i, first];
    else if (row[i]! > row[second]!) second = i;
  }
  return [first, second];
}
