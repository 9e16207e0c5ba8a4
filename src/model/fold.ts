// Folds what is learned beside an ordinary decoder's matrices into them, so that no other mode has
// to know it: each norm's scale and shift into the layers that read the norm, and the scale of the
// attention's scores into the queries. The function stays the same within float rounding.
//   (x s + t) W + b = x (diag(s) W) + (b + t W)
// LayerNorm becomes RMSNorm: see centreResidual. A norm of stored statistics is an affine one, and
// of an affine norm nothing is left: its scale and shift are all there is to it.

import { ensure, MergenError } from "../errors.ts";
import type { ModelConfig } from "./config.ts";
import type { Weights, WeightTensor } from "./safetensors.ts";

interface Folded {
  readonly config: ModelConfig;
  readonly weights: Weights;
}

/**
 * The same model with norm.scale false (RMSNorm, or an affine norm of nothing), scaledQuery true
 * and a head of its own. Where states are sent again, the last norm's scale and shift become a
 * layer that they pass before: resendMap. The data of `weights` are changed in place, so that a
 * large model is not held twice: do not use them again.
 * @throws E_MODEL when it is not an ordinary decoder, or a tensor is missing
 */
export function foldNorms({ config, weights }: Folded): Folded {
  ensure(config.attention !== "constant", "E_MODEL", "only an ordinary decoder is folded");
  const folded = { config, weights: new Map(weights) };
  if (config.norm.kind === "batchnorm") foldStatistics(folded);
  if (config.norm.scale) {
    if (config.nextToken === "resend") addResendMap(folded);
    foldScales(folded);
  }
  if (!config.scaledQuery) {
    const factor = 1 / Math.sqrt(config.hiddenSize / config.headCount);
    for (let layer = 0; layer < config.layerCount; layer++) {
      scaleQuery(folded.weights, layer, factor);
    }
  }
  const centred = config.norm.kind === "layernorm";
  if (centred) centreResidual(folded);
  return {
    weights: folded.weights,
    config: {
      ...config,
      norm: {
        ...config.norm,
        scale: false,
        ...(centred && { kind: "rmsnorm" }),
        ...(config.norm.kind === "batchnorm" && { kind: "affine", eps: 0 }),
      },
      ...(config.norm.scale && config.nextToken === "resend" && { resendMap: true }),
      scaledQuery: true,
      ...(config.norm.scale && { tiedHead: false, headBias: hasShift(config) || config.headBias }),
    },
  };
}

/** Multiplies a layer's query weights, and its bias where it has one, in place. */
export function scaleQuery(weights: Weights, layer: number, factor: number): void {
  const name = `layers.${layer}.attention.query`;
  const tensors = [tensorOf(weights, `${name}.weight`), weights.get(`${name}.bias`)];
  for (const tensor of tensors) {
    for (let i = 0; i < (tensor?.data.length ?? 0); i++) tensor!.data[i]! *= factor;
  }
}

function hasShift({ norm }: ModelConfig): boolean {
  return norm.kind !== "rmsnorm";
}

/** Scale and shift of (x - mean) / sqrt(variance + eps) scale + shift. */
function foldStatistics({ config, weights }: Folded): void {
  const layers = Array.from({ length: config.layerCount }, (_, i) => `layers.${i}`);
  const norms = layers.flatMap((name) => [`${name}.attention.norm`, `${name}.norm`]);
  for (const norm of [...norms, "norm"]) {
    const [mean, variance, scale, shift] = ["mean", "variance", "scale", "shift"].map(
      (part) => tensorOf(weights, `${norm}.${part}`).data,
    ) as [Float32Array, Float32Array, Float32Array, Float32Array];
    for (let i = 0; i < scale.length; i++) {
      scale[i]! /= Math.sqrt(variance[i]! + config.norm.eps);
      shift[i]! -= mean[i]! * scale[i]!;
    }
    weights.delete(`${norm}.mean`);
    weights.delete(`${norm}.variance`);
  }
}

/**
 * What a state that is sent again passes: the last norm's scale and shift, and without its mean
 * where the residual stream has none.
 */
function addResendMap({ config, weights }: Folded): void {
  const { hiddenSize: d } = config;
  const scale = tensorOf(weights, "norm.scale").data;
  const data = new Float32Array(d * d);
  const bias = hasShift(config)
    ? tensorOf(weights, "norm.shift").data.slice()
    : new Float32Array(d);
  for (let i = 0; i < d; i++) data[i * d + i] = scale[i]!;
  if (config.norm.kind === "layernorm") {
    takeMeans(data, d);
    takeMeans(bias, d);
  }
  weights.set("resend.weight", { shape: [d, d], data });
  weights.set("resend.bias", { shape: [d], data: bias });
}

