// The float32 kernels as plain loops in float64, rounded once at the end: what the fast ones are
// tested against, and the last resort where neither the addon nor WASM loads.

import {
  adamwFactors,
  checkElementwise,
  checkGemm,
  checkMixHeads,
  checkSoftmax,
  visibleColumns,
} from "./float-check.ts";
import type { FloatKernels, GeluForm } from "./float-kernels.ts";

export const floatReference: FloatKernels = {
  name: "reference",

  gemm(options) {
    checkGemm(options);
    const { m, n, k, a, b, out, transposeA, transposeB, accumulate } = options;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = accumulate ? out[i * n + j] : 0;
        for (let p = 0; p < k; p++) {
          const x = transposeA ? a[p * m + i] : a[i * k + p];
          const y = transposeB ? b[j * k + p] : b[p * n + j];
          sum += x * y;
        }
        out[i * n + j] = sum;
      }
    }
  },

  mixHeads(options) {
    checkMixHeads(options);
    const { heads, rows, columns, coefficients, x, out, accumulate } = options;
    const width = columns / heads;
    for (let i = 0; i < columns; i++) {
      const head = Math.floor(i / width);
      let sum = accumulate ? out[i] : 0;
      for (let j = 0; j < rows; j++) sum += coefficients[head * rows + j] * x[j * columns + i];
      out[i] = sum;
    }
  },

  gelu({ form, x, out }) {
    const count = checkElementwise("gelu", { x, out });
    for (let i = 0; i < count; i++) out[i] = x[i] * geluGate(form, x[i]).value;
  },

  geluGradient({ form, x, dy, out }) {
    const count = checkElementwise("geluGradient", { x, dy, out });
    for (let i = 0; i < count; i++) {
      const { value, slope } = geluGate(form, x[i]);
      out[i] = dy[i] * (value + x[i] * slope);
    }
  },

  softmax(options) {
    checkSoftmax(options);
    const { rows, columns, x, out, logSums } = options;
    for (let row = 0; row < rows; row++) {
      const visible = visibleColumns(options, row);
      const from = row * columns;
      const top = x.subarray(from, from + visible).reduce((a, b) => Math.max(a, b), -Infinity);
      let sum = 0;
      for (let j = 0; j < visible; j++) sum += Math.exp(x[from + j] - top);
      for (let j = 0; j < columns; j++) {
        out[from + j] = j < visible ? Math.exp(x[from + j] - top) / sum : 0;
      }
      if (logSums !== undefined) logSums[row] = top + Math.log(sum);
    }
  },

  adamw(options) {
    const f = adamwFactors(options);
    const { weights, gradients, firstMoment, secondMoment } = options;
    for (let i = 0; i < weights.length; i++) {
      const g = gradients[i] * f.gradientScale;
      const m1 = f.beta1 * firstMoment[i] + (1 - f.beta1) * g;
      const m2 = f.beta2 * secondMoment[i] + (1 - f.beta2) * g * g;
      const move = (f.stepSize * m1) / (Math.sqrt(m2) * f.rootScale + f.epsilon);
      weights[i] = (1 - f.decay) * weights[i] - move;
      firstMoment[i] = m1;
      secondMoment[i] = m2;
    }
  },
};

/** GELU(x) = x * value; slope is the derivative of value. */
function geluGate(form: GeluForm, x: number): { value: number; slope: number } {
  switch (form) {
    case "tanh": {
      const c = Math.sqrt(2 / Math.PI);
      const e = Math.exp(-2 * c * (x + 0.044715 * x ** 3));
      const value = 1 / (1 + e);
      const slope = e === Infinity ? 0 : value * (e * value) * 2 * c * (1 + 3 * 0.044715 * x * x);
      return { value, slope };
    }
    case "erf":
      return { value: normalCdf(x), slope: Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI) };
    default:
      return form satisfies never;
  }
}

/**
 * P(N(0, 1) <= x) within 1e-14: the Taylor series around 0, and far out the continued fraction of
 * the tail. Source: Abramowitz and Stegun 26.2.11 and 26.2.14.
 */
function normalCdf(x: number): number {
  const magnitude = Math.abs(x);
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  if (magnitude < 3) {
    let term = x;
    let sum = x;
    for (let i = 3; Math.abs(term) > 1e-17 * Math.abs(sum); i += 2) {
      term *= (x * x) / i;
      sum += term;
    }
    return 0.5 + density * sum;
  }
  let fraction = magnitude;
  for (let i = 60; i >= 1; i--) fraction = magnitude + i / fraction;
  const tail = density / fraction;
  return x < 0 ? tail : 1 - tail;
}
