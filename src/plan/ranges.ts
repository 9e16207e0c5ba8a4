// Bounds of an ordinary decoder's wires that follow from its weights alone: every linear layer
// reads a norm's output, which is as long as the square root of its columns, or a weighted mean of
// values. The planner turns them into widths; the server checks them against its weights before it
// serves.

import { ensure } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { NORM_EXCESS, operandBitsOf, type WireRange } from "./format.ts";
import { spectralBound } from "./spectral.ts";

/** Room for the rounding of weights' products, of tables and of dither. */
const SLACK = 1.02;
/**
 * What an activation may be off by, in units of an operand: its argument's unit is 4 of them, its
 * slope at most 1.13, and its table's error 2 units of the argument.
 */
const ACTIVATION_UNITS = 4 * 1.13 + 8 + 1;

/** A bound with that room, or where the bound is small, with what is rounded off. */
const withRoom = (bound: number, rounding: number) => Math.max(SLACK * bound, bound + rounding);

/** What of a decoder's public config its bounds depend on. */
export interface RangedModel {
  readonly hiddenSize: number;
  readonly innerSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly kvHeadCount?: number | undefined;
  readonly vocabSize: number;
  readonly block?: "gpt2" | "llama" | undefined;
  readonly rope?: unknown;
  readonly scaledQuery?: boolean | undefined;
  readonly norm: { readonly kind: string; readonly scale: boolean };
  readonly tiedHead: boolean;
  readonly embeddingScale?: number | undefined;
  readonly operandBits?: number | undefined;
  readonly calibratedBounds?: boolean | undefined;
  readonly ranges?: Readonly<Record<string, WireRange>> | undefined;
  readonly logitBound?: { readonly proven: number; readonly calibrated: number } | undefined;
}

type Tensor = { readonly data: Float32Array };
export type RangedWeights = ReadonlyMap<string, Tensor>;

/** Proven bounds by wire name, of magnitudes or, of norms, of the mean square; max |logit|. */
export interface ProvenRanges {
  readonly wires: ReadonlyMap<string, number>;
  readonly logit: number;
}

/**
 * Proven bounds of all wires that the planner asks for, real units.
 * @throws E_MODEL when norms have a scale: fold it first
 */
export function provenRanges(
  config: RangedModel,
  weights: RangedWeights,
  kernels?: FloatKernels,
): ProvenRanges {
  const folded = config.norm.kind === "rmsnorm" && !config.norm.scale;
  ensure(folded, "E_MODEL", "bounds exist for decoders whose norms are folded: import the model");
  const model = new Bounded(config, weights, kernels);
  for (let layer = 0; layer < config.layerCount; layer++) model.layer(`layers.${layer}`);
  return model.finish();
}

class Bounded {
  readonly #config: RangedModel;
  readonly #weights: RangedWeights;
  readonly #kernels: FloatKernels | undefined;
  readonly #wires = new Map<string, number>();
  /** Length of a norm's output. */
  readonly #normed: number;
  /** Length of the residual stream. */
  #residual: number;

