// Models of llama2.c: weights in its format of version 0 (seven int32, then float32 without names)
// and its tokenizer file. Source: the reading code of that program's run.c.

import { MergenError } from "../errors.ts";
import { checkWeights } from "./check-weights.ts";
import type { Model } from "./checkpoint.ts";
import { type ModelConfig, parseConfig } from "./config.ts";
import { weightShapes } from "./decoder.ts";
import { foldNorms, turnedData } from "./fold.ts";
import { type Piece, pieceTokenizerJson } from "./piece-tokenizer.ts";
import type { Weights } from "./safetensors.ts";
import { checkTokenizer, Tokenizer } from "./tokenizer.ts";

/** A file's bytes and what errors call it. */
export interface NamedBytes {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Ids that llama2.c has fixed: it begins with 1 and stops when the model says 1. */
const tokens = { pad: 0, begin: 1, end: 1 };
const specials = ["<unk>", "<s>", "</s>"];
const HEADER_BYTES = 28;
/** Of a header's numbers, so that products of a few stay exact. */
const SIZE_LIMIT = 1 << 22;
/** Newer formats begin with this. */
const MAGIC = 0x616b3432;
const MOST_TOKENS = 256;

/**
 * The model of a pair of files, norms folded, in float32.
 * @throws E_MODEL naming the weights file, E_TOKENIZER naming the tokenizer file
 */
export function llama2cModel(weightsFile: NamedBytes, tokenizerFile: NamedBytes): Model {
  const sizes = readSizes(weightsFile);
  const unfolded = {
    config: configOf(sizes, weightsFile),
    weights: readTensors(weightsFile, sizes),
  };
  checkWeights(unfolded.weights, weightShapes(unfolded.config), weightsFile.path);
  const { config, weights } = foldNorms(unfolded);
  const pieces = readPieces(tokenizerFile, sizes.vocabSize);
  const json = pieceTokenizerJson(pieces, { specials, origin: tokenizerFile.path });
  const tokenizer = new Tokenizer({ tokenizer: json }, tokenizerFile.path);
  checkTokenizer(tokenizer, config, tokenizerFile.path);
  return { config, weights, tokenizer };
}

interface Sizes {
  readonly d: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly vocabSize: number;
  readonly positions: number;
  readonly tied: boolean;
}

function viewOf({ bytes }: NamedBytes): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function readSizes(file: NamedBytes): Sizes {
  const fail = failure(file.path);
  if (file.bytes.length < HEADER_BYTES) fail("is shorter than a header of llama2.c; copy it anew");
  const view = viewOf(file);
  if (view.getUint32(0, true) === MAGIC) {
    fail("is of a newer format of llama2.c; export the model with --version 0");
  }
  const header = Array.from({ length: 7 }, (_, i) => view.getInt32(4 * i, true));
  const [d, inner, layers, heads, kvHeads, vocabulary, positions] = header as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const [vocabSize, tied] = [Math.abs(vocabulary), vocabulary > 0];
  for (const size of [d, inner, layers, heads, kvHeads, vocabSize, positions]) {
    if (size < 1 || size > SIZE_LIMIT) fail("is no model of llama2.c: its header has a bad size");
  }
  if (d % (2 * heads) !== 0 || heads % kvHeads !== 0) {
    fail("is no model of llama2.c: the heads in its header do not fit");
  }
  return { d, inner, layers, heads, kvHeads, vocabSize, positions, tied };
}

function configOf(sizes: Sizes, { path }: NamedBytes): ModelConfig {
  const config = {
    model_type: "mergen",
    recipe: "vanilla",
    block: "llama",
    vocabSize: sizes.vocabSize,
    hiddenSize: sizes.d,
    layerCount: sizes.layers,
    headCount: sizes.heads,
    kvHeadCount: sizes.kvHeads,
    innerSize: sizes.inner,
    positionCount: sizes.positions,
    rope: { base: 10000 },
    attention: "softmax",
    activation: { kind: "silu" },
    norm: { kind: "rmsnorm", eps: 1e-5, scale: true },
    residual: true,
    nextToken: "lookup",
    tiedHead: sizes.tied,
    tokens,
    prompt: { kind: "text", bucket: 1, begin: true },
    generation: {
      maxTokens: Math.max(1, Math.min(MOST_TOKENS, sizes.positions >> 1)),
      chunk: 1,
      anchor: 1,
    },
  };
  return parseConfig(config, path);
}

/** All tensors, matrices turned from [out][in]. */
function readTensors(file: NamedBytes, sizes: Sizes): Weights {
  const { d, inner, layers, heads, kvHeads, vocabSize, positions, tied } = sizes;
  const width = d / heads;
  const kd = kvHeads * width;
  const skipped = positions * width; // cosines and sines
  const perLayer = 2 * d * d + 2 * d * kd + 3 * d * inner + 2 * d;
  const count = vocabSize * d * (tied ? 1 : 2) + layers * perLayer + d + skipped;
  const expected = HEADER_BYTES + 4 * count;
  if (file.bytes.length !== expected) {
    const message = `has ${file.bytes.length} bytes, its header asks for ${expected}`;
    failure(file.path)(`${message}; copy the file anew`);
  }
  const weights: Weights = new Map();
  const view = viewOf(file);
  let at = HEADER_BYTES;
  const next = (length: number) => {
    const data = new Float32Array(length);
    for (let i = 0; i < length; i++) data[i] = view.getFloat32(at + 4 * i, true);
    at += 4 * length;
    return data;
  };
  const vectors = (name: string) => {
    for (let i = 0; i < layers; i++) {
      weights.set(`layers.${i}.${name}`, { shape: [d], data: next(d) });
    }
  };
  const matrices = (name: string, outer: number, columns: number) => {
    for (let i = 0; i < layers; i++) {
      const data = turnedData(next(outer * columns), { rows: outer, columns });
      weights.set(`layers.${i}.${name}.weight`, { shape: [columns, outer], data });
    }
  };
  weights.set("embedding.weight", { shape: [vocabSize, d], data: next(vocabSize * d) });
  vectors("attention.norm.scale");
  matrices("attention.query", d, d);
  matrices("attention.key", kd, d);
  matrices("attention.value", kd, d);
  matrices("attention.output", d, d);
  vectors("norm.scale");
  matrices("gate", inner, d);
  matrices("o", d, inner);
  matrices("u", inner, d);
  weights.set("norm.scale", { shape: [d], data: next(d) });
  if (!tied) {
    at += 4 * skipped;
    const data = turnedData(next(vocabSize * d), { rows: vocabSize, columns: d });
    weights.set("head.weight", { shape: [d, vocabSize], data });
  }
  return weights;
}

/** An int32, then score, length and bytes of each token. */
function readPieces(file: NamedBytes, count: number): Piece[] {
  const fail = (message: string): never => {
    const remedy = "give the tokenizer.bin that belongs to the weights";
    throw new MergenError("E_TOKENIZER", `${file.path}: ${message}; ${remedy}`);
  };
  const view = viewOf(file);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const pieces: Piece[] = [];
  let at = 4;
  for (let id = 0; id < count; id++) {
    if (at + 8 > file.bytes.length) fail(`ends after ${id} of ${count} tokens`);
    const score = view.getFloat32(at, true);
    const length = view.getInt32(at + 4, true);
    at += 8;
    if (length < 0 || at + length > file.bytes.length) fail(`token ${id} ends beyond the file`);
    if (!Number.isFinite(score)) fail(`token ${id} has a score that is not finite`);
    try {
      const text = decoder.decode(file.bytes.subarray(at, at + length));
      pieces.push({ text: specials[id] ?? text, score });
    } catch {
      fail(`token ${id} is not UTF-8`);
    }
    at += length;
  }
  if (at !== file.bytes.length) fail(`has more than the ${count} tokens of the weights`);
  return pieces;
}

function failure(path: string): (message: string) => never {
  return (message) => {
    throw new MergenError("E_MODEL", `${path}: ${message}`);
  };
}
