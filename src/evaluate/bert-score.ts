// BERTScore with a BERT or RoBERTa model that the user has: cosines of contextual embeddings,
// matched greedily. Source: Zhang et al. 2020; details as the bert_score package has them: without
// IDF the first and the last token ([CLS], [SEP]) count for nothing in the means, but others may be
// matched with them; of several references the best precision, recall and F1, each by itself; no
// rescaling.

import { join } from "node:path";
import { z } from "zod";
import { ensure } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import {
  checkVocabulary,
  readConfig,
  readTensors,
  readTokenizer,
  specialToken,
} from "./pretrained.ts";
import { Layers, type Rows, rowsOf, sum } from "./transformer.ts";

const size = z.int().positive();
const configSchema = z.looseObject({
  model_type: z.enum(["bert", "roberta"]),
  hidden_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  intermediate_size: size,
  vocab_size: size,
  max_position_embeddings: size,
  type_vocab_size: z.int().nonnegative().default(0),
  layer_norm_eps: z.number().positive().default(1e-12),
  pad_token_id: z.int().nonnegative().default(0),
  hidden_act: z.literal("gelu").default("gelu"),
  position_embedding_type: z.literal("absolute").default("absolute"),
});
type BertConfig = z.infer<typeof configSchema>;

/** Precision, recall and F1, or what takes their place. */
export interface MatchScore {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

export interface BertScoreOptions {
  /** How many layers the embeddings have gone through. Default: bert_score's, else all. */
  readonly layer?: number | undefined;
}

/** Unit vectors of a text's tokens, the first and the last among them. */
export class BertScorer {
  readonly #config: BertConfig;
  readonly #layers: Layers;
  readonly #tokenizer: Tokenizer;
  readonly #layer: number;
  readonly #first: number;
  readonly #last: number;
  /** Embeddings of references, which often stand for several texts. */
  readonly #known = new Map<string, Rows>();

