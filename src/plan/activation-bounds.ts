// How far an activation's values reach, given how far its arguments do: for the bounds of a
// decoder's wires that its weights prove.

import type { PiecewisePolynomial } from "../graph/ops.ts";
import { geluPieces } from "../recipe/approximations.ts";
import type { ActivationSetting } from "../recipe/recipe.ts";
import { pieceAt, polynomialAt } from "./functions.ts";

/** Points at which a piecewise function is looked at. */
const SAMPLES = 1 << 14;

/** Bounds of a row: of each entry, and of its length. */
export interface RowBound {
  readonly peak: number;
  readonly length: number;
}

/** Bounds of the activation of rows of `columns` entries. */
export function activationBound(
  activation: ActivationSetting,
  layer: number,
  { peak, length }: RowBound,
  columns: number,
): RowBound {
  const quad = activation.kind === "quad" || activation.kind === "mixed";
  if (quad && (activation.kind === "quad" || activation.layers[layer] === "quad")) {
    const [c2, c1, c0] = activation.coefficients.map(Math.abs) as [number, number, number];
    return {
      peak: quadBound(activation.coefficients, peak),
      length: (c2 * peak + c1) * length + c0 * Math.sqrt(columns),
    };
  }
  if (activation.kind === "piecewise") {
    const excess = excessOf(geluPieces[activation.name]);
    return { peak: peak + excess, length: length + excess * Math.sqrt(columns) };
  }
  return { peak, length }; // GELU, SiLU and ReLU are no farther from 0 than their argument.
}

/** Greatest |c2 x^2 + c1 x + c0| for |x| <= peak, or more. */
export function quadBound(coefficients: readonly [number, number, number], peak: number): number {
  const [c2, c1, c0] = coefficients.map(Math.abs) as [number, number, number];
  return c2 * peak * peak + c1 * peak + c0;
}

const excesses = new WeakMap<PiecewisePolynomial, number>();

/**
 * Greatest |f(x)| - |x|, or 0, for an f that is 0 or x beyond its edges. Between samples f changes
 * by no more than the greatest slope of its pieces allows.
 */
export function excessOf(f: PiecewisePolynomial): number {
  const known = excesses.get(f);
  if (known !== undefined) return known;
  const [from, to] = [f.edges[0]!, f.edges.at(-1)!];
  const step = (to - from) / SAMPLES;
  const reach = Math.max(Math.abs(from), Math.abs(to));
  const slopes = f.pieces.map((piece) =>
    piece.reduce((sum, c, j) => sum + (j === 0 ? 0 : j * Math.abs(c) * reach ** (j - 1)), 0),
  );
  let greatest = 0;
  for (let i = 0; i <= SAMPLES; i++) {
    const x = from + i * step;
    greatest = Math.max(greatest, Math.abs(polynomialAt(pieceAt(f, x), x)) - Math.abs(x));
  }
  const excess = greatest + (Math.max(...slopes) + 1) * step;
  excesses.set(f, excess);
  return excess;
}
