// Models of known sizes, without weights: what `mergen init` makes to measure with.

import { ensure, MergenError } from "../errors.ts";
import { applyPreset, isMerged, type PresetName } from "../recipe/presets.ts";
import { type ModelConfig, parseConfig } from "./config.ts";

interface Shape {
  readonly layerCount: number;
  readonly hiddenSize: number;
  readonly headCount: number;
  readonly innerSize: number;
  readonly vocabSize: number;
}

function gpt(layerCount: number, hiddenSize: number, headCount: number): Shape {
  return { layerCount, hiddenSize, headCount, innerSize: 4 * hiddenSize, vocabSize: 50257 };
}

/**
 * Sizes of GPT-2 (Radford et al. 2019) and DistilGPT2. With 1024 positions and a tied head they
 * have 82, 124, 355, 774 and 1558 million parameters; gpt-391m, which nobody published under
 * this name, has 24 layers of 1080 columns in 18 heads, 391.6 million. The last two are for tests.
 */
const shapes: ReadonlyMap<string, Shape> = new Map([
  ["distilgpt2", gpt(6, 768, 12)],
  ["gpt2", gpt(12, 768, 12)],
  ["gpt2-medium", gpt(24, 1024, 16)],
  ["gpt-391m", gpt(24, 1080, 18)],
  ["gpt2-large", gpt(36, 1280, 20)],
  ["gpt2-xl", gpt(48, 1600, 25)],
  ["e2e", { ...gpt(4, 192, 6), vocabSize: 1500 }],
  ["tiny", { ...gpt(2, 32, 4), vocabSize: 320 }],
]);

export const shapeNames: readonly string[] = [...shapes.keys()];

export interface ShapeOptions {
  readonly shape: string;
  /** Whose functions the blocks compute; it decides between merged and ordinary modules. */
  readonly recipe: PresetName;
  /** Of a merged module; the ordinary decoder has a layernorm. */
  readonly norm?: "layernorm" | "affine" | undefined;
  /** Positions of prompt and generated part together. Default 512. */
  readonly positions?: number | undefined;
  /** Default: the shape's. */
  readonly vocabulary?: number | undefined;
  readonly layers?: number | undefined;
  /** A prompt takes a multiple of this many positions. Default 1: as many as it has tokens. */
  readonly bucket?: number | undefined;
}

const MOST_TOKENS = 64;

/**
 * The config of a model of a shape, without numbers that follow from its weights. Its prompts are
 * plain text; its last token is pad, begin and end in one, as GPT-2's.
 * @throws E_CONFIG when the shape is unknown or has no such norm, E_MODEL when a size is wrong
 */
export function shapeConfig(options: ShapeOptions): ModelConfig {
  const { recipe, positions = 512, bucket = 1 } = options;
  const fits = bucket <= positions;
  ensure(fits, "E_CONFIG", `a bucket of ${bucket} does not fit the model's ${positions} positions`);
  const shape = shapes.get(options.shape);
  if (!shape) {
    const message = `there is no shape ${options.shape}; take one of ${shapeNames.join(", ")}`;
    throw new MergenError("E_CONFIG", message);
  }
  const merged = isMerged(recipe);
  if (!merged && options.norm !== undefined) {
    throw new MergenError("E_CONFIG", "the ordinary decoder has its own norm; leave the norm out");
  }
  const vocabSize = options.vocabulary ?? shape.vocabSize;
  const last = vocabSize - 1;
  const base = parseConfig({
    model_type: "mergen",
    recipe: merged ? "merge" : "vanilla",
    vocabSize,
    hiddenSize: shape.hiddenSize,
    layerCount: options.layers ?? shape.layerCount,
    headCount: shape.headCount,
    innerSize: shape.innerSize,
    positionCount: positions,
    residual: true,
    tiedHead: true,
    ...(merged ? mergedParts(options.norm ?? "layernorm") : ordinaryParts),
    tokens: { pad: last, begin: last, end: last },
    prompt: { kind: "text", bucket },
    generation: {
      // Half of the positions at the most, so that a prompt has room beside a text.
      maxTokens: Math.max(1, Math.min(MOST_TOKENS, Math.floor(positions / 2))),
      chunk: recipe === "merge" || recipe === "merge-er" ? 16 : 1,
      anchor: merged ? 0 : 1,
    },
  });
  return applyPreset(base, recipe);
}

function mergedParts(norm: "layernorm" | "affine") {
  return {
    attention: "constant",
    activation: { kind: "quad", coefficients: [0.125, 0.25, 0.5] },
    norm:
      norm === "layernorm"
        ? { kind: "layernorm", eps: 1e-5, scale: false }
        : { kind: "affine", eps: 0, scale: true },
    nextToken: "resend",
    // Embeddings of deviation 1/16 become inputs as wide as a re-sent state.
    embeddingScale: 16,
  };
}

/** As of a trained model after import: norms and scores' scales folded, a head of its own. */
const ordinaryParts = {
  attention: "softmax",
  activation: { kind: "gelu", form: "tanh" },
  norm: { kind: "layernorm", eps: 1e-5, scale: false },
  scaledQuery: true,
  tiedHead: false,
  headBias: true,
  nextToken: "lookup",
};