  constructor(config: RangedModel, weights: RangedWeights, kernels: FloatKernels | undefined) {
    this.#config = config;
    this.#weights = weights;
    this.#kernels = kernels;
    const d = config.hiddenSize;
    this.#normed = NORM_EXCESS * Math.sqrt(d);
    const table = rowNorms(this.#data("embedding.weight"), d);
    const positions = config.rope ? [0] : rowNorms(this.#data("position.weight"), d);
    this.#residual = (config.embeddingScale ?? 1) * greatest(table) + greatest(positions);
  }

  layer(name: string): void {
    const { hiddenSize: d, innerSize, block } = this.#config;
    this.#norm(`${name}.attention.norm`);
    const mixed = this.#attention(`${name}.attention`);
    this.#add(`${name}.attention.output`, mixed, [d, d]);
    this.#norm(`${name}.norm`);
    const u = this.#linear(`${name}.u`, innerSize);
    // |f(x)| <= |x| of every activation, but for its table's and its argument's rounding.
    const off = ACTIVATION_UNITS * this.#unit;
    let length = withRoom(u.length, Math.sqrt(innerSize) * off);
    if (block === "llama") length *= withRoom(this.#linear(`${name}.gate`, innerSize).peak, off);
    this.#add(`${name}.o`, length, [innerSize, d]);
  }

  finish(): ProvenRanges {
    this.#norm("norm");
    const { tiedHead, hiddenSize: d, vocabSize } = this.#config;
    const head = this.#data(tiedHead ? "embedding.weight" : "head.weight");
    const norms = tiedHead ? rowNorms(head, d) : columnNorms(head, vocabSize);
    const bias = greatest((this.#weights.get("head.bias")?.data ?? []).map(Math.abs));
    return { wires: this.#wires, logit: SLACK * this.#normed * greatest(norms) + bias };
  }

  #norm(name: string): void {
    this.#wires.set(name, (SLACK * this.#residual) ** 2 / this.#config.hiddenSize);
  }

  /** What an operand is rounded to. */
  get #unit(): number {
    return 2 ** -operandBitsOf(this.#config);
  }

  /** Queries, keys, values and scores; gives the length of a row of mixed values. */
  #attention(name: string): number {
    const { headCount, kvHeadCount = headCount, hiddenSize, rope, scaledQuery } = this.#config;
    const width = hiddenSize / headCount;
    const part = (which: string, heads: number) => {
      const { peak, data } = this.#linear(`${name}.${which}`, heads * width);
      const lengths = Array.from({ length: heads }, (_, h) => this.#headLength(data, h, width));
      // A rotated pair is as long as before, so each of its two stays below root 2 times.
      this.#wires.set(`${name}.${which}`, peak * (rope ? Math.SQRT2 : 1));
      return lengths;
    };
    const [queries, keys] = [part("query", headCount), part("key", kvHeadCount)];
    const values = part("value", kvHeadCount);
    const group = headCount / kvHeadCount;
    const scale = scaledQuery ? 1 : 1 / Math.sqrt(width);
    // Queries and keys are rounded when they are opened, and once more when they are turned.
    const off = 2 * Math.sqrt(width) * this.#unit;
    const scores = queries.map((query, h) => {
      const key = keys[Math.floor(h / group)]!;
      return scale * withRoom(query * key, off * (query + key + off));
    });
    this.#wires.set(`${name}.score`, greatest(scores));
    const mixed = Math.sqrt(group) * Math.hypot(...values);
    return withRoom(mixed, 2 * Math.sqrt(hiddenSize) * this.#unit);
  }

  /** A linear layer behind a norm: max |entry|, and the length of a row. */
  #linear(name: string, columns: number) {
    const matrix = this.#data(`${name}.weight`);
    const bias = this.#weights.get(`${name}.bias`)?.data ?? new Float32Array(columns);
    const norms = columnNorms(matrix, columns);
    const entries = norms.map((norm, k) => this.#normed * norm + Math.abs(bias[k]!));
    const peak = SLACK * greatest(entries);
    this.#wires.set(name, peak);
    const rows = matrix.length / columns;
    const length =
      SLACK * (this.#normed * this.#sigma(matrix, rows, columns) + Math.hypot(...bias));
    return { peak, length, data: { matrix, bias, columns } };
  }

  #headLength(
    { matrix, bias, columns }: { matrix: Float32Array; bias: Float32Array; columns: number },
    head: number,
    width: number,
  ): number {
    const rows = matrix.length / columns;
    const part = new Float32Array(rows * width);
    for (let row = 0; row < rows; row++) {
      const at = row * columns + head * width;
      part.set(matrix.subarray(at, at + width), row * width);
    }
    const own = bias.subarray(head * width, (head + 1) * width);
    return SLACK * (this.#normed * this.#sigma(part, rows, width) + Math.hypot(...own));
  }

  /** A layer that writes to the residual stream, from rows of this length. */
  #add(name: string, length: number, [rows, columns]: readonly [number, number]): void {
    const matrix = this.#data(`${name}.weight`);
    const bias = this.#weights.get(`${name}.bias`)?.data ?? new Float32Array(0);
    const written = length * this.#sigma(matrix, rows, columns) + Math.hypot(...bias);
    this.#residual += SLACK * written;
  }

  #sigma(matrix: Float32Array, rows: number, columns: number): number {
    // The bound is as good for the transpose, whose product may be the smaller.
    if (rows <= columns) return spectralBound(matrix, rows, columns, this.#kernels);
    const turned = new Float32Array(matrix.length);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) turned[j * rows + i] = matrix[i * columns + j]!;
    }
    return spectralBound(turned, columns, rows, this.#kernels);
  }

  #data(name: string): Float32Array {
    const found = this.#weights.get(name);
    ensure(found, "E_MODEL", `the model has no tensor ${name}`);
    return found.data;
  }
}

/** What was seen of a model's wires: least and greatest, by name. */
export interface SeenRanges {
  readonly wires: ReadonlyMap<string, readonly [number, number]>;
  readonly logit: number;
}

/** What config.json states, from what is proven and what was seen. */
export function statedRanges(proven: ProvenRanges, seen: SeenRanges) {
  // Four digits, away from the truth: finer ones would only say more about the weights.
  const up = (value: number) => Number((Math.max(value, 1e-6) * 1.001).toPrecision(4));
  const down = (value: number) => Number((value * 0.999).toPrecision(4));
  const ranges: Record<string, { proven: number; calibrated: [number, number] }> = {};
  for (const [name, bound] of proven.wires) {
    const [least, most] = seen.wires.get(name) ?? [0, bound];
    ranges[name] = {
      proven: up(bound),
      calibrated: [Math.max(1e-9, down(least)), Math.min(up(most), up(bound))],
    };
  }
  const logitBound = { proven: up(proven.logit), calibrated: up(seen.logit) };
  return { ranges, logitBound };
}

/**
 * Checks that what config.json states as proven follows from the weights, unless it asks for
 * calibrated bounds.
 * @throws E_MODEL naming the wire whose stated bound is too small
 */
export function checkRanges(
  config: RangedModel,
  weights: RangedWeights,
  kernels?: FloatKernels,
): void {
  if (config.calibratedBounds) return;
  const proven = provenRanges(config, weights, kernels);
  const tolerance = 1 + 1e-6;
  const check = (name: string, stated: number | undefined, needed: number) => {
    const holds = stated !== undefined && stated * tolerance >= needed;
    ensure(holds, "E_MODEL", `config.json: the bound of ${name} does not hold: calibrate again`);
  };
  for (const [name, needed] of proven.wires) check(name, config.ranges?.[name]?.proven, needed);
  check("logits", config.logitBound?.proven, proven.logit);
}

function greatest(values: ArrayLike<number>): number {
  let peak = 0;
  for (let i = 0; i < values.length; i++) peak = Math.max(peak, values[i]!);
  return peak;
}

function rowNorms(matrix: Float32Array, columns: number): number[] {
  return Array.from({ length: matrix.length / columns }, (_, row) => {
    let sum = 0;
    for (let i = row * columns; i < (row + 1) * columns; i++) sum += matrix[i]! * matrix[i]!;
    return Math.sqrt(sum);
  });
}

function columnNorms(matrix: Float32Array, columns: number): number[] {
  const sums = new Float64Array(columns);
  for (let at = 0; at < matrix.length; at += columns) {
    for (let k = 0; k < columns; k++) sums[k]! += matrix[at + k]! * matrix[at + k]!;
  }
  return Array.from(sums, Math.sqrt);
}
