// Loads the optional native addon (native/, built to build/native.node). Node only.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { MergenError } from "../errors.ts";

/** What one instruction set of the addon offers; the arguments are told in native/addon.cc. */
export interface AddonKernels {
  gemmF32(
    m: number,
    n: number,
    k: number,
    a: Float32Array,
    b: Float32Array,
    out: Float32Array,
    flags: number,
  ): void;
  geluF32(form: number, count: number, x: Float32Array, out: Float32Array): void;
  geluGradientF32(
    form: number,
    count: number,
    x: Float32Array,
    dy: Float32Array,
    out: Float32Array,
  ): void;
  softmaxF32(
    rows: number,
    columns: number,
    causalRows: number,
    x: Float32Array,
    out: Float32Array,
    logSums: Float32Array,
    wantsSums: number,
  ): void;
  adamwF32(
    count: number,
    weights: Float32Array,
    gradients: Float32Array,
    firstMoment: Float32Array,
    secondMoment: Float32Array,
    beta1: number,
    beta2: number,
    stepSize: number,
    rootScale: number,
    epsilon: number,
    decay: number,
    gradientScale: number,
  ): void;
  loadInt16(weights: Int16Array, rows: number, columns: number, threads: number): AddonMatrix;
  loadRing(words: BigUint64Array, rows: number, columns: number, threads: number): AddonMatrix;
  freeMatrix(matrix: AddonMatrix): void;
  matmul(
    out: BigUint64Array,
    x: BigUint64Array,
    m: number,
    matrix: AddonMatrix,
    threads: number,
  ): void;
  matmulKeystream(
    out: BigUint64Array,
    x: BigUint64Array,
    m: number,
    rows: number,
    columns: number,
    transposed: number,
    key: Uint8Array,
    nonce: Uint8Array,
    threads: number,
  ): void;
  closeThreads(): void;
}

/** A packed matrix; only the addon looks inside, and takes its own. See native/addon_product.cc. */
export interface AddonMatrix {
  readonly addonMatrix: unique symbol;
}

/** The instruction sets that this processor has, best first. */
export type Addon = Readonly<Record<string, AddonKernels>>;

/** A file of build/, seen from src/kernel/ and from dist/src/kernel/; undefined when not built. */
export function builtFile(name: string): string | undefined {
  const candidates = [`../../build/${name}`, `../../../build/${name}`];
  return candidates
    .map((relative) => fileURLToPath(new URL(relative, import.meta.url)))
    .find((path) => existsSync(path));
}

/**
 * The addon; loading it again gives the same one.
 * @throws  E_KERNEL when it is not built or does not load
 */
export function loadAddon(): Addon {
  const path = builtFile("native.node");
  if (path === undefined) throw new MergenError("E_KERNEL", "build/native.node is not built");
  try {
    return createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    throw new MergenError("E_KERNEL", "build/native.node does not load", { cause });
  }
}
