// A model as the secure modes take it. Merged models are exported so; an ordinary decoder may come
// with learned norms, without a grid, or without ranges, and is brought into form here.

import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import { foldNorms } from "../model/fold.ts";
import { roundToColumnGrid } from "../model/grid.ts";
import { withRanges } from "./decoder-ranges.ts";

/**
 * The model with folded norms, weights on the int16 grid and stated ranges; itself where it has
 * them. Weights may be changed in place. Cost: see withRanges.
 * @throws E_MODEL when the model's norms cannot be folded
 */
export function servable<M extends Pick<Model, "config" | "weights">>(
  model: M,
  kernels: FloatKernels,
): M {
  const { norm, attention, scaledQuery, ranges, weightFracBits } = model.config;
  const normalises = norm.kind === "layernorm" || norm.kind === "rmsnorm";
  if (attention === "constant" || !normalises) return model;
  const folded = norm.kind === "rmsnorm" && !norm.scale && scaledQuery === true;
  if (folded && weightFracBits && ranges) return model;
  const plain = folded ? model : { ...model, ...foldNorms(model) };
  const whole = folded && weightFracBits ? plain : { ...plain, ...roundToColumnGrid(plain) };
  return { ...whole, config: withRanges(whole, kernels) };
}
