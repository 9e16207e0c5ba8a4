// Float32 interpreter of a graph: the reference for every other mode, and what training
// differentiates. A program is bound to one graph; it may be run any number of times.

import { ensure, MergenError } from "../errors.ts";
import type { Graph, Tensor } from "../graph/graph.ts";
import { type Op, operands } from "../graph/ops.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { Arena } from "./arena.ts";
import { AttentionChain, type ChainPlan, chainPlans } from "./attention-chain.ts";
import { attentionPattern } from "./attention-pattern.ts";
import * as scores from "./attention-weights.ts";
import { type AttentionShape, constantAttention, type Segment } from "./constant-attention.ts";
import * as loops from "./float-loops.ts";
import { backward } from "./gradient.ts";
import { piecewise } from "./piecewise.ts";
import { rotateRows } from "./rotary.ts";

/** Run-time data by name: Int32Array for ids, Float32Array for everything else. */
export type FloatInputs = ReadonlyMap<string, Float32Array | Int32Array>;
export interface FloatWeights {
  get(name: string): Float32Array | undefined;
}

/** Ops of one operand whose result has its shape. */
export type UnaryOp = Op & {
  kind:
    | "scale"
    | "causalSoftmax"
    | "quad"
    | "gelu"
    | "relu"
    | "silu"
    | "layerNorm"
    | "rmsNorm"
    | "rope"
    | "attentionWeights"
    | "piecewise";
};

/** Below this many multiply-adds a plain loop beats the call of a kernel. */
const SMALL_PRODUCT = 4096;

export class FloatProgram {
  readonly graph: Graph;
  readonly kernels: FloatKernels;
  readonly arena: Arena;
  /** Values by tensor id, of the last run; ids tensors stand in `tokens`. */
  readonly values: (Float32Array | undefined)[] = [];
  readonly tokens: (Int32Array | undefined)[] = [];
  /** What an op keeps for its backward pass. */
  readonly saved: (Float32Array | undefined)[] = [];
  /** Multiply-adds in matrix products of one run. */
  readonly multiplyAdds: number;
  readonly #owned: Float32Array[] = [];
  readonly #lazy: boolean[];
  readonly #plans: ReadonlyMap<number, { plan: ChainPlan; index: number }>;
  readonly #chains = new Map<ChainPlan, AttentionChain>();

  constructor(graph: Graph, kernels: FloatKernels, arena: Arena = new Arena()) {
    this.graph = graph;
    this.kernels = kernels;
    this.arena = arena;
    this.#lazy = lazyConcats(graph);
    this.#plans = this.#findChains();
    this.multiplyAdds = graph.ops.reduce((sum, op) => sum + countMultiplyAdds(graph, op), 0);
  }

  /** Computes every tensor. Results stay until the next run or `release`. */
  run(inputs: FloatInputs, weights: FloatWeights): void {
    this.release();
    for (const op of this.graph.ops) this.#forward(op, inputs, weights);
  }

  /** The value of a tensor or of a named output, of the last run; not a copy. */
  value(tensor: Tensor | string): Float32Array {
    const handle = typeof tensor === "string" ? this.graph.outputs.get(tensor) : tensor;
    const value = handle && this.values[handle.id];
    ensure(value, "E_SHAPE", `no value of ${typeof tensor === "string" ? tensor : tensor.id}`);
    return value;
  }

  /**
   * Adds the gradient of a scalar to the accumulators: weights and inputs by name. Only tensors
   * that one of them depends on are visited. Once per run: it overwrites what the run has kept.
   */
  backward(loss: Tensor, gradients: ReadonlyMap<string, Float32Array>): void {
    backward(this, loss, gradients);
  }

