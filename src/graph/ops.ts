// The typed operations that model code records. An op names its operands by tensor id; the list
// is in topological order by construction and is what every interpreter runs. Shapes are
// [..., rows, columns]; all operations take any leading (batch) dimensions.

/**
 * A function of one variable by parts: piece i, coefficients constant first, holds below edge i and
 * the last one from the last edge on. Edges rise; there is one piece more than edges.
 */
export interface PiecewisePolynomial {
  readonly edges: readonly number[];
  readonly pieces: readonly (readonly number[])[];
}

/**
 * exp(z) for z <= 0. limit: (1 + z / 2^doublings)^(2^doublings), and 0 below `least`. piecewise: a
 * polynomial by parts.
 */
export type ExpForm =
  | { readonly kind: "limit"; readonly least: number; readonly doublings: number }
  | ({ readonly kind: "piecewise" } & PiecewisePolynomial);

/**
 * Attention weights of a row of scores x; sums run over the n columns that the row sees.
 *   softmax  e(x - max x) / sum e(x - max x), e an approximation of exp
 *   2quad    (x + shift)^2 / sum (x + shift)^2
 *   2relu    (max(x, 0) + eps / n) / (sum max(x, 0) + eps)
 *   power    x^exponent / (sum x^exponent + eps), the exponent even
 */
export type AttentionForm =
  | { readonly kind: "softmax"; readonly exp: ExpForm }
  | { readonly kind: "2quad"; readonly shift: number }
  | { readonly kind: "2relu"; readonly eps: number }
  | { readonly kind: "power"; readonly exponent: number; readonly eps: number };

/** One recorded operation. `out` is the id of the tensor that it defines. */
export type Op = { readonly out: number; readonly shape: readonly number[] } & OpBody;

