// An upper bound of a matrix's greatest singular value: what proven bounds of a layer rest on.

import type { FloatKernels } from "../kernel/float-kernels.ts";

/** Multiply-adds of G from which on rounding is allowed for, so that float32 may compute it. */
const LARGE_PRODUCT = 2 ** 28;
/** Columns whose products are summed in float32 before they are added up in float64. */
const CHUNK = 512;
const ULP = 2 ** -24;
const SQUARINGS = 3;

/**
 * With G = M M^T of a [rows, columns] matrix, sigma^2 <= ||G^8||_F^(1/8), within a factor
 * rows^(1/16) of the truth. Of a large matrix the bound includes what float32 products may be off
 * by (k 2^-24 of the operands' norms, in each product), whether or not kernels compute them: who
 * states a bound and who checks it come to the same one, but for a few 2^-24.
 */
export function spectralBound(
  matrix: Float32Array,
  rows: number,
  columns: number,
  kernels?: FloatKernels,
): number {
  const large = rows * rows * columns >= LARGE_PRODUCT;
  const single = large ? kernels : undefined;
  const product = single
    ? gramBySingles(matrix, rows, columns, single)
    : gram(matrix, rows, columns);
  const errors = [large ? (CHUNK + 2) * ULP * norm2(matrix) ** 2 : 0];
  const scales: number[] = [];
  let power = product;
  for (let round = 0; round < SQUARINGS; round++) {
    const scale = norm2(power) || 1;
    scales.push(scale);
    // The norm is 1 now, so the product is off by k 2^-24, and by two roundings of its operands.
    errors.push(large ? (rows + 4) * ULP : 0);
    const scaled = power.map((value) => value / scale);
    power = single ? squaredBySingles(scaled, rows, single) : squared(scaled, rows);
  }
  let bound = norm2(power);
  for (let round = SQUARINGS - 1; round >= 0; round--) {
    bound = Math.sqrt(bound + errors[round + 1]!) * scales[round]!;
  }
  return Math.sqrt(bound + errors[0]!) * (1 + 1e-9);
}

type Doubles = Float64Array<ArrayBuffer>;

function gram(matrix: Float32Array, rows: number, columns: number): Doubles {
  const out = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < columns; k++) sum += matrix[i * columns + k]! * matrix[j * columns + k]!;
      out[i * rows + j] = out[j * rows + i] = sum;
    }
  }
  return out;
}

function gramBySingles(
  matrix: Float32Array,
  rows: number,
  columns: number,
  kernels: FloatKernels,
): Doubles {
  const out = new Float64Array(rows * rows);
  const part = new Float32Array(rows * rows);
  for (let from = 0; from < columns; from += CHUNK) {
    const count = Math.min(CHUNK, columns - from);
    const chunk = new Float32Array(rows * count);
    for (let i = 0; i < rows; i++) {
      const start = i * columns + from;
      chunk.set(matrix.subarray(start, start + count), i * count);
    }

    kernels.gemm({ m: rows, n: rows, k: count, a: chunk, b: chunk, transposeB: true, out: part });
    for (let i = 0; i < out.length; i++) out[i]! += part[i]!;
  }
  return out;
}

function squared(matrix: Doubles, size: number): Doubles {
  const out = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < size; k++) {
      const factor = matrix[i * size + k]!;
      for (let j = 0; j < size; j++) out[i * size + j]! += factor * matrix[k * size + j]!;
    }
  }
  return out;
}

function squaredBySingles(matrix: Doubles, size: number, kernels: FloatKernels): Doubles {
  const a = new Float32Array(matrix);
  const out = new Float32Array(size * size);
  kernels.gemm({ m: size, n: size, k: size, a, b: a, out });
  return new Float64Array(out);
}

function norm2(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!;
  return Math.sqrt(sum);
}