  /** Gives the buffers of the last run back to the arena. */
  release(): void {
    for (const buffer of this.#owned) this.arena.give(buffer);
    this.#owned.length = 0;
    this.#chains.clear();
    this.values.length = 0;
    this.saved.length = 0;
  }

  /** Shapes of the real-valued inputs by name. */
  inputs(): Map<string, { shape: readonly number[] }> {
    const inputs = new Map<string, { shape: readonly number[] }>();
    for (const op of this.graph.ops) if (op.kind === "input") inputs.set(op.name, op);
    return inputs;
  }

  /** Leading dimensions, rows and columns of a tensor. */
  dimensions(id: number): { lead: number; rows: number; columns: number } {
    return matrixShape(this.graph.ops[id]!.shape);
  }

  /** The stored tensors whose rows make up the operand of a constant attention. */
  segments(id: number, from = 0): (Segment & { id: number })[] {
    const op = this.graph.ops[id]!;
    if (op.kind === "concatRows" && this.#lazy[id]) {
      const rows = this.dimensions(op.a).rows;
      return [...this.segments(op.a, from), ...this.segments(op.b, from + rows)];
    }
    return [{ id, data: this.values[id]!, from, rows: this.dimensions(id).rows }];
  }

  /** The chain of one-row attentions that an op is part of, and its place in it. */
  chainOf(op: Op & { kind: "constantAttention" }) {
    const link = this.#plans.get(op.out);
    if (!link) return undefined;
    let chain = this.#chains.get(link.plan);
    if (!chain) {
      const first = this.graph.ops[link.plan.ops[0]] as typeof op;
      const shape = this.attentionShape(first);
      chain = new AttentionChain(link.plan, shape, (length) => this.#take(length));
      this.#chains.set(link.plan, chain);
    }
    return { chain, index: link.index };
  }

  attentionShape(op: Op & { kind: "constantAttention" }): AttentionShape {
    const [heads, positions] = this.graph.ops[op.weight]!.shape;
    const { lead, rows, columns } = this.dimensions(op.out);
    return {
      batches: lead,
      heads: heads!,
      positions: positions!,
      columns,
      start: op.start,
      count: rows,
    };
  }

  #findChains() {
    const single = [];
    for (const op of this.graph.ops) {
      if (op.kind !== "constantAttention" || this.dimensions(op.out).rows !== 1) continue;
      const segments = this.segments(op.x).map(({ id }) => id);
      single.push({ id: op.out, weight: op.weight, segments });
    }
    return chainPlans(single);
  }

  #take(length: number): Float32Array {
    const buffer = this.arena.take(length);
    this.#owned.push(buffer);
    return buffer;
  }

