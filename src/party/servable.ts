// A model as the secure modes take it. Merged models are exported so; an ordinary decoder may come
// with learned norms, without a grid, or without ranges, and is brought into form here.

import { MergenError } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import type { ModelConfig } from "../model/config.ts";
import { foldNorms } from "../model/fold.ts";
import { roundToColumnGrid } from "../model/grid.ts";
import { OPERAND_BITS } from "../plan/format.ts";
import { lower } from "../plan/lower.ts";
import { withRanges } from "./decoder-ranges.ts";
import { traceSegment } from "./plan.ts";

export interface ServableOptions {
  /**
   * Take bounds that were only seen where proven ones do not fit the ring, as of streams that no
   * norm scales: what exceeds them is then wrong, and nobody notices. Default: such a model is left
   * as it is, and planning it is E_PLAN by the wire's name.
   */
  readonly calibratedBounds?: boolean | undefined;
  /** Token ids of texts that ranges are seen on. Default: random ones. */
  readonly texts?: readonly (readonly number[])[] | undefined;
}

/**
 * The model with folded norms, weights on the int16 grid and stated ranges; itself where it has
 * them. Weights may be changed in place. Cost: see withRanges.
 * @throws E_MODEL when the model's norms cannot be folded
 */
export function servable<M extends Pick<Model, "config" | "weights">>(
  model: M,
  kernels: FloatKernels,
  { calibratedBounds = false, texts }: ServableOptions = {},
): M {
  const { norm, attention, scaledQuery, ranges, weightFracBits } = model.config;
  if (attention === "constant") return model;
  const kind = norm.kind === "rmsnorm" || norm.kind === "affine";
  const folded = kind && !norm.scale && scaledQuery === true;
  if (folded && weightFracBits && ranges) return model;
  const plain = folded ? model : { ...model, ...foldNorms(model) };
  const whole = folded && weightFracBits ? plain : { ...plain, ...roundToColumnGrid(plain) };
  const stated = withRanges(whole, kernels, texts);
  const unfit = calibratedBounds && !stated.calibratedBounds && !fits(stated);
  const bounded = unfit ? { ...stated, calibratedBounds: true } : stated;
  return { ...whole, config: withOperandBits(bounded) };
}

/** Below so many columns what operands round off averages out over too few. */
const FEW_COLUMNS = 256;
const FINE_OPERAND_BITS = 15;

/** Finer operands where few columns need them and the ring has room. */
function withOperandBits(config: ModelConfig): ModelConfig {
  if (config.operandBits !== undefined || config.hiddenSize > FEW_COLUMNS) return config;
  for (let operandBits = FINE_OPERAND_BITS; operandBits > OPERAND_BITS; operandBits--) {
    const finer = { ...config, operandBits };
    if (fits(finer)) return finer;
  }
  return config;
}

function fits(config: ModelConfig): boolean {
  const { graph, names } = traceSegment(config, { id: 0, kind: "prompt", rows: 1, start: 0 });
  try {
    lower(graph, config, names);
    return true;
  } catch (error) {
    if (error instanceof MergenError && error.code === "E_PLAN") return false;
    throw error;
  }
}
