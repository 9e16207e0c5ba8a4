// The Llama block (Touvron et al. 2023): as the ordinary decoder's, with a gated inner layer
// (SwiGLU, Shazeer 2020) and without biases. Which norm, which positions and how many heads of keys
// the settings say.

import type { Recipe } from "./recipe.ts";
import { activation, linear, norm } from "./recipe.ts";
import { attention, vanilla } from "./vanilla.ts";

export const llama: Recipe = {
  ...vanilla,
  name: "llama",

  block(graph, settings, { x, start, name, layer, cache, lastRow, regularise = (y) => y }) {
    const { hiddenSize, innerSize } = settings;
    const bare = { bias: false };
    const normal = norm(graph, settings, x, `${name}.attention.norm`);
    const input = { x: normal, start, name, layer, cache, lastRow };
    const { mixed, keys, values } = attention(graph, settings, input);
    const output = linear(graph, mixed, `${name}.attention.output`, hiddenSize, bare);
    const middle = (lastRow ? x.lastRow() : x).add(regularise(output));
    const normed = norm(graph, settings, middle, `${name}.norm`);
    const opening = linear(graph, normed, `${name}.gate`, innerSize, bare);
    const gate = activation(settings, opening, layer);
    const inner = gate.mul(linear(graph, normed, `${name}.u`, innerSize, bare)); // [.., n, dI]
    const out = linear(graph, inner, `${name}.o`, hiddenSize, bare);
    return { x: middle.add(regularise(out)), cache: [keys, values] };
  },
};