  #given(op: Op & { name: string }, source: FloatWeights): Float32Array {
    const data = source.get(op.name);
    ensure(data, "E_SHAPE", `${op.kind} ${op.name} is not given`);
    ensure(data.length === product(op.shape), "E_SHAPE", `${op.kind} ${op.name}: wrong length`);
    return data;
  }

  #forward(op: Op, inputs: FloatInputs, weights: FloatWeights): void {
    const { values } = this;
    switch (op.kind) {
      case "input":
        values[op.out] = this.#given(op, inputs as FloatWeights);
        return;
      case "ids": {
        const ids = this.#given(op, inputs as FloatWeights) as unknown;
        ensure(ids instanceof Int32Array, "E_SHAPE", `ids ${op.name} are not int32`);
        this.tokens[op.out] = ids;
        return;
      }
      case "weight":
        values[op.out] = this.#given(op, weights);
        return;
      case "detach":
        values[op.out] = values[op.x]!;
        return;
      case "concatRows":
        if (this.#lazy[op.out]) return;
        break;
      default:
        break;
    }
    const out = this.#take(product(op.shape));
    values[op.out] = out;
    this.#compute(op, out);
  }

  #compute(op: Op, out: Float32Array): void {
    const { values } = this;
    switch (op.kind) {
      case "embed":
        embedRows(values[op.table]!, this.tokens[op.ids]!, out);
        return;
      case "add":
        loops.add(values[op.a]!, values[op.b]!, out);
        return;
      case "mul":
        loops.mul(values[op.a]!, values[op.b]!, out);
        return;
      case "linear":
        this.#linear(op, out);
        return;
      case "matmul":
        this.#matmul(op, out);
        return;
      case "splitHeads":
        permuteHeads(values[op.x]!, this.dimensions(op.out), op.heads, out);
        return;
      case "mergeHeads": {
        const { rows, columns } = this.dimensions(op.x);
        const heads = this.graph.ops[op.x]!.shape.at(-3)!;
        mergeHeads(values[op.x]!, { rows, columns, heads }, out);
        return;
      }
      case "repeatHeads":
        loops.repeatBlocks(values[op.x]!, this.#headBlock(op), out);
        return;
      case "concatRows":
        concatRows(values[op.a]!, values[op.b]!, this.dimensions(op.out).lead, out);
        return;
      case "sliceRows": {
        const { rows, columns } = this.dimensions(op.x);
        sliceRows(values[op.x]!, { rows, columns, from: op.from, to: op.to }, out);
        return;
      }
      case "constantAttention":
        this.#constantAttention(op, out);
        return;
      case "attentionPattern": {
        const parts = { column: values[op.column]!, relative: values[op.relative]! };
        attentionPattern(values[op.base]!, parts, op.shape[1]!, out);
        return;
      }
      case "causalCubes":
        scores.causalCubes(values[op.x]!, this.dimensions(op.x), out);
        return;
      case "causalScale":
        scores.causalScale(values[op.x]!, values[op.factor]!, this.dimensions(op.out), out);
        return;
      case "batchNorm":
        loops.batchNorm(values[op.x]!, this.#statistics(op), out);
        return;
      case "scale":
      case "causalSoftmax":
      case "attentionWeights":
      case "piecewise":
      case "quad":
      case "gelu":
      case "relu":
      case "silu":
      case "layerNorm":
      case "rmsNorm":
      case "rope":
        this.#unary(op, values[op.x]!, out);
        return;
      case "select":
        selectRows(values[op.mask]!, values[op.a]!, values[op.b]!, out);
        return;
      case "crossEntropy":
        out[0] = this.#crossEntropy(op);
        return;
      case "cosineLoss": {
        const { columns } = this.dimensions(op.a);
        const options = { weights: values[op.weights]!, columns };
        out[0] = loops.cosineLoss(values[op.a]!, values[op.b]!, options);
        return;
      }
      case "squaredLoss": {
        const { columns } = this.dimensions(op.a);
        const options = { weights: values[op.weights]!, columns };
        out[0] = loops.squaredLoss(values[op.a]!, values[op.b]!, options);
        return;
      }
      case "softLabelLoss":
        out[0] = this.#softLabelLoss(op);
        return;
      case "input":
      case "ids":
      case "weight":
      case "detach":
        throw new MergenError("E_INTERNAL", `${op.kind} computes nothing`);
      default:
        op satisfies never;
    }
  }

  #unary(op: UnaryOp, x: Float32Array, out: Float32Array): void {
    switch (op.kind) {
      case "scale":
        for (let i = 0; i < out.length; i++) out[i] = x[i]! * op.factor;
        return;
      case "causalSoftmax":
        this.#softmax(op, out);
        return;
      case "attentionWeights": {
        const shape = this.dimensions(op.out);
        const sums = this.#take(2 * (out.length / shape.columns));
        this.saved[op.out] = sums;
        scores.attentionWeights(x, op.form, shape, out, sums);
        return;
      }
      case "piecewise":
        piecewise(x, op, out);
        return;
      case "quad":
        loops.quad(x, op.coefficients, out);
        return;
      case "gelu":
        this.kernels.gelu({ form: op.form, x: x, out });
        return;
      case "relu":
        for (let i = 0; i < out.length; i++) out[i] = Math.max(x[i]!, 0);
        return;
      case "layerNorm": {
        const { columns } = this.dimensions(op.out);
        const inverse = this.#take(out.length / columns);
        this.saved[op.out] = inverse;
        loops.layerNorm(x, { columns, eps: op.eps }, out, inverse);
        return;
      }
      case "silu":
        loops.silu(x, out);
        return;
      case "rmsNorm": {
        const { columns } = this.dimensions(op.out);
        const inverse = this.#take(out.length / columns);
        this.saved[op.out] = inverse;
        loops.rmsNorm(x, { columns, eps: op.eps }, out, inverse);
        return;
      }
      case "rope":
        rotateRows(x, { ...op, ...this.dimensions(op.out) }, out);
        return;
      default:
        op satisfies never;
    }
  }

  #headBlock({ x, times }: Op & { kind: "repeatHeads" }): { size: number; times: number } {
    const { rows, columns } = this.dimensions(x);
    return { size: rows * columns, times };
  }

  #statistics(op: Op & { kind: "batchNorm" }) {
    return { mean: this.values[op.mean]!, variance: this.values[op.variance]!, eps: op.eps };
  }

  #constantAttention(op: Op & { kind: "constantAttention" }, out: Float32Array): void {
    const segments = this.segments(op.x);
    const weight = this.values[op.weight]!;
    const link = this.chainOf(op);
    if (link) link.chain.forward(link.index, segments, weight, out, this);
    else constantAttention(segments, weight, this.attentionShape(op), out, this);
  }

  #softmax(op: Op & { kind: "causalSoftmax" }, out: Float32Array): void {
    const { lead, rows: causalRows, columns } = this.dimensions(op.out);
    const x = this.values[op.x]!;
    this.kernels.softmax({ rows: lead * causalRows, columns, x, out, causalRows });
  }

  #crossEntropy(op: Op & { kind: "crossEntropy" }): number {
    const logits = this.values[op.logits]!;
    const { columns } = this.dimensions(op.logits);
    const rows = logits.length / columns;
    const slopes = this.#take(logits.length);
    const logSums = this.#take(rows);
    this.saved[op.out] = slopes;
    this.kernels.softmax({ rows, columns, x: logits, out: slopes, logSums });
    const { smoothing } = op;
    const options = { weights: this.values[op.weights]!, smoothing, columns, logSums };
    return loops.crossEntropy(logits, this.tokens[op.targets]!, options, slopes);
  }

  #softLabelLoss(op: Op & { kind: "softLabelLoss" }): number {
    const { columns } = this.dimensions(op.logits);
    const { temperature } = op;
    const own = this.#softLabels(op.logits, temperature);
    const teacher = this.#softLabels(op.target, temperature);
    const options = { weights: this.values[op.weights]!, columns, temperature };
    const loss = loops.softLabelLoss(own, teacher, options);
    this.saved[op.out] = own.softmax;
    return loss;
  }

  #softLabels(id: number, temperature: number) {
    const x = this.values[id]!;
    const { columns } = this.dimensions(id);
    const rows = x.length / columns;
    const logits = this.#take(x.length);
    for (let i = 0; i < x.length; i++) logits[i] = x[i]! / temperature;
    const softmax = this.#take(x.length);
    const logSums = this.#take(rows);
    this.kernels.softmax({ rows, columns, x: logits, out: softmax, logSums });
    return { logits, softmax, logSums };
  }

  #linear(op: Op & { kind: "linear" }, out: Float32Array): void {
    const n = op.shape.at(-1)!;
    const m = out.length / n;
    if (op.bias !== undefined) loops.fillRows(this.values[op.bias]!, out);
    this.kernels.gemm({
      m,
      n,
      k: this.dimensions(op.x).columns,
      a: this.values[op.x]!,
      b: this.values[op.weight]!,
      transposeB: op.transposed,
      out,
      accumulate: op.bias !== undefined,
    });
  }

  #matmul(op: Op & { kind: "matmul" }, out: Float32Array): void {
    const { rows: m, columns: n } = this.dimensions(op.out);
    const k = this.dimensions(op.a).columns;
    const a = this.values[op.a]!;
    const b = this.values[op.b]!;
    const options = { count: this.#batches(op.out), m, n, k, transposeB: op.transposeB };
    batchedProduct(this.kernels, a, b, options, out);
  }

  #batches(id: number): number {
    return this.dimensions(id).lead;
  }
}