  private constructor(
    config: BertConfig,
    parts: { layers: Layers; tokenizer: Tokenizer; dir: string; layer: number | undefined },
  ) {
    const { layers, tokenizer, dir } = parts;
    const names = config.model_type === "bert" ? ["[CLS]", "[SEP]"] : ["<s>", "</s>"];
    this.#config = config;
    this.#layers = layers;
    this.#tokenizer = tokenizer;
    [this.#first, this.#last] = names.map((name) => specialToken(tokenizer, name, dir));
    this.#layer = parts.layer ?? usualLayer(config);
    const depth = config.num_hidden_layers;
    const fits = Number.isInteger(this.#layer) && this.#layer >= 0 && this.#layer <= depth;
    ensure(fits, "E_USAGE", `BERTScore: the model has ${depth} layers; take one of 0 to ${depth}`);
    checkVocabulary(tokenizer, config.vocab_size, dir);
    ensure(
      config.hidden_size % config.num_attention_heads === 0,
      "E_MODEL",
      `${join(dir, "config.json")}: num_attention_heads does not divide hidden_size; mend it`,
    );
    this.#embeddings([this.#first, this.#last]); // finds what is missing before any text
  }

  /** @throws E_MODEL, E_TOKENIZER naming what is missing; E_USAGE when there is no such layer */
  static async load(
    dir: string,
    kernels: FloatKernels,
    { layer }: BertScoreOptions = {},
  ): Promise<BertScorer> {
    const config = await readConfig(dir, configSchema, "a BERT or RoBERTa model with GELU");
    const tokenizer = await readTokenizer(dir);
    const weights = await readTensors(dir, tensorName);
    const layers = new Layers(kernels, weights, join(dir, "model.safetensors"));
    return new BertScorer(config, { layers, tokenizer, dir, layer });
  }

  /** A text against its best references. A text without tokens scores 0. */
  score(text: string, references: readonly string[]): MatchScore {
    const own = this.#embeddings(this.#ids(text));
    const scores = references.map((reference) => this.#match(own, this.#reference(reference)));
    const best = (of: (score: MatchScore) => number) => Math.max(...scores.map(of));
    return {
      precision: best(({ precision }) => precision),
      recall: best(({ recall }) => recall),
      f1: best(({ f1 }) => f1),
    };
  }

  #match(own: Rows, other: Rows): MatchScore {
    if (own.rows <= 2 || other.rows <= 2) return { precision: 0, recall: 0, f1: 0 };
    const cosines = this.#layers.product(own, other.data, other.rows).data; // [own, other]
    const bestOf = (row: number, count: number, at: (row: number, i: number) => number) => {
      let best = -Infinity;
      for (let i = 0; i < count; i++) best = Math.max(best, at(row, i));
      return best;
    };
    let precision = 0;
    let recall = 0;
    const at = (i: number, j: number) => cosines[i * other.rows + j];
    for (let i = 1; i < own.rows - 1; i++) precision += bestOf(i, other.rows, at);
    for (let j = 1; j < other.rows - 1; j++) recall += bestOf(j, own.rows, (row, i) => at(i, row));
    precision /= own.rows - 2;
    recall /= other.rows - 2;
    const total = precision + recall;
    return { precision, recall, f1: total === 0 ? 0 : (2 * precision * recall) / total };
  }

  #reference(text: string): Rows {
    const known = this.#known.get(text);
    if (known) return known;
    const made = this.#embeddings(this.#ids(text));
    if (this.#known.size >= 256) this.#known.clear();
    this.#known.set(text, made);
    return made;
  }

  /** Ids with the first and the last token, cut to the model's positions. */
  #ids(text: string): number[] {
    const { model_type, max_position_embeddings } = this.#config;
    const trimmed = text.trim();
    // bert_score sets a blank before the first word for byte-level vocabularies.
    const spaced = model_type === "roberta" && trimmed !== "" ? ` ${trimmed}` : trimmed;
    const most = max_position_embeddings - this.#firstPosition() - 2;
    const ids = this.#tokenizer.encode(spaced).slice(0, most);
    return [this.#first, ...ids, this.#last];
  }

  /** RoBERTa counts positions from behind its padding token. */
  #firstPosition(): number {
    return this.#config.model_type === "roberta" ? this.#config.pad_token_id + 1 : 0;
  }

  /** Hidden states of the chosen layer, each of length 1, [n, d]. */
  #embeddings(ids: readonly number[]): Rows {
    const config = this.#config;
    let x = this.#input(ids);
    for (let i = 0; i < this.#layer; i++) x = this.#block(x, `encoder.layer.${i}`);
    const { columns } = x;
    for (let row = 0; row < x.rows; row++) {
      const vector = x.data.subarray(row * columns, (row + 1) * columns);
      const length = Math.hypot(...vector);
      for (let i = 0; i < config.hidden_size; i++) vector[i] /= length;
    }
    return x;
  }

  #input(ids: readonly number[]): Rows {
    const { hidden_size: d, vocab_size, max_position_embeddings, type_vocab_size } = this.#config;
    const weight = (name: string, rows: number) =>
      this.#layers.weight(`embeddings.${name}.weight`, [rows, d]);
    const first = this.#firstPosition();
    const positions = ids.map((_, i) => first + i);
    let x = rowsOf(weight("word_embeddings", vocab_size), ids, d);
    x = sum(x, rowsOf(weight("position_embeddings", max_position_embeddings), positions, d));
    if (type_vocab_size > 0) {
      const types = weight("token_type_embeddings", type_vocab_size);
      x = sum(x, rowsOf(types, new Array<number>(ids.length).fill(0), d));
    }
    return this.#layers.norm(x, "embeddings.LayerNorm", this.#config.layer_norm_eps);
  }

  #block(x: Rows, name: string): Rows {
    const layers = this.#layers;
    const { layer_norm_eps: eps, num_attention_heads: heads, intermediate_size } = this.#config;
    const names = {
      query: `${name}.attention.self.query`,
      key: `${name}.attention.self.key`,
      value: `${name}.attention.self.value`,
      output: `${name}.attention.output.dense`,
    };
    const attended = layers.attention(x, x, { names, heads, causal: false });
    const middle = layers.norm(sum(x, attended), `${name}.attention.output.LayerNorm`, eps);
    const inner = layers.gelu(
      layers.linear(middle, `${name}.intermediate.dense`, intermediate_size),
    );
    const outer = layers.linear(inner, `${name}.output.dense`, x.columns);
    return layers.norm(sum(middle, outer), `${name}.output.LayerNorm`, eps);
  }
}

/** The layers that bert_score takes, which its authors chose by agreement with people. */
function usualLayer({ model_type, num_hidden_layers, hidden_size }: BertConfig): number {
  const shape = `${model_type} ${num_hidden_layers} ${hidden_size}`;
  const chosen: Readonly<Record<string, number>> = {
    "bert 12 768": 9,
    "bert 24 1024": 18,
    "roberta 12 768": 10,
    "roberta 24 1024": 17,
  };
  return chosen[shape] ?? num_hidden_layers;
}

/** A tensor's name without the model's, and with today's names for a norm's parts. */
function tensorName(name: string): string | undefined {
  const inner = name.replace(/^(?:bert|roberta)\./, "");
  if (!/^(?:embeddings\..*\.|encoder\.layer\.)/.test(inner)) return undefined;
  return inner.replace(/\.gamma$/, ".weight").replace(/\.beta$/, ".bias");
}
