// Reverse mode over the op list: the gradient of a scalar with respect to weights and inputs.
// A gradient buffer lives from its first addition until its tensor's own op has been passed.

import { ensure } from "../errors.ts";
import type { Tensor } from "../graph/graph.ts";
import { type Op, operands } from "../graph/ops.ts";
import { attentionPatternBackward } from "./attention-pattern.ts";
import * as scores from "./attention-weights.ts";
import { constantAttentionBackward } from "./constant-attention.ts";
import {
  batchedProduct,
  type FloatProgram,
  mergeHeads,
  permuteHeads,
  type UnaryOp,
} from "./float.ts";
import * as loops from "./float-loops.ts";
import { piecewiseBackward } from "./piecewise.ts";
import { rotateRows } from "./rotary.ts";

/** See FloatProgram.backward. */
export function backward(
  program: FloatProgram,
  loss: Tensor,
  accumulators: ReadonlyMap<string, Float32Array>,
): void {
  ensure(loss.columns === 1 && loss.shape.length === 1, "E_SHAPE", "the loss is not a scalar");
  new Backward(program, accumulators).run(loss.id);
}

/** Rows of a linear layer's gradient that are gathered before they are multiplied. */
const GATHERED_ROWS = 1024;

interface Pending {
  readonly op: Op & { kind: "linear" };
  readonly x: Float32Array;
  readonly dy: Float32Array;
  rows: number;
  readonly n: number;
  readonly k: number;
}

class Backward {
  readonly #program: FloatProgram;
  readonly #ops: readonly Op[];
  readonly #values: readonly (Float32Array | undefined)[];
  readonly #wanted: boolean[] = [];
  readonly #gradients: (Float32Array | undefined)[] = [];
  readonly #pending = new Map<number, Pending>();
  /** Gradients that belong to the caller. */
  readonly #kept: boolean[] = [];

