// Tensor handles and the recorder behind them. Calling model code on handles records ops, without
// data; a mistake in a shape is an error here, before anything runs.

import { ensure } from "../errors.ts";
import type { AttentionForm, Op, OpBody, PiecewisePolynomial } from "./ops.ts";

/** A list of typed ops with named outputs: a model traced for one shape. */
export class Graph {
  readonly ops: Op[] = [];
  /** Named results, in the order in which they were declared. */
  readonly outputs = new Map<string, Tensor>();
  readonly #weights = new Map<string, Tensor>();
  readonly #once = new Map<string, Tensor>();

  /** Real-valued data given at run time under this name. */
  input(name: string, shape: readonly number[]): Tensor {
    return this.record({ kind: "input", name }, shape);
  }

  /** Token ids given at run time under this name, [..., n]. */
  ids(name: string, shape: readonly number[]): Tensor {
    return this.record({ kind: "ids", name }, shape);
  }

  /** A parameter; asking twice for one name gives the same tensor. */
  weight(name: string, shape: readonly number[]): Tensor {
    const known = this.#weights.get(name);
    if (known) {
      ensure(sameShape(known.shape, shape), "E_SHAPE", `weight ${name} has two shapes`);
      return known;
    }
    const tensor = this.record({ kind: "weight", name }, shape);
    this.#weights.set(name, tensor);
    return tensor;
  }

  /** A tensor that is recorded when it is first asked for under this name. */
  once(name: string, make: () => Tensor): Tensor {
    const known = this.#once.get(name);
    if (known) return known;
    const made = make();
    this.#once.set(name, made);
    return made;
  }

  /** Declares a tensor as the result of this name. */
  output(name: string, tensor: Tensor): void {
    ensure(!this.outputs.has(name), "E_SHAPE", `output ${name} is declared twice`);
    this.outputs.set(name, tensor);
  }

