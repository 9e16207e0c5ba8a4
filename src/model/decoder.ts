// The one model text for every mode: a decoder over embeddings, recorded as graph ops. Its blocks
// are the recipe's; earlier rows come in as explicit caches and leave as such.

import { ensure } from "../errors.ts";
import { Graph, type Tensor } from "../graph/graph.ts";
import { llama } from "../recipe/llama.ts";
import { merge } from "../recipe/merge.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { vanilla } from "../recipe/vanilla.ts";
import type { ModelConfig } from "./config.ts";

/** Per layer, what later rows need of the rows so far. */
export type Caches = readonly (readonly Tensor[])[];

export interface DecoderInput {
  /** Input embeddings without positions, [..., n, d]. */
  readonly x: Tensor;
  /** Position of the first row. */
  readonly start: number;
  readonly caches?: Caches | undefined;
  /** Layers to run, default all; from another than the first, x is what the one before has made. */
  readonly layers?: readonly [from: number, to: number] | undefined;
  /**
   * Only the last row's hidden state is wanted: what an ordinary decoder's last layer makes of the
   * others, but for keys and values, is left out. Recipes that need all rows give all.
   */
  readonly lastRow?: boolean | undefined;
  /** Applied to each branch of a block while training, as dropout. */
  readonly regularise?: ((x: Tensor) => Tensor) | undefined;
}

/** The recipe that builds the blocks of a model. */
export function recipeOf(config: ModelConfig): Recipe {
  if (config.attention === "constant") return merge;
  return config.block === "llama" ? llama : vanilla;
}

/**
 * Hidden states of rows start.. [..., n, d], from their input embeddings x [..., n, d], to which
 * positions are added here unless they are rotary. `caches` is what the call for the rows before
 * start has returned. `states` are the results of the layers, the last one's behind the last norm.
 */
export function decoder(
  graph: Graph,
  config: ModelConfig,
  { x, start, caches, layers, lastRow, regularise }: DecoderInput,
): { hidden: Tensor; caches: Caches; states: readonly Tensor[] } {
  const [from, to] = layers ?? [0, config.layerCount];
  ensure(start === 0 || caches?.length === to - from, "E_SHAPE", "decoder: caches missing");
  const recipe = recipeOf(config);
  let hidden = x;
  if (config.rope === undefined && from === 0) {
    const positions = graph.weight("position.weight", [config.positionCount, config.hiddenSize]);
    hidden = x.add(positions.sliceRows(start, start + x.rows));
  }
  const grown: (readonly Tensor[])[] = [];
  const states: Tensor[] = [];
  for (let layer = from; layer < to; layer++) {
    const cache = caches?.[layer - from] ?? [];
    const place = { start, name: `layers.${layer}`, layer };
    const isLast = layer === config.layerCount - 1;
    const input = { x: hidden, ...place, cache, lastRow: lastRow && isLast, regularise };
    const out = recipe.block(graph, config, input);
    hidden = out.x;
    grown.push(out.cache);
    states.push(hidden);
  }
  if (to === config.layerCount) {
    hidden = recipe.final(graph, config, hidden);
    states[states.length - 1] = hidden;
  }
  return { hidden, caches: grown, states };
}

/** Input embeddings of tokens, without positions: ids [..., n] -> [..., n, d]. */
export function embed(graph: Graph, config: ModelConfig, ids: Tensor): Tensor {
  const rows = embeddingTable(graph, config).embed(ids);
  const scale = config.embeddingScale ?? 1;
  return scale === 1 ? rows : rows.scale(scale);
}

/** A hidden state as the next input, [..., n, d]. */
export function resent(graph: Graph, config: ModelConfig, state: Tensor): Tensor {
  if (!config.resendMap) return state;
  const { hiddenSize: d } = config;
  return state.linear(graph.weight("resend.weight", [d, d]), graph.weight("resend.bias", [d]));
}

/** Logits over the vocabulary: [..., n, d] -> [..., n, V]. */
export function head(graph: Graph, config: ModelConfig, hidden: Tensor): Tensor {
  if (config.tiedHead) {
    return hidden.linear(embeddingTable(graph, config), undefined, { transposed: true });
  }
  const weight = graph.weight("head.weight", [config.hiddenSize, config.vocabSize]);
  return hidden.linear(
    weight,
    config.headBias ? graph.weight("head.bias", [config.vocabSize]) : undefined,
  );
}

function embeddingTable(graph: Graph, config: ModelConfig): Tensor {
  return graph.weight("embedding.weight", [config.vocabSize, config.hiddenSize]);
}

/** Inputs named `cache.{layer}.{part}` for `rows` earlier rows, with leading dimensions. */
export function cacheInputs(
  graph: Graph,
  config: ModelConfig,
  options: {
    rows: number;
    lead?: readonly number[];
    layers?: readonly [from: number, to: number] | undefined;
  },
): Caches {
  const { rows, lead = [], layers: [from, to] = [0, config.layerCount] } = options;
  const recipe = recipeOf(config);
  return Array.from({ length: to - from }, (_, i) =>
    recipe
      .cacheShapes(config, rows, from + i)
      .map((shape, part) => graph.input(`cache.${from + i}.${part}`, [...lead, ...shape])),
  );
}

/** Names and shapes of all weights of a model, in the order in which it uses them. */
export function weightShapes(config: ModelConfig): ReadonlyMap<string, readonly number[]> {
  const graph = new Graph();
  const x = embed(graph, config, graph.ids("ids", [1]));
  const { hidden } = decoder(graph, config, { x, start: 0 });
  head(graph, config, hidden);
  resent(graph, config, hidden);
  return graph.weights();
}