  constructor(program: FloatProgram, accumulators: ReadonlyMap<string, Float32Array>) {
    this.#program = program;
    this.#ops = program.graph.ops;
    this.#values = program.values;
    for (const op of this.#ops) this.#wanted.push(this.#isWanted(op, accumulators));
  }

  run(loss: number): void {
    if (!this.#wanted[loss]) return;
    this.#into(loss)[0] = 1;
    for (let id = loss; id >= 0; id--) {
      const dy = this.#gradients[id];
      if (!dy || this.#kept[id]) continue;
      this.#step(this.#ops[id]!, dy);
      this.#drop(id);
    }
    for (const pending of this.#pending.values()) {
      this.#flush(pending);
      this.#program.arena.give(pending.x);
      this.#program.arena.give(pending.dy);
    }
  }

  #isWanted(op: Op, accumulators: ReadonlyMap<string, Float32Array>): boolean {
    if (op.kind === "weight" || op.kind === "input") {
      const accumulator = accumulators.get(op.name);
      if (!accumulator) return false;
      const fits = accumulator.length === this.#values[op.out]!.length;
      ensure(fits, "E_SHAPE", `gradient of ${op.name}: wrong length`);
      this.#gradients[op.out] = accumulator;
      this.#kept[op.out] = true;
      return true;
    }
    return op.kind !== "detach" && operands(op).some((id) => this.#wanted[id]);
  }

  #drop(id: number): void {
    const gradient = this.#gradients[id];
    this.#gradients[id] = undefined;
    if (gradient) this.#program.arena.give(gradient);
  }

  /** The gradient of a wanted tensor, to add to. */
  #into(id: number): Float32Array {
    return (this.#gradients[id] ??= this.#program.arena.takeZeroed(this.#size(id)));
  }

  #size(id: number): number {
    return this.#ops[id]!.shape.reduce((total, size) => total * size, 1);
  }

  /** Adds dy, which holds the gradient of the operand x, to x's; takes the buffer where it can. */
  #pass(from: number, x: number, dy: Float32Array): void {
    if (!this.#wanted[x]) return;
    const known = this.#gradients[x];
    if (known) {
      loops.add(known, dy, known);
      return;
    }
    this.#gradients[x] = dy;
    this.#gradients[from] = undefined;
  }

  #step(op: Op, dy: Float32Array): void {
    const values = this.#values;
    switch (op.kind) {
      case "input":
      case "ids":
      case "weight":
      case "detach":
        return;
      case "embed":
        this.#embed(op, dy);
        return;
      case "add":
        if (this.#wanted[op.b]) loops.addFolded(dy, this.#into(op.b));
        this.#pass(op.out, op.a, dy);
        return;
      case "mul":
        if (this.#wanted[op.b]) loops.addProductFolded(dy, values[op.a]!, this.#into(op.b));
        if (this.#wanted[op.a]) loops.mul(dy, values[op.b]!, dy);
        this.#pass(op.out, op.a, dy);
        return;
      case "linear":
        this.#linear(op, dy);
        return;
      case "matmul":
        this.#matmul(op, dy);
        return;
      case "splitHeads": {
        const { rows, columns } = this.#program.dimensions(op.out);
        const dx = this.#program.arena.take(dy.length);
        mergeHeads(dy, { rows, columns, heads: op.heads }, dx);
        this.#passFresh(op.x, dx);
        return;
      }
      case "mergeHeads": {
        const dx = this.#program.arena.take(dy.length);
        const heads = this.#ops[op.x]!.shape.at(-3)!;
        permuteHeads(dy, this.#program.dimensions(op.x), heads, dx);
        this.#passFresh(op.x, dx);
        return;
      }
      case "repeatHeads": {
        if (!this.#wanted[op.x]) return;
        const { rows, columns } = this.#program.dimensions(op.x);
        const block = { size: rows * columns, times: op.times };
        loops.addRepeatedBlocks(dy, block, this.#into(op.x));
        return;
      }
      case "concatRows":
        this.#addRows(op.a, dy, { at: 0, of: op.out });
        this.#addRows(op.b, dy, { at: this.#program.dimensions(op.a).rows, of: op.out });
        return;
      case "sliceRows":
        this.#sliceRows(op, dy);
        return;
      case "constantAttention":
        this.#constantAttention(op, dy);
        return;
      case "attentionPattern": {
        const parts = [op.base, op.column, op.relative].map((id) =>
          this.#wanted[id] ? this.#into(id) : undefined,
        );
        attentionPatternBackward(dy, op.shape[1]!, parts);
        return;
      }
      case "causalCubes": {
        if (!this.#wanted[op.x]) return;
        const shape = this.#program.dimensions(op.x);
        scores.causalCubesBackward(values[op.x]!, shape, dy, this.#into(op.x));
        return;
      }
      case "causalScale":
        this.#causalScale(op, dy);
        return;
      case "batchNorm":
        this.#batchNorm(op, dy);
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
        this.#unary(op, dy);
        this.#pass(op.out, op.x, dy);
        return;
      case "select":
        this.#select(op, dy);
        return;
      case "crossEntropy":
      case "softLabelLoss":
        this.#logitLoss(op, dy[0]!);
        return;
      case "cosineLoss":
      case "squaredLoss":
        this.#rowLoss(op, dy[0]!);
        return;
      default:
        op satisfies never;
    }
  }

  /** Turns dy into dx in place. */
  #unary(op: UnaryOp, dy: Float32Array): void {
    const x = this.#values[op.x]!;
    const y = this.#values[op.out]!;
    switch (op.kind) {
      case "scale":
        for (let i = 0; i < dy.length; i++) dy[i] = dy[i]! * op.factor;
        return;
      case "causalSoftmax":
        loops.softmaxBackward(y, op.shape.at(-1)!, dy);
        return;
      case "attentionWeights": {
        const shape = this.#program.dimensions(op.out);
        const result = { y, sums: this.#program.saved[op.out]! };
        scores.attentionWeightsBackward(x, op.form, shape, result, dy);
        return;
      }
      case "piecewise":
        piecewiseBackward(x, op, dy);
        return;
      case "quad":
        loops.quadBackward(x, op.coefficients, dy);
        return;
      case "gelu":
        this.#program.kernels.geluGradient({ form: op.form, x: x, dy, out: dy });
        return;
      case "relu":
        for (let i = 0; i < dy.length; i++) if (x[i]! <= 0) dy[i] = 0;
        return;
      case "layerNorm": {
        const inverse = this.#program.saved[op.out]!;
        loops.layerNormBackward(y, inverse, op.shape.at(-1)!, dy);
        return;
      }
      case "silu":
        loops.siluBackward(x, dy);
        return;
      case "rmsNorm": {
        const inverse = this.#program.saved[op.out]!;
        loops.rmsNormBackward(y, inverse, op.shape.at(-1)!, dy);
        return;
      }
      case "rope":
        rotateRows(dy, { ...op, ...this.#program.dimensions(op.out), back: true }, dy);
        return;
      default:
        op satisfies never;
    }
  }

  /** As #pass, for a buffer that no op owns. */
  #passFresh(x: number, dx: Float32Array): void {
    const known = this.#gradients[x];
    if (known) loops.add(known, dx, known);
    if (known || !this.#wanted[x]) this.#program.arena.give(dx);
    else this.#gradients[x] = dx;
  }

  #embed(op: Op & { kind: "embed" }, dy: Float32Array): void {
    if (!this.#wanted[op.table]) return;
    const table = this.#into(op.table);
    const ids = this.#program.tokens[op.ids]!;
    const columns = op.shape.at(-1)!;
    for (let row = 0; row < ids.length; row++) {
      const target = ids[row]! * columns;
      const source = row * columns;
      for (let i = 0; i < columns; i++) table[target + i] = table[target + i]! + dy[source + i]!;
    }
  }

  #linear(op: Op & { kind: "linear" }, dy: Float32Array): void {
    const n = op.shape.at(-1)!;
    const m = dy.length / n;
    const k = this.#ops[op.x]!.shape.at(-1)!;
    const { kernels } = this.#program;
    if (op.bias !== undefined && this.#wanted[op.bias]) {
      loops.addFolded(dy, this.#into(op.bias));
    }
    if (this.#wanted[op.weight]) this.#weightGradient(op, dy, { m, n, k });
    if (this.#wanted[op.x]) {
      const accumulate = this.#gradients[op.x] !== undefined;
      const out = (this.#gradients[op.x] ??= this.#program.arena.take(m * k));
      kernels.gemm({
        m,
        n: k,
        k: n,
        a: dy,
        b: this.#values[op.weight]!,
        transposeB: !op.transposed,
        out,
        accumulate,
      });
    }
  }

  /**
   * Adds x^T dy to the weight's gradient. Few rows are gathered first: a product over 45 rows
   * spends most of its time on reading and writing the sum, and a roll-out has one per position.
   */
  #weightGradient(
    op: Op & { kind: "linear" },
    dy: Float32Array,
    { m, n, k }: { m: number; n: number; k: number },
  ): void {
    const x = this.#values[op.x]!;
    // A weight that is itself computed must have its gradient when its own op is passed.
    if (m > GATHERED_ROWS / 2 || !this.#kept[op.weight]) {
      this.#addProduct(op, { x, dy, rows: m, n, k });
      return;
    }
    const key = 2 * op.weight + Number(op.transposed);
    let pending = this.#pending.get(key);
    if (!pending) {
      const { arena } = this.#program;
      const take = (columns: number) => arena.take(GATHERED_ROWS * columns);
      pending = { op, x: take(k), dy: take(n), rows: 0, n, k };
      this.#pending.set(key, pending);
    }
    if (pending.rows + m > GATHERED_ROWS) this.#flush(pending);
    pending.x.set(x, pending.rows * k);
    pending.dy.set(dy, pending.rows * n);
    pending.rows += m;
  }

  #flush(pending: Pending): void {
    const { op, rows, n, k } = pending;
    const x = pending.x.subarray(0, rows * k);
    const dy = pending.dy.subarray(0, rows * n);
    this.#addProduct(op, { x, dy, rows, n, k });
    pending.rows = 0;
  }

  #addProduct(
    op: Op & { kind: "linear" },
    {
      x,
      dy,
      rows,
      n,
      k,
    }: { x: Float32Array; dy: Float32Array; rows: number; n: number; k: number },
  ): void {
    this.#program.kernels.gemm({
      m: op.transposed ? n : k,
      n: op.transposed ? k : n,
      k: rows,
      a: op.transposed ? dy : x,
      b: op.transposed ? x : dy,
      transposeA: true,
      out: this.#into(op.weight),
      accumulate: true,
    });
  }

  #matmul(op: Op & { kind: "matmul" }, dy: Float32Array): void {
    const { kernels } = this.#program;
    const { lead: count, rows: m, columns: n } = this.#program.dimensions(op.out);
    const k = this.#program.dimensions(op.a).columns;
    if (this.#wanted[op.a]) {
      // dA = dY B^T, and B is stored transposed where transposeB.
      const options = { count, m, n: k, k: n, transposeB: !op.transposeB, accumulate: true };
      batchedProduct(kernels, dy, this.#values[op.b]!, options, this.#into(op.a));
    }
    if (this.#wanted[op.b]) {
      const a = this.#values[op.a]!;
      const common = { count, k: m, transposeA: true, accumulate: true };
      const out = this.#into(op.b);
      if (op.transposeB) batchedProduct(kernels, dy, a, { ...common, m: n, n: k }, out);
      else batchedProduct(kernels, a, dy, { ...common, m: k, n }, out);
    }
  }

  /** Adds rows at.. of the gradient of tensor `of` to the gradient of x. */
  #addRows(x: number, dy: Float32Array, { at, of }: { at: number; of: number }): void {
    if (!this.#wanted[x]) return;
    const { rows: total, columns } = this.#program.dimensions(of);
    const block = this.#program.dimensions(x).rows * columns;
    const dx = this.#into(x);
    let source = at * columns;
    for (let target = 0; target < dx.length; target += block) {
      for (let i = 0; i < block; i++) dx[target + i] = dx[target + i]! + dy[source + i]!;
      source += total * columns;
    }
  }

  #sliceRows(op: Op & { kind: "sliceRows" }, dy: Float32Array): void {
    if (!this.#wanted[op.x]) return;
    const { rows, columns } = this.#program.dimensions(op.x);
    const block = (op.to - op.from) * columns;
    const dx = this.#into(op.x);
    let target = op.from * columns;
    for (let source = 0; source < dy.length; source += block) {
      for (let i = 0; i < block; i++) dx[target + i] = dx[target + i]! + dy[source + i]!;
      target += rows * columns;
    }
  }

  #constantAttention(op: Op & { kind: "constantAttention" }, dy: Float32Array): void {
    const program = this.#program;
    const segments = program.segments(op.x);
    for (const segment of segments) {
      if (this.#wanted[segment.id]) segment.gradient = this.#into(segment.id);
    }
    const weight = this.#values[op.weight]!;
    const gradients = {
      dOut: dy,
      dWeight: this.#wanted[op.weight] ? this.#into(op.weight) : undefined,
    };
    const link = program.chainOf(op);
    if (link) link.chain.backward(link.index, segments, weight, gradients, program);
    else {
      const shape = program.attentionShape(op);
      constantAttentionBackward(segments, weight, shape, gradients, program);
    }
  }

  #causalScale(op: Op & { kind: "causalScale" }, dy: Float32Array): void {
    const shape = this.#program.dimensions(op.out);
    if (this.#wanted[op.factor]) {
      scores.causalScaleFactor(this.#values[op.x]!, shape, dy, this.#into(op.factor));
    }
    // The derivative with respect to x is the same map, of dy.
    scores.causalScale(dy, this.#values[op.factor]!, shape, dy);
    this.#pass(op.out, op.x, dy);
  }

  #batchNorm(op: Op & { kind: "batchNorm" }, dy: Float32Array): void {
    const into = (id: number) => (this.#wanted[id] ? this.#into(id) : undefined);
    const sums = { dMean: into(op.mean), dVariance: into(op.variance) };
    const statistics = { variance: this.#values[op.variance]!, eps: op.eps };
    loops.batchNormBackward(this.#values[op.out]!, statistics, sums, dy);
    this.#pass(op.out, op.x, dy);
  }

  #select(op: Op & { kind: "select" }, dy: Float32Array): void {
    const mask = this.#values[op.mask]!;
    const columns = dy.length / mask.length;
    for (const [x, picked] of [
      [op.a, true],
      [op.b, false],
    ] as const) {
      if (!this.#wanted[x]) continue;
      const dx = this.#into(x);
      for (let row = 0; row < mask.length; row++) {
        if ((mask[row] !== 0) !== picked) continue;
        const base = row * columns;
        for (let i = base; i < base + columns; i++) dx[i] = dx[i]! + dy[i]!;
      }
    }
  }

  /** A loss that has kept its derivative with respect to the logits. */
  #logitLoss(op: Op & { kind: "crossEntropy" | "softLabelLoss" }, factor: number): void {
    if (!this.#wanted[op.logits]) return;
    const slopes = this.#program.saved[op.out]!;
    const dx = this.#into(op.logits);
    for (let i = 0; i < dx.length; i++) dx[i] = dx[i]! + slopes[i]! * factor;
  }

  #rowLoss(op: Op & { kind: "cosineLoss" | "squaredLoss" }, factor: number): void {
    const options = {
      weights: this.#values[op.weights]!,
      columns: this.#ops[op.a]!.shape.at(-1)!,
      scale: factor,
    };
    const a = this.#values[op.a]!;
    const b = this.#values[op.b]!;
    const backward =
      op.kind === "cosineLoss" ? loops.cosineLossBackward : loops.squaredLossBackward;
    if (this.#wanted[op.a]) backward(a, b, options, this.#into(op.a));
    if (this.#wanted[op.b]) backward(b, a, options, this.#into(op.b));
  }
}
