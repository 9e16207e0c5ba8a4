// A model folder's parts small enough to write down: a byte-level tokenizer of the 256 bytes, a few
// merges and three special tokens, and a config that fits it.

import type { ModelConfig } from "../src/model/config.ts";

export const tinyTokens = { pad: 260, begin: 261, end: 262 } as const;
export const tinyVocabSize = 263;

/** The characters that stand for bytes in byte-level vocabularies (Radford et al. 2019). */
function byteCharacters(): string[] {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let other = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(printable(byte) ? byte : other++),
  );
}

/** A tokenizer.json: bytes 0..255, then "th", "he", "the" and "pub", then the special tokens. */
export function tinyTokenizerJson() {
  const words = [...byteCharacters(), "th", "pu", "the", "pub"];
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  const special = (content: string, id: number) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [
      special("<pad>", tinyTokens.pad),
      special("<begin>", tinyTokens.begin),
      special("<end>", tinyTokens.end),
    ],
    normalizer: null,
    pre_tokenizer: { ...byteLevel, use_regex: true },
    post_processor: null,
    decoder: { ...byteLevel, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(words.map((word, id) => [word, id])),
      merges: ["t h", "p u", "th e", "pu b"],
    },
  };
}

/** A config for that tokenizer, changed where a test needs it. */
export function tinyConfig(changes: Partial<ModelConfig> = {}): ModelConfig {
  return {
    model_type: "mergen",
    recipe: "merge",
    vocabSize: tinyVocabSize,
    hiddenSize: 4,
    layerCount: 1,
    headCount: 1,
    innerSize: 8,
    positionCount: 40,
    attention: "constant",
    activation: { kind: "quad", coefficients: [0.125, 0.25, 0.5] },
    norm: { kind: "affine", eps: 0, scale: true },
    residual: true,
    nextToken: "resend",
    tiedHead: true,
    tokens: tinyTokens,
    prompt: {
      kind: "slots",
      slots: [
        { name: "name", width: 12 },
        { name: "eatType", width: 6 },
        { name: "customer rating", width: 4 },
      ],
    },
    generation: { maxTokens: 8, chunk: 4, anchor: 0 },
    ...changes,
  };
}
