// Bounds of a merged model's wires that follow from its weights alone and hold for every prompt of
// an honest client. The planner turns them into scales; the server checks them against its weights
// before it serves. (A malicious client can re-mask whatever it likes: docs/threat-model.md.)

import { ensure } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { hybridSettings, type RecipeSettings } from "../recipe/recipe.ts";
import { type LayerRange, NORM_EXCESS, type WireRange } from "./format.ts";
import { attentionRanges, statedRanges } from "./ranges.ts";
import { spectralBound } from "./spectral.ts";

/** Room for the rounding of weights' products and for dither. */
const SLACK = 1.02;

/** What of a model's public config the bounds depend on. */
export interface BoundedModel {
  readonly hiddenSize: number;
  readonly innerSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly positionCount: number;
  readonly vocabSize: number;
  readonly attention: RecipeSettings["attention"];
  readonly hybrid?: RecipeSettings["hybrid"];
  readonly activation: RecipeSettings["activation"];
  readonly norm: Pick<RecipeSettings["norm"], "kind" | "scale">;
  readonly residual: boolean;
  readonly nextToken: "lookup" | "resend";
  readonly tiedHead: boolean;
  readonly embeddingScale?: number | undefined;
  readonly calibratedBounds?: boolean | undefined;
  readonly operandBits?: number | undefined;
  readonly wireBounds?: readonly LayerRange[] | undefined;
  readonly ranges?: Readonly<Record<string, WireRange>> | undefined;
  readonly logitBound?: { readonly proven: number; readonly calibrated: number } | undefined;
}

type Weights = ReadonlyMap<string, { readonly data: Float32Array }>;

export interface ProvenBounds {
  readonly layers: readonly {
    readonly u: number;
    readonly o: number;
    readonly variance: number;
  }[];
  /** Of a hybrid layer's attention, by wire name as of an ordinary decoder's. */
  readonly wires: ReadonlyMap<string, number>;
  readonly logit: number;
}

/**
 * Proven bounds, real units: per layer max |u|, max |x + o| and the variance of x + o; max |logit|.
 * With kernels, large models take seconds instead of minutes.
 * @throws E_MODEL when the model is not of the merged kind
 */
export function provenBounds(
  config: BoundedModel,
  weights: Weights,
  kernels?: FloatKernels,
): ProvenBounds {
  ensure(config.attention === "constant", "E_MODEL", "bounds exist for merged models only");
  ensure(config.norm.kind !== "batchnorm", "E_MODEL", "export folds batchnorm before bounds exist");
  const d = config.hiddenSize;
  let input = inputBound(config, weights);
  const layers = [];
  const wires = new Map<string, number>();
  for (let layer = 0; layer < config.layerCount; layer++) {
    const own = hybridBound(config, weights, { layer, input, kernels });
    for (const [name, bound] of own.wires) wires.set(name, bound);
    const bounds = layerBound(config, weights, { layer, input, mixed: own.mixed, kernels });
    input = config.norm.kind === "layernorm" ? NORM_EXCESS * Math.sqrt(d) : affineOutput(bounds, d);
    if (hasScale(config)) input = scaledNorm(weights, layer, input);
    // An affine norm is multiplied into what it follows: what is opened is its output.
    layers.push(config.norm.kind === "affine" ? { ...bounds, o: input } : bounds);
  }
  const headName = config.tiedHead ? "embedding.weight" : "head.weight";
  const head = dataOf(weights, headName);
  const norms = config.tiedHead ? rowNorms(head, d) : columnNorms(head, config.vocabSize);
  return { layers, wires, logit: SLACK * input * greatest(norms) };
}

/** |x|_2 of the first layer's input: an embedding or a re-sent state, plus a position. */
function inputBound(config: BoundedModel, weights: Weights): number {
  const d = config.hiddenSize;
  const positions = greatest(rowNorms(dataOf(weights, "position.weight"), d));
  const scale = config.embeddingScale ?? 1;
  const embeddings = scale * greatest(rowNorms(dataOf(weights, "embedding.weight"), d));
  const normed = NORM_EXCESS * Math.sqrt(d);
  const last = config.layerCount - 1;
  const states = hasScale(config) ? scaledNorm(weights, last, normed) : normed;
  return SLACK * (Math.max(embeddings, states) + positions);
}

