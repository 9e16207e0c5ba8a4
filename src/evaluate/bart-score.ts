// BARTScore with a BART model that the user has: the mean log-probability of one text's tokens
// given another. Source: Yuan et al. 2021; details as its authors' code has them: the target is
// <s> text </s>, whose every token counts, and the decoder begins with decoder_start_token_id.

import { join } from "node:path";
import { z } from "zod";
import { ensure } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { MatchScore } from "./bert-score.ts";
import {
  checkVocabulary,
  readConfig,
  readTensors,
  readTokenizer,
  specialToken,
} from "./pretrained.ts";
import { Layers, type Rows, rowsOf, sum } from "./transformer.ts";

const size = z.int().positive();
const tokenId = z.int().nonnegative();
const configSchema = z.looseObject({
  model_type: z.literal("bart"),
  d_model: size,
  encoder_layers: size,
  decoder_layers: size,
  encoder_attention_heads: size,
  decoder_attention_heads: size,
  encoder_ffn_dim: size,
  decoder_ffn_dim: size,
  vocab_size: size,
  max_position_embeddings: size,
  scale_embedding: z.boolean().default(false),
  activation_function: z.literal("gelu").default("gelu"),
  decoder_start_token_id: tokenId.default(2),
  normalize_before: z.literal(false).default(false),
  add_final_layer_norm: z.literal(false).default(false),
});
type BartConfig = z.infer<typeof configSchema>;

/** BART's table has two positions before the first. */
const POSITION_OFFSET = 2;
const EPS = 1e-5;

export class BartScorer {
  readonly #config: BartConfig;
  readonly #layers: Layers;
  readonly #tokenizer: Tokenizer;
  readonly #first: number;
  readonly #last: number;

  private constructor(
    config: BartConfig,
    { layers, tokenizer, dir }: { layers: Layers; tokenizer: Tokenizer; dir: string },
  ) {
    this.#config = config;
    this.#layers = layers;
    this.#tokenizer = tokenizer;
    this.#first = specialToken(tokenizer, "<s>", dir);
    this.#last = specialToken(tokenizer, "</s>", dir);
    checkVocabulary(tokenizer, config.vocab_size, dir);
    const { d_model, encoder_attention_heads, decoder_attention_heads } = config;
    const divides = [encoder_attention_heads, decoder_attention_heads].every(
      (heads) => d_model % heads === 0,
    );
    const origin = join(dir, "config.json");
    ensure(divides, "E_MODEL", `${origin}: the heads do not divide d_model; mend it`);
    this.#logProbabilities([this.#first], [this.#last]); // finds what is missing before any text
  }

  /** @throws E_MODEL, E_TOKENIZER naming what is missing */
  static async load(dir: string, kernels: FloatKernels): Promise<BartScorer> {
    const config = await readConfig(dir, configSchema, "a BART model with GELU");
    const tokenizer = await readTokenizer(dir);
    const weights = await readTensors(dir, (name) => name.replace(/^model\./, ""));
    const layers = new Layers(kernels, weights, join(dir, "model.safetensors"));
    return new BartScorer(config, { layers, tokenizer, dir });
  }

  /**
   * A text and its best references: precision is the text given the reference, recall the
   * reference given the text, f1 the mean of the two, all logarithms, at most 0.
   */
  score(text: string, references: readonly string[]): MatchScore {
    const scores = references.map((reference) => {
      const precision = this.logLikelihood(reference, text);
      const recall = this.logLikelihood(text, reference);
      return { precision, recall, f1: (precision + recall) / 2 };
    });
    const best = (of: (score: MatchScore) => number) => Math.max(...scores.map(of));
    return {
      precision: best(({ precision }) => precision),
      recall: best(({ recall }) => recall),
      f1: best(({ f1 }) => f1),
    };
  }

  /** Mean log-probability of the target's tokens given the source. */
  logLikelihood(source: string, target: string): number {
    const values = this.#logProbabilities(this.#ids(source), this.#ids(target));
    return values.reduce((total, value) => total + value, 0) / values.length;
  }