/** Runs a graph once. Values by output name; copies. */
export function runFloat(
  graph: Graph,
  options: { weights: FloatWeights; inputs: FloatInputs; kernels: FloatKernels },
): Map<string, Float32Array> {
  const program = new FloatProgram(graph, options.kernels);
  program.run(options.inputs, options.weights);
  return new Map([...graph.outputs].map(([name, t]) => [name, program.value(t).slice()]));
}

export function product(shape: readonly number[]): number {
  return shape.reduce((total, size) => total * size, 1);
}

function matrixShape(shape: readonly number[]) {
  const columns = shape.at(-1) ?? 1;
  const rows = shape.at(-2) ?? 1;
  return { lead: product(shape) / (rows * columns), rows, columns };
}

/** Concatenations that only constant attentions read are never stored. */
function lazyConcats(graph: Graph): boolean[] {
  const lazy = graph.ops.map((op) => op.kind === "concatRows");
  for (const { id } of graph.outputs.values()) lazy[id] = false;
  // From the last op to the first, so that a concatenation knows its readers' verdicts.
  for (const op of graph.ops.toReversed()) {
    if (op.kind === "constantAttention") continue;
    if (op.kind === "concatRows" && lazy[op.out]) continue;
    for (const id of operands(op)) lazy[id] = false;
  }
  return lazy;
}

function countMultiplyAdds(graph: Graph, op: Op): number {
  switch (op.kind) {
    case "linear":
      return product(op.shape) * graph.ops[op.x]!.shape.at(-1)!;
    case "matmul":
      return product(op.shape) * graph.ops[op.a]!.shape.at(-1)!;
    case "constantAttention":
      return product(op.shape) * (op.start + (op.shape.at(-2) ?? 1));
    default:
      return 0;
  }
}