/** An affine norm always has a scale and a shift. */
function hasScale({ norm }: BoundedModel): boolean {
  return norm.kind === "affine" || norm.scale;
}

function affineOutput(bounds: { readonly variance: number }, d: number): number {
  return Math.sqrt(bounds.variance * d);
}

function scaledNorm(weights: Weights, layer: number, input: number): number {
  const scale = dataOf(weights, `layers.${layer}.norm.scale`);
  const shift = dataOf(weights, `layers.${layer}.norm.shift`);
  return input * greatest(scale.map(Math.abs)) + Math.hypot(...shift);
}

interface LayerInput {
  readonly layer: number;
  /** Length of a row. */
  readonly input: number;
  readonly kernels: FloatKernels | undefined;
}

/** What a layer's attention by contents adds to the constant one, where it has such. */
function hybridBound(
  config: BoundedModel,
  weights: Weights,
  { layer, input, kernels }: LayerInput,
): { readonly wires: ReadonlyMap<string, number>; readonly mixed: number } {
  const { hybrid } = config;
  if (!hybrid?.layers.includes(layer)) return { wires: new Map(), mixed: 0 };
  const place = { name: `layers.${layer}.attention`, length: input };
  return attentionRanges(hybridSettings(config, hybrid), weights, place, kernels);
}

function layerBound(
  config: BoundedModel,
  weights: Weights,
  { layer, input, mixed: own, kernels }: LayerInput & { readonly mixed: number },
) {
  const { hiddenSize: d, innerSize } = config;
  ensure(config.activation.kind === "quad", "E_MODEL", "bounds need a quadratic activation");
  const [c2, c1, c0] = config.activation.coefficients.map(Math.abs) as [number, number, number];
  const mixed =
    own + input * attentionGain(config, dataOf(weights, `layers.${layer}.attention.constant`));
  const first = dataOf(weights, `layers.${layer}.u.weight`);
  const firstBias = dataOf(weights, `layers.${layer}.u.bias`);
  const second = dataOf(weights, `layers.${layer}.o.weight`);
  const secondBias = dataOf(weights, `layers.${layer}.o.bias`);
  const each = columnNorms(first, innerSize).map(
    (norm, j) => mixed * norm + Math.abs(firstBias[j]!),
  );
  const whole = mixed * spectralBound(first, d, innerSize, kernels) + norm2(firstBias);
  const inner = each.map((u) => c2 * u * u + c1 * u + c0);
  const columns = columnNorms(second, d);
  const { bySum, peaks, totals } = columnSums(second, d, inner);
  const o = columns.map((norm, k) => {
    const byNorm = c2 * peaks[k]! * whole * whole + c1 * norm * whole + c0 * totals[k]!;
    return Math.min(bySum[k]!, byNorm) + Math.abs(secondBias[k]!);
  });
  const residual = config.residual ? input : 0;
  const sum = residual + norm2(o);
  return {
    u: SLACK * greatest(each),
    o: SLACK * (residual + greatest(o)),
    variance: (SLACK * sum * (SLACK * sum)) / d,
  };
}

/** Of each column's magnitudes: the sum weighted by `weights`, the greatest, and the plain sum. */
function columnSums(matrix: Float32Array, columns: number, weights: readonly number[]) {
  const [bySum, peaks, totals] = [0, 0, 0].map(() => new Float64Array(columns));
  for (const [row, factor] of weights.entries()) {
    for (let k = 0; k < columns; k++) {
      const weight = Math.abs(matrix[row * columns + k]!);
      bySum![k]! += factor * weight;
      if (weight > peaks![k]!) peaks![k] = weight;
      totals![k]! += weight;
    }
  }
  return { bySum: bySum!, peaks: peaks!, totals: totals! };
}

/** max over t of the sum over j of max over heads |C[h, t, j]|: how far attention can lengthen. */
function attentionGain(config: BoundedModel, constants: ArrayLike<number>): number {
  const { headCount, positionCount } = config;
  let gain = 0;
  for (let t = 0; t < positionCount; t++) {
    let sum = 0;
    for (let j = 0; j <= t; j++) {
      let peak = 0;
      for (let h = 0; h < headCount; h++) {
        peak = Math.max(peak, Math.abs(constants[(h * positionCount + t) * positionCount + j]!));
      }
      sum += peak;
    }
    gain = Math.max(gain, sum);
  }
  return gain;
}

