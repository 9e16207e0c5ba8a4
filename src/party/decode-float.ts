// How long an ordinary generation in the clear takes, token by token: what secure runs are compared
// with. Its prompt's ids are given, and every token's logits are computed, in one thread.

import { ensure } from "../errors.ts";
import { createSampler } from "../generate/sample.ts";
import { type Segment, schedule } from "../generate/schedule.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import { Random } from "../model/random.ts";
import { FloatDecoder } from "./float-decoder.ts";
import { privateIds } from "./picker.ts";
import { ensurePositions, generationOptions } from "./plan.ts";

export interface DecodeFloatOptions {
  readonly promptTokens: number;
  readonly tokens: number;
  /** Default: random ids. */
  readonly prompt?: readonly number[] | undefined;
  /** Every how many tokens the chosen token is looked up; 0 never. Default: the model's. */
  readonly anchor?: number | undefined;
}

export interface FloatTiming {
  /** Until the first token is chosen. */
  readonly promptSeconds: number;
  /** Median over the tokens after the first: a step of all layers, the head, the choice. */
  readonly secondsPerToken: number;
  /** Of each token after the first, in order. */
  readonly seconds: readonly number[];
  /** The greedy text. */
  readonly tokens: readonly number[];
}

/**
 * Generates greedily, past the end token. Graphs are traced before anything is timed.
 * @throws E_PROMPT when prompt and tokens exceed the model's positions
 */
export function decodeFloat(
  { config, weights }: Pick<Model, "config" | "weights">,
  kernels: FloatKernels,
  { promptTokens, tokens: maxTokens, anchor, prompt }: DecodeFloatOptions,
): FloatTiming {
  const asked = { maxTokens, chunk: 1, anchor };
  const generation = generationOptions(config, promptTokens, asked);
  ensurePositions(config, generation);
  const segments = schedule(generation);
  const random = new Random(promptTokens);
  const given =
    prompt ?? Array.from({ length: promptTokens }, () => random.below(config.vocabSize));
  ensure(given.length === promptTokens, "E_PROMPT", `the prompt has not ${promptTokens} tokens`);
  const decoder = new FloatDecoder(config, weights, kernels);
  for (const segment of segments) decoder.prepare(segment);
  const ends = run(decoder, segments, given);
  const seconds = ends.times.slice(1).map((end, i) => (end - ends.times[i]!) / 1000);
  return {
    promptSeconds: (ends.times[0]! - ends.begin) / 1000,
    secondsPerToken: median(seconds),
    seconds,
    tokens: ends.tokens,
  };
}

/** Runs all segments; when each token was chosen, in milliseconds. */
function run(decoder: FloatDecoder, segments: readonly Segment[], prompt: readonly number[]) {
  const sampler = createSampler();
  const tokens: number[] = [];
  const times: number[] = [];
  const begin = performance.now();
  for (const segment of segments) {
    const logits = decoder.run(segment, privateIds(segment, prompt, tokens));
    if (!logits) continue;
    tokens.push(sampler.pick(logits));
    times.push(performance.now());
  }
  return { begin, times, tokens };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
