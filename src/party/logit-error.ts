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
    tokens.push(...greedy(float, config.vocabSize));
  }
  return { greatest, rms: Math.sqrt(squares / count), peak };
}

/** The index of the greatest logit of each row. */
function greedy(logits: Float32Array, columns: number): number[] {
  return Array.from({ length: logits.length / columns }, (_, row) => {
    const part = logits.subarray(row * columns, (row + 1) * columns);
    return part.indexOf(part.reduce((most, value) => Math.max(most, value)));
  });
}
