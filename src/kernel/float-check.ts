// The checks of operands that every implementation makes before it touches memory, and the few
// numbers that they all derive from the options in the same way.

import { ensure } from "../errors.ts";
import type {
  AdamwOptions,
  GeluForm,
  GemmOptions,
  MixHeadsOptions,
  SoftmaxOptions,
} from "./float-kernels.ts";

const maxSize = 2 ** 31 - 1;

function isSize(x: number): boolean {
  return Number.isInteger(x) && x >= 0 && x <= maxSize;
}

function checkLength(name: string, array: Float32Array, length: number): void {
  ensure(
    array.length === length,
    "E_KERNEL",
    `${name} has ${array.length} elements instead of ${length}`,
  );
}

function overlap(x: Float32Array, y: Float32Array): boolean {
  return (
    x.buffer === y.buffer &&
    x.byteOffset < y.byteOffset + y.byteLength &&
    y.byteOffset < x.byteOffset + x.byteLength
  );
}

/** Checks sizes, exact lengths and that out shares no memory with an operand. */
export function checkGemm({ m, n, k, a, b, out }: GemmOptions): void {
  ensure(isSize(m) && isSize(n) && isSize(k), "E_KERNEL", `gemm: bad size ${m} x ${n} x ${k}`);
  checkLength("gemm: a", a, m * k);
  checkLength("gemm: b", b, k * n);
  checkLength("gemm: out", out, m * n);
  ensure(!overlap(out, a) && !overlap(out, b), "E_KERNEL", "gemm: out overlaps an operand");
}

/** Checks sizes, exact lengths and that out shares no memory with an operand. */
export function checkMixHeads(options: MixHeadsOptions): void {
  const { heads, rows, columns, coefficients, x, out } = options;
  const fits = isSize(heads) && isSize(rows) && isSize(columns) && columns % heads === 0;
  ensure(fits, "E_KERNEL", `mixHeads: bad size ${heads} heads, ${rows} x ${columns}`);
  checkLength("mixHeads: coefficients", coefficients, heads * rows);
  checkLength("mixHeads: x", x, rows * columns);
  checkLength("mixHeads: out", out, columns);
  const apart = !overlap(out, coefficients) && !overlap(out, x);
  ensure(apart, "E_KERNEL", "mixHeads: out overlaps an operand");
}

/** The flag word of the WASM and native gemm: 1 transposes a, 2 transposes b, 4 accumulates. */
export function gemmFlags({ transposeA, transposeB, accumulate }: GemmOptions): number {
  return (transposeA ? 1 : 0) | (transposeB ? 2 : 0) | (accumulate ? 4 : 0);
}

/** The number of the form in the WASM and native kernels. */
export function formNumber(form: GeluForm): number {
  return form === "tanh" ? 0 : 1;
}

/** Checks that the operands of an elementwise kernel have the length of the first; returns it. */
export function checkElementwise(kernel: string, arrays: Record<string, Float32Array>): number {
  const { length } = Object.values(arrays)[0];
  for (const [name, array] of Object.entries(arrays)) {
    checkLength(`${kernel}: ${name}`, array, length);
  }
  return length;
}

export function checkSoftmax({
  rows,
  columns,
  causalRows = 0,
  x,
  out,
  logSums,
}: SoftmaxOptions): void {
  const fits = isSize(rows) && isSize(columns) && columns > 0;
  ensure(fits, "E_KERNEL", `softmax: bad size ${rows} x ${columns}`);
  ensure(
    isSize(causalRows) && causalRows <= columns,
    "E_KERNEL",
    `softmax: ${causalRows} causal rows do not fit ${columns} columns`,
  );
  checkLength("softmax: x", x, rows * columns);
  checkLength("softmax: out", out, rows * columns);
  if (logSums !== undefined) checkLength("softmax: logSums", logSums, rows);
}

/** How many columns a row of a softmax sees. */
export function visibleColumns(options: SoftmaxOptions, row: number): number {
  const { columns, causalRows = 0 } = options;
  return causalRows === 0 ? columns : columns - causalRows + 1 + (row % causalRows);
}

/** The factors of an AdamW update, the bias corrections folded in, rounded to float32. */
export interface AdamwFactors {
  beta1: number;
  beta2: number;
  stepSize: number;
  rootScale: number;
  epsilon: number;
  decay: number;
  gradientScale: number;
}

/** Checks the arrays and derives the factors; betas are rounded first, so that all agree. */
export function adamwFactors(options: AdamwOptions): AdamwFactors {
  const { weights, gradients, firstMoment, secondMoment, step, learningRate } = options;
  checkElementwise("adamw", { weights, gradients, firstMoment, secondMoment });
  ensure(Number.isInteger(step) && step >= 1, "E_KERNEL", `adamw: step ${step} is not 1, 2, ...`);
  const beta1 = Math.fround(options.beta1);
  const beta2 = Math.fround(options.beta2);
  return {
    beta1,
    beta2,
    stepSize: Math.fround(learningRate / (1 - beta1 ** step)),
    rootScale: Math.fround(1 / Math.sqrt(1 - beta2 ** step)),
    epsilon: Math.fround(options.epsilon),
    decay: Math.fround(learningRate * options.weightDecay),
    gradientScale: Math.fround(options.gradientScale ?? 1),
  };
}
