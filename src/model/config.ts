// The public part of a model: what config.json says and what client, server and dealer all know.
// Weights are not part of it. Its digest stands in every plan.

import { en } from "zod/locales";
import * as z from "zod/mini";
import { MergenError } from "../errors.ts";

const count = z.int().check(z.positive());
const natural = z.int().check(z.nonnegative());
const positive = z.number().check(z.positive());

const slot = z.strictObject({ name: z.string().check(z.minLength(1)), width: count });

/** How a text becomes the fixed positions of a prompt; data of the model, not code. */
const promptLayout = z.discriminatedUnion("kind", [
  /** `name[value], name[value], ...`, each value at its slot's own positions, padded. */
  z.strictObject({
    kind: z.literal("slots"),
    slots: z.array(slot).check(z.minLength(1)),
    /** Stands before each value when it is encoded, as " "; nothing by default. */
    prefix: z.optional(z.string()),
  }),
  /** Free text, padded to a multiple of `bucket` positions. */
  z.strictObject({
    kind: z.literal("text"),
    bucket: count,
    /** Whether the token `begin` stands before the text; then the text may be empty. */
    begin: z.optional(z.boolean()),
    /** left (default) or right of the text, which constant attention sees at the same places. */
    padding: z.optional(z.enum(["left", "right"])),
    /** Stands before the text when it is encoded, as " "; nothing by default. */
    prefix: z.optional(z.string()),
  }),
]);

/**
 * Bounds of one layer's wires, in real units. `proven` follows from the weights alone and holds
 * for every input; `calibrated` is [least, greatest] over real inputs with a margin.
 */
const layerBounds = z.strictObject({
  /** max |u|, the input of the activation. */
  u: z.strictObject({ proven: positive, calibrated: positive }),
  /** max |x + o|, the input of the norm. */
  o: z.strictObject({ proven: positive, calibrated: positive }),
  /** variance of x + o over a row, the argument of the reciprocal square root. */
  variance: z.strictObject({
    proven: positive,
    calibrated: z.tuple([positive, positive]),
  }),
});

const coefficients = z.tuple([z.number(), z.number(), z.number()]);
const approximations = ["puma", "bolt", "east"] as const;
const approximation = z.enum(approximations);

/** Settings of a transformer's attention. */
const attentionForm = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("softmax"),
    /** The exponential function: exact, or as a system approximates it. */
    exp: z._default(z.enum(["exact", ...approximations]), "exact"),
  }),
  z.strictObject({ kind: z.literal("2quad"), shift: z._default(z.number(), 5) }),
  z.strictObject({ kind: z.literal("2relu"), eps: z._default(positive, 1e-3) }),
  z.strictObject({
    kind: z.literal("power"),
    exponent: count.check(z.multipleOf(2)),
    eps: z._default(positive, 1e-6),
  }),
  z.strictObject({ kind: z.literal("the-x") }),
]);

/** How attention weights are made. */
export const attentionSchema = z.union([z.enum(["softmax", "constant"]), attentionForm]);

/** Layers of a merged module that also have attention by what rows hold. */
export const hybridSchema = z.strictObject({
  layers: z.array(natural).check(z.minLength(1)),
  attention: attentionForm,
});

const activationSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("quad"), coefficients }),
  z.strictObject({ kind: z.literal("gelu"), form: z.enum(["tanh", "erf"]) }),
  z.strictObject({ kind: z.literal("relu") }),
  z.strictObject({ kind: z.literal("silu") }),
  z.strictObject({
    kind: z.literal("piecewise"),
    name: approximation,
    /** What it approximates; gelu if absent. */
    of: z.optional(z.enum(["gelu", "silu"])),
  }),
  z.strictObject({
    kind: z.literal("mixed"),
    /** One for each layer. */
    layers: z.array(z.enum(["relu", "quad"])),
    coefficients,
  }),
]);