  /** Names and shapes of the parameters that the graph reads, in order of first use. */
  weights(): Map<string, readonly number[]> {
    return new Map([...this.#weights].map(([name, tensor]) => [name, tensor.shape]));
  }

  record(body: OpBody, shape: readonly number[]): Tensor {
    for (const size of shape) {
      ensure(Number.isInteger(size) && size > 0, "E_SHAPE", `${body.kind}: bad shape [${shape}]`);
    }
    const out = this.ops.length;
    this.ops.push({ ...body, out, shape: [...shape] } as Op);
    return new Tensor(this, out, shape);
  }
}

/** A handle on a tensor of a graph: an id and a shape, no data. */
export class Tensor {
  readonly graph: Graph;
  readonly id: number;
  readonly shape: readonly number[];

  constructor(graph: Graph, id: number, shape: readonly number[]) {
    this.graph = graph;
    this.id = id;
    this.shape = shape;
  }

  /** Size of the second last axis. */
  get rows(): number {
    return this.shape.at(-2) ?? 1;
  }

  /** Size of the last axis. */
  get columns(): number {
    return this.shape.at(-1) ?? 1;
  }

  add(b: Tensor): Tensor {
    this.#sameGraph(b);
    ensure(isSuffix(b.shape, this.shape), "E_SHAPE", misfit("add", this, b));
    return this.graph.record({ kind: "add", a: this.id, b: b.id }, this.shape);
  }

  mul(b: Tensor): Tensor {
    this.#sameGraph(b);
    ensure(isSuffix(b.shape, this.shape), "E_SHAPE", misfit("mul", this, b));
    return this.graph.record({ kind: "mul", a: this.id, b: b.id }, this.shape);
  }

  scale(factor: number): Tensor {
    ensure(Number.isFinite(factor), "E_SHAPE", "scale: the factor is not finite");
    return this.graph.record({ kind: "scale", x: this.id, factor }, this.shape);
  }

  /** this [..., K] times weight [K, N], or [N, K] where transposed, plus bias [N]. */
  linear(weight: Tensor, bias?: Tensor, options: { transposed?: boolean } = {}): Tensor {
    this.#sameGraph(weight);
    const transposed = options.transposed ?? false;
    ensure(weight.shape.length === 2, "E_SHAPE", misfit("linear", this, weight));
    const [inner, outer] = transposed
      ? [weight.shape[1]!, weight.shape[0]!]
      : [weight.shape[0]!, weight.shape[1]!];
    ensure(this.columns === inner, "E_SHAPE", misfit("linear", this, weight));
    if (bias) ensure(sameShape(bias.shape, [outer]), "E_SHAPE", misfit("linear bias", this, bias));
    return this.graph.record(
      { kind: "linear", x: this.id, weight: weight.id, bias: bias?.id, transposed },
      [...this.shape.slice(0, -1), outer],
    );
  }

  /** Rows of this table [V, d] at ids [..., n] -> [..., n, d]. */
  embed(ids: Tensor): Tensor {
    this.#sameGraph(ids);
    ensure(this.shape.length === 2, "E_SHAPE", misfit("embed", this, ids));
    return this.graph.record({ kind: "embed", ids: ids.id, table: this.id }, [
      ...ids.shape,
      this.columns,
    ]);
  }

  matmul(b: Tensor, options: { transposeB?: boolean } = {}): Tensor {
    this.#sameGraph(b);
    const transposeB = options.transposeB ?? false;
    const leads = sameShape(this.shape.slice(0, -2), b.shape.slice(0, -2));
    const inner = transposeB ? b.columns : b.rows;
    ensure(leads && this.columns === inner, "E_SHAPE", misfit("matmul", this, b));
    const columns = transposeB ? b.rows : b.columns;
    return this.graph.record({ kind: "matmul", a: this.id, b: b.id, transposeB }, [
      ...this.shape.slice(0, -1),
      columns,
    ]);
  }

  splitHeads(heads: number): Tensor {
    ensure(this.columns % heads === 0, "E_SHAPE", `${this.columns} columns, ${heads} heads`);
    return this.graph.record({ kind: "splitHeads", x: this.id, heads }, [
      ...this.shape.slice(0, -2),
      heads,
      this.rows,
      this.columns / heads,
    ]);
  }

  mergeHeads(): Tensor {
    ensure(this.shape.length >= 3, "E_SHAPE", `mergeHeads: [${this.shape}] has no head axis`);
    return this.graph.record({ kind: "mergeHeads", x: this.id }, [
      ...this.shape.slice(0, -3),
      this.rows,
      this.shape.at(-3)! * this.columns,
    ]);
  }

  concatRows(b: Tensor): Tensor {
    this.#sameGraph(b);
    const leads = sameShape(this.shape.slice(0, -2), b.shape.slice(0, -2));
    ensure(leads && this.columns === b.columns, "E_SHAPE", misfit("concatRows", this, b));
    return this.graph.record({ kind: "concatRows", a: this.id, b: b.id }, [
      ...this.shape.slice(0, -2),
      this.rows + b.rows,
      this.columns,
    ]);
  }

  /** The last row, [..., 1, d]. */
  lastRow(): Tensor {
    return this.sliceRows(this.rows - 1, this.rows);
  }

  /** Rows from..to-1; the whole range gives this tensor itself. */
  sliceRows(from: number, to: number): Tensor {
    ensure(0 <= from && from < to && to <= this.rows, "E_SHAPE", `rows ${from}..${to}`);
    if (from === 0 && to === this.rows) return this;
    return this.graph.record({ kind: "sliceRows", x: this.id, from, to }, [
      ...this.shape.slice(0, -2),
      to - from,
      this.columns,
    ]);
  }

  /** Constant attention over all rows of this; results for rows start.. only. */
  constantAttention(weight: Tensor, start: number): Tensor {
    this.#sameGraph(weight);
    const [heads, positions, other] = weight.shape;
    const fits = weight.shape.length === 3 && positions === other && this.rows <= positions!;
    ensure(
      fits && this.columns % heads! === 0 && start < this.rows,
      "E_SHAPE",
      misfit("constantAttention", this, weight),
    );
    return this.graph.record({ kind: "constantAttention", x: this.id, weight: weight.id, start }, [
      ...this.shape.slice(0, -2),
      this.rows - start,
      this.columns,
    ]);
  }

  /** This base [heads, T, T] plus shares by source and by distance, [heads, T] each. */
  attentionPattern(column: Tensor, relative: Tensor): Tensor {
    const [heads, positions, other] = this.shape;
    const fits = [column, relative].every((part) => sameShape(part.shape, [heads!, positions!]));
    ensure(fits && positions === other, "E_SHAPE", misfit("attentionPattern", this, column));
    return this.graph.record(
      {
        kind: "attentionPattern",
        base: this.id,
        column: column.id,
        relative: relative.id,
      },
      this.shape,
    );
  }

  causalSoftmax(): Tensor {
    ensure(this.columns >= this.rows, "E_SHAPE", `causalSoftmax: [${this.shape}]`);
    return this.graph.record({ kind: "causalSoftmax", x: this.id }, this.shape);
  }

  attentionWeights(form: AttentionForm): Tensor {
    ensure(this.columns >= this.rows, "E_SHAPE", `attentionWeights: [${this.shape}]`);
    const even = form.kind !== "power" || (form.exponent > 0 && form.exponent % 2 === 0);
    ensure(even, "E_SHAPE", "attentionWeights: the exponent is not even");
    if (form.kind === "softmax" && form.exp.kind === "piecewise") checkPieces(form.exp);
    return this.graph.record({ kind: "attentionWeights", x: this.id, form }, this.shape);
  }

  causalCubes(): Tensor {
    ensure(this.columns >= this.rows, "E_SHAPE", `causalCubes: [${this.shape}]`);
    return this.graph.record({ kind: "causalCubes", x: this.id }, [...this.shape.slice(0, -1), 1]);
  }

  /** These scores times a factor for each row, where the row sees them. */
  causalScale(factor: Tensor): Tensor {
    this.#sameGraph(factor);
    const fits = sameShape(factor.shape, [...this.shape.slice(0, -1), 1]);
    ensure(fits && this.columns >= this.rows, "E_SHAPE", misfit("causalScale", this, factor));
    const body = { kind: "causalScale", x: this.id, factor: factor.id } as const;
    return this.graph.record(body, this.shape);
  }

  piecewise({ edges, pieces }: PiecewisePolynomial): Tensor {
    checkPieces({ edges, pieces });
    return this.graph.record({ kind: "piecewise", x: this.id, edges, pieces }, this.shape);
  }

  quad(coefficients: readonly [number, number, number]): Tensor {
    return this.graph.record({ kind: "quad", x: this.id, coefficients }, this.shape);
  }

  gelu(form: "tanh" | "erf"): Tensor {
    return this.graph.record({ kind: "gelu", x: this.id, form }, this.shape);
  }

  relu(): Tensor {
    return this.graph.record({ kind: "relu", x: this.id }, this.shape);
  }

  layerNorm(eps: number, name?: string): Tensor {
    ensure(eps >= 0, "E_SHAPE", "layerNorm: eps is negative");
    return this.graph.record({ kind: "layerNorm", x: this.id, eps, name }, this.shape);
  }

  rmsNorm(eps: number, name?: string): Tensor {
    ensure(eps >= 0, "E_SHAPE", "rmsNorm: eps is negative");
    return this.graph.record({ kind: "rmsNorm", x: this.id, eps, name }, this.shape);
  }

  silu(): Tensor {
    return this.graph.record({ kind: "silu", x: this.id }, this.shape);
  }

  /** Turns neighbouring columns by angles of each row's position; row 0 stands at `start`. */
  rope(start: number, base: number): Tensor {
    const fits = this.columns % 2 === 0 && start >= 0 && base > 0;
    ensure(fits, "E_SHAPE", `rope: [${this.shape}] from ${start}, base ${base}`);
    return this.graph.record({ kind: "rope", x: this.id, start, base }, this.shape);
  }

  /** [..., H, n, w] -> [..., H * times, n, w]; once gives this tensor itself. */
  repeatHeads(times: number): Tensor {
    ensure(this.shape.length >= 3, "E_SHAPE", `repeatHeads: [${this.shape}] has no head axis`);
    if (times === 1) return this;
    return this.graph.record({ kind: "repeatHeads", x: this.id, times }, [
      ...this.shape.slice(0, -3),
      this.shape.at(-3)! * times,
      this.rows,
      this.columns,
    ]);
  }

  /** Normalised by stored statistics of each column, [d] each. */
  batchNorm(statistics: { mean: Tensor; variance: Tensor; eps: number }): Tensor {
    const { mean, variance, eps } = statistics;
    for (const each of [mean, variance]) {
      this.#sameGraph(each);
      ensure(sameShape(each.shape, [this.columns]), "E_SHAPE", misfit("batchNorm", this, each));
    }
    ensure(eps >= 0, "E_SHAPE", "batchNorm: eps is negative");
    const body = { kind: "batchNorm", x: this.id, mean: mean.id, variance: variance.id } as const;
    return this.graph.record({ ...body, eps }, this.shape);
  }

  /** Rows of this where the mask is 1, rows of `other` where it is 0. */
  select(mask: Tensor, other: Tensor): Tensor {
    this.#sameGraph(other);
    ensure(sameShape(this.shape, other.shape), "E_SHAPE", misfit("select", this, other));
    ensure(sameShape(mask.shape, this.shape.slice(0, -1)), "E_SHAPE", misfit("mask", this, mask));
    return this.graph.record(
      { kind: "select", mask: mask.id, a: this.id, b: other.id },
      this.shape,
    );
  }

  detach(): Tensor {
    return this.graph.record({ kind: "detach", x: this.id }, this.shape);
  }

  #sameGraph(b: Tensor): void {
    ensure(b.graph === this.graph, "E_SHAPE", "operands belong to different graphs");
  }
}

function checkPieces({ edges, pieces }: PiecewisePolynomial): void {
  const rising = edges.every((edge, i) => i === 0 || edges[i - 1]! < edge);
  const whole = pieces.length === edges.length + 1 && pieces.every((piece) => piece.length > 0);
  ensure(rising && whole, "E_SHAPE", "piecewise: edges do not rise, or pieces do not fit them");
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

function isSuffix(suffix: readonly number[], shape: readonly number[]): boolean {
  return suffix.length <= shape.length && sameShape(suffix, shape.slice(-suffix.length));
}

export function misfit(op: string, a: Tensor, b: Tensor): string {
  return `${op}: [${a.shape}] and [${b.shape}] do not fit`;
}
