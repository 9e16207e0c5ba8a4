// What a recipe decides: the parts of a block, built from graph ops, so that float, fixed, secure
// and gradient follow from one text. Which parts, data of the model's config says.

import type { Graph, Tensor } from "../graph/graph.ts";

/** The public settings that parts are built from; a model's config is one. */
export interface RecipeSettings {
  readonly hiddenSize: number;
  readonly headCount: number;
  readonly innerSize: number;
  /** Positions of prompt and generated part together. */
  readonly positionCount: number;
  readonly block?: "gpt2" | "llama" | undefined;
  /** Heads of keys and values; headCount if absent. */
  readonly kvHeadCount?: number | undefined;
  readonly rope?: { readonly base: number } | undefined;
  /** The query weights hold the factor 1 / sqrt(head width). */
  readonly scaledQuery?: boolean | undefined;
  readonly attention: "softmax" | "constant";
  readonly activation:
    | { readonly kind: "quad"; readonly coefficients: readonly [number, number, number] }
    | { readonly kind: "gelu"; readonly form: "tanh" | "erf" }
    | { readonly kind: "silu" };
  readonly norm: {
    readonly kind: "layernorm" | "rmsnorm" | "affine";
    readonly eps: number;
    readonly scale: boolean;
  };
  readonly residual: boolean;
  /** While training: constant attention is a sum of parts that positions share. */
  readonly sharedAttention?: boolean | undefined;
}

export interface BlockInput {
  /** Rows start.. of the block's input, [..., n, d]. */
  readonly x: Tensor;
  readonly start: number;
  /** Weight names begin with this, as `layers.0`. */
  readonly name: string;
  /** What the recipe's `block` has returned for the rows before; none at row 0. */
  readonly cache: readonly Tensor[];
  /** Applied to each branch before it is added, while training. */
  readonly regularise?: ((x: Tensor) => Tensor) | undefined;
}

export interface BlockOutput {
  readonly x: Tensor;
  /** What later rows of this block need of all rows so far. */
  readonly cache: readonly Tensor[];
}

export interface Recipe {
  readonly name: string;
  /** One layer, [..., n, d] -> [..., n, d]. */
  block(graph: Graph, settings: RecipeSettings, input: BlockInput): BlockOutput;
  /** What follows the last layer, where anything does. */
  final(graph: Graph, settings: RecipeSettings, x: Tensor): Tensor;
  /** Shapes of a layer's cache for `rows` earlier rows, without leading dimensions. */
  cacheShapes(settings: RecipeSettings, rows: number): number[][];
}

/** The activation that the settings name. */
export function activation(settings: RecipeSettings, x: Tensor): Tensor {
  const { activation } = settings;
  switch (activation.kind) {
    case "quad":
      return x.quad(activation.coefficients);
    case "gelu":
      return x.gelu(activation.form);
    case "silu":
      return x.silu();
    default:
      return activation satisfies never;
  }
}

/** The norm that the settings name and, where learned, scale and shift; rmsnorm has no shift. */
export function norm(graph: Graph, settings: RecipeSettings, x: Tensor, name: string): Tensor {
  const { kind, eps, scale } = settings.norm;
  if (kind !== "affine" && !scale) return normalised(kind, x, eps, name);
  const d = settings.hiddenSize;
  const scaled = normalised(kind, x, eps, name).mul(graph.weight(`${name}.scale`, [d]));
  return kind === "rmsnorm" ? scaled : scaled.add(graph.weight(`${name}.shift`, [d]));
}

function normalised(
  kind: RecipeSettings["norm"]["kind"],
  x: Tensor,
  eps: number,
  name: string,
): Tensor {
  switch (kind) {
    case "layernorm":
      return x.layerNorm(eps, name);
    case "rmsnorm":
      return x.rmsNorm(eps, name);
    case "affine":
      return x;
    default:
      return kind satisfies never;
  }
}

/** x times the weight `name.weight` [inner, outer] and, unless left out, plus `name.bias`. */
export function linear(
  graph: Graph,
  x: Tensor,
  name: string,
  outer: number,
  { bias = true }: { bias?: boolean } = {},
): Tensor {
  const weight = graph.weight(`${name}.weight`, [x.columns, outer]);
  if (!bias) return x.linear(weight);
  return x.linear(weight, graph.weight(`${name}.bias`, [outer]));
}
