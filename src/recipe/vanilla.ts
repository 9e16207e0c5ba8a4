// The ordinary pre-norm decoder block (Radford et al. 2019, §2.3): softmax attention, then a
// feed-forward network, each with a residual connection; one more norm after the last layer.

import type { Graph, Tensor } from "../graph/graph.ts";
import type { BlockInput, Recipe, RecipeSettings } from "./recipe.ts";
import { activation, linear, norm } from "./recipe.ts";

export const vanilla: Recipe = {
  name: "vanilla",

  block(graph, settings, { x, start, name, cache, regularise = (y) => y }) {
    const input = { x: norm(graph, settings, x, `${name}.attention.norm`), start, name, cache };
    const { mixed, keys, values } = attention(graph, settings, input);
    const output = linear(graph, mixed, `${name}.attention.output`, settings.hiddenSize);
    const middle = x.add(regularise(output));
    const normed = norm(graph, settings, middle, `${name}.norm`);
    const inner = activation(settings, linear(graph, normed, `${name}.u`, settings.innerSize));
    const out = linear(graph, inner, `${name}.o`, settings.hiddenSize);
    return { x: middle.add(regularise(out)), cache: [keys, values] };
  },

  final(graph, settings, x) {
    return norm(graph, settings, x, "norm");
  },

  cacheShapes({ headCount, kvHeadCount = headCount, hiddenSize }, rows) {
    const shape = [kvHeadCount, rows, hiddenSize / headCount];
    return [shape, shape];
  },
};

/** Rows of mixed values [.., n, d], and all keys and values so far, [.., G, s, w]. */
export function attention(
  graph: Graph,
  settings: RecipeSettings,
  { x, start, name, cache }: BlockInput,
) {
  const { headCount, kvHeadCount = headCount, hiddenSize, rope, block } = settings;
  const width = hiddenSize / headCount;
  const project = (part: string, heads: number): Tensor => {
    const bias = block !== "llama";
    const all = linear(graph, x, `${name}.attention.${part}`, heads * width, { bias });
    return all.splitHeads(heads);
  };
  const turn = (rows: Tensor) => (rope ? rows.rope(start, rope.base) : rows);
  const projected = turn(project("query", headCount)); // [.., H, n, w]
  const query = settings.scaledQuery ? projected : projected.scale(1 / Math.sqrt(width));
  const newKeys = turn(project("key", kvHeadCount)); // [.., G, n, w]
  const newValues = project("value", kvHeadCount);
  const [oldKeys, oldValues] = cache;
  const keys = oldKeys ? oldKeys.concatRows(newKeys) : newKeys; // [.., G, s, w]
  const values = oldValues ? oldValues.concatRows(newValues) : newValues;
  const group = headCount / kvHeadCount;
  const scores = query.matmul(keys.repeatHeads(group), { transposeB: true }); // [.., H, n, s]
  const weights = scores.causalSoftmax();
  return { mixed: weights.matmul(values.repeatHeads(group)).mergeHeads(), keys, values };
}
