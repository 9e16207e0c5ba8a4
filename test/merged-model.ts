// Small merged models of any shape: random weights on their int16 grid, bounds proven from them,
// ranges measured by a run of the float interpreter. The same options give the same model.

import { type Segment, schedule } from "../src/generate/schedule.ts";
import { floatReference } from "../src/kernel/float-reference.ts";
import { type ModelConfig, parseConfig } from "../src/model/config.ts";
import { weightShapes } from "../src/model/decoder.ts";
import { encodePrompt } from "../src/model/prompt.ts";
import { Random } from "../src/model/random.ts";
import type { Weights } from "../src/model/safetensors.ts";
import { Tokenizer } from "../src/model/tokenizer.ts";
import { observeWires } from "../src/party/decoder-ranges.ts";
import type { LocalModel } from "../src/party/local.ts";
import { IDS, LOGITS, traceSegment } from "../src/party/plan.ts";
import { provenBounds, statedBounds } from "../src/plan/bounds.ts";
import { FloatProgram } from "../src/run/float.ts";
import { tinyConfig, tinyTokenizerJson } from "./tiny-model.ts";

export interface MergedOptions {
  readonly seed?: number;
  readonly hiddenSize?: number;
  readonly headCount?: number;
  readonly innerSize?: number;
  readonly layerCount?: number;
  readonly norm?: "layernorm" | "affine";
  /** A learned scale and shift after layernorm; affine always has them. */
  readonly scale?: boolean;
  readonly residual?: boolean;
  /** Layers with attention by contents, too. */
  readonly hybrid?: ModelConfig["hybrid"];
  readonly coefficients?: readonly [number, number, number];
  readonly tiedHead?: boolean;
  readonly maxTokens?: number;
  readonly chunk?: number;
  readonly anchor?: number;
  /** Positions of a prompt: its text is padded to a multiple. */
  readonly bucket?: number;
  /** Bits after the point of every tensor's grid. */
  readonly weightBits?: number;
  /** Factor on the logits, by way of the embedding table. */
  readonly spread?: number;
}

export const mergedPrompts = ["pub", "the", "a b", "zzz"] as const;

/** Everything of the config that does not follow from weights. */
export function mergedConfig(options: MergedOptions = {}): ModelConfig {
  const { hiddenSize = 8, headCount = 2, innerSize = 16, layerCount = 1 } = options;
  const { norm = "layernorm", scale = false, residual = true, tiedHead = true } = options;
  const { coefficients = [0.125, 0.25, 0.5], bucket = 4, maxTokens = 4 } = options;
  const { chunk = 2, anchor = 0, hybrid } = options;
  return tinyConfig({
    hiddenSize,
    headCount,
    innerSize,
    layerCount,
    positionCount: bucket + maxTokens + 1,
    attention: "constant",
    ...(hybrid && { hybrid }),
    activation: { kind: "quad", coefficients: [...coefficients] },
    norm:
      norm === "layernorm"
        ? { kind: "layernorm", eps: 1e-5, scale }
        : { kind: "affine", eps: 0, scale: true },
    residual,
    tiedHead,
    prompt: { kind: "text", bucket },
    generation: { maxTokens, chunk, anchor },
  });
}

/** A model that plans, with prompts of `bucket` positions. */
export function mergedModel(options: MergedOptions = {}): LocalModel {
  const { seed = 1, weightBits = 12, spread = 1 } = options;
  const base = mergedConfig(options);
  const weights = randomWeights(base, { seed, bits: weightBits, spread });
  const weightFracBits = Object.fromEntries([...weights.keys()].map((name) => [name, weightBits]));
  const tokenizer = new Tokenizer({ tokenizer: tinyTokenizerJson() });
  const proven = provenBounds(base, weights);
  const seen = measured({ config: base, weights, tokenizer });
  const config = parseConfig({
    ...base,
    weightFracBits,
    ...statedBounds(proven, seen),
    // No bound of a re-sent state follows from weights where nothing normalises it.
    ...(base.norm.kind === "affine" && { calibratedBounds: true }),
  });
  return { config, weights, tokenizer };
}

/** Values on the grid of 2^-bits, of a size that keeps all wires in sensible ranges. */
function randomWeights(
  config: ModelConfig,
  { seed, bits, spread }: { seed: number; bits: number; spread: number },
): Weights {
  const weights: Weights = new Map();
  let index = 0;
  for (const [name, shape] of weightShapes(config)) {
    const random = new Random(seed, index++);
    const [middle, deviation] = sizeOf(name, shape, { config, spread });
    const size = shape.reduce((total, length) => total * length, 1);
    const data = Float32Array.from(
      { length: size },
      () => Math.round((middle + deviation * random.normal()) * 2 ** bits) / 2 ** bits,
    );
    weights.set(name, { shape: [...shape], data });
  }
  return weights;
}