export type OpBody =
  /** Real-valued data given at run time: a state, a cache, a mask. */
  | { readonly kind: "input"; readonly name: string }
  /** Token ids given at run time, [..., n]; private to the client in the secure modes. */
  | { readonly kind: "ids"; readonly name: string }
  /** A parameter, held by the server. */
  | { readonly kind: "weight"; readonly name: string }
  /** Rows of the table [V, d] picked by ids [..., n] -> [..., n, d]. */
  | { readonly kind: "embed"; readonly ids: number; readonly table: number }
  /** a + b, where b's shape is a's or a suffix of it. */
  | { readonly kind: "add"; readonly a: number; readonly b: number }
  /** a * b elementwise, where b's shape is a's or a suffix of it. */
  | { readonly kind: "mul"; readonly a: number; readonly b: number }
  | { readonly kind: "scale"; readonly x: number; readonly factor: number }
  /** x [..., K] times weight [K, N] (or its transpose [N, K]), plus bias [N] -> [..., N]. */
  | {
      readonly kind: "linear";
      readonly x: number;
      readonly weight: number;
      readonly bias: number | undefined;
      readonly transposed: boolean;
    }
  /** Batched a [..., n, k] times b [..., k, m], or times b^T with b [..., m, k]. */
  | {
      readonly kind: "matmul";
      readonly a: number;
      readonly b: number;
      readonly transposeB: boolean;
    }
  /** [..., n, d] -> [..., heads, n, d / heads]. */
  | { readonly kind: "splitHeads"; readonly x: number; readonly heads: number }
  /** [..., heads, n, w] -> [..., n, heads * w]. */
  | { readonly kind: "mergeHeads"; readonly x: number }
  /** [..., p, d] and [..., q, d] -> [..., p + q, d]. */
  | { readonly kind: "concatRows"; readonly a: number; readonly b: number }
  /** Rows from..to-1. */
  | { readonly kind: "sliceRows"; readonly x: number; readonly from: number; readonly to: number }
  /**
   * Constant attention (MERGE, Liang et al. 2024, Fig. 3c). x holds all rows 0..s-1 [..., s, d],
   * weight [H, T, T]; row t >= start of the result is, per head h,
   * sum over j <= t of weight[h, t, j] x[j, head slice h] -> [..., s - start, d].
   */
  | {
      readonly kind: "constantAttention";
      readonly x: number;
      readonly weight: number;
      readonly start: number;
    }
  /**
   * Constant attention made of parts that positions share (training only): weight [heads, T, T] =
   * base [heads, T, T] + column [heads, T] by source + relative [heads, T] by distance, causal.
   */
  | {
      readonly kind: "attentionPattern";
      readonly base: number;
      readonly column: number;
      readonly relative: number;
    }
  /** Softmax over the last axis of scores [..., n, s]; row i sees columns 0..s-n+i. */
  | { readonly kind: "causalSoftmax"; readonly x: number }
  /** Weights in the place of softmax's, of the same scores and over the same columns. */
  | { readonly kind: "attentionWeights"; readonly x: number; readonly form: AttentionForm }
  /** Sum over the columns that a row sees of max(x / 2 + 1, 0)^3: [..., n, s] -> [..., n, 1]. */
  | { readonly kind: "causalCubes"; readonly x: number }
  /** x [..., n, s] times a factor [..., n, 1] for each row; 0 in columns that it does not see. */
  | { readonly kind: "causalScale"; readonly x: number; readonly factor: number }
  /** c2 x^2 + c1 x + c0, coefficients [c2, c1, c0]. */
  | {
      readonly kind: "quad";
      readonly x: number;
      readonly coefficients: readonly [number, number, number];
    }
  | { readonly kind: "gelu"; readonly x: number; readonly form: "tanh" | "erf" }
  | { readonly kind: "relu"; readonly x: number }
  /** x / sqrt(mean of squares + eps) over the last axis (Zhang and Sennrich 2019). */
  | {
      readonly kind: "rmsNorm";
      readonly x: number;
      readonly eps: number;
      readonly name?: string | undefined;
    }
  /** x sigmoid(x). */
  | { readonly kind: "silu"; readonly x: number }
  /**
   * Rotary position embedding (Su et al. 2021): the pair of columns (2i, 2i + 1) of row r is turned
   * by the angle (start + r) base^(-2i / w), x [..., n, w].
   */
  | { readonly kind: "rope"; readonly x: number; readonly start: number; readonly base: number }
  /** [..., H, n, w] -> [..., H * times, n, w]: each head `times` times, one beside the other. */
  | { readonly kind: "repeatHeads"; readonly x: number; readonly times: number }
  | ({ readonly kind: "piecewise"; readonly x: number } & PiecewisePolynomial)
  /** (x - mean) / sqrt(variance + eps) over the last axis; scale and shift are mul and add. */
  | {
      readonly kind: "layerNorm";
      readonly x: number;
      readonly eps: number;
      /** What stated ranges call it; so also of rmsNorm. */
      readonly name?: string | undefined;
    }
  /** (x - mean) / sqrt(variance + eps) with stored statistics [d] of each column. */
  | {
      readonly kind: "batchNorm";
      readonly x: number;
      readonly mean: number;
      readonly variance: number;
      readonly eps: number;
    }
  /** Picks a where mask [..., n] is 1 and b where it is 0, row by row (training only). */
  | { readonly kind: "select"; readonly mask: number; readonly a: number; readonly b: number }
  /** The value, without a gradient (training only). */
  | { readonly kind: "detach"; readonly x: number }
  /**
   * Weighted mean of -log softmax(logits)[target] -> scalar; targets ids [..., n], weights
   * [..., n] (training only). `smoothing` spreads that share of the target over the vocabulary.
   */
  | {
      readonly kind: "crossEntropy";
      readonly logits: number;
      readonly targets: number;
      readonly weights: number;
      readonly smoothing: number;
    }
  /** Weighted mean of 1 - cos(a, b) over rows -> scalar; weights [..., n] (training only). */
  | {
      readonly kind: "cosineLoss";
      readonly a: number;
      readonly b: number;
      readonly weights: number;
    }
  /** Weighted mean over rows of mean (a - b)^2 -> scalar; weights [..., n] (training only). */
  | {
      readonly kind: "squaredLoss";
      readonly a: number;
      readonly b: number;
      readonly weights: number;
    }
  /**
   * Weighted mean over rows of t^2 KL(softmax(target / t) || softmax(logits / t)) -> scalar;
   * weights [..., n]; no gradient goes to the target, which is a `detach` (training only). Hinton
   * et al. 2015, §2: with t^2, gradients keep their size when the temperature t changes.
   */
  | {
      readonly kind: "softLabelLoss";
      readonly logits: number;
      readonly target: number;
      readonly weights: number;
      readonly temperature: number;
    };

export type OpKind = OpBody["kind"];

/** Ids of the tensors that an op reads, in a fixed order. */
export function operands(op: Op): number[] {
  switch (op.kind) {
    case "input":
    case "ids":
    case "weight":
      return [];
    case "embed":
      return [op.ids, op.table];
    case "add":
    case "mul":
    case "matmul":
    case "concatRows":
      return [op.a, op.b];
    case "linear":
      return op.bias === undefined ? [op.x, op.weight] : [op.x, op.weight, op.bias];
    case "constantAttention":
      return [op.x, op.weight];
    case "attentionPattern":
      return [op.base, op.column, op.relative];
    case "causalScale":
      return [op.x, op.factor];
    case "batchNorm":
      return [op.x, op.mean, op.variance];
    case "select":
      return [op.mask, op.a, op.b];
    case "crossEntropy":
      return [op.logits, op.targets, op.weights];
    case "cosineLoss":
    case "squaredLoss":
      return [op.a, op.b, op.weights];
    case "softLabelLoss":
      return [op.logits, op.target, op.weights];
    case "scale":
    case "splitHeads":
    case "mergeHeads":
    case "sliceRows":
    case "causalSoftmax":
    case "attentionWeights":
    case "causalCubes":
    case "piecewise":
    case "quad":
    case "gelu":
    case "relu":
    case "layerNorm":
    case "rmsNorm":
    case "silu":
    case "rope":
    case "repeatHeads":
    case "detach":
      return [op.x];
    default:
      return op satisfies never;
  }
}
