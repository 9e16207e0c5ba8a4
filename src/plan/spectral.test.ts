import { describe, expect, it } from "vitest";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { Random } from "../model/random.ts";
import { spectralBound } from "./spectral.ts";

function randomMatrix(rows: number, columns: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: rows * columns }, () => random.normal());
}

/** A lower bound of the greatest singular value: power iteration on M M^T. */
function powerIteration(matrix: Float32Array, rows: number, columns: number): number {
  let x = Float64Array.from({ length: rows }, (_, i) => 1 + (i % 7));
  let length = 0;
  for (let round = 0; round < 60; round++) {
    const middle = new Float64Array(columns);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) middle[j]! += x[i]! * matrix[i * columns + j]!;
    }
    const next = new Float64Array(rows);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) next[i]! += matrix[i * columns + j]! * middle[j]!;
    }
    length = Math.hypot(...next);
    x = next.map((value) => value / length);
  }
  return Math.sqrt(length);
}

describe("spectralBound", () => {
  const shapes: [rows: number, columns: number][] = [
    [1, 5],
    [8, 3],
    [40, 90],
    [600, 760],
  ];
  it.each(shapes)("holds for [%i, %i], and is not far off", (rows, columns) => {
    const matrix = randomMatrix(rows, columns, rows);
    const truth = powerIteration(matrix, rows, columns);
    const bound = spectralBound(matrix, rows, columns);
    expect(bound).toBeGreaterThanOrEqual(truth * (1 - 1e-9));
    expect(bound).toBeLessThan(truth * (1.03 * rows ** (1 / 16)));
  });

  it("is the same with and without kernels, for large matrices and small", async () => {
    for (const [rows, columns] of [[30, 60], ...[[600, 760] as const]] as const) {
      const matrix = randomMatrix(rows, columns, 3);
      const plain = spectralBound(matrix, rows, columns);
      for (const prefer of ["native", "wasm"] as const) {
        const kernels = await loadFloatKernels({ prefer });
        const bound = spectralBound(matrix, rows, columns, kernels);
        expect(Math.abs(bound / plain - 1)).toBeLessThan(1e-5);
      }
    }
  });

  it("leaves room for the rounding of float32 in large matrices", () => {
    // All of one direction: the bound of doubles alone would be the truth itself.
    const [rows, columns] = [600, 760];
    const matrix = new Float32Array(rows * columns).fill(0.1);
    const truth = Math.fround(0.1) * Math.sqrt(rows * columns);
    const bound = spectralBound(matrix, rows, columns);
    expect(bound / truth).toBeGreaterThan(1 + 514 * 2 ** -25);
    expect(bound / truth).toBeLessThan(1.001);
  });
});