function embedRows(table: Float32Array, ids: Int32Array, out: Float32Array): void {
  const columns = out.length / ids.length;
  const count = table.length / columns;
  for (let row = 0; row < ids.length; row++) {
    const id = ids[row]!;
    ensure(id >= 0 && id < count, "E_RANGE", `embed: id ${id} of ${count}`);
    const source = id * columns;
    const target = row * columns;
    for (let i = 0; i < columns; i++) out[target + i] = table[source + i]!;
  }
}

/** out [lead / heads, heads, rows, columns] from x [lead / heads, rows, heads * columns]. */
export function permuteHeads(
  x: Float32Array,
  { rows, columns }: { rows: number; columns: number },
  heads: number,
  out: Float32Array,
): void {
  const block = heads * rows * columns;
  for (let base = 0; base < out.length; base += block) {
    let target = base;
    for (let head = 0; head < heads; head++) {
      let source = base + head * columns;
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < columns; i++) out[target + i] = x[source + i]!;
        target += columns;
        source += heads * columns;
      }
    }
  }
}

/** out [.., rows, heads * columns] from x [.., heads, rows, columns]. */
export function mergeHeads(
  x: Float32Array,
  { rows, columns, heads }: { rows: number; columns: number; heads: number },
  out: Float32Array,
): void {
  const block = heads * rows * columns;
  for (let base = 0; base < out.length; base += block) {
    let source = base;
    for (let head = 0; head < heads; head++) {
      let target = base + head * columns;
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < columns; i++) out[target + i] = x[source + i]!;
        source += columns;
        target += heads * columns;
      }
    }
  }
}

function concatRows(a: Float32Array, b: Float32Array, lead: number, out: Float32Array): void {
  const first = a.length / lead;
  const second = b.length / lead;
  for (let batch = 0; batch < lead; batch++) {
    const target = batch * (first + second);
    out.set(a.subarray(batch * first, (batch + 1) * first), target);
    out.set(b.subarray(batch * second, (batch + 1) * second), target + first);
  }
}

function sliceRows(
  x: Float32Array,
  { rows, columns, from, to }: { rows: number; columns: number; from: number; to: number },
  out: Float32Array,
): void {
  const block = (to - from) * columns;
  let source = from * columns;
  for (let target = 0; target < out.length; target += block) {
    out.set(x.subarray(source, source + block), target);
    source += rows * columns;
  }
}

function selectRows(mask: Float32Array, a: Float32Array, b: Float32Array, out: Float32Array): void {
  const columns = out.length / mask.length;
  for (let row = 0; row < mask.length; row++) {
    const source = mask[row] === 0 ? b : a;
    const base = row * columns;
    for (let i = 0; i < columns; i++) out[base + i] = source[base + i]!;
  }
}

/** `count` products of a [m, k] and b [k, n], or [n, k] where transposed, stored one by one. */
export function batchedProduct(
  kernels: FloatKernels,
  a: Float32Array,
  b: Float32Array,
  options: {
    count: number;
    m: number;
    n: number;
    k: number;
    transposeA?: boolean;
    transposeB?: boolean;
    accumulate?: boolean;
  },
  out: Float32Array,
): void {
  const { count, m, n, k } = options;
  if (m * n * k < SMALL_PRODUCT) {
    smallProducts(a, b, options, out);
    return;
  }
  for (let i = 0; i < count; i++) {
    kernels.gemm({
      ...options,
      a: a.subarray(i * m * k, (i + 1) * m * k),
      b: b.subarray(i * n * k, (i + 1) * n * k),
      out: out.subarray(i * m * n, (i + 1) * m * n),
    });
  }
}

function smallProducts(
  a: Float32Array,
  b: Float32Array,
  options: Parameters<typeof batchedProduct>[3],
  out: Float32Array,
): void {
  const { count, m, n, k, transposeA = false, transposeB = false, accumulate = false } = options;
  const [aRow, aStep] = transposeA ? [1, m] : [k, 1];
  const [bColumn, bStep] = transposeB ? [k, 1] : [1, n];
  for (let batch = 0; batch < count; batch++) {
    for (let i = 0; i < m; i++) {
      const aBase = batch * m * k + i * aRow;
      const outBase = (batch * m + i) * n;
      for (let j = 0; j < n; j++) {
        const bBase = batch * n * k + j * bColumn;
        let sum = accumulate ? out[outBase + j]! : 0;
        for (let l = 0; l < k; l++) sum += a[aBase + l * aStep]! * b[bBase + l * bStep]!;
        out[outBase + j] = sum;
      }
    }
  }
}
