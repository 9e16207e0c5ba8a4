// Tensors of Hugging Face models under the names and in the layout of ours, before folding.
//   gpt2   matrices are [in, out] (Conv1D); query, key and value stand side by side in c_attn
//   llama  matrices are [out, in]; rotary pairs are (i, i + w / 2), ours (2i, 2i + 1)

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { MergenError } from "../errors.ts";
import type { ModelConfig } from "./config.ts";
import { orUnreadable, readJson } from "./files.ts";
import { turnedData } from "./fold.ts";
import type { HuggingFaceKind } from "./hf-config.ts";
import type { Weights } from "./safetensors.ts";
import { readWeights } from "./weights-file.ts";

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const indexSchema = z.looseObject({
  weight_map: z.record(z.string(), z.string().regex(/^[\w.-]+\.safetensors$/)),
});

/** Masks and tables of angles that a checkpoint may hold; they follow from the config. */
const derived: Record<HuggingFaceKind, RegExp> = {
  gpt2: /\.attn\.(masked_)?bias$/,
  llama: /\.rotary_emb\.inv_freq$/,
};
const prefixes: Record<HuggingFaceKind, string> = { gpt2: "transformer.", llama: "model." };

/**
 * Reads model.safetensors, or the files that its index names.
 * @throws E_MODEL naming the file or the tensor that is missing or wrong
 */
export async function readHuggingFaceWeights(
  dir: string,
  kind: HuggingFaceKind,
  config: ModelConfig,
): Promise<Weights> {
  const names = await orUnreadable(dir, () => readdir(dir));
  if (!names.includes(SINGLE) && !names.includes(INDEX)) {
    const converted = names.some((name) => name.startsWith("pytorch_model"));
    const remedy = converted ? "convert pytorch_model to safetensors" : "download it";
    throw new MergenError("E_MODEL", `${join(dir, SINGLE)}: is missing; ${remedy}`);
  }
  const files = names.includes(SINGLE) ? [SINGLE] : await listedFiles(join(dir, INDEX));
  const raw: Weights = new Map();
  const ignore = (name: string) => derived[kind].test(name);
  for (const file of files) {
    const path = join(dir, file);
    const part = await orUnreadable(path, () => readWeights(path, { ignore }));
    for (const [name, tensor] of part) raw.set(name, tensor);
  }
  const source = new Source(raw, { prefix: prefixes[kind], origin: join(dir, files[0]!) });
  const weights = kind === "gpt2" ? gpt2Weights(source, config) : llamaWeights(source, config);
  // Checkpoints may hold a tied head a second time.
  source.finish(config.tiedHead ? ["lm_head.weight"] : []);
  return weights;
}

async function listedFiles(path: string): Promise<string[]> {
  const result = indexSchema.safeParse(await readJson(path));
  if (result.success) return [...new Set(Object.values(result.data.weight_map))].sort();
  const message = `${path}: has no weight_map from tensors to files of this folder`;
  throw new MergenError("E_MODEL", `${message}; copy the file anew`);
}

/** Tensors that are given out once, so that what is left over shows. */
class Source {
  readonly #raw: Weights;
  readonly #prefix: string;
  readonly #origin: string;

  constructor(raw: Weights, { prefix, origin }: { prefix: string; origin: string }) {
    this.#raw = raw;
    this.#prefix = prefix;
    this.#origin = origin;
  }

  take(name: string, shape: readonly number[]): Float32Array {
    const full = this.#raw.has(this.#prefix + name) ? this.#prefix + name : name;
    const tensor = this.#raw.get(full);
    if (!tensor) this.#fail(name, "is missing; take the weights that belong to config.json");
    else if (String(tensor.shape) !== String(shape)) {
      this.#fail(name, `has shape [${tensor.shape}], config.json asks for [${shape}]`);
    }
    this.#raw.delete(full);
    return tensor!.data;
  }

  finish(superfluous: readonly string[]): void {
    for (const name of this.#raw.keys()) {
      const known = superfluous.includes(name);
      if (!known) this.#fail(name, "is unknown to a model of this config.json; remove it");
    }
  }

  #fail(name: string, message: string): never {
    throw new MergenError("E_MODEL", `${this.#origin}: tensor ${JSON.stringify(name)}: ${message}`);
  }
}

