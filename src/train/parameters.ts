// All weights of a model in one flat vector, so that optimiser and threads work on slices of it.

import type { Weights } from "../model/safetensors.ts";
import { isStatistic } from "./statistics.ts";

export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly length: number;
  /** Whether weight decay acts on it. */
  readonly decays: boolean;
  /** A running statistic, which no gradient reaches. */
  readonly isStatistic: boolean;
}

/** Where each weight lies in the flat vector. */
export interface Layout {
  readonly parameters: readonly Parameter[];
  readonly length: number;
}

/** Biases, norms, positions and constant attention are not pulled towards zero. */
function decays(name: string): boolean {
  return !/(\.bias|\.scale|\.shift|\.constant|\.column|\.relative|^position\.weight)$/.test(name);
}

export function layoutOf(shapes: ReadonlyMap<string, readonly number[]>): Layout {
  const parameters: Parameter[] = [];
  let offset = 0;
  for (const [name, shape] of shapes) {
    const length = shape.reduce((total, size) => total * size, 1);
    parameters.push({
      name,
      shape,
      offset,
      length,
      decays: decays(name),
      isStatistic: isStatistic(name),
    });
    // Sixteen floats are a cache line, which no two weights share.
    offset += Math.ceil(length / 16) * 16;
  }
  return { parameters, length: offset };
}

/** A zeroed vector that threads share. */
export function sharedVector(length: number): Float32Array {
  return new Float32Array(new SharedArrayBuffer(4 * length));
}

/** Views of a flat vector by weight name. */
export function views(layout: Layout, vector: Float32Array): Map<string, Float32Array> {
  return new Map(
    layout.parameters.map(({ name, offset, length }) => [
      name,
      vector.subarray(offset, offset + length),
    ]),
  );
}

/** A copy of a flat vector as named tensors. */
export function toWeights(layout: Layout, vector: Float32Array): Weights {
  return new Map(
    layout.parameters.map(({ name, shape, offset, length }) => [
      name,
      { shape, data: new Float32Array(vector.subarray(offset, offset + length)) },
    ]),
  );
}
