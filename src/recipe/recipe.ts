// What a recipe decides: the parts of a block, built from graph ops, so that float, fixed, secure
// and gradient follow from one text. Which parts, data of the model's config says.

import { ensure, MergenError } from "../errors.ts";
import type { Graph, Tensor } from "../graph/graph.ts";
import {
  type ExpApproximation,
  type GeluApproximation,
  geluPieces,
  siluPieces,
} from "./approximations.ts";

/** How a transformer's attention weights follow from its scores; see AttentionForm of the graph. */
export type AttentionSetting =
  | "softmax"
  | { readonly kind: "softmax"; readonly exp: "exact" | ExpApproximation }
  | { readonly kind: "2quad"; readonly shift: number }
  | { readonly kind: "2relu"; readonly eps: number }
  | { readonly kind: "power"; readonly exponent: number; readonly eps: number }
  /** x T(sum ReLU((x / 2 + 1)^3)), T learned (THE-X). */
  | { readonly kind: "the-x" };

type Coefficients = readonly [number, number, number];

export type ActivationSetting =
  | { readonly kind: "quad"; readonly coefficients: Coefficients }
  | { readonly kind: "gelu"; readonly form: "tanh" | "erf" }
  | { readonly kind: "relu" }
  | { readonly kind: "silu" }
  /** A system's approximation of GELU or, where it says so, of SiLU. */
  | {
      readonly kind: "piecewise";
      readonly name: GeluApproximation;
      readonly of?: "gelu" | "silu" | undefined;
    }
  /** Layer by layer (Delphi). */
  | {
      readonly kind: "mixed";
      readonly layers: readonly ("relu" | "quad")[];
      readonly coefficients: Coefficients;
    };

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
  /** constant is the merged module's, all others are a transformer's. */
  readonly attention: AttentionSetting | "constant";
  readonly activation: ActivationSetting;
  readonly norm: {
    readonly kind: "layernorm" | "rmsnorm" | "affine" | "batchnorm";
    readonly eps: number;
    readonly scale: boolean;
  };
  readonly residual: boolean;
  /** While training: constant attention is a sum of parts that positions share. */
  readonly sharedAttention?: boolean | undefined;
  /** Layers of the merged module whose rows also attend to each other by what they hold. */
  readonly hybrid?: Hybrid | undefined;
}

export interface Hybrid {
  /** Numbers of layers, from 0. */
  readonly layers: readonly number[];
  readonly attention: AttentionSetting;
}

/**
 * The settings of a hybrid layer's attention by contents: an ordinary decoder's whose query weights
 * hold the factor 1 / sqrt(head width).
 */
export function hybridSettings<S extends object>(settings: S, { attention }: Hybrid) {
  return { ...settings, attention, scaledQuery: true };
}

export interface BlockInput {
  /** Rows start.. of the block's input, [..., n, d]. */
  readonly x: Tensor;
  readonly start: number;
  /** Weight names begin with this, as `layers.0`. */
  readonly name: string;
  /** Number of the layer, from 0. */
  readonly layer: number;
  /** What the recipe's `block` has returned for the rows before; none at row 0. */
  readonly cache: readonly Tensor[];
  /** Only the last row's result is wanted; keys and values are still of all rows. */
  readonly lastRow?: boolean | undefined;
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
  cacheShapes(settings: RecipeSettings, rows: number, layer: number): number[][];
}

/** The activation that the settings name for a layer. */
export function activation({ activation }: RecipeSettings, x: Tensor, layer: number): Tensor {
  switch (activation.kind) {
    case "quad":
      return x.quad(activation.coefficients);
    case "gelu":
      return x.gelu(activation.form);
    case "silu":
      return x.silu();
    case "relu":
      return x.relu();
    case "piecewise":
      return x.piecewise(piecesOf(activation));
    case "mixed": {
      const kind = activation.layers[layer];
      if (kind === undefined) throw new MergenError("E_CONFIG", `no activation of layer ${layer}`);
      return kind === "relu" ? x.relu() : x.quad(activation.coefficients);
    }
    default:
      return activation satisfies never;
  }
}

function piecesOf({ name, of }: ActivationSetting & { kind: "piecewise" }) {
  const pieces = of === "silu" ? siluPieces[name] : geluPieces[name];
  ensure(pieces, "E_CONFIG", `${name} has no approximation of SiLU`);
  return pieces;
}

/**
 * The norm that the settings name and, where learned, scale and shift (rmsnorm has no shift); scale
 * and shift alone (affine; nothing at all once they are folded into what reads it); or stored
 * statistics, scale and shift (batchnorm).
 */
export function norm(graph: Graph, settings: RecipeSettings, x: Tensor, name: string): Tensor {
  const { kind, scale } = settings.norm;
  const normed = normalised(graph, settings, x, name);
  if (kind !== "batchnorm" && !scale) return normed;
  const d = settings.hiddenSize;
  const scaled = normed.mul(graph.weight(`${name}.scale`, [d]));
  return kind === "rmsnorm" ? scaled : scaled.add(graph.weight(`${name}.shift`, [d]));
}

function normalised(graph: Graph, settings: RecipeSettings, x: Tensor, name: string): Tensor {
  const { kind, eps } = settings.norm;
  const statistic = (part: string) => graph.weight(`${name}.${part}`, [settings.hiddenSize]);
  switch (kind) {
    case "layernorm":
      return x.layerNorm(eps, name);
    case "rmsnorm":
      return x.rmsNorm(eps, name);
    case "affine":
      return x;
    case "batchnorm":
      return x.batchNorm({ mean: statistic("mean"), variance: statistic("variance"), eps });
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
