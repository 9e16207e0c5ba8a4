// Loads the optional native addon (native/, built to build/native.node). Node only.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { MergenError } from "../errors.ts";

/** A packed matrix of the addon; nothing but the addon looks inside. */
export interface AddonMatrix {
  readonly addonMatrix: unique symbol;
}

/** Ring kernels of one instruction set; the arguments are told in native/addon_ring.cc. */
export interface AddonRing {
  addU64(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void;
  subU64(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void;
  mulU64(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void;
  scaleU64(out: BigUint64Array, a: BigUint64Array, factor: bigint): void;
  addScaledU64(out: BigUint64Array, a: BigUint64Array, factor: bigint): void;
  addConstantU64(out: BigUint64Array, a: BigUint64Array, constant: bigint): void;
  shiftRightU64(out: BigUint64Array, a: BigUint64Array, bits: number): void;
  shiftRightSignedU64(out: BigUint64Array, a: BigUint64Array, bits: number): void;
  lowBitsU64(out: BigUint64Array, a: BigUint64Array, bits: number): void;
  sumRowsU64(out: BigUint64Array, a: BigUint64Array, width: number): void;
  packU64(out: Uint8Array, words: BigUint64Array, bits: number): void;
  unpackU64(out: BigUint64Array, bytes: Uint8Array, bits: number): void;
  attendU64: AddonAttend<BigUint64Array>;
  attendInt16: AddonAttend<Int16Array>;
  chacha12(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, counter: number): void;
}

export type AddonAttend<Weights> = (
  out: BigUint64Array,
  x: BigUint64Array,
  weights: Weights,
  heads: number,
  positions: number,
  start: number,
  columns: number,
  from: number,
  held: number,
) => void;

/**
 * Evaluates function keys one after the other, each at its own points; points must lie inside the
 * domain.
 */
type TreeEvaluate = (
  isDcf: number,
  domainBits: number,
  words: number,
  party: number,
  keyCount: number,
  pointsPerKey: number,
  keys: Uint8Array,
  points: BigUint64Array,
  out: BigUint64Array,
) => void;

/** Fills both parties' keys; alphas must lie inside the domain. */
type TreeGenerate = (
  isDcf: number,
  domainBits: number,
  words: number,
  count: number,
  alphas: BigUint64Array,
  payloads: BigUint64Array,
  roots: Uint8Array,
  keys: Uint8Array,
  others: Uint8Array,
) => void;

/** What a core can do at the most, to measure kernels against; see native/addon_limits.cc. */
export interface AddonLimits {
  limitMultiplyAdds64(least: number): number;
  limitMultiplyAddsF32(least: number): number;
  limitQuarterRounds(least: number): number;
  limitMultiplyAdds8(least: number): number;
  limitAesRounds(least: number): number;
  limitRead(bytes: number): number;
}

/** What one instruction set of the addon offers; the arguments are told in native/addon_*.cc. */
export interface AddonKernels extends AddonRing, AddonLimits {
  /** CRC-32C of some bytes, continued from that of what came before them. */
  crc32c(bytes: Uint8Array, previous: number): number;
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
  piecewisePoints(
    points: BigUint64Array,
    blocks: BigUint64Array,
    a: BigUint64Array,
    offsets: BigUint64Array,
    domainBits: number,
    blockBits: number,
  ): void;
  piecewiseSums(
    out: BigUint64Array,
    values: BigUint64Array,
    points: BigUint64Array,
    a: BigUint64Array,
    r1: BigUint64Array,
    r2: BigUint64Array,
    r3: BigUint64Array,
    coefficients: BigUint64Array,
    first: BigUint64Array,
    party: number,
  ): void;
  treeEvaluateChacha12: TreeEvaluate;
  treeGenerateChacha12: TreeGenerate;
  /** Where the processor has AES instructions beside this set. */
  treeEvaluateAes128?: TreeEvaluate;
  treeGenerateAes128?: TreeGenerate;
  gemmF32(
    m: number,
    n: number,
    k: number,
    a: Float32Array,
    b: Float32Array,
    out: Float32Array,
    flags: number,
  ): void;
  mixHeadsF32(
    heads: number,
    rows: number,
    columns: number,
    coefficients: Float32Array,
    x: Float32Array,
    out: Float32Array,
    accumulate: number,
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

/** The addon, or why there is none. */
export type AddonState =
  | { readonly addon: Addon; readonly path: string }
  | { readonly addon?: undefined; readonly problem: string };

/** The build script, seen from src/kernel/ and from dist/src/kernel/. */
const scripts = ["../../native/build.js", "../../../native/build.js"];

/** How to get an addon, or a newer one. */
export function addonRemedy(): string {
  const paths = scripts.map((relative) => fileURLToPath(new URL(relative, import.meta.url)));
  const script = paths.find((path) => existsSync(path)) ?? "native/build.js";
  return `build it with \`node ${script} --force\`, which needs a C++ compiler`;
}

/** Loads the addon; loading it again gives the same one. */
export function findAddon(): AddonState {
  const path = builtFile("native.node");
  if (path === undefined) return { problem: `build/native.node is missing: ${addonRemedy()}` };
  try {
    return { addon: createRequire(import.meta.url)(path) as Addon, path };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    return { problem: `build/native.node does not load (${reason}): ${addonRemedy()}` };
  }
}

/**
 * The addon.
 * @throws  E_KERNEL when it is not built or does not load
 */
export function loadAddon(): Addon {
  const state = findAddon();
  if (state.addon === undefined) throw new MergenError("E_KERNEL", state.problem);
  return state.addon;
}
