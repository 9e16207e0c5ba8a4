// Small random Hugging Face folders of the kinds gpt2 and llama, and what such models compute:
// plain loops in double precision over the checkpoint's own names and layouts, written from the
// papers without any code of src/.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Random } from "../src/model/random.ts";
import { tinyTokenizerJson, tinyTokens, tinyVocabSize } from "./tiny-model.ts";

export type TensorFormat = "F32" | "F16" | "BF16";

export interface HfTensor {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}
export type HfTensors = Map<string, HfTensor>;

/** Multiples of 2^-8 with 7 bits: the same number in every format. */
function randomTensor(
  shape: readonly number[],
  random: Random,
  { mean = 0, deviation = 0.15 }: { mean?: number; deviation?: number } = {},
): HfTensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const value = () => {
    const units = Math.round(256 * (mean + deviation * random.normal()));
    return Math.max(-127, Math.min(127, units)) / 256;
  };
  return { shape, values: Array.from({ length: count }, value) };
}

export const gpt2Sizes = { d: 16, heads: 2, layers: 2, inner: 24, positions: 32 } as const;

export const gpt2Config = {
  model_type: "gpt2",
  architectures: ["GPT2LMHeadModel"],
  vocab_size: tinyVocabSize,
  n_positions: gpt2Sizes.positions,
  n_embd: gpt2Sizes.d,
  n_layer: gpt2Sizes.layers,
  n_head: gpt2Sizes.heads,
  n_inner: gpt2Sizes.inner,
  activation_function: "gelu_new",
  layer_norm_epsilon: 1e-5,
  bos_token_id: tinyTokens.end,
  eos_token_id: tinyTokens.end,
};

const norm = { mean: 0.35, deviation: 0.05 };

export function gpt2Tensors(seed = 1, prefix = "transformer."): HfTensors {
  const { d, layers, inner, positions } = gpt2Sizes;
  const random = new Random(seed);
  const tensors: HfTensors = new Map();
  const put = (name: string, shape: readonly number[], spread = {}) => {
    tensors.set(prefix + name, randomTensor(shape, random, spread));
  };
  put("wte.weight", [tinyVocabSize, d]);
  put("wpe.weight", [positions, d]);
  const normed = (name: string) => {
    put(`${name}.weight`, [d], norm);
    put(`${name}.bias`, [d]);
  };
  for (let i = 0; i < layers; i++) {
    const linear = (name: string, from: number, to: number) => {
      put(`h.${i}.${name}.weight`, [from, to]);
      put(`h.${i}.${name}.bias`, [to]);
    };
    normed(`h.${i}.ln_1`);
    linear("attn.c_attn", d, 3 * d);
    linear("attn.c_proj", d, d);
    put(`h.${i}.attn.bias`, [1, 1, 4, 4]);
    normed(`h.${i}.ln_2`);
    linear("mlp.c_fc", d, inner);
    linear("mlp.c_proj", inner, d);
  }
  normed("ln_f");
  return tensors;
}

export const llamaSizes = { d: 16, heads: 4, kvHeads: 2, layers: 2, inner: 24 } as const;

export const llamaConfig = {
  model_type: "llama",
  vocab_size: tinyVocabSize,
  hidden_size: llamaSizes.d,
  intermediate_size: llamaSizes.inner,
  num_hidden_layers: llamaSizes.layers,
  num_attention_heads: llamaSizes.heads,
  num_key_value_heads: llamaSizes.kvHeads,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 500,
  tie_word_embeddings: false,
  bos_token_id: tinyTokens.begin,
  eos_token_id: [tinyTokens.end],
};

export function llamaTensors(seed = 1): HfTensors {
  const { d, heads, kvHeads, layers, inner } = llamaSizes;
  const random = new Random(seed);
  const tensors: HfTensors = new Map();
  const put = (name: string, shape: readonly number[], spread = {}) => {
    tensors.set(name, randomTensor(shape, random, spread));
  };
  const kd = (kvHeads * d) / heads;
  put("model.embed_tokens.weight", [tinyVocabSize, d]);
  for (let i = 0; i < layers; i++) {
    const at = `model.layers.${i}`;
    put(`${at}.input_layernorm.weight`, [d], norm);
    put(`${at}.self_attn.q_proj.weight`, [d, d]);
    put(`${at}.self_attn.k_proj.weight`, [kd, d]);
    put(`${at}.self_attn.v_proj.weight`, [kd, d]);
    put(`${at}.self_attn.o_proj.weight`, [d, d]);
    put(`${at}.self_attn.rotary_emb.inv_freq`, [2]);
    put(`${at}.post_attention_layernorm.weight`, [d], norm);
    put(`${at}.mlp.gate_proj.weight`, [inner, d]);
    put(`${at}.mlp.up_proj.weight`, [inner, d]);
    put(`${at}.mlp.down_proj.weight`, [d, inner]);
  }
  put("model.norm.weight", [d], norm);
  put("lm_head.weight", [tinyVocabSize, d]);
  return tensors;
}

