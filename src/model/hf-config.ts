// What config.json of a Hugging Face model folder means here, for the kinds gpt2 and llama: the
// config of the same model before its norms are folded. Keys that change what a model computes and
// that no graph op has are refused; all others are left alone.

import { z } from "zod";
import { MergenError } from "../errors.ts";
import { type ModelConfig, parseConfig } from "./config.ts";

export const huggingFaceKinds = ["gpt2", "llama"] as const;
export type HuggingFaceKind = (typeof huggingFaceKinds)[number];

export interface HuggingFaceConfig {
  readonly kind: HuggingFaceKind;
  /** Before folding; its prompt has no begin token yet. */
  readonly config: ModelConfig;
  /** What each layer's scores are multiplied by besides 1 / sqrt(head width). */
  readonly scoreFactor: (layer: number) => number;
  /** Id of the token that stands before a text, where there is one. */
  readonly begin: number | undefined;
}

const size = z.int().positive();
const id = z.int().nonnegative();
const ids = z.union([id, z.array(id).min(1)]).nullish();

const gpt2 = z.looseObject({
  vocab_size: size,
  n_positions: size,
  n_embd: size,
  n_layer: size,
  n_head: size,
  n_inner: size.nullish(),
  activation_function: z.enum(["gelu_new", "gelu_pytorch_tanh", "gelu"]).default("gelu_new"),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  add_cross_attention: z.literal(false).default(false),
  tie_word_embeddings: z.boolean().default(true),
  bos_token_id: id.nullish(),
  eos_token_id: ids,
  pad_token_id: id.nullish(),
});

const plainRope = z.looseObject({
  rope_theta: z.number().positive().optional(),
  rope_type: z.literal("default").optional(),
  type: z.literal("default").optional(),
});

const llama = z.looseObject({
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  max_position_embeddings: size.default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  rope_theta: z.number().positive().default(10000),
  rope_scaling: plainRope.nullish(),
  rope_parameters: plainRope.nullish(),
  attention_bias: z.literal(false).default(false),
  mlp_bias: z.literal(false).default(false),
  hidden_act: z.literal("silu").default("silu"),
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: id.nullish(),
  eos_token_id: ids,
  pad_token_id: id.nullish(),
});

/** Which kind of Hugging Face model a parsed config.json is of; undefined when of none. */
export function huggingFaceKind(json: unknown): HuggingFaceKind | undefined {
  const type = (json as { model_type?: unknown } | null)?.model_type;
  return huggingFaceKinds.find((kind) => kind === type);
}

/** @throws E_MODEL naming the file and the key that is wrong or not supported */
export function parseHuggingFaceConfig(json: unknown, origin: string): HuggingFaceConfig {
  const kind = huggingFaceKind(json);
  switch (kind) {
    case "gpt2":
      return gpt2Config(json, origin);
    case "llama":
      return llamaConfig(json, origin);
    case undefined:
      throw new MergenError("E_MODEL", `${origin}: model_type is none of ${huggingFaceKinds}`);
    default:
      return kind satisfies never;
  }
}

function gpt2Config(json: unknown, origin: string): HuggingFaceConfig {
  const given = checked(gpt2, json, origin);
  const config = parseConfig(
    {
      ...common(given, given.n_positions, origin),
      hiddenSize: given.n_embd,
      layerCount: given.n_layer,
      headCount: given.n_head,
      innerSize: given.n_inner ?? 4 * given.n_embd,
      activation: {
        kind: "gelu",
        form: given.activation_function === "gelu" ? "erf" : "tanh",
      },
      norm: { kind: "layernorm", eps: given.layer_norm_epsilon, scale: true },
    },
    origin,
  );
  const width = given.n_embd / given.n_head;
  const scoreFactor = (layer: number) =>
    (given.scale_attn_weights ? 1 : Math.sqrt(width)) /
    (given.scale_attn_by_inverse_layer_idx ? layer + 1 : 1);
  return { kind: "gpt2", config, scoreFactor, begin: undefined };
}

function llamaConfig(json: unknown, origin: string): HuggingFaceConfig {
  const given = checked(llama, json, origin);
  const width = given.hidden_size / given.num_attention_heads;
  if ((given.head_dim ?? width) !== width) {
    const message = `${origin}: head_dim is not hidden_size / num_attention_heads`;
    throw new MergenError("E_MODEL", `${message}, which is not supported`);
  }
  const base = given.rope_parameters?.rope_theta ?? given.rope_theta;
  const config = parseConfig(
    {
      ...common(given, given.max_position_embeddings, origin),
      block: "llama",
      hiddenSize: given.hidden_size,
      layerCount: given.num_hidden_layers,
      headCount: given.num_attention_heads,
      kvHeadCount: given.num_key_value_heads ?? given.num_attention_heads,
      innerSize: given.intermediate_size,
      rope: { base },
      activation: { kind: "silu" },
      norm: { kind: "rmsnorm", eps: given.rms_norm_eps, scale: true },
    },
    origin,
  );
  const begin = given.bos_token_id ?? undefined;
  return { kind: "llama", config, scoreFactor: () => 1, begin };
}

function checked<T>(schema: z.ZodType<T>, json: unknown, origin: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue?.path.map(String).join(".") || "the whole";
  const message = `${origin}: ${where}: ${issue?.message ?? "is not valid"}`;
  throw new MergenError("E_MODEL", `${message}; such a model cannot be imported`);
}

interface Common {
  readonly vocab_size: number;
  readonly tie_word_embeddings: boolean;
  readonly bos_token_id?: number | null | undefined;
  readonly eos_token_id?: number | number[] | null | undefined;
  readonly pad_token_id?: number | null | undefined;
}

const MOST_TOKENS = 256;

function common(given: Common, positions: number, origin: string) {
  const listed = given.eos_token_id ?? given.bos_token_id ?? undefined;
  const end = Array.isArray(listed) ? listed[0] : listed;
  if (end === undefined) {
    const message = `${origin}: eos_token_id is missing`;
    throw new MergenError("E_MODEL", `${message}; add the id of the token that ends a text`);
  }
  return {
    model_type: "mergen",
    recipe: "vanilla",
    vocabSize: given.vocab_size,
    positionCount: positions,
    attention: "softmax",
    residual: true,
    nextToken: "lookup",
    tiedHead: given.tie_word_embeddings,
    tokens: { pad: given.pad_token_id ?? end, begin: given.bos_token_id ?? end, end },
    prompt: { kind: "text", bucket: 1 },
    generation: {
      maxTokens: Math.max(1, Math.min(MOST_TOKENS, positions >> 1)),
      chunk: 1,
      anchor: 1,
    },
  };
}
