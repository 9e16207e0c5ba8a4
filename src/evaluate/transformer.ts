// The layers that BERT and BART are made of, over the float kernels: whole sentences at a time,
// normalisation after each branch (post-norm). Source: Vaswani et al. 2017, section 3.

import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Weights } from "../model/safetensors.ts";
import { tensor } from "./pretrained.ts";

/** Rows of hidden states, [rows, columns]. */
export interface Rows {
  readonly data: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

/** How a model names the linear layers of an attention. */
export interface AttentionNames {
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly output: string;
}

export class Layers {
  readonly kernels: FloatKernels;
  readonly #weights: Weights;
  readonly #origin: string;

  /** `origin` is the file that errors name. */
  constructor(kernels: FloatKernels, weights: Weights, origin: string) {
    this.kernels = kernels;
    this.#weights = weights;
    this.#origin = origin;
  }

  /** @throws E_MODEL when it is missing or of another shape */
  weight(name: string, shape: readonly number[]): Float32Array {
    return tensor(this.#weights, name, shape, this.#origin);
  }

  has(name: string): boolean {
    return this.#weights.has(name);
  }

  /** x W^T + bias, with W [size, columns] as PyTorch keeps it: [n, columns] -> [n, size]. */
  linear(x: Rows, name: string, size: number): Rows {
    const bias = this.weight(`${name}.bias`, [size]);
    const out = this.product(x, this.weight(`${name}.weight`, [size, x.columns]), size);
    for (let i = 0; i < out.data.length; i++) out.data[i] += bias[i % size];
    return out;
  }

  /** x W^T: [n, columns] by [size, columns] -> [n, size]. */
  product(x: Rows, b: Float32Array, size: number): Rows {
    const data = new Float32Array(x.rows * size);
    const { rows: m, columns: k } = x;
    this.kernels.gemm({ m, n: size, k, a: x.data, b, out: data, transposeB: true });
    return { data, rows: m, columns: size };
  }

  /** LayerNorm with scale and shift; `name` has .weight and .bias. */
  norm({ data, rows, columns }: Rows, name: string, eps: number): Rows {
    const scale = this.weight(`${name}.weight`, [columns]);
    const shift = this.weight(`${name}.bias`, [columns]);
    const out = new Float32Array(data.length);
    for (let row = 0; row < rows; row++) {
      const x = data.subarray(row * columns, (row + 1) * columns);
      const mean = x.reduce((sum, value) => sum + value, 0) / columns;
      const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / columns;
      const factor = 1 / Math.sqrt(variance + eps);
      for (let i = 0; i < columns; i++) {
        out[row * columns + i] = (x[i] - mean) * factor * scale[i] + shift[i];
      }
    }
    return { data: out, rows, columns };
  }

  gelu(x: Rows): Rows {
    const out = new Float32Array(x.data.length);
    this.kernels.gelu({ form: "erf", x: x.data, out });
    return { ...x, data: out };
  }

  /** Attention of x [n, d] to source [s, d] -> [n, d]; causal: row i sees the rows up to i. */
  attention(
    x: Rows,
    source: Rows,
    { names, heads, causal }: { names: AttentionNames; heads: number; causal: boolean },
  ): Rows {
    const { columns } = x;
    const query = this.linear(x, names.query, columns);
    const key = this.linear(source, names.key, columns);
    const value = this.linear(source, names.value, columns);
    const mixed = new Float32Array(x.data.length);
    const width = columns / heads;
    for (let head = 0; head < heads; head++) {
      const scores = this.product(
        headOf(query, head, width),
        headOf(key, head, width).data,
        source.rows,
      );
      for (let i = 0; i < scores.data.length; i++) scores.data[i] /= Math.sqrt(width);
      const share = new Float32Array(scores.data.length);
      this.kernels.softmax({
        rows: x.rows,
        columns: source.rows,
        x: scores.data,
        out: share,
        ...(causal && { causalRows: x.rows }),
      });
      const out = new Float32Array(x.rows * width);
      const b = headOf(value, head, width).data;
      this.kernels.gemm({ m: x.rows, n: width, k: source.rows, a: share, b, out });
      for (let row = 0; row < x.rows; row++) {
        mixed.set(out.subarray(row * width, (row + 1) * width), row * columns + head * width);
      }
    }
    return this.linear({ ...x, data: mixed }, names.output, columns);
  }
}

/** A head's columns of all rows. */
function headOf({ data, rows, columns }: Rows, head: number, width: number): Rows {
  const out = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const from = row * columns + head * width;
    out.set(data.subarray(from, from + width), row * width);
  }
  return { data: out, rows, columns: width };
}

/** a + b, of one shape. */
export function sum(a: Rows, b: Rows): Rows {
  return { ...a, data: a.data.map((value, i) => value + b.data[i]) };
}

/** Rows of a table [V, columns] by index, each times `factor`. */
export function rowsOf(
  table: Float32Array,
  indices: readonly number[],
  columns: number,
  factor = 1,
): Rows {
  const data = new Float32Array(indices.length * columns);
  for (const [row, index] of indices.entries()) {
    for (let i = 0; i < columns; i++) {
      data[row * columns + i] = factor * table[index * columns + i];
    }
  }
  return { data, rows: indices.length, columns };
}