function foldScales({ config, weights }: Folded): void {
  const inner = config.block === "llama" ? ["gate", "u"] : ["u"];
  for (let layer = 0; layer < config.layerCount; layer++) {
    const name = `layers.${layer}`;
    const readers = ["query", "key", "value"].map((part) => `${name}.attention.${part}`);
    foldNorm({ config, weights }, `${name}.attention.norm`, readers);
    const last = inner.map((part) => `${name}.${part}`);
    foldNorm({ config, weights }, `${name}.norm`, last);
  }
  if (config.tiedHead) weights.set("head.weight", turned(tensorOf(weights, "embedding.weight")));
  if (hasShift(config) && !weights.has("head.bias")) {
    weights.set("head.bias", {
      shape: [config.vocabSize],
      data: new Float32Array(config.vocabSize),
    });
  }
  foldNorm({ config, weights }, "norm", ["head"]);
}

/**
 * Takes the mean off all that is added to the residual stream: off the rows of embeddings and
 * positions, and off the rows of the matrices that write to it. LayerNorm is blind to it, so the
 * function stays the same; and of rows without a mean it is RMSNorm, which costs a secure mode no
 * bits for centring. A tied head may be centred too: what it multiplies has no mean.
 */
function centreResidual({ config, weights }: Folded): void {
  const parts = ["attention.output", "o"].flatMap((part) => [`${part}.weight`, `${part}.bias`]);
  const layers = Array.from({ length: config.layerCount }, (_, i) => `layers.${i}`);
  const written = layers.flatMap((layer) => parts.map((part) => `${layer}.${part}`));
  for (const name of ["embedding.weight", "position.weight", ...written]) {
    takeMeans(tensorOf(weights, name).data, config.hiddenSize);
  }
}

/** Takes each row's mean off it, in place. */
function takeMeans(data: Float32Array, columns: number): void {
  for (let at = 0; at < data.length; at += columns) {
    const row = data.subarray(at, at + columns);
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    for (let i = 0; i < row.length; i++) row[i]! -= mean;
  }
}

/** Moves one norm's scale and shift into the linear layers of these names. */
function foldNorm({ config, weights }: Folded, norm: string, readers: readonly string[]): void {
  const scale = tensorOf(weights, `${norm}.scale`).data;
  const shift = hasShift(config) ? tensorOf(weights, `${norm}.shift`).data : undefined;
  for (const reader of readers) {
    const matrix = tensorOf(weights, `${reader}.weight`).data;
    if (shift) addProduct(shift, matrix, tensorOf(weights, `${reader}.bias`).data);
    scaleRows(scale, matrix);
  }
  weights.delete(`${norm}.scale`);
  weights.delete(`${norm}.shift`);
}

/** matrix [K, N] becomes diag(scale) matrix. */
function scaleRows(scale: Float32Array, matrix: Float32Array): void {
  const columns = matrix.length / scale.length;
  for (let row = 0; row < scale.length; row++) {
    const factor = scale[row]!;
    const base = row * columns;
    for (let i = base; i < base + columns; i++) matrix[i]! *= factor;
  }
}

/** out [N] += row [K] times matrix [K, N], summed in double precision. */
function addProduct(row: Float32Array, matrix: Float32Array, out: Float32Array): void {
  const columns = out.length;
  const sums = Float64Array.from(out);
  for (let k = 0; k < row.length; k++) {
    const factor = row[k]!;
    const base = k * columns;
    for (let j = 0; j < columns; j++) sums[j]! += factor * matrix[base + j]!;
  }
  out.set(sums);
}

/** [rows, columns] to [columns, rows], row-major, as a new tensor. */
export function turned({ shape, data }: WeightTensor): WeightTensor {
  const [rows, columns] = shape as [number, number];
  return { shape: [columns, rows], data: turnedData(data, { rows, columns }) };
}

/** Columns that are turned at one time, so that both sides stay in the cache. */
const BLOCK = 32;

/** Row-major [rows, columns] to [columns, rows]. */
export function turnedData(
  data: Float32Array,
  { rows, columns }: { rows: number; columns: number },
): Float32Array {
  const out = new Float32Array(data.length);
  for (let top = 0; top < rows; top += BLOCK) {
    const bottom = Math.min(rows, top + BLOCK);
    for (let j = 0; j < columns; j++) {
      for (let i = top; i < bottom; i++) out[j * rows + i] = data[i * columns + j]!;
    }
  }
  return out;
}

function tensorOf(weights: Weights, name: string): WeightTensor {
  const tensor = weights.get(name);
  if (!tensor)
    throw new MergenError("E_MODEL", `tensor "${name}" is missing, so norms cannot fold`);
  return tensor;
}
