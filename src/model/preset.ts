// A model under another recipe than its own: the same weights, other functions. To measure what a
// recipe costs, or to see what a model says before it was adapted to it.

import { ensure } from "../errors.ts";
import { applyPreset } from "../recipe/presets.ts";
import { reciprocalStart } from "../recipe/reciprocal.ts";
import type { Model } from "./checkpoint.ts";
import type { ModelConfig } from "./config.ts";
import { weightShapes } from "./decoder.ts";
import { gridOf, onGrid } from "./random-weights.ts";

/**
 * A config under a preset; its own name changes nothing. Weights that the preset adds (THE-X's net,
 * scales and shifts of norms) get a grid where the model has one.
 * @throws E_CONFIG when there is no such preset, or the model's weights do not fit it
 */
export function withRecipe(config: ModelConfig, name: string): ModelConfig {
  if (name === config.recipe) return config;
  const changed = applyPreset(config, name);
  if (config.weightFracBits === undefined) return changed;
  const weightFracBits = { ...config.weightFracBits };
  // What is only added, as positions and biases, may have no grid of its own.
  const own = weightShapes(config);
  for (const weight of weightShapes(changed).keys()) {
    if (own.has(weight)) continue;
    weightFracBits[weight] = gridOf(startOf(changed, weight, []));
  }
  return { ...changed, weightFracBits };
}

/** The same for a whole model. Added weights start as they do in training. @throws E_CONFIG */
export function modelWithRecipe(model: Model, name: string): Model {
  const config = withRecipe(model.config, name);
  if (config === model.config) return model;
  const weights: Model["weights"] = new Map();
  for (const [weight, shape] of weightShapes(config)) {
    const bits = config.weightFracBits?.[weight];
    const given = model.weights.get(weight);
    if (given) weights.set(weight, given);
    else {
      const data = startOf(config, weight, shape);
      const rounded = bits === undefined ? data : data.map((value) => onGrid(value, bits));
      weights.set(weight, { shape: [...shape], data: rounded });
    }
  }
  return { ...model, config, weights };
}

/** What a weight starts as that a recipe adds: THE-X's net, or a norm's scale and shift. */
function startOf(config: ModelConfig, weight: string, shape: readonly number[]): Float32Array {
  const known = reciprocalStart(config, weight);
  if (known) return known;
  const isNorm = /(?:^|\.)norm\.(?:scale|shift)$/.test(weight);
  ensure(isNorm, "E_CONFIG", `the model has no weight ${weight}, which its recipe would need`);
  const length = shape.reduce((total, size) => total * size, 1);
  return new Float32Array(length).fill(weight.endsWith(".scale") ? 1 : 0);
}
