// Ranges of a merged model's wires on real inputs, and with the bounds that its weights prove, what
// config.json states about them. The planner puts spline knots where values were seen and sizes
// domains by what is proven.

import { ensure } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Weights } from "../model/safetensors.ts";
import { observeWires } from "../party/decoder-ranges.ts";
import { floatBench, type LocalModel } from "../party/local.ts";
import { LOGITS } from "../party/plan.ts";
import { provenBounds, statedBounds } from "../plan/bounds.ts";
import type { FloatProgram } from "../run/float.ts";

/** Ranges of a model's wires over all programs that it has seen. */
export class WireRanges {
  readonly #config: ModelConfig;
  readonly #margin: number;
  readonly #seen: Seen;

  /** With a margin above 1, ranges are stated wider by it, either way. */
  constructor(config: ModelConfig, margin = 1) {
    this.#config = config;
    this.#margin = margin;
    this.#seen = {
      layers: Array.from({ length: config.layerCount }, () => ({
        u: 0,
        o: 0,
        variance: [Number.POSITIVE_INFINITY, 0],
      })),
      wires: new Map(),
      logit: 0,
    };
  }

  /** Widens the ranges by what one program's run has computed. */
  observe(program: FloatProgram): void {
    record(program, this.#seen);
    if (this.#config.hybrid) observeWires(program, this.#seen.wires);
  }

  /** The model's config with wireBounds and logitBound. */
  stated(weights: Weights, kernels: FloatKernels): ModelConfig {
    const proven = provenBounds(this.#config, weights, kernels);
    return { ...this.#config, ...statedBounds(proven, widened(this.#seen, this.#margin)) };
  }
}

interface Seen {
  readonly layers: { u: number; o: number; variance: [number, number] }[];
  /** Of hybrid layers' attention. */
  readonly wires: Map<string, [number, number]>;
  logit: number;
}

function widened({ layers, wires, logit }: Seen, margin: number): Seen {
  return {
    wires: new Map(
      [...wires].map(([name, [least, most]]) => [name, [least / margin, most * margin]]),
    ),
    layers: layers.map(({ u, o, variance: [least, greatest] }) => ({
      u: u * margin,
      o: o * margin,
      variance: [least / margin, greatest * margin],
    })),
    logit: logit * margin,
  };
}

/**
 * The model's config with wireBounds and logitBound, from generations with re-sent states and with
 * the client's tokens.
 * @throws E_DATA when there are no prompts
 */
export async function calibrate(
  model: LocalModel,
  prompts: readonly string[],
  kernels: FloatKernels,
): Promise<ModelConfig> {
  ensure(prompts.length > 0, "E_DATA", "calibration needs at least one prompt");
  const ranges = new WireRanges(model.config);
  const anchors = model.config.nextToken === "lookup" ? [1] : [0, 1];
  const bench = floatBench(model, kernels, (program) => ranges.observe(program));
  for (const prompt of prompts) {
    for (const anchor of anchors) await bench({ prompt, anchor });
  }
  return ranges.stated(model.weights, kernels);
}

function record({ graph, values }: FloatProgram, seen: Seen): void {
  const logits = graph.outputs.get(LOGITS);
  if (logits) seen.logit = Math.max(seen.logit, peak(values[logits.id]!));
  let quads = 0;
  let sums = 0;
  for (const op of graph.ops) {
    if (op.kind === "quad") {
      const layer = seen.layers[quads++]!;
      layer.u = Math.max(layer.u, peak(values[op.x]!));
    } else if (op.kind === "layerNorm") {
      recordSum(values[op.x]!, op.shape.at(-1)!, seen.layers[sums++]!);
    } else if (op.kind === "add" && graph.ops[op.a]!.kind === "mul") {
      // The shift of an affine norm: what is opened is its output.
      recordSum(values[op.out]!, op.shape.at(-1)!, seen.layers[sums++]!);
    }
  }
}

function recordSum(
  sums: Float32Array,
  columns: number,
  layer: { o: number; variance: [number, number] },
): void {
  layer.o = Math.max(layer.o, peak(sums));
  for (let at = 0; at < sums.length; at += columns) {
    const row = sums.subarray(at, at + columns);
    const mean = row.reduce((total, value) => total + value, 0) / columns;
    const variance = row.reduce((total, value) => total + (value - mean) ** 2, 0) / columns;
    layer.variance[0] = Math.min(layer.variance[0], variance);
    layer.variance[1] = Math.max(layer.variance[1], variance);
  }
}

function peak(values: Float32Array): number {
  let greatest = 0;
  for (let i = 0; i < values.length; i++) greatest = Math.max(greatest, Math.abs(values[i]!));
  return greatest;
}
