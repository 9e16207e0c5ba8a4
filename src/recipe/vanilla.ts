// The ordinary pre-norm decoder block (Radford et al. 2019, §2.3): attention by softmax or what the
// settings put in its place, then a feed-forward network, each with a residual connection; one more
// norm after the last layer.

import { ensure } from "../errors.ts";
import type { Graph, Tensor } from "../graph/graph.ts";
import { expForms } from "./approximations.ts";
import type { BlockInput, Recipe, RecipeSettings } from "./recipe.ts";
import { activation, linear, norm } from "./recipe.ts";
import { estimatedWeights } from "./reciprocal.ts";

export const vanilla: Recipe = {
  name: "vanilla",

  block(graph, settings, { x, start, name, layer, cache, lastRow, regularise = (y) => y }) {
    const normal = norm(graph, settings, x, `${name}.attention.norm`);
    const input = { x: normal, start, name, layer, cache, lastRow };
    const { mixed, keys, values } = attention(graph, settings, input);
    const output = linear(graph, mixed, `${name}.attention.output`, settings.hiddenSize);
    const middle = (lastRow ? x.lastRow() : x).add(regularise(output));
    const normed = norm(graph, settings, middle, `${name}.norm`);
    const u = linear(graph, normed, `${name}.u`, settings.innerSize);
    const out = linear(graph, activation(settings, u, layer), `${name}.o`, settings.hiddenSize);
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

/**
 * Wanted rows of mixed values [.., n, d] or [.., 1, d], and all keys and values so far,
 * [.., G, s, w].
 */
export function attention(
  graph: Graph,
  settings: RecipeSettings,
  { x, start, name, cache, lastRow }: BlockInput,
) {
  const { headCount, kvHeadCount = headCount, hiddenSize, rope, block } = settings;
  const width = hiddenSize / headCount;
  const project = (part: string, rows: Tensor, heads: number): Tensor => {
    const bias = block !== "llama";
    const all = linear(graph, rows, `${name}.attention.${part}`, heads * width, { bias });
    return all.splitHeads(heads);
  };
  // Rows end where x does.
  const turn = (y: Tensor) => (rope ? y.rope(start + x.rows - y.rows, rope.base) : y);
  const projected = turn(project("query", lastRow ? x.lastRow() : x, headCount)); // [.., H, n, w]
  const query = settings.scaledQuery ? projected : projected.scale(1 / Math.sqrt(width));
  const newKeys = turn(project("key", x, kvHeadCount)); // [.., G, n, w]
  const newValues = project("value", x, kvHeadCount);
  const [oldKeys, oldValues] = cache;
  const keys = oldKeys ? oldKeys.concatRows(newKeys) : newKeys; // [.., G, s, w]
  const values = oldValues ? oldValues.concatRows(newValues) : newValues;
  const group = headCount / kvHeadCount;
  const scores = query.matmul(keys.repeatHeads(group), { transposeB: true }); // [.., H, n, s]
  const weights = attentionWeights(graph, settings, scores, `${name}.attention`);
  return { mixed: weights.matmul(values.repeatHeads(group)).mergeHeads(), keys, values };
}

/** Scores [.., H, n, s] as the weights that the settings name; causal. */
function attentionWeights(
  graph: Graph,
  { attention }: RecipeSettings,
  scores: Tensor,
  name: string,
): Tensor {
  if (attention === "softmax") return scores.causalSoftmax();
  ensure(attention !== "constant", "E_CONFIG", "constant attention has no scores");
  switch (attention.kind) {
    case "softmax": {
      if (attention.exp === "exact") return scores.causalSoftmax();
      return scores.attentionWeights({ kind: "softmax", exp: expForms[attention.exp] });
    }
    case "2quad":
    case "2relu":
    case "power":
      return scores.attentionWeights(attention);
    case "the-x":
      return estimatedWeights(graph, scores, `${name}.reciprocal`);
    default:
      return attention satisfies never;
  }
}
