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
  readonly attention: "softmax" | "constant";
  readonly activation:
    | { readonly kind: "quad"; readonly coefficients: readonly [number, number, number] }
    | { readonly kind: "gelu"; readonly form: "tanh" | "erf" };
  readonly norm: {
    readonly kind: "layernorm" | "affine";
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
  return activation.kind === "quad" ? x.quad(activation.coefficients) : x.gelu(activation.form);
}

/** The norm that the settings name: layerNorm and, where learned, scale and shift. */
export function norm(graph: Graph, settings: RecipeSettings, x: Tensor, name: string): Tensor {
  const { kind, eps, scale } = settings.norm;
  const normalised = kind === "layernorm" ? x.layerNorm(eps) : x;
  if (kind === "layernorm" && !scale) return normalised;
  const d = settings.hiddenSize;
  return normalised.mul(graph.weight(`${name}.scale`, [d])).add(graph.weight(`${name}.shift`, [d]));
}

/** x times the weight `name.weight` [inner, outer], plus `name.bias`. */
export function linear(graph: Graph, x: Tensor, name: string, outer: number): Tensor {
  const weight = graph.weight(`${name}.weight`, [x.columns, outer]);
  return x.linear(weight, graph.weight(`${name}.bias`, [outer]));
}
