// The merged module (MERGE, Liang et al., AAAI 2024, arXiv 2305.15769, Fig. 3c): attention with
// constant weights, one linear layer where value, output and first feed-forward matrices stood, an
// activation, the second feed-forward matrix and a norm.

import type { Graph, Tensor } from "../graph/graph.ts";
import type { Recipe, RecipeSettings } from "./recipe.ts";
import { activation, linear, norm } from "./recipe.ts";

/** The constant matrices [heads, T, T]; while training, as a sum of shared parts. */
function attentionWeight(graph: Graph, settings: RecipeSettings, name: string): Tensor {
  const { headCount, positionCount: positions } = settings;
  const constant = graph.weight(`${name}.constant`, [headCount, positions, positions]);
  if (!settings.sharedAttention) return constant;
  const column = graph.weight(`${name}.column`, [headCount, positions]);
  const relative = graph.weight(`${name}.relative`, [headCount, positions]);
  return graph.once(`${name}.pattern`, () => constant.attentionPattern(column, relative));
}

export const merge: Recipe = {
  name: "merge",

  block(graph, settings, { x, start, name, layer, cache, regularise }) {
    const { hiddenSize, innerSize } = settings;
    const rows = cache.length === 0 ? x : cache[0].concatRows(x); // [.., start + n, d]
    const weight = attentionWeight(graph, settings, `${name}.attention`);
    const mixed = rows.constantAttention(weight, start); // [.., n, d]
    const u = linear(graph, mixed, `${name}.u`, innerSize); // [.., n, dI]
    const o = linear(graph, activation(settings, u, layer), `${name}.o`, hiddenSize); // [.., n, d]
    const branch = regularise?.(o) ?? o;
    const sum = settings.residual ? x.add(branch) : branch;
    return { x: norm(graph, settings, sum, `${name}.norm`), cache: [rows] };
  },

  final(_graph, _settings, x) {
    return x;
  },

  cacheShapes({ hiddenSize }, rows) {
    return [[rows, hiddenSize]];
  },
};