function gpt2Weights(source: Source, config: ModelConfig): Weights {
  const { hiddenSize: d, innerSize, layerCount, vocabSize, positionCount } = config;
  const weights: Weights = new Map();
  const put = (name: string, shape: readonly number[], data: Float32Array) => {
    weights.set(name, { shape, data });
  };
  const norm = (name: string, from: string) => {
    put(`${name}.scale`, [d], source.take(`${from}.weight`, [d]));
    put(`${name}.shift`, [d], source.take(`${from}.bias`, [d]));
  };
  const linear = (name: string, from: string, [inner, outer]: [number, number]) => {
    put(`${name}.weight`, [inner, outer], source.take(`${from}.weight`, [inner, outer]));
    put(`${name}.bias`, [outer], source.take(`${from}.bias`, [outer]));
  };
  put("embedding.weight", [vocabSize, d], source.take("wte.weight", [vocabSize, d]));
  put("position.weight", [positionCount, d], source.take("wpe.weight", [positionCount, d]));
  for (let i = 0; i < layerCount; i++) {
    const [name, from] = [`layers.${i}`, `h.${i}`];
    norm(`${name}.attention.norm`, `${from}.ln_1`);
    const fused = source.take(`${from}.attn.c_attn.weight`, [d, 3 * d]);
    const bias = source.take(`${from}.attn.c_attn.bias`, [3 * d]);
    for (const [part, key] of ["query", "key", "value"].entries()) {
      const matrix = columnsOf(fused, { from: part * d, count: d, of: 3 * d });
      put(`${name}.attention.${key}.weight`, [d, d], matrix);
      put(`${name}.attention.${key}.bias`, [d], bias.slice(part * d, (part + 1) * d));
    }
    linear(`${name}.attention.output`, `${from}.attn.c_proj`, [d, d]);
    norm(`${name}.norm`, `${from}.ln_2`);
    linear(`${name}.u`, `${from}.mlp.c_fc`, [d, innerSize]);
    linear(`${name}.o`, `${from}.mlp.c_proj`, [innerSize, d]);
  }
  norm("norm", "ln_f");
  if (!config.tiedHead) putHead(weights, source, config);
  return weights;
}

function llamaWeights(source: Source, config: ModelConfig): Weights {
  const { hiddenSize: d, innerSize, layerCount, vocabSize, headCount } = config;
  const { kvHeadCount = headCount } = config;
  const width = d / headCount;
  const weights: Weights = new Map();
  const norm = (name: string, from: string) => {
    weights.set(`${name}.scale`, { shape: [d], data: source.take(`${from}.weight`, [d]) });
  };
  const linear = (name: string, from: string, [inner, outer]: [number, number], turns = false) => {
    const raw = source.take(`${from}.weight`, [outer, inner]);
    const data = turnedData(turns ? pairedRows(raw, { inner, width }) : raw, {
      rows: outer,
      columns: inner,
    });
    weights.set(`${name}.weight`, { shape: [inner, outer], data });
  };
  const table = source.take("embed_tokens.weight", [vocabSize, d]);
  weights.set("embedding.weight", { shape: [vocabSize, d], data: table });
  for (let i = 0; i < layerCount; i++) {
    const [name, from] = [`layers.${i}`, `layers.${i}`];
    norm(`${name}.attention.norm`, `${from}.input_layernorm`);
    linear(`${name}.attention.query`, `${from}.self_attn.q_proj`, [d, d], true);
    linear(`${name}.attention.key`, `${from}.self_attn.k_proj`, [d, kvHeadCount * width], true);
    linear(`${name}.attention.value`, `${from}.self_attn.v_proj`, [d, kvHeadCount * width]);
    linear(`${name}.attention.output`, `${from}.self_attn.o_proj`, [d, d]);
    norm(`${name}.norm`, `${from}.post_attention_layernorm`);
    linear(`${name}.gate`, `${from}.mlp.gate_proj`, [d, innerSize]);
    linear(`${name}.u`, `${from}.mlp.up_proj`, [d, innerSize]);
    linear(`${name}.o`, `${from}.mlp.down_proj`, [innerSize, d]);
  }
  norm("norm", "norm");
  if (!config.tiedHead) putHead(weights, source, config);
  return weights;
}

function putHead(weights: Weights, source: Source, { vocabSize, hiddenSize }: ModelConfig): void {
  const data = source.take("lm_head.weight", [vocabSize, hiddenSize]);
  const head = turnedData(data, { rows: vocabSize, columns: hiddenSize });
  weights.set("head.weight", { shape: [hiddenSize, vocabSize], data: head });
}

/** Columns from..from+count-1 of a matrix with `of` columns. */
function columnsOf(
  matrix: Float32Array,
  { from, count, of }: { from: number; count: number; of: number },
): Float32Array {
  const out = new Float32Array((matrix.length / of) * count);
  for (let row = 0; row * count < out.length; row++) {
    out.set(matrix.subarray(row * of + from, row * of + from + count), row * count);
  }
  return out;
}

/** Rows [heads * width, inner]: i and i + width / 2 of each head become 2i and 2i + 1. */
function pairedRows(
  rows: Float32Array,
  { inner, width }: { inner: number; width: number },
): Float32Array {
  const out = new Float32Array(rows.length);
  for (let row = 0; row * inner < rows.length; row++) {
    const at = row % width;
    const half = width / 2;
    const target = row - at + (at < half ? 2 * at : 2 * (at - half) + 1);
    out.set(rows.subarray(row * inner, (row + 1) * inner), target * inner);
  }
  return out;
}