  #ids(text: string): number[] {
    const most = this.#config.max_position_embeddings - 2;
    return [this.#first, ...this.#tokenizer.encode(text.trim()).slice(0, most), this.#last];
  }

  /** log p of each target token, given the source and the target's tokens before it. */
  #logProbabilities(source: readonly number[], target: readonly number[]): number[] {
    const { vocab_size: vocabulary, d_model: d, decoder_start_token_id: start } = this.#config;
    const encoded = this.#encoder(source);
    const hidden = this.#decoder([start, ...target.slice(0, -1)], encoded);
    const layers = this.#layers;
    const head = layers.weight(this.#tableOf("lm_head.weight"), [vocabulary, d]);
    const logits = layers.product(hidden, head, vocabulary).data;
    if (layers.has("final_logits_bias")) {
      const bias = layers.weight("final_logits_bias", [1, vocabulary]);
      for (let i = 0; i < logits.length; i++) logits[i] += bias[i % vocabulary];
    }
    const out = new Float32Array(logits.length);
    const logSums = new Float32Array(target.length);
    const rows = target.length;
    layers.kernels.softmax({ rows, columns: vocabulary, x: logits, out, logSums });
    return target.map((id, row) => logits[row * vocabulary + id] - logSums[row]);
  }

  #encoder(ids: readonly number[]): Rows {
    const { encoder_layers, encoder_attention_heads: heads, encoder_ffn_dim } = this.#config;
    let x = this.#input(ids, "encoder");
    for (let i = 0; i < encoder_layers; i++) {
      const name = `encoder.layers.${i}`;
      x = this.#attend(x, x, { name: `${name}.self_attn`, heads, causal: false });
      x = this.#feedForward(x, name, encoder_ffn_dim);
    }
    return x;
  }

  #decoder(ids: readonly number[], encoded: Rows): Rows {
    const { decoder_layers, decoder_attention_heads: heads, decoder_ffn_dim } = this.#config;
    let x = this.#input(ids, "decoder");
    for (let i = 0; i < decoder_layers; i++) {
      const name = `decoder.layers.${i}`;
      x = this.#attend(x, x, { name: `${name}.self_attn`, heads, causal: true });
      x = this.#attend(x, encoded, { name: `${name}.encoder_attn`, heads, causal: false });
      x = this.#feedForward(x, name, decoder_ffn_dim);
    }
    return x;
  }

  #input(ids: readonly number[], side: "encoder" | "decoder"): Rows {
    const { d_model: d, vocab_size, max_position_embeddings, scale_embedding } = this.#config;
    const table = this.#tableOf(`${side}.embed_tokens.weight`);
    const factor = scale_embedding ? Math.sqrt(d) : 1;
    const words = rowsOf(this.#layers.weight(table, [vocab_size, d]), ids, d, factor);
    const places = max_position_embeddings + POSITION_OFFSET;
    const positions = this.#layers.weight(`${side}.embed_positions.weight`, [places, d]);
    const numbered = ids.map((_, i) => i + POSITION_OFFSET);
    const x = sum(words, rowsOf(positions, numbered, d));
    return this.#layers.norm(x, `${side}.layernorm_embedding`, EPS);
  }

  /** A table of the vocabulary by its own name or, where files keep it once, by the shared one. */
  #tableOf(name: string): string {
    return this.#layers.has(name) ? name : "shared.weight";
  }

  #attend(
    x: Rows,
    source: Rows,
    { name, heads, causal }: { name: string; heads: number; causal: boolean },
  ): Rows {
    const names = {
      query: `${name}.q_proj`,
      key: `${name}.k_proj`,
      value: `${name}.v_proj`,
      output: `${name}.out_proj`,
    };
    const attended = this.#layers.attention(x, source, { names, heads, causal });
    return this.#layers.norm(sum(x, attended), `${name}_layer_norm`, EPS);
  }

  #feedForward(x: Rows, name: string, inner: number): Rows {
    const layers = this.#layers;
    const wide = layers.gelu(layers.linear(x, `${name}.fc1`, inner));
    const out = layers.linear(wide, `${name}.fc2`, x.columns);
    return layers.norm(sum(x, out), `${name}.final_layer_norm`, EPS);
  }
}
