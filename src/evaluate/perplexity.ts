// Perplexity of texts under one of our own models, by the float decoder: exp of minus the mean
// log-probability of their tokens and the end token, given the input. With an anchor of 1 every
// token is conditioned on all before it, the usual definition. With another the model goes on from
// its own states as it does when it generates, and sees only the tokens that are sent back.

import { ensure, MergenError } from "../errors.ts";
import { schedule } from "../generate/schedule.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { encodePrompt } from "../model/prompt.ts";
import { FloatDecoder } from "../party/float-decoder.ts";
import type { LocalModel } from "../party/local.ts";
import { privateIds } from "../party/picker.ts";
import { generationOptions } from "../party/plan.ts";

/** What one text adds to the perplexity of a corpus. */
export interface Likelihood {
  /** Sum over the tokens; natural logarithm. */
  readonly logProbability: number;
  /** The end token among them. */
  readonly tokens: number;
}

export interface PerplexityOptions {
  /** Every how many tokens the text's token is looked up; 0 never. Default: the model's. */
  readonly anchor?: number | undefined;
}

/**
 * Scores one text after another under a model.
 * @throws E_DATA when a text has more tokens than the model has positions for; E_PROMPT or
 *         E_TOKENIZER when the input or the text does not fit the model
 */
export function likelihoodUnder(
  model: LocalModel,
  kernels: FloatKernels,
  { anchor }: PerplexityOptions = {},
): (input: string, text: string) => Likelihood {
  const { config, weights, tokenizer } = model;
  const decoder = new FloatDecoder(config, weights, kernels);
  return (input, text) => {
    const prompt = encodePrompt(input, config, tokenizer);
    // As the training data is written: after a blank, blanks run together.
    const words = text.trim().replace(/\s+/g, " ");
    const tokens = [...tokenizer.encode(words === "" ? "" : ` ${words}`), config.tokens.end];
    const room = config.positionCount - prompt.length + 1;
    const message = `the text has ${tokens.length} tokens, the model has room for ${room}`;
    ensure(tokens.length <= room, "E_DATA", `${message}; shorten it or take another model`);
    const asked = { maxTokens: tokens.length, chunk: 1, anchor };
    decoder.begin();
    let logProbability = 0;
    let next = 0;
    for (const segment of schedule(generationOptions(config, prompt.length, asked))) {
      const logits = decoder.run(segment, privateIds(segment, prompt, tokens));
      if (logits) logProbability += logSoftmaxAt(logits, tokens[next++]);
    }
    return { logProbability, tokens: tokens.length };
  };
}

/** Perplexity of one text or of many. @throws E_DATA when there are none */
export function perplexity(texts: readonly Likelihood[]): number {
  const tokens = texts.reduce((sum, text) => sum + text.tokens, 0);
  if (tokens === 0) throw new MergenError("E_DATA", "perplexity: there are no texts; give some");
  return Math.exp(-texts.reduce((sum, text) => sum + text.logProbability, 0) / tokens);
}

function logSoftmaxAt(logits: Float32Array, index: number): number {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = logits.reduce((total, value) => total + Math.exp(value - most), 0);
  return logits[index] - most - Math.log(sum);
}
