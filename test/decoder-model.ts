// Small ordinary decoders of any shape, as the secure modes take them: random weights, then folded
// norms, the int16 grid and ranges as `servable` makes them. The same options give the same model.

import { floatReference } from "../src/kernel/float-reference.ts";
import type { ModelConfig } from "../src/model/config.ts";
import { Random } from "../src/model/random.ts";
import { randomWeights } from "../src/model/random-weights.ts";
import { Tokenizer } from "../src/model/tokenizer.ts";
import { withRanges } from "../src/party/decoder-ranges.ts";
import type { LocalModel } from "../src/party/local.ts";
import { servable } from "../src/party/servable.ts";
import { tinyConfig, tinyTokenizerJson } from "./tiny-model.ts";

export interface DecoderOptions {
  readonly seed?: number;
  /** gpt2: LayerNorm, GELU, a table of positions; llama: RMSNorm, SiLU, gates, rotary positions. */
  readonly block?: "gpt2" | "llama";
  readonly activation?: ModelConfig["activation"];
  readonly hiddenSize?: number;
  readonly headCount?: number;
  /** Of a llama block. */
  readonly kvHeadCount?: number;
  readonly innerSize?: number;
  readonly layerCount?: number;
  readonly maxTokens?: number;
  readonly positionCount?: number;
  readonly tiedHead?: boolean;
  readonly operandBits?: number;
  /** Norms with a scale, and shifts that are not zero: as before import. */
  readonly scale?: boolean;
  /** Factor on the layers' weights: wider scores and activations. */
  readonly spread?: number;
}

export const isLlama = ({ block }: DecoderOptions) => block === "llama";

/** Everything of the config that does not follow from weights. */
export function decoderConfig(options: DecoderOptions = {}): ModelConfig {
  const { hiddenSize = 8, headCount = 2, innerSize = 16, layerCount = 1 } = options;
  const { maxTokens = 3, positionCount = 8, tiedHead = false, scale = true } = options;
  const llama = isLlama(options);
  return tinyConfig({
    recipe: llama ? "llama" : "vanilla",
    hiddenSize,
    headCount,
    innerSize,
    layerCount,
    positionCount,
    attention: "softmax",
    activation: options.activation ?? (llama ? { kind: "silu" } : { kind: "gelu", form: "tanh" }),
    norm: { kind: llama ? "rmsnorm" : "layernorm", eps: 1e-5, scale },
    ...(llama && {
      block: "llama" as const,
      rope: { base: 10_000 },
      kvHeadCount: options.kvHeadCount ?? headCount,
    }),
    ...(options.operandBits !== undefined && { operandBits: options.operandBits }),
    nextToken: "lookup",
    tiedHead,
    prompt: { kind: "text", bucket: 1 },
    generation: { maxTokens, chunk: 1, anchor: 1 },
  });
}

/** The model before it is brought into form. */
export function rawDecoder(options: DecoderOptions = {}): LocalModel {
  const { seed = 1, spread = 1 } = options;
  const { config, weights } = randomWeights(decoderConfig(options), seed);
  const { weightFracBits: _grid, ...plain } = config;
  for (const [index, [name, tensor]] of [...weights].entries()) {
    const random = new Random(seed, 1000 + index);
    const change = (f: (value: number) => number) =>
      weights.set(name, { ...tensor, data: tensor.data.map(f) });
    // Norms that are not all alike, so that folding them has something to do.
    if (name.endsWith("norm.scale")) change((value) => value * (0.75 + random.uniform() / 2));
    if (name.endsWith("norm.shift")) change(() => 0.2 * random.normal());
    if (/layers.*weight$/.test(name)) change((value) => spread * value);
    // Embeddings of a residual stream that layers add to, not drown.
    if (/^(embedding|position)\.weight$/.test(name)) change((value) => 10 * value);
  }
  return { config: plain, weights, tokenizer: new Tokenizer({ tokenizer: tinyTokenizerJson() }) };
}

/** Texts of random tokens, as many as it takes for the ranges of others to lie within theirs. */
function texts({ vocabSize, positionCount }: ModelConfig): number[][] {
  return Array.from({ length: 24 }, (_, text) => {
    const random = new Random(text, 3);
    return Array.from({ length: positionCount }, () => random.below(vocabSize));
  });
}

/** A model that plans. */
export function decoderModel(options: DecoderOptions = {}): LocalModel {
  const model = servable(rawDecoder(options), floatReference);
  return { ...model, config: withRanges(model, floatReference, texts(model.config)) };
}
