// Bounds of an ordinary decoder's wires that follow from its weights alone: every linear layer
// reads a norm's output, which is as long as the square root of its columns, or a weighted mean of
// values. The planner turns them into widths; the server checks them against its weights before it
// serves.

import { ensure } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ActivationSetting, AttentionSetting } from "../recipe/recipe.ts";
import { activationBound, type RowBound } from "./activation-bounds.ts";
import { NORM_EXCESS, operandBitsOf, type WireRange } from "./format.ts";
import { streamName } from "./names.ts";
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
  readonly positionCount: number;
  readonly attention: AttentionSetting | "constant";
  readonly activation: ActivationSetting;
  readonly block?: "gpt2" | "llama" | undefined;
  readonly rope?: unknown;
  readonly scaledQuery?: boolean | undefined;
  readonly norm: { readonly kind: string; readonly scale: boolean };
  readonly nextToken: "lookup" | "resend";
  readonly resendMap?: boolean | undefined;
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
  const folded = ["rmsnorm", "affine"].includes(config.norm.kind) && !config.norm.scale;
  ensure(folded, "E_MODEL", "bounds exist for decoders whose norms are folded: import the model");
  const model = new Bounded(config, weights, kernels);
  for (let layer = 0; layer < config.layerCount; layer++) model.layer(layer);
  return model.finish();
}

/**
 * The same of one layer's attention that reads rows of a known length, and the length of what it
 * gives.
 */
export function attentionRanges(
  config: RangedModel,
  weights: RangedWeights,
  { name, length }: { readonly name: string; readonly length: number },
  kernels?: FloatKernels,
): { readonly wires: ReadonlyMap<string, number>; readonly mixed: number } {
  const model = new Bounded(config, weights, kernels, length);
  const mixed = model.attention(name);
  return { wires: model.wires, mixed };
}

class Bounded {
  readonly wires = new Map<string, number>();
  readonly #config: RangedModel;
  readonly #weights: RangedWeights;
  readonly #kernels: FloatKernels | undefined;
  /** Length of what a linear layer reads, where that is not what the norm says. */
  readonly #rowLength: number | undefined;
  /** Length of the residual stream. */
  #residual: number;

