// Functions by parts over float32 data: polynomials between edges, forward and backward.

import type { PiecewisePolynomial } from "../graph/ops.ts";

/** The polynomial of the part that x lies in; a part begins at its edge. */
export function valueAt({ edges, pieces }: PiecewisePolynomial, x: number): number {
  let part = 0;
  while (part < edges.length && x >= edges[part]!) part++;
  const coefficients = pieces[part]!;
  let value = 0;
  for (let i = coefficients.length - 1; i >= 0; i--) value = value * x + coefficients[i]!;
  return value;
}

/** Coefficients of the derivative, part by part. */
export function derivative({ edges, pieces }: PiecewisePolynomial): PiecewisePolynomial {
  const slopes = pieces.map((piece) =>
    piece.length > 1 ? piece.slice(1).map((value, i) => value * (i + 1)) : [0],
  );
  return { edges, pieces: slopes };
}

/** out[i] = f(x[i]); both of one length, out may be x. */
export function piecewise(x: Float32Array, form: PiecewisePolynomial, out: Float32Array): void {
  for (let i = 0; i < out.length; i++) out[i] = valueAt(form, x[i]!);
}

/** dx = dy f'(x) in place; at an edge the slope is that of the part above. */
export function piecewiseBackward(
  x: Float32Array,
  form: PiecewisePolynomial,
  dy: Float32Array,
): void {
  const slope = derivative(form);
  for (let i = 0; i < dy.length; i++) dy[i] = dy[i]! * valueAt(slope, x[i]!);
}