/** Mean and deviation of a tensor's values. */
function sizeOf(
  name: string,
  shape: readonly number[],
  { config, spread }: { config: ModelConfig; spread: number },
): [number, number] {
  const affine = config.norm.kind === "affine";
  if (name.endsWith(".constant")) return [1 / config.positionCount, 0.5 / config.positionCount];
  if (name.endsWith(".scale")) return [affine ? 0.6 : 1, 0.1];
  if (name.endsWith(".shift") || name.endsWith(".bias")) return [0, 0.1];
  if (name === "embedding.weight" || name === "head.weight") return [0, 0.3 * spread];
  if (name === "position.weight") return [0, 0.7];
  return [0, (affine ? 0.5 : 1) / Math.sqrt(shape[0]!)];
}

/** Greatest |u|, |x + o| and |logit|, and the range of the variance, with a margin. */
function measured(model: LocalModel) {
  const { config } = model;
  const layers = Array.from({ length: config.layerCount }, () => ({
    u: 0,
    o: 0,
    variance: [Number.POSITIVE_INFINITY, 0] as [number, number],
  }));
  const wires = new Map<string, [number, number]>();
  let logit = 0;
  for (const prompt of mergedPrompts) {
    for (const anchor of [0, 1]) {
      runInFloat(model, { prompt, anchor }, (program) => {
        observeWires(program, wires);
        const ops = program.graph.ops;
        const quads = ops.filter((op) => op.kind === "quad");
        for (const [layer, op] of quads.entries()) {
          layers[layer]!.u = Math.max(layers[layer]!.u, peak(program.values[op.x]!));
        }
        for (const [layer, id] of sums(program).entries()) {
          const range = layers[layer]!;
          const value = program.values[id]!;
          range.o = Math.max(range.o, peak(value));
          for (const variance of variances(value, config.hiddenSize)) {
            range.variance[0] = Math.min(range.variance[0], variance);
            range.variance[1] = Math.max(range.variance[1], variance);
          }
        }
        if (program.graph.outputs.has(LOGITS)) logit = Math.max(logit, peak(program.value(LOGITS)));
      });
    }
  }
  for (const range of layers) {
    range.u *= 1.5;
    range.o *= 1.5;
    range.variance = [range.variance[0] / 1.5, range.variance[1] * 1.5];
  }
  for (const [name, [least, most]] of wires) wires.set(name, [least / 1.5, 1.5 * most]);
  return { layers, wires, logit: 1.5 * logit };
}

/** Ids of the tensors that go into the norms, x + o or o alone, or that an affine norm gives. */
function sums({ graph }: FloatProgram): number[] {
  const norms = graph.ops.filter((op) => op.kind === "layerNorm");
  if (norms.length > 0) return norms.map((op) => op.x);
  const scales = graph.ops.filter((op) => op.kind === "mul").map((op) => op.out);
  return graph.ops.filter((op) => op.kind === "add" && scales.includes(op.a)).map((op) => op.out);
}

/** Runs all segments of a generation in float, greedily and past the end token. */
export function runInFloat(
  { config, weights, tokenizer }: LocalModel,
  { prompt, anchor }: { prompt: string; anchor: number },
  observe: (program: FloatProgram, segment: Segment) => void,
): void {
  const ids = encodePrompt(prompt, config, tokenizer);
  const real = { get: (name: string) => weights.get(name)?.data };
  const carried = new Map<string, Float32Array>();
  const tokens: number[] = [];
  const options = { ...config.generation, promptPositions: ids.length, anchor };
  for (const segment of schedule(options)) {
    const { graph, names } = traceSegment(config, segment);
    const program = new FloatProgram(graph, floatReference);
    const inputs = new Map<string, Float32Array | Int32Array>();
    for (const [input, name] of names.loads) inputs.set(input, carried.get(name)!);
    if (segment.kind === "prompt") inputs.set(IDS, Int32Array.from(ids));
    else if (segment.kind === "step")
      inputs.set(IDS, Int32Array.of(tokens[segment.index - 1] ?? 0));
    program.run(inputs, real);
    for (const [output, { name }] of names.stores) carried.set(name, program.value(output).slice());
    observe(program, segment);
    if (!graph.outputs.has(LOGITS)) continue;
    const logits = program.value(LOGITS);
    for (let at = 0; at < logits.length; at += config.vocabSize) {
      const row = logits.subarray(at, at + config.vocabSize);
      tokens.push(row.indexOf(Math.max(...row)));
    }
  }
}

function peak(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function variances(values: Float32Array, columns: number): number[] {
  return Array.from({ length: values.length / columns }, (_, row) => {
    const part = values.subarray(row * columns, (row + 1) * columns);
    const mean = part.reduce((sum, value) => sum + value, 0) / columns;
    return part.reduce((sum, value) => sum + (value - mean) ** 2, 0) / columns;
  });
}

/** tokenizer.json as a server sends it. */
export function tokenizerBytes({ tokenizer }: LocalModel): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(tokenizer.files.tokenizer));
}