const configSchema = z.strictObject({
  model_type: z.literal("mergen"),
  recipe: z.string().check(z.minLength(1)),
  vocabSize: count,
  hiddenSize: count,
  layerCount: count,
  headCount: count,
  innerSize: count,
  /** Positions of prompt and generated part together. */
  positionCount: count,
  /** The ordinary decoder's block: gpt2 if absent; llama has a gated inner layer, no biases. */
  block: z.optional(z.enum(["gpt2", "llama"])),
  /** Heads of keys and values, each for headCount / kvHeadCount queries; headCount if absent. */
  kvHeadCount: z.optional(count),
  /** Rotary positions of queries and keys, in the place of a table of positions. */
  rope: z.optional(z.strictObject({ base: positive })),
  /** The query weights hold the factor 1 / sqrt(head width). */
  scaledQuery: z.optional(z.boolean()),
  attention: attentionSchema,
  activation: activationSchema,
  norm: z.strictObject({
    /**
     * layernorm and rmsnorm normalise; affine is x * scale + shift, without statistics; batchnorm
     * is the same behind stored statistics of each column.
     */
    kind: z.enum(["layernorm", "rmsnorm", "affine", "batchnorm"]),
    eps: z.number().check(z.nonnegative()),
    /** Whether a learned scale and (not with rmsnorm) shift follow the normalisation. */
    scale: z.boolean(),
  }),
  /** Whether the module's input is added to its output. */
  residual: z.boolean(),
  /** How the next input is made: looked up from the token, or the re-sent state. */
  nextToken: z.enum(["lookup", "resend"]),
  /** A re-sent state passes a linear layer of its own: the last norm's scale and shift, folded. */
  resendMap: z.optional(z.boolean()),
  /** Whether the head is the embedding table transposed. */
  tiedHead: z.boolean(),
  /** Whether an untied head has a bias. */
  headBias: z.optional(z.boolean()),
  /** Embeddings are multiplied by this power of two as inputs, not in a tied head. */
  embeddingScale: z.optional(positive),
  /** While training: constant attention is a sum of parts that positions share. */
  sharedAttention: z.optional(z.boolean()),
  hybrid: z.optional(hybridSchema),
  /** pad fills a prompt, begin is its last position, end stops the text. */
  tokens: z.strictObject({
    pad: natural,
    begin: natural,
    end: natural,
  }),
  prompt: promptLayout,
  generation: z.strictObject({
    maxTokens: count,
    /** Tokens whose logits are revealed together. */
    chunk: count,
    /** Every anchor-th token is sent back by the client; 0 never, 1 always. */
    anchor: natural,
  }),
  /** Bits after the point of each weight tensor's int16 grid, by tensor name. */
  weightFracBits: z.optional(z.record(z.string(), z.int())),
  wireBounds: z.optional(z.array(layerBounds)),
  /**
   * The same of an ordinary decoder's wires, by name: [least, greatest] seen, with a margin, and
   * what is proven; of magnitudes, or of a norm's mean square or variance.
   */
  ranges: z.optional(
    z.record(
      z.string(),
      z.strictObject({
        proven: positive,
        calibrated: z.tuple([z.number().check(z.nonnegative()), positive]),
      }),
    ),
  ),
  /** Bits after the point of what nonlinear gates of an ordinary decoder take in; default 12. */
  operandBits: z.optional(z.int().check(z.gte(6), z.lte(20))),
  /** Plan with calibrated bounds where proven ones do not fit; overflow is then silent. */
  calibratedBounds: z.optional(z.boolean()),
  /** max |logit|, proven and seen. */
  logitBound: z.optional(z.strictObject({ proven: positive, calibrated: positive })),
});

export type ModelConfig = z.infer<typeof configSchema>;
export type PromptLayout = z.infer<typeof promptLayout>;
export type LayerBounds = z.infer<typeof layerBounds>;

/**
 * Checks a parsed config.json.
 * @throws E_MODEL naming the key that is wrong
 */
export function parseConfig(json: unknown, origin = "config.json"): ModelConfig {
  const result = configSchema.safeParse(json, { error: en().localeError });
  if (!result.success) {
    const issue = result.error.issues[0];
    const where = issue?.path.join(".") || "the whole";
    throw new MergenError("E_MODEL", `${origin}: ${where}: ${issue?.message ?? "is not valid"}`);
  }
  const config = result.data;
  const wrong = misfit(config);
  if (wrong !== undefined) throw new MergenError("E_MODEL", `${origin}: ${wrong}`);
  const { activation } = config;
  if (activation.kind === "mixed" && activation.layers.length !== config.layerCount) {
    throw new MergenError("E_MODEL", `${origin}: activation.layers is not one for each layer`);
  }
  return config;
}

/** What of a config's keys does not go together. */
function misfit(config: ModelConfig): string | undefined {
  const { hiddenSize, headCount, kvHeadCount, rope, block, attention, hybrid } = config;
  if (hiddenSize % headCount !== 0) return "hiddenSize is not a multiple of headCount";
  if (headCount % (kvHeadCount ?? headCount) !== 0) {
    return "headCount is not a multiple of kvHeadCount";
  }
  if (rope && (hiddenSize / headCount) % 2 !== 0) return "rope needs heads of an even width";
  if (attention === "constant" && (block || kvHeadCount || rope || config.scaledQuery)) {
    return "block, kvHeadCount, rope and scaledQuery are none of a merged module's";
  }
  if (hybrid && attention !== "constant") return "hybrid is a merged module's";
  if (hybrid?.attention.kind === "the-x") return "hybrid layers have no attention of the-x";
  if (hybrid?.layers.some((layer) => layer >= config.layerCount)) {
    return `hybrid.layers: the model has ${config.layerCount} layers`;
  }
  if (config.resendMap && (config.nextToken !== "resend" || attention === "constant")) {
    return "resendMap is an ordinary decoder's that re-sends its states";
  }
  if (config.headBias && config.tiedHead) return "headBias needs a head that is not tied";
  return undefined;
}

/** Positions of a prompt, `begin` included; for free text its bucket, which is the least. */
export function promptPositions(layout: PromptLayout): number {
  if (layout.kind === "text") return layout.bucket;
  return layout.slots.reduce((sum, { width }) => sum + width, 1);
}
