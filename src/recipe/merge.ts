// The merged module (MERGE, Liang et al., AAAI 2024, arXiv 2305.15769, Fig. 3c): attention with
// constant weights, one linear layer where value, output and first feed-forward matrices stood, an
// activation, the second feed-forward matrix and a norm.

import type { Graph, Tensor } from "../graph/graph.ts";
import type { BlockInput, Recipe, RecipeSettings } from "./recipe.ts";
import { activation, hybridSettings, linear, norm } from "./recipe.ts";
import { attention, vanilla } from "./vanilla.ts";

/** The constant matrices [heads, T, T]; while training, as a sum of shared parts. */
function attentionWeight(graph: Graph, settings: RecipeSettings, name: string): Tensor {
  const { headCount, positionCount: positions } = settings;
  const constant = graph.weight(`${name}.constant`, [headCount, positions, positions]);
  if (!settings.sharedAttention) return constant;
  const column = graph.weight(`${name}.column`, [headCount, positions]);
  const relative = graph.weight(`${name}.relative`, [headCount, positions]);
  return graph.once(`${name}.pattern`, () => constant.attentionPattern(column, relative));
}

/** Of a hybrid layer: what attention by contents adds to the constant one. */
function hybridAttention(graph: Graph, settings: RecipeSettings, input: BlockInput) {
  const { hybrid } = settings;
  if (!hybrid?.layers.includes(input.layer)) return undefined;
  return attention(graph, hybridSettings(settings, hybrid), input);
}

export const merge: Recipe = {
  name: "merge",

  block(graph, settings, { x, start, name, layer, cache, regularise }) {
    const { hiddenSize, innerSize } = settings;
    const [before, ...pairs] = cache;
    const rows = before ? before.concatRows(x) : x; // [.., start + n, d]
    const weight = attentionWeight(graph, settings, `${name}.attention`);
    const constant = rows.constantAttention(weight, start); // [.., n, d]
    const own = hybridAttention(graph, settings, { x, start, name, layer, cache: pairs });
    const mixed = own ? constant.add(own.mixed) : constant;
    const u = linear(graph, mixed, `${name}.u`, innerSize); // [.., n, dI]
    const o = linear(graph, activation(settings, u, layer), `${name}.o`, hiddenSize); // [.., n, d]
    const branch = regularise?.(o) ?? o;
    const sum = settings.residual ? x.add(branch) : branch;
    return {
      x: norm(graph, settings, sum, `${name}.norm`),
      cache: own ? [rows, own.keys, own.values] : [rows],
    };
  },

  final(_graph, _settings, x) {
    return x;
  },

  cacheShapes(settings, rows, layer) {
    const { hiddenSize, hybrid } = settings;
    const pairs = hybrid?.layers.includes(layer) ? vanilla.cacheShapes(settings, rows, layer) : [];
    return [[rows, hiddenSize], ...pairs];
  },
};