/**
 * Checks that what config.json states as proven follows from the weights. Calibrated bounds are
 * taken as they are where the config asks for them.
 * @throws E_MODEL naming the layer and wire whose stated bound is too small; or when states that
 *         nothing normalises are sent again, of which no bound can be proven
 */
export function checkBounds(config: BoundedModel, weights: Weights, kernels?: FloatKernels): void {
  if (config.calibratedBounds) return;
  const bounded = config.norm.kind === "layernorm" || config.nextToken === "lookup";
  ensure(
    bounded,
    "E_MODEL",
    "config.json: states that no norm bounds are sent again: allow calibrated bounds",
  );
  const proven = provenBounds(config, weights, kernels);
  const tolerance = 1 + 1e-6;
  const check = (name: string, stated: number | undefined, needed: number) => {
    const holds = stated !== undefined && stated * tolerance >= needed;
    ensure(holds, "E_MODEL", `config.json: the bound of ${name} does not hold: calibrate again`);
  };
  proven.layers.forEach((layer, i) => {
    const stated = config.wireBounds?.[i];
    check(`layers.${i}.u`, stated?.u.proven, layer.u);
    check(`layers.${i}.o`, stated?.o.proven, layer.o);
    check(`layers.${i}.variance`, stated?.variance.proven, layer.variance);
  });
  for (const [name, needed] of proven.wires) check(name, config.ranges?.[name]?.proven, needed);
  check("logits", config.logitBound?.proven, proven.logit);
}

/** A LayerRange as JSON has it. */
interface StatedRange extends LayerRange {
  readonly variance: { proven: number; calibrated: [number, number] };
}

/** Stated bounds from proven ones and from ranges seen on real inputs. */
export function statedBounds(
  proven: ProvenBounds,
  seen: {
    layers: readonly { u: number; o: number; variance: readonly [number, number] }[];
    wires: ReadonlyMap<string, readonly [number, number]>;
    logit: number;
  },
): {
  wireBounds: StatedRange[];
  ranges?: ReturnType<typeof statedRanges>["ranges"];
  logitBound: { proven: number; calibrated: number };
} {
  // Four digits, away from the truth: finer ones would only say more about the weights.
  // Without a norm, proven bounds run out of doubles after a few layers.
  const up = (value: number) => (value < 1e30 ? Number((value * 1.001).toPrecision(4)) : 1e30);
  const down = (value: number) => Number((value * 0.999).toPrecision(4));
  return {
    wireBounds: proven.layers.map((layer, i) => {
      const { u, o, variance } = seen.layers[i]!;
      return {
        u: { proven: up(layer.u), calibrated: up(u) },
        o: { proven: up(layer.o), calibrated: up(o) },
        variance: {
          proven: up(layer.variance),
          calibrated: [down(variance[0]), up(variance[1])] as [number, number],
        },
      };
    }),
    ...(proven.wires.size > 0 && { ranges: statedRanges(proven, seen).ranges }),
    logitBound: { proven: up(proven.logit), calibrated: up(seen.logit) },
  };
}

function dataOf(weights: Weights, name: string): Float32Array {
  const found = weights.get(name);
  ensure(found, "E_MODEL", `the model has no tensor ${name}`);
  return found.data;
}

function norm2(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!;
  return Math.sqrt(sum);
}

function greatest(values: ArrayLike<number>): number {
  let peak = 0;
  for (let i = 0; i < values.length; i++) peak = Math.max(peak, values[i]!);
  return peak;
}

function rowNorms(matrix: Float32Array, columns: number): number[] {
  return Array.from({ length: matrix.length / columns }, (_, row) =>
    norm2(matrix.subarray(row * columns, (row + 1) * columns)),
  );
}

function columnNorms(matrix: Float32Array, columns: number): number[] {
  const sums = new Float64Array(columns);
  for (let at = 0; at < matrix.length; at += columns) {
    for (let k = 0; k < columns; k++) sums[k]! += matrix[at + k]! * matrix[at + k]!;
  }
  return Array.from(sums, Math.sqrt);
}
