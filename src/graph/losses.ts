// What training minimises, as scalars of a graph; models that run have none of it.

import { ensure } from "../errors.ts";
import { misfit, sameShape, type Tensor } from "./graph.ts";

/** Weighted mean cross entropy of logits. */
export function crossEntropy(
  logits: Tensor,
  targets: Tensor,
  weights: Tensor,
  smoothing = 0,
): Tensor {
  const rows = logits.shape.slice(0, -1);
  const fits = sameShape(targets.shape, rows) && sameShape(weights.shape, rows);
  ensure(fits, "E_SHAPE", misfit("crossEntropy", logits, targets));
  const ids = { logits: logits.id, targets: targets.id, weights: weights.id };
  return logits.graph.record({ kind: "crossEntropy", ...ids, smoothing }, [1]);
}

/** Weighted mean of 1 - cos over rows. */
export function cosineLoss(a: Tensor, b: Tensor, weights: Tensor): Tensor {
  checkRows("cosineLoss", a, b, weights);
  return a.graph.record({ kind: "cosineLoss", a: a.id, b: b.id, weights: weights.id }, [1]);
}

/** Weighted mean over rows of the mean squared difference. */
export function squaredLoss(a: Tensor, b: Tensor, weights: Tensor): Tensor {
  checkRows("squaredLoss", a, b, weights);
  return a.graph.record({ kind: "squaredLoss", a: a.id, b: b.id, weights: weights.id }, [1]);
}

/** Divergence of logits from a teacher's, which get no gradient. */
export function softLabelLoss(
  logits: Tensor,
  target: Tensor,
  weights: Tensor,
  temperature: number,
): Tensor {
  checkRows("softLabelLoss", logits, target, weights);
  const finite = Number.isFinite(temperature) && temperature > 0;
  ensure(finite, "E_SHAPE", "softLabelLoss: the temperature is not positive");
  const ids = { logits: logits.id, target: target.detach().id, weights: weights.id };
  return logits.graph.record({ kind: "softLabelLoss", ...ids, temperature }, [1]);
}

/** @throws E_SHAPE where two operands and a weight for each of their rows do not fit */
function checkRows(op: string, a: Tensor, b: Tensor, weights: Tensor): void {
  ensure(b.graph === a.graph, "E_SHAPE", "operands belong to different graphs");
  const fits = sameShape(a.shape, b.shape) && sameShape(weights.shape, a.shape.slice(0, -1));
  ensure(fits, "E_SHAPE", misfit(op, a, b));
}
