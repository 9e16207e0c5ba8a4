// The net T of THE-X (Chen et al., Findings of ACL 2022): 1-16-16-1 with ReLU, an estimate of the
// reciprocal that attention weights x T(sum of ReLU((x / 2 + 1)^3)) take. Learned with the model.

import type { Graph, Tensor } from "../graph/graph.ts";
import type { RecipeSettings } from "./recipe.ts";
import { linear } from "./recipe.ts";

const WIDTH = 16;

/** Weights of scores [.., n, s]; the net's weights are `{name}.0` to `{name}.2`. */
export function estimatedWeights(graph: Graph, scores: Tensor, name: string): Tensor {
  const inner = linear(graph, scores.causalCubes(), `${name}.0`, WIDTH).relu(); // [.., n, 16]
  const estimate = linear(graph, linear(graph, inner, `${name}.1`, WIDTH).relu(), `${name}.2`, 1);
  return scores.causalScale(estimate);
}

/**
 * Weights of T to start from, by the end of their name: 1/s on straight lines between sixteen
 * knots, of which neighbours differ by a factor of about 2, from 1/2 up to eight for each position;
 * the last one's value above. Undefined where the name is none of T's.
 */
export function reciprocalStart(
  { positionCount }: Pick<RecipeSettings, "positionCount">,
  name: string,
): Float32Array | undefined {
  const part = /\.reciprocal\.([012]\.(?:weight|bias))$/.exec(name)?.[1];
  if (part === undefined) return undefined;
  const ratio = (16 * positionCount) ** (1 / (WIDTH - 1));
  const knots = Array.from({ length: WIDTH }, (_, i) => 0.5 * ratio ** i);
  const last = 1 / knots[WIDTH - 1]!;
  // Each knot adds max(knot - s, 0) times what the line left of it is steeper than the one right.
  const slopes = knots.map((knot, i) => (i === 0 ? 0 : 1 / (knots[i - 1]! * knot)));
  slopes[0] = slopes[1]!;
  switch (part) {
    case "0.weight":
      return new Float32Array(WIDTH).fill(-1);
    case "0.bias":
      return Float32Array.from(knots);
    case "1.weight":
      return Float32Array.from({ length: WIDTH * WIDTH }, (_, i) => Number(i % (WIDTH + 1) === 0));
    case "2.weight":
      return Float32Array.from(knots, (_, i) => (i === 0 ? 0 : slopes[i]! - (slopes[i + 1] ?? 0)));
    case "2.bias":
      return Float32Array.of(last);
    default:
      return new Float32Array(WIDTH);
  }
}
