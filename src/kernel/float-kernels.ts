// The seam between the graph and the loops over float32: what training and the float reference
// use. Matrices are row-major Float32Array views. A product never aliases its operands; in the
// elementwise kernels and softmax, out may be an operand itself (the very same range).

/** The two usual forms of GELU: with tanh (Hendrycks and Gimpel 2016) and exact. */
export type GeluForm = "tanh" | "erf";

export interface GemmOptions {
  m: number;
  n: number;
  k: number;
  a: Float32Array;
  b: Float32Array;
  out: Float32Array;
  transposeA?: boolean;
  transposeB?: boolean;
  accumulate?: boolean;
}

/** One row of constant attention; heads divide columns. */
export interface MixHeadsOptions {
  heads: number;
  rows: number;
  columns: number;
  coefficients: Float32Array; // [heads, rows]
  x: Float32Array; // [rows, columns]
  out: Float32Array; // [columns]
  accumulate?: boolean;
}

export interface SoftmaxOptions {
  rows: number;
  columns: number;
  x: Float32Array; // [rows, columns]
  out: Float32Array; // [rows, columns]
  /**
   * Rows of one causal matrix: row r sees columns 0 .. columns - causalRows + r % causalRows and
   * gets 0 in the others. Without it every row sees all columns.
   */
  causalRows?: number;
  /** Receives log(sum(exp(x))) over the columns that each row sees, [rows]: for cross entropy. */
  logSums?: Float32Array;
}

/** Loshchilov and Hutter 2019, algorithm 2; all arrays of one length. */
export interface AdamwOptions {
  weights: Float32Array;
  gradients: Float32Array;
  firstMoment: Float32Array;
  secondMoment: Float32Array;
  /** Number of this update, from 1. */
  step: number;
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  /** The weights shrink by learningRate * weightDecay. */
  weightDecay: number;
  /** Factor on the gradients, for clipping and averaging; 1 when absent. */
  gradientScale?: number;
}

export interface FloatKernels {
  readonly name: "reference" | "wasm" | "native";

  /**
   * out [m, n] = (accumulate ? out : 0) + op(a) op(b), with op(a) [m, k] and op(b) [k, n].
   * transposeA: a is stored [k, m]. transposeB: b is stored [n, k]. Leading dimensions are tight.
   * Error   at most (k + 2) 2^-24 (|out| + sum of |a| |b|) for each element
   * @throws E_KERNEL on a wrong length or when out overlaps an operand
   */
  gemm(options: GemmOptions): void;

  /**
   * out = (accumulate ? out : 0) + each head's coefficients [rows] times its columns of x.
   * Error   at most (rows + 2) 2^-24 (|out| + sum of |coefficient| |x|) for each element
   * @throws E_KERNEL on a wrong length or when out overlaps an operand
   */
  mixHeads(options: MixHeadsOptions): void;

  /**
   * out = GELU(x), all of one length.
   * Error   at most 2^-21 |x|
   * @throws E_KERNEL on unequal lengths
   */
  gelu(options: { form: GeluForm; x: Float32Array; out: Float32Array }): void;

  /**
   * out = dy GELU'(x), all of one length.
   * Error   at most 2^-19 |dy|, for |x| <= 2^30
   * @throws E_KERNEL on unequal lengths
   */
  geluGradient(options: {
    form: GeluForm;
    x: Float32Array;
    dy: Float32Array;
    out: Float32Array;
  }): void;

  /**
   * Softmax of each row. -Infinity gives 0; a row that sees nothing else gives NaN.
   * Error   at most (columns + 16 + |x - the row's maximum|) 2^-24 relative, plus 2^-120
   * @throws E_KERNEL on a wrong length
   */
  softmax(options: SoftmaxOptions): void;

  /**
   * One AdamW update, in place.
   * @throws E_KERNEL on unequal lengths
   */
  adamw(options: AdamwOptions): void;
}
