// The public part of a model: what config.json says and what client, server and dealer all know.
// Weights are not part of it. Its digest stands in every plan.

import { z } from "zod";
import { MergenError } from "../errors.ts";

const slot = z.strictObject({ name: z.string().min(1), width: z.int().positive() });

/** How a text becomes the fixed positions of a prompt; data of the model, not code. */
const promptLayout = z.discriminatedUnion("kind", [
  /** `name[value], name[value], ...`, each value at its slot's own positions, padded. */
  z.strictObject({
    kind: z.literal("slots"),
    slots: z.array(slot).min(1),
    /** Stands before each value when it is encoded, as " "; nothing by default. */
    prefix: z.string().optional(),
  }),
  /** Free text, padded on the left to a multiple of `bucket` positions. */
  z.strictObject({
    kind: z.literal("text"),
    bucket: z.int().positive(),
    /** Whether the token `begin` stands before the text; then the text may be empty. */
    begin: z.boolean().optional(),
    /** Stands before the text when it is encoded, as " "; nothing by default. */
    prefix: z.string().optional(),
  }),
]);

/**
 * Bounds of one layer's wires, in real units. `proven` follows from the weights alone and holds
 * for every input; `calibrated` is [least, greatest] over real inputs with a margin.
 */
const layerBounds = z.strictObject({
  /** max |u|, the input of the activation. */
  u: z.strictObject({ proven: z.number().positive(), calibrated: z.number().positive() }),
  /** max |x + o|, the input of the norm. */
  o: z.strictObject({ proven: z.number().positive(), calibrated: z.number().positive() }),
  /** variance of x + o over a row, the argument of the reciprocal square root. */
  variance: z.strictObject({
    proven: z.number().positive(),
    calibrated: z.tuple([z.number().positive(), z.number().positive()]),
  }),
});

const coefficients = z.tuple([z.number(), z.number(), z.number()]);
const approximation = z.enum(["puma", "bolt", "east"]);

/** How attention weights are made; objects are settings of a transformer's attention. */
export const attentionSchema = z.union([
  z.enum(["softmax", "constant"]),
  z.discriminatedUnion("kind", [
    z.strictObject({
      kind: z.literal("softmax"),
      /** The exponential function: exact, or as a system approximates it. */
      exp: z.enum(["exact", ...approximation.options]).default("exact"),
    }),
    z.strictObject({ kind: z.literal("2quad"), shift: z.number().default(5) }),
    z.strictObject({ kind: z.literal("2relu"), eps: z.number().positive().default(1e-3) }),
    z.strictObject({
      kind: z.literal("power"),
      exponent: z.int().positive().multipleOf(2),
      eps: z.number().positive().default(1e-6),
    }),
    z.strictObject({ kind: z.literal("the-x") }),
  ]),
]);

const activationSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("quad"), coefficients }),
  z.strictObject({ kind: z.literal("gelu"), form: z.enum(["tanh", "erf"]) }),
  z.strictObject({ kind: z.literal("relu") }),
  z.strictObject({ kind: z.literal("silu") }),
  z.strictObject({
    kind: z.literal("piecewise"),
    name: approximation,
    /** What it approximates; gelu if absent. */
    of: z.enum(["gelu", "silu"]).optional(),
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
  recipe: z.string().min(1),
  vocabSize: z.int().positive(),
  hiddenSize: z.int().positive(),
  layerCount: z.int().positive(),
  headCount: z.int().positive(),
  innerSize: z.int().positive(),
  /** Positions of prompt and generated part together. */
  positionCount: z.int().positive(),
  /** The ordinary decoder's block: gpt2 if absent; llama has a gated inner layer, no biases. */
  block: z.enum(["gpt2", "llama"]).optional(),
  /** Heads of keys and values, each for headCount / kvHeadCount queries; headCount if absent. */
  kvHeadCount: z.int().positive().optional(),
  /** Rotary positions of queries and keys, in the place of a table of positions. */
  rope: z.strictObject({ base: z.number().positive() }).optional(),
  /** The query weights hold the factor 1 / sqrt(head width). */
  scaledQuery: z.boolean().optional(),
  attention: attentionSchema,
  activation: activationSchema,
  norm: z.strictObject({
    /**
     * layernorm and rmsnorm normalise; affine is x * scale + shift, without statistics; batchnorm
     * is the same behind stored statistics of each column.
     */
    kind: z.enum(["layernorm", "rmsnorm", "affine", "batchnorm"]),
    eps: z.number().nonnegative(),
    /** Whether a learned scale and (not with rmsnorm) shift follow the normalisation. */
    scale: z.boolean(),
  }),
  /** Whether the module's input is added to its output. */
  residual: z.boolean(),
  /** How the next input is made: looked up from the token, or the re-sent state. */
  nextToken: z.enum(["lookup", "resend"]),
  /** A re-sent state passes a linear layer of its own: the last norm's scale and shift, folded. */
  resendMap: z.boolean().optional(),
  /** Whether the head is the embedding table transposed. */
  tiedHead: z.boolean(),
  /** Whether an untied head has a bias. */
  headBias: z.boolean().optional(),
  /** Embeddings are multiplied by this power of two as inputs, not in a tied head. */
  embeddingScale: z.number().positive().optional(),
  /** While training: constant attention is a sum of parts that positions share. */
  sharedAttention: z.boolean().optional(),
  /** pad fills a prompt, begin is its last position, end stops the text. */
  tokens: z.strictObject({
    pad: z.int().nonnegative(),
    begin: z.int().nonnegative(),
    end: z.int().nonnegative(),
  }),
  prompt: promptLayout,
  generation: z.strictObject({
    maxTokens: z.int().positive(),
    /** Tokens whose logits are revealed together. */
    chunk: z.int().positive(),
    /** Every anchor-th token is sent back by the client; 0 never, 1 always. */
    anchor: z.int().nonnegative(),
  }),
  /** Bits after the point of each weight tensor's int16 grid, by tensor name. */
  weightFracBits: z.record(z.string(), z.int()).optional(),
  wireBounds: z.array(layerBounds).optional(),
  /**
   * The same of an ordinary decoder's wires, by name: [least, greatest] seen, with a margin, and
   * what is proven; of magnitudes, or of a norm's mean square or variance.
   */
  ranges: z
    .record(
      z.string(),
      z.strictObject({
        proven: z.number().positive(),
        calibrated: z.tuple([z.number().nonnegative(), z.number().positive()]),
      }),
    )
    .optional(),
  /** Bits after the point of what nonlinear gates of an ordinary decoder take in; default 12. */
  operandBits: z.int().min(6).max(20).optional(),
  /** Plan with calibrated bounds where proven ones do not fit; overflow is then silent. */
  calibratedBounds: z.boolean().optional(),
  /** max |logit|, proven and seen. */
  logitBound: z
    .strictObject({ proven: z.number().positive(), calibrated: z.number().positive() })
    .optional(),
});

export type ModelConfig = z.infer<typeof configSchema>;
export type PromptLayout = z.infer<typeof promptLayout>;
export type LayerBounds = z.infer<typeof layerBounds>;

/**
 * Checks a parsed config.json.
 * @throws E_MODEL naming the key that is wrong
 */
export function parseConfig(json: unknown, origin = "config.json"): ModelConfig {
  const result = configSchema.safeParse(json);
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
  const { hiddenSize, headCount, kvHeadCount, rope, block, attention } = config;
  if (hiddenSize % headCount !== 0) return "hiddenSize is not a multiple of headCount";
  if (headCount % (kvHeadCount ?? headCount) !== 0) {
    return "headCount is not a multiple of kvHeadCount";
  }
  if (rope && (hiddenSize / headCount) % 2 !== 0) return "rope needs heads of an even width";
  if (attention === "constant" && (block || kvHeadCount || rope || config.scaledQuery)) {
    return "block, kvHeadCount, rope and scaledQuery are none of a merged module's";
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
