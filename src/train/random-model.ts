// A model of a known shape with random weights, complete with tokenizer, grid and bounds: secure
// runs of it cost what those of a trained one do. Its texts mean nothing.

import { schedule } from "../generate/schedule.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import { parseConfig } from "../model/config.ts";
import { fillerTokenizerJson } from "../model/filler-tokenizer.ts";
import { Random } from "../model/random.ts";
import { randomWeights } from "../model/random-weights.ts";
import { type ShapeOptions, shapeConfig } from "../model/shapes.ts";
import { checkTokenizer, Tokenizer } from "../model/tokenizer.ts";
import { FloatDecoder } from "../party/float-decoder.ts";
import { WireRanges } from "./calibrate.ts";

export interface RandomModelOptions extends ShapeOptions {
  readonly seed: number;
  /** Its first special token ends texts, its size is the vocabulary's. Default: made-up words. */
  readonly tokenizer?: Tokenizer | undefined;
}

/** Re-sent states that each calibration looks at. */
const CALIBRATION_TOKENS = 8;
/** How far beyond the ranges of one random text those of others may lie. */
const MARGIN = 1.25;

/**
 * The same model for the same options, but for last digits of its calibrated bounds, which depend
 * on the kernels.
 * @throws E_CONFIG when the options are wrong, E_TOKENIZER when the tokenizer does not fit
 */
export function randomModel(options: RandomModelOptions, kernels: FloatKernels): Model {
  const vocabulary = options.vocabulary ?? options.tokenizer?.size;
  const base = shapeConfig({ ...options, vocabulary });
  const tokenizer =
    options.tokenizer ?? new Tokenizer({ tokenizer: fillerTokenizerJson(base.vocabSize) });
  const end = tokenizer.firstSpecial() ?? base.tokens.end;
  const config = { ...base, tokens: { pad: end, begin: end, end } };
  checkTokenizer(tokenizer, config);
  const made = randomWeights(config, options.seed);
  if (config.attention !== "constant") return { ...made, tokenizer };
  return { ...made, tokenizer, config: withBounds(made, options.seed, kernels) };
}

/** Runs a short and a long prompt of random tokens with some re-sent states behind each. */
function withBounds(
  { config, weights }: Pick<Model, "config" | "weights">,
  seed: number,
  kernels: FloatKernels,
) {
  const ranges = new WireRanges(config, MARGIN);
  const decoder = new FloatDecoder(config, weights, kernels);
  const random = new Random(seed, 0);
  const maxTokens = Math.min(CALIBRATION_TOKENS, config.positionCount);
  const longest = config.positionCount - maxTokens + 1;
  for (const promptPositions of new Set([Math.min(4, longest), longest])) {
    const ids = Array.from({ length: promptPositions }, () => random.below(config.vocabSize));
    decoder.begin();
    for (const segment of schedule({ promptPositions, maxTokens, chunk: maxTokens, anchor: 0 })) {
      decoder.run(segment, segment.kind === "prompt" ? ids : undefined);
      ranges.observe(decoder.program);
    }
  }
  // No bound of a state that nothing normalises follows from weights once it is sent again.
  const unbounded = config.norm.kind === "affine" && { calibratedBounds: true };
  return parseConfig({ ...ranges.stated(weights, kernels), ...unbounded });
}