  constructor(
    config: RangedModel,
    weights: RangedWeights,
    kernels: FloatKernels | undefined,
    rowLength?: number,
  ) {
    this.#rowLength = rowLength;
    this.#config = config;
    this.#weights = weights;
    this.#kernels = kernels;
    const d = config.hiddenSize;
    const table = rowNorms(this.#data("embedding.weight"), d);
    const positions = config.rope ? [0] : rowNorms(this.#data("position.weight"), d);
    this.#residual = (config.embeddingScale ?? 1) * greatest(table) + greatest(positions);
    if (config.nextToken === "resend") {
      const sent = this.#resent();
      this.#residual = Math.max(this.#residual, sent + greatest(positions));
    }
  }

  /** Length of what a linear layer reads. */
  get #normed(): number {
    if (this.#rowLength !== undefined) return this.#rowLength;
    const { norm, hiddenSize } = this.#config;
    if (norm.kind === "affine") return SLACK * this.#residual;
    return NORM_EXCESS * Math.sqrt(hiddenSize);
  }

  /** Length of a re-sent state as an input. */
  #resent(): number {
    const { norm, resendMap, hiddenSize: d } = this.#config;
    ensure(
      norm.kind !== "affine",
      "E_MODEL",
      "no bound of a state that nothing normalises follows from weights once it is sent again",
    );
    if (!resendMap) return this.#normed;
    const bias = this.#data("resend.bias");
    const scaled = this.#normed * this.#sigma(this.#data("resend.weight"), d, d);
    return SLACK * (scaled + Math.hypot(...bias));
  }

  layer(index: number): void {
    const { hiddenSize: d, innerSize, block, activation } = this.#config;
    const name = `layers.${index}`;
    this.#norm(`${name}.attention.norm`);
    const mixed = this.attention(`${name}.attention`);
    this.#add(`${name}.attention.output`, mixed, [d, d]);
    this.#norm(`${name}.norm`);
    const u = this.#linear(`${name}.u`, innerSize);
    const active = (row: RowBound) => activationBound(activation, index, row, innerSize);
    // What the table and its argument's rounding may add.
    const off = ACTIVATION_UNITS * this.#unit;
    const length =
      block === "llama"
        ? withRoom(u.length, Math.sqrt(innerSize) * off) *
          withRoom(active(this.#linear(`${name}.gate`, innerSize)).peak, off)
        : withRoom(active(u).length, Math.sqrt(innerSize) * off);
    this.#add(`${name}.o`, length, [innerSize, d]);
  }

  finish(): ProvenRanges {
    this.#norm("norm");
    const { tiedHead, hiddenSize: d, vocabSize } = this.#config;
    const head = this.#data(tiedHead ? "embedding.weight" : "head.weight");
    const norms = tiedHead ? rowNorms(head, d) : columnNorms(head, vocabSize);
    const bias = greatest((this.#weights.get("head.bias")?.data ?? []).map(Math.abs));
    return { wires: this.wires, logit: SLACK * this.#normed * greatest(norms) + bias };
  }

  #norm(name: string): void {
    if (this.#config.norm.kind === "affine") return;
    this.wires.set(name, (SLACK * this.#residual) ** 2 / this.#config.hiddenSize);
  }

  /** What an operand is rounded to. */
  get #unit(): number {
    return 2 ** -operandBitsOf(this.#config);
  }

  /** Queries, keys, values and scores; gives the length of a row of mixed values. */
  attention(name: string): number {
    const { headCount, kvHeadCount = headCount, hiddenSize, rope, scaledQuery } = this.#config;
    const width = hiddenSize / headCount;
    const part = (which: string, heads: number) => {
      const { peak, data } = this.#linear(`${name}.${which}`, heads * width);
      const lengths = Array.from({ length: heads }, (_, h) => this.#headLength(data, h, width));
      // A rotated pair is as long as before, so each of its two stays below root 2 times.
      this.wires.set(`${name}.${which}`, peak * (rope ? Math.SQRT2 : 1));
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
    const score = limited(greatest(scores));
    this.wires.set(`${name}.score`, score);
    this.#sum(`${name}.sum`, score);
    const rounded = 2 * Math.sqrt(hiddenSize) * this.#unit;
    const mixed = withRoom(Math.sqrt(group) * Math.hypot(...values), rounded);
    // The other forms' weights are positive and sum to 1 or less.
    const { attention } = this.#config;
    if (typeof attention === "string" || attention.kind !== "the-x") return mixed;
    return limited(mixed * this.#config.positionCount * score * this.#net(name, score));
  }

  /** THE-X's net on the sum of cubes, as intervals; gives its greatest magnitude. */
  #net(name: string, score: number): number {
    const { positionCount } = this.#config;
    const cubes = SLACK * positionCount * (score / 2 + 1) ** 3;
    this.wires.set(`${name}.cubes`, cubes);
    let inputs: Interval[] = [[0, cubes]];
    for (const part of ["reciprocal.0", "reciprocal.1", "reciprocal.2"]) {
      const outputs = intervals(
        inputs,
        this.#data(`${name}.${part}.weight`),
        this.#data(`${name}.${part}.bias`),
      );
      const peak = greatest(outputs.flat().map(Math.abs));
      this.wires.set(`${name}.${part}`, SLACK * peak);
      inputs = outputs.map(([low, high]) => [Math.max(low, 0), Math.max(high, 0)]);
    }
    return this.wires.get(`${name}.reciprocal.2`)!;
  }

  /** What weights are divided by, where the softmax's own bound does not do. */
  #sum(name: string, score: number): void {
    const { attention, positionCount } = this.#config;
    if (typeof attention === "string") return;
    switch (attention.kind) {
      case "2quad":
        this.wires.set(name, SLACK * positionCount * (score + Math.abs(attention.shift)) ** 2);
        return;
      case "2relu":
        this.wires.set(name, SLACK * (positionCount * score + attention.eps));
        return;
      case "power":
        this.wires.set(name, SLACK * positionCount * score ** attention.exponent);
        return;
      case "softmax":
      case "the-x":
        return;
      default:
        attention satisfies never;
    }
  }

  /** A linear layer behind a norm: max |entry|, and the length of a row. */
  #linear(name: string, columns: number) {
    const matrix = this.#data(`${name}.weight`);
    const bias = this.#weights.get(`${name}.bias`)?.data ?? new Float32Array(columns);
    const norms = columnNorms(matrix, columns);
    const entries = norms.map((norm, k) => this.#normed * norm + Math.abs(bias[k]!));
    const peak = SLACK * greatest(entries);
    this.wires.set(name, peak);
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
    this.#residual = limited(this.#residual + SLACK * written);
    if (this.#config.norm.kind === "affine") {
      this.wires.set(streamName(name)!, SLACK * this.#residual);
    }
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

/** Bounds beyond this fit no ring; what nothing normalises would grow to no number at all. */
const LIMIT = 1e60;
const limited = (bound: number) => Math.min(bound, LIMIT);

type Interval = readonly [low: number, high: number];

/** What a linear layer [inner, outer] makes of entries that lie in intervals. */
function intervals(x: readonly Interval[], matrix: Float32Array, bias: Float32Array): Interval[] {
  return Array.from(bias, (base, k) => {
    let [low, high] = [base, base];
    for (const [i, [least, most]] of x.entries()) {
      const w = matrix[i * bias.length + k]!;
      low += Math.min(w * least, w * most);
      high += Math.max(w * least, w * most);
    }
    return [low, high];
  });
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
