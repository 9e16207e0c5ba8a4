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

  cacheShapes({ headCount, hiddenSize }, rows) {
    const shape = [headCount, rows, hiddenSize / headCount];
    return [shape, shape];
  },
};

function attention(graph: Graph, settings: RecipeSettings, { x, name, cache }: BlockInput) {
  const { headCount, hiddenSize } = settings;
  const project = (part: string): Tensor =>
    linear(graph, x, `${name}.attention.${part}`, hiddenSize).splitHeads(headCount);
  const query = project("query").scale(1 / Math.sqrt(hiddenSize / headCount)); // [.., H, n, w]
  const newKeys = project("key");
  const newValues = project("value");
  const [oldKeys, oldValues] = cache;
  const keys = oldKeys ? oldKeys.concatRows(newKeys) : newKeys; // [.., H, s, w]
  const values = oldValues ? oldValues.concatRows(newValues) : newValues;
  const weights = query.matmul(keys, { transposeB: true }).causalSoftmax(); // [.., H, n, s]
  return { mixed: weights.matmul(values).mergeHeads(), keys, values };
}
