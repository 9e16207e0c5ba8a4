// Tiny BERT, RoBERTa and BART folders with random weights, as Hugging Face lays them out.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Random } from "../src/model/random.ts";
import { type Weights, writeSafetensors } from "../src/model/safetensors.ts";
import type { Matrix, Tensors } from "./naive-transformer.ts";
import { tinyTokenizerJson } from "./tiny-model.ts";

export type Shapes = Readonly<Record<string, readonly number[]>>;

export const bertWords = [
  "[PAD]",
  "[UNK]",
  "[CLS]",
  "[SEP]",
  "the",
  "dog",
  "cat",
  "run",
  "##s",
  ".",
];

const special = (content: string, id: number) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

export function bertTokenizerJson() {
  return {
    version: "1.0",
    added_tokens: bertWords.slice(0, 4).map((word, id) => special(word, id)),
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: null,
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    // Without its type, as in older files.
    model: {
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(bertWords.map((word, id) => [word, id])),
    },
  };
}

/** Byte-level, with <pad>, <s> and </s> as tokens 260 to 262. */
export function byteTokenizerJson() {
  const json = tinyTokenizerJson();
  const names = ["<pad>", "<s>", "</s>"];
  const added_tokens = json.added_tokens.map((token, i) => ({ ...token, content: names[i] }));
  return { ...json, added_tokens };
}

const size = { hidden: 8, heads: 2, inner: 12, layers: 2 };

export function bertConfig(kind: "bert" | "roberta") {
  const { hidden, heads, inner, layers } = size;
  return {
    model_type: kind,
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    intermediate_size: inner,
    vocab_size: kind === "bert" ? bertWords.length : 263,
    max_position_embeddings: 12,
    type_vocab_size: kind === "bert" ? 2 : 1,
    layer_norm_eps: kind === "bert" ? 1e-12 : 1e-5,
    pad_token_id: kind === "bert" ? 0 : 1,
    hidden_act: "gelu",
    position_embedding_type: "absolute",
    architectures: ["AModel"],
  };
}

export function bertShapes({ vocab_size, type_vocab_size }: ReturnType<typeof bertConfig>): Shapes {
  const { hidden: d, inner, layers } = size;
  const shapes: Record<string, number[]> = {
    "embeddings.word_embeddings.weight": [vocab_size, d],
    "embeddings.position_embeddings.weight": [12, d],
    "embeddings.token_type_embeddings.weight": [type_vocab_size, d],
    "pooler.dense.weight": [d, d],
  };
  const norm = (name: string) =>
    Object.assign(shapes, { [`${name}.weight`]: [d], [`${name}.bias`]: [d] });
  const linear = (name: string, from: number, to: number) =>
    Object.assign(shapes, { [`${name}.weight`]: [to, from], [`${name}.bias`]: [to] });
  norm("embeddings.LayerNorm");
  for (let i = 0; i < layers; i++) {
    const name = `encoder.layer.${i}`;
    for (const part of ["query", "key", "value"]) linear(`${name}.attention.self.${part}`, d, d);
    linear(`${name}.attention.output.dense`, d, d);
    norm(`${name}.attention.output.LayerNorm`);
    linear(`${name}.intermediate.dense`, d, inner);
    linear(`${name}.output.dense`, inner, d);
    norm(`${name}.output.LayerNorm`);
  }
  return shapes;
}

export function bartConfig() {
  const { hidden, heads, inner, layers } = size;
  return {
    model_type: "bart",
    d_model: hidden,
    encoder_layers: layers,
    decoder_layers: layers,
    encoder_attention_heads: heads,
    decoder_attention_heads: heads * 2,
    encoder_ffn_dim: inner,
    decoder_ffn_dim: inner * 2,
    vocab_size: 264,
    max_position_embeddings: 16,
    scale_embedding: true,
    activation_function: "gelu",
    decoder_start_token_id: 262,
  };
}

export function bartShapes(): Shapes {
  const { hidden: d, inner, layers } = size;
  const shapes: Record<string, number[]> = {
    "shared.weight": [264, d],
    final_logits_bias: [1, 264],
  };
  const norm = (name: string) =>
    Object.assign(shapes, { [`${name}.weight`]: [d], [`${name}.bias`]: [d] });
  const linear = (name: string, from: number, to: number) =>
    Object.assign(shapes, { [`${name}.weight`]: [to, from], [`${name}.bias`]: [to] });
  for (const [side, wide] of [
    ["encoder", inner],
    ["decoder", inner * 2],
  ] as const) {
    shapes[`${side}.embed_positions.weight`] = [18, d];
    norm(`${side}.layernorm_embedding`);
    for (let i = 0; i < layers; i++) {
      const name = `${side}.layers.${i}`;
      for (const kind of side === "encoder" ? ["self_attn"] : ["self_attn", "encoder_attn"]) {
        for (const part of ["q_proj", "k_proj", "v_proj", "out_proj"])
          linear(`${name}.${kind}.${part}`, d, d);
        norm(`${name}.${kind}_layer_norm`);
      }
      linear(`${name}.fc1`, d, wide);
      linear(`${name}.fc2`, wide, d);
      norm(`${name}.final_layer_norm`);
    }
  }
  return shapes;
}

/** Random tensors of these shapes, scales of norms near 1. */
export function randomTensors(shapes: Shapes, seed: number): Weights {
  const random = new Random(seed);
  const weights: Weights = new Map();
  for (const [name, shape] of Object.entries(shapes)) {
    const length = shape.reduce((product, length) => product * length, 1);
    const around = /orm\.weight$|norm_embedding\.weight$/.test(name) ? 1 : 0;
    const data = Float32Array.from({ length }, () => around + random.below(2001) / 1000 - 1);
    weights.set(name, { shape, data });
  }
  return weights;
}

/** The same as lists, for sums by hand. */
export function naive(weights: Weights): Tensors {
  return Object.fromEntries(
    [...weights].map(([name, { shape, data }]): [string, Matrix] => {
      const columns = shape.at(-1)!;
      const rows = data.length / columns;
      const row = (r: number) => [...data.subarray(r * columns, (r + 1) * columns)];
      return [name, Array.from({ length: rows }, (_, r) => row(r))];
    }),
  );
}

export interface FolderParts {
  readonly config: unknown;
  readonly tokenizer: unknown;
  /** Tensors under the names of the file. */
  readonly weights: Weights;
  /** Adds a list of positions as 64-bit integers, as older files have it. */
  readonly integers?: boolean;
}

export async function writeFolder(dir: string, parts: FolderParts): Promise<string> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "config.json"), JSON.stringify(parts.config));
  await writeFile(join(dir, "tokenizer.json"), JSON.stringify(parts.tokenizer));
  const bytes = writeSafetensors(parts.weights);
  await writeFile(join(dir, "model.safetensors"), parts.integers ? withIntegers(bytes) : bytes);
  return dir;
}

function withIntegers(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const start = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  const end = bytes.length - start;
  header["embeddings.position_ids"] = {
    dtype: "I64",
    shape: [1, 3],
    data_offsets: [end, end + 24],
  };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(8 + text.length + end + 24);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  out.set(bytes.subarray(start), 8 + text.length);
  return out;
}
