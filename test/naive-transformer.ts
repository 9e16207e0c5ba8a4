// Transformer layers as plain sums over lists of numbers, in float64: what BERT and BART of the
// evaluation are compared with. Nothing here is shared with them.

export type Matrix = number[][];

/** Tensors by name, as PyTorch has them: rows of a matrix, or one row of a vector. */
export type Tensors = Readonly<Record<string, Matrix>>;

export function linear(w: Tensors, name: string, x: Matrix): Matrix {
  return x.map((row) =>
    w[`${name}.weight`].map((weights, i) => dot(row, weights) + w[`${name}.bias`][0][i]),
  );
}

export function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

export function plus(...all: Matrix[]): Matrix {
  return all[0].map((row, r) => row.map((_, c) => all.reduce((sum, one) => sum + one[r][c], 0)));
}

export function layerNorm(w: Tensors, name: string, x: Matrix, eps: number): Matrix {
  return x.map((row) => {
    const mean = row.reduce((a, b) => a + b) / row.length;
    const deviation = Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length + eps);
    const [scale] = w[`${name}.weight`];
    const [shift] = w[`${name}.bias`];
    return row.map((value, i) => ((value - mean) / deviation) * scale[i] + shift[i]);
  });
}

export function softmax(row: readonly number[]): number[] {
  const powers = row.map((value) => Math.exp(value));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

/** By the power series of the error function, which is exact enough for the values here. */
export function gelu(x: Matrix): Matrix {
  const erf = (z: number) => {
    let term = z;
    let sum = z;
    for (let n = 1; n < 80; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  };
  return x.map((row) => row.map((value) => (value * (1 + erf(value / Math.SQRT2))) / 2));
}

/** Attention by the names of its four linear layers; `sees` says which source rows a row sees. */
export function attention(
  w: Tensors,
  [q, k, v, o]: readonly [string, string, string, string],
  {
    x,
    source,
    heads,
    sees,
  }: {
    x: Matrix;
    source: Matrix;
    heads: number;
    sees: (row: number, sourceRow: number) => boolean;
  },
): Matrix {
  const [query, key, value] = [linear(w, q, x), linear(w, k, source), linear(w, v, source)];
  const width = query[0].length / heads;
  const mixed = query.map((row, r) =>
    row.map((_, column) => {
      const from = Math.floor(column / width) * width;
      const part = (vector: number[]) => vector.slice(from, from + width);
      const scores = key.map((other, s) =>
        sees(r, s) ? dot(part(row), part(other)) / Math.sqrt(width) : -Infinity,
      );
      return dot(
        softmax(scores),
        value.map((other) => other[column]),
      );
    }),
  );
  return linear(w, o, mixed);
}