/** Bytes of a safetensors file in one number format. */
export function tensorFile(tensors: HfTensors, format: TensorFormat = "F32"): Uint8Array {
  const size = format === "F32" ? 4 : 2;
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let at = 0;
  for (const [name, { shape, values }] of tensors) {
    const end = at + size * values.length;
    header[name] = { dtype: format, shape, data_offsets: [at, end] };
    at = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + at);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  let place = 8 + text.length;
  for (const { values } of tensors.values()) {
    for (const value of values) {
      if (format === "F32") view.setFloat32(place, value, true);
      else view.setUint16(place, format === "F16" ? halfBits(value) : brainBits(value), true);
      place += size;
    }
  }
  return bytes;
}

function brainBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16;
}

/** Of numbers that are normal in half precision, without rounding. */
function halfBits(value: number): number {
  if (value === 0) return 0;
  const exponent = Math.floor(Math.log2(Math.abs(value)));
  const fraction = (Math.abs(value) / 2 ** exponent - 1) * 1024;
  return (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | fraction;
}

export interface HfFolder {
  readonly config: object;
  readonly tensors: HfTensors;
  readonly format?: TensorFormat;
  /** vocab.json and merges.txt in the place of tokenizer.json. */
  readonly separate?: boolean;
  readonly tokenizerConfig?: object;
}

/** Writes a folder as it is downloaded. */
export async function writeHfFolder(dir: string, folder: HfFolder): Promise<string> {
  await mkdir(dir, { recursive: true });
  const put = (name: string, data: string | Uint8Array) => writeFile(join(dir, name), data);
  await put("config.json", JSON.stringify(folder.config));
  await put("model.safetensors", tensorFile(folder.tensors, folder.format));
  const tokenizer = tinyTokenizerJson();
  if (folder.separate) {
    const { vocab, merges } = tokenizer.model;
    const specials = tokenizer.added_tokens.map(({ content, id }) => [content, id]);
    await put("vocab.json", JSON.stringify({ ...vocab, ...Object.fromEntries(specials) }));
    await put("merges.txt", `#version: 0.2\n${merges.join("\n")}\n`);
  } else await put("tokenizer.json", JSON.stringify(tokenizer));
  if (folder.tokenizerConfig) {
    await put("tokenizer_config.json", JSON.stringify(folder.tokenizerConfig));
  }
  return dir;
}

// ---- what the models compute --------------------------------------------------------------------

type Row = number[];

const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const plus = (a: Row, b: readonly number[]) => a.map((value, i) => value + b[i]!);

function reader(tensors: HfTensors) {
  const values = (name: string) => {
    const found = tensors.get(name);
    if (!found) throw new Error(`no ${name}`);
    return found.values;
  };
  const rowsOf = (name: string): Row[] => {
    const width = tensors.get(name)!.shape[1]!;
    const all = values(name);
    return Array.from({ length: all.length / width }, (_, i) =>
      all.slice(i * width, (i + 1) * width),
    );
  };
  return { values, rowsOf };
}

/** Causal attention of heads side by side; key head of query head h is h * groups / heads. */
function attend(
  queries: Row[],
  keys: Row[],
  values: Row[],
  { heads, kvHeads }: { heads: number; kvHeads: number },
): Row[] {
  const width = queries[0]!.length / heads;
  return queries.map((query, t) => {
    const out: Row = [];
    for (let h = 0; h < heads; h++) {
      const at = Math.floor((h * kvHeads) / heads) * width;
      const part = query.slice(h * width, (h + 1) * width);
      const scores = keys
        .slice(0, t + 1)
        .map((key) => dot(part, key.slice(at, at + width)) / Math.sqrt(width));
      const greatest = Math.max(...scores);
      const powers = scores.map((score) => Math.exp(score - greatest));
      const total = powers.reduce((sum, power) => sum + power, 0);
      for (let i = at; i < at + width; i++) {
        out.push(powers.reduce((sum, power, j) => sum + (power / total) * values[j]![i]!, 0));
      }
    }
    return out;
  });
}

/** Logits of every position. `scoreFactor` multiplies a layer's scores. */
export function gpt2Logits(
  tensors: HfTensors,
  ids: readonly number[],
  scoreFactor: (layer: number) => number = () => 1,
): Row[] {
  const { values, rowsOf } = reader(tensors);
  const { d, heads, layers } = gpt2Sizes;
  const at = "transformer.";
  const layerNorm = (x: Row, name: string): Row => {
    const mean = x.reduce((sum, value) => sum + value, 0) / d;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / d;
    const [scale, shift] = [values(`${name}.weight`), values(`${name}.bias`)];
    return x.map(
      (value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * scale[i]! + shift[i]!,
    );
  };
  const linear = (x: Row, name: string): Row => {
    const matrix = rowsOf(`${name}.weight`);
    return values(`${name}.bias`).map(
      (bias, j) => bias + x.reduce((sum, value, i) => sum + value * matrix[i]![j]!, 0),
    );
  };
  const gelu = (x: number) =>
    0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
  const [tokens, positions] = [rowsOf(`${at}wte.weight`), rowsOf(`${at}wpe.weight`)];
  let x = ids.map((id, t) => plus(tokens[id]!, positions[t]!));
  for (let layer = 0; layer < layers; layer++) {
    const name = `${at}h.${layer}`;
    const fused = x.map((row) => linear(layerNorm(row, `${name}.ln_1`), `${name}.attn.c_attn`));
    const part = (from: number) => fused.map((row) => row.slice(from * d, (from + 1) * d));
    const queries = part(0).map((row) => row.map((value) => value * scoreFactor(layer)));
    const mixed = attend(queries, part(1), part(2), { heads, kvHeads: heads });
    x = x.map((row, t) => plus(row, linear(mixed[t]!, `${name}.attn.c_proj`)));
    x = x.map((row) => {
      const inner = linear(layerNorm(row, `${name}.ln_2`), `${name}.mlp.c_fc`).map(gelu);
      return plus(row, linear(inner, `${name}.mlp.c_proj`));
    });
  }
  return x.map((row) => {
    const normed = layerNorm(row, `${at}ln_f`);
    return tokens.map((token) => dot(token, normed));
  });
}

/** Logits of every position, rotary pairs (i, i + width / 2). */
export function llamaLogits(
  tensors: HfTensors,
  ids: readonly number[],
  base: number = llamaConfig.rope_theta,
): Row[] {
  const { values, rowsOf } = reader(tensors);
  const { d, heads, kvHeads, layers } = llamaSizes;
  const width = d / heads;
  const rmsNorm = (x: Row, name: string): Row => {
    const size = Math.sqrt(dot(x, x) / d + 1e-5);
    return x.map((value, i) => (value / size) * values(`${name}.weight`)[i]!);
  };
  const linear = (x: Row, name: string): Row => rowsOf(`${name}.weight`).map((row) => dot(row, x));
  const turn = (x: Row, t: number): Row =>
    x.map((value, column) => {
      const i = column % width;
      const pair = i % (width / 2);
      const angle = t * base ** ((-2 * pair) / width);
      const other = i < width / 2 ? -x[column + width / 2]! : x[column - width / 2]!;
      return value * Math.cos(angle) + other * Math.sin(angle);
    });
  let x = ids.map((id) => rowsOf("model.embed_tokens.weight")[id]!);
  for (let layer = 0; layer < layers; layer++) {
    const name = `model.layers.${layer}`;
    const normed = x.map((row) => rmsNorm(row, `${name}.input_layernorm`));
    const project = (part: string) =>
      normed.map((row) => linear(row, `${name}.self_attn.${part}_proj`));
    const mixed = attend(project("q").map(turn), project("k").map(turn), project("v"), {
      heads,
      kvHeads,
    });
    x = x.map((row, t) => plus(row, linear(mixed[t]!, `${name}.self_attn.o_proj`)));
    x = x.map((row) => {
      const inner = rmsNorm(row, `${name}.post_attention_layernorm`);
      const up = linear(inner, `${name}.mlp.up_proj`);
      const gated = linear(inner, `${name}.mlp.gate_proj`).map(
        (value, i) => (value / (1 + Math.exp(-value))) * up[i]!,
      );
      return plus(row, linear(gated, `${name}.mlp.down_proj`));
    });
  }
  return x.map((row) => linear(rmsNorm(row, "model.norm"), "lm_head"));
}
