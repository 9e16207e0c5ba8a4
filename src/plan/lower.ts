// From a traced graph to gates. Each tensor becomes a wire in the form that its producer leaves it
// in; conversions (re-masking, opening) are put in where a consumer needs another form. Every
// wire's scale is tracked, and every opening's bound is checked.

import { ensure, MergenError } from "../errors.ts";
import type { GateSpec } from "../gate/index.ts";
import type { LinearMap } from "../gate/linear.ts";
import { openBitsOf } from "../gate/open.ts";
import type { Graph, Tensor } from "../graph/graph.ts";
import { type Op, type OpKind, operands } from "../graph/ops.ts";
import { weightFormOf } from "./attention-scales.ts";
import {
  type Activation,
  activation,
  type Builder,
  type GateBody,
  type OpenOptions,
} from "./builder.ts";
import {
  HEADROOM_BITS,
  type LayerRange,
  logitBitsOf,
  type NormScales,
  type Numbers,
  normScales,
  OPERAND_BITS,
  openingBits,
  operandBitsOf,
  RING_BITS,
  stateBitsOf,
  type WireRange,
} from "./format.ts";
import { lowerFunction, lowerQuad } from "./lower-activation.ts";
import {
  AttentionLowering,
  type CausalWire,
  type MaskedRows,
  type MixBits,
} from "./lower-attention.ts";
import { streamName } from "./names.ts";

/** The gates of one segment, in an order in which they can run. */
export interface LoweredSegment {
  readonly gates: readonly GateSpec[];
}

/** Words that S alone holds: rows of a parameter. */
interface Constant {
  readonly role: "constant";
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly from: number | undefined;
}

/** Keys or values of earlier segments. */
interface CarriedRows {
  readonly role: "carried";
  readonly name: string;
}

type Value = Activation | Constant | CarriedRows | MaskedRows | CausalWire;

/** Where an output is carried on. */
export interface StoreTarget {
  readonly name: string;
  /** The carried wire that it takes the place of. */
  readonly replaces: string | undefined;
  /** Carried at its own scale, not at that of states. */
  readonly untruncated?: true;
}

/** What a carried tensor of the graph is called between segments. */
export interface StateNames {
  /** Names of inputs that are carried wires; the graph's name to the carried name. */
  readonly loads: ReadonlyMap<string, string>;
  /** Names of outputs that are carried on, and what each replaces. */
  readonly stores: ReadonlyMap<string, StoreTarget>;
}

/** Below it, bounds of a decoder's wires would leave no room for what is rounded up to a unit. */
const LEAST_MAGNITUDE = 2 ** -4;

/** What segments of one model share. */
export interface LoweringCache {
  /** Scales of norms by layer or name: the same in all segments, and slow to find. */
  readonly norms: Map<number | string, NormScales>;
  /** Carried wires that were not truncated: bits after the point, and what ranges call them. */
  readonly carried: Map<string, { readonly fracBits: number; readonly name: string | undefined }>;
}

export const loweringCache = (): LoweringCache => ({ norms: new Map(), carried: new Map() });

/**
 * Lowers one segment's graph. Outputs that are not stored must be logits. Segments of one model may
 * share a cache.
 * @throws E_PLAN when an operation has no gate, or a bound does not fit (the wire is named)
 */
export function lower(
  graph: Graph,
  numbers: Numbers,
  names: StateNames,
  known: LoweringCache = loweringCache(),
): LoweredSegment {
  return new Lowering(graph, numbers, names, known).run();
}

/** Of a gate or wire within its segment. */
const MAX_NUMBER = 0xffff;

class Lowering {
  readonly #graph: Graph;
  readonly #numbers: Numbers;
  readonly #names: StateNames;
  readonly #known: LoweringCache;
  readonly #gates: GateSpec[] = [];
  readonly #values = new Map<number, Value>();
  readonly #asClient = new Map<number, Activation>();
  readonly #asShares = new Map<number, Activation>();
  readonly #builder: Builder;
  readonly #attentionParts: AttentionLowering;
  /** Carried keys and values that have their gate. */
  readonly #cached = new Set<string>();
  #wires = 0;
  #quads = 0;
  #norms = 0;

  constructor(graph: Graph, numbers: Numbers, names: StateNames, known: LoweringCache) {
    this.#graph = graph;
    this.#numbers = numbers;
    this.#names = names;
    this.#known = known;
    const builder: Builder = {
      numbers,
      emit: (...gate) => this.#emit(...gate),
      open: (x, how) => this.#open(x, how),
      upperBitsOf: (wire) => this.#upperBitsOf(wire),
      bound: (name) => this.#boundOf(name),
      range: (name) => this.#namedRange(name),
      residualRoom: () => this.#residualRoom(),
      weightBits: (name) => this.#weightBits(name),
    };
    this.#builder = builder;
    this.#attentionParts = new AttentionLowering(builder, weightFormOf(graph));
  }

  /** Whether blocks are merged ones, whose bounds go by layer; hybrid layers have both kinds. */
  get #isMerged(): boolean {
    return this.#numbers.wireBounds !== undefined || !this.#numbers.ranges;
  }

  get #stateBits(): number {
    return stateBitsOf(this.#numbers);
  }

  run(): LoweredSegment {
    for (const op of this.#graph.ops) {
      if (!lowered.has(op.kind)) throw withoutGate(op.kind);
    }
    const logitIds = new Map<number, string>();
    for (const [name, tensor] of this.#graph.outputs) {
      if (!this.#names.stores.has(name)) logitIds.set(tensor.id, name);
    }
    const pushed = this.#scaledSums();
    for (const op of this.#graph.ops) {
      if (pushed.has(op.out)) continue;
      const logitName = logitIds.get(op.out);
      if (logitName !== undefined) this.#logits(op, logitName);
      else this.#values.set(op.out, this.#lower(op));
    }
    for (const [name, tensor] of this.#graph.outputs) {
      const target = this.#names.stores.get(name);
      if (target) this.#store(tensor, target);
    }
    return { gates: this.#gates };
  }

  #lower(op: Op): Value {
    switch (op.kind) {
      case "ids":
        return this.#oneHot(op);
      case "input":
        return this.#load(op);
      case "weight": {
        const columns = op.shape.at(-1)!;
        const rows = op.shape.length > 1 ? op.shape.at(-2)! : 1;
        const from = op.shape.length > 1 ? 0 : undefined;
        return { role: "constant", name: op.name, rows, columns, from };
      }
      case "sliceRows":
        return this.#sliceRows(op);
      case "concatRows":
        return this.#concat(op);
      case "embed":
        return this.#embed(op);
      case "add":
        return this.#add(op);
      case "mul":
        return this.#columnScale(op);
      case "scale":
        return this.#scale(op);
      case "linear":
        return this.#linear(op);
      case "constantAttention":
        return this.#attention(op);
      case "quad":
        return this.#quad(op);
      case "layerNorm":
        return this.#layerNorm(op);
      case "rmsNorm":
        return this.#rmsNorm(op);
      case "gelu":
      case "silu":
      case "relu":
      case "piecewise":
        return lowerFunction(this.#builder, this.#activation(op.x), op);
      case "splitHeads":
        return { ...this.#activation(op.x), heads: op.heads };
      case "mergeHeads":
        return { ...this.#activation(op.x), heads: undefined };
      case "rope": {
        const { start, base } = op;
        return { ...this.#activation(op.x), rope: { start, base } };
      }
      case "repeatHeads":
        return this.#value(op.x); // Which key head a query head reads follows from their numbers.
      case "matmul":
        return this.#matmul(op);
      case "causalSoftmax":
      case "attentionWeights":
        return this.#attentionParts.weights(this.#scores(op.x));
      case "causalCubes":
        return this.#attentionParts.cubes(this.#scores(op.x));
      case "causalScale":
        return this.#attentionParts.scaled(this.#scores(op.x), this.#activation(op.factor));
      default:
        throw withoutGate(op.kind);
    }
  }

  // ---- leaves ----------------------------------------------------------------------------------

  #oneHot(op: Op & { kind: "ids" }): Value {
    const table = this.#graph.ops.find((other) => other.kind === "embed" && other.ids === op.out);
    ensure(table?.kind === "embed", "E_PLAN", `ids ${op.name} are not embedded`);
    const weight = this.#graph.ops[table.table]!;
    ensure(weight.kind === "weight", "E_PLAN", "an embedding table must be a weight");
    const tableBits = this.#weightBits(weight.name);
    const fracBits = this.#stateBits - tableBits + this.#embeddingShift(table.out);
    ensure(fracBits >= 0, "E_PLAN", `${weight.name} has too many fractional bits`);
    const rows = op.shape.at(-1)!;
    const columns = weight.shape[0]!;
    const wire = this.#emit({ kind: "oneHot", name: op.name, fracBits }, [], rows, columns);
    return activation({ wire, form: "client", rows, columns, fracBits, offline: true });
  }

  #load(op: Op & { kind: "input" }): Value {
    const name = this.#names.loads.get(op.name);
    ensure(name !== undefined, "E_PLAN", `input ${op.name} is not a carried wire`);
    if (op.shape.length > 2) return { role: "carried", name };
    const [rows, columns] = [op.shape.at(-2)!, op.shape.at(-1)!];
    const whole = this.#known.carried.get(name);
    const wire = this.#emit({ kind: "load", name }, [], rows, columns);
    const fracBits = whole?.fracBits ?? this.#stateBits;
    const made = activation({ wire, form: "client", rows, columns, fracBits, offline: true });
    return whole ? { ...made, accumulated: true, name: whole.name } : made;
  }

  // ---- rows ------------------------------------------------------------------------------------

  #sliceRows(op: Op & { kind: "sliceRows" }): Value {
    const x = this.#value(op.x);
    const rows = op.to - op.from;
    if (x.role === "constant") return { ...x, rows, from: x.from! + op.from };
    const whole = this.#activation(op.x);
    // A residual sum keeps its form: as a state it would be truncated.
    const stays = whole.accumulated && !this.#asClient.has(whole.wire);
    const source = stays ? whole : this.#toClient(whole);
    const { form, offline, columns } = source;
    ensure(form !== "opened", "E_PLAN", "rows are not taken of an opened wire");
    const body = { kind: "slice", from: op.from, form, offline } as const;
    return { ...source, wire: this.#emit(body, [source.wire], rows, columns), rows };
  }

  #concat(op: Op & { kind: "concatRows" }): Value {
    const earlier = this.#value(op.a);
    if (earlier.role === "carried") return this.#extend(op, earlier.name);
    const a = this.#toClient(this.#activation(op.a));
    const b = this.#toClient(this.#activation(op.b));
    ensure(a.fracBits === b.fracBits, "E_PLAN", "joined rows have different scales");
    const rows = a.rows + b.rows;
    const wire = this.#emit({ kind: "concat" }, [a.wire, b.wire], rows, a.columns);
    return { ...a, wire, rows };
  }

  /** Keys or values behind those of earlier segments. */
  #extend(op: Op & { kind: "concatRows" }, after: string): MaskedRows {
    const target = [...this.#graph.outputs].find(([, tensor]) => tensor.id === op.out)?.[0];
    const name = target === undefined ? undefined : this.#names.stores.get(target)?.name;
    ensure(name !== undefined, "E_PLAN", "keys and values must be carried on");
    this.#cached.add(name);
    const rows = this.#maskedRows(op.b);
    return this.#attentionParts.cached(rows, after, name, op.shape.at(-2)!);
  }

  #maskedRows(id: number): MaskedRows {
    const value = this.#value(id);
    return value.role === "rows" ? value : this.#attentionParts.rows(this.#activation(id));
  }

  // ---- linear layers ---------------------------------------------------------------------------

  #embed(op: Op & { kind: "embed" }): Value {
    const table = this.#constant(op.table);
    const map: LinearMap = { type: "matrix", weight: table.name, inner: table.rows };
    return this.#apply(this.#activation(op.ids), map, this.#weightBits(table.name), table.columns);
  }

  /** log2 of the factor that an embedding is multiplied by, where there is one. */
  #embeddingShift(embedded: number): number {
    const scale = this.#graph.ops.find((op) => op.kind === "scale" && op.x === embedded);
    return scale?.kind === "scale" ? Math.log2(scale.factor) : 0;
  }

  /** A power of two moves the point; the words stay as they are. */
  #scale(op: Op & { kind: "scale" }): Value {
    const shift = Math.log2(op.factor);
    ensure(Number.isInteger(shift), "E_PLAN", "a scale is no power of two");
    const x = this.#activation(op.x);
    return { ...x, fracBits: x.fracBits - shift };
  }

  #attention(op: Op & { kind: "constantAttention" }): Value {
    const weight = this.#graph.ops[op.weight]!;
    ensure(weight.kind === "weight", "E_PLAN", "constant attention must be a weight");
    const x = this.#toClient(this.#activation(op.x));
    const [heads, positions] = weight.shape as [number, number];
    const dims = { heads, positions, start: op.start, columns: x.columns };
    const map: LinearMap = { type: "attention", weight: weight.name, dims };
    const bits = this.#weightBits(weight.name);
    return { ...this.#apply(x, map, bits, x.columns), rows: x.rows - op.start };
  }

  #linear(op: Op & { kind: "linear" }): Value {
    const { map, bits, columns } = this.#matrixOf(op);
    const name = this.#constant(op.weight).name.replace(/\.weight$/, "");
    const out = { ...this.#apply(this.#activation(op.x), map, bits, columns), name };
    return op.bias === undefined ? out : this.#addConstant(out, this.#constant(op.bias));
  }

  #matrixOf(op: Op & { kind: "linear" }, scale?: string) {
    const weight = this.#constant(op.weight);
    const inner = op.transposed ? weight.columns : weight.rows;
    const columns = op.transposed ? weight.rows : weight.columns;
    const name = (op.transposed ? `${weight.name}^T` : weight.name) + (scale ? `*${scale}` : "");
    const map: LinearMap = { type: "matrix", weight: name, inner };
    return { map, bits: this.#weightBits(weight.name), columns };
  }

  /** A linear map with S's weights: takes a client-masked wire, gives a shared one. */
  #apply(x: Activation, map: LinearMap, weightBits: number, columns: number): Activation {
    const client = this.#toClient(x);
    const rows = map.type === "attention" ? client.rows - map.dims.start : client.rows;
    const wire = this.#emit({ kind: "linear", map }, [client.wire], rows, columns);
    const fracBits = client.fracBits + weightBits;
    return activation({ wire, form: "shared", rows, columns, fracBits, offline: true });
  }

  // ---- sums ------------------------------------------------------------------------------------

  #add(op: Op & { kind: "add" }): Value {
    const [a, b] = [this.#value(op.a), this.#value(op.b)];
    if (b.role === "constant") return this.#addConstant(this.#activation(op.a), b);
    ensure(a.role === "activation", "E_PLAN", "a constant stands on the left of a sum");
    const sum = this.#sum(a, this.#activation(op.b));
    // Both attentions of a hybrid layer are no residual stream: a linear layer takes all bits.
    const mixed = this.#graph.ops[op.a]!.kind === "constantAttention";
    return mixed ? { ...sum, accumulated: false } : sum;
  }

  /** An operand that was re-masked already is taken in that form: its C part is known offline. */
  #sum(first: Activation, second: Activation): Activation {
    const [a, b] = [first, second].map((x) => this.#asClient.get(x.wire) ?? x) as [
      Activation,
      Activation,
    ];
    ensure(a.form !== "opened" && b.form !== "opened", "E_PLAN", "opened wires are not summed");
    const fracBits = Math.max(a.fracBits, b.fracBits);
    const offline = a.offline && b.offline;
    const { rows, columns } = a;
    const wire = this.#emit(
      {
        kind: "sum",
        shifts: [fracBits - a.fracBits, fracBits - b.fracBits],
        offline,
      },
      [a.wire, b.wire],
      rows,
      columns,
    );
    const made = activation({ wire, form: "shared", rows, columns, fracBits, offline });
    const name = streamName(second.name ?? first.name);
    return { ...made, accumulated: true, name };
  }

  #addConstant(x: Activation, constant: Constant, scale?: string): Activation {
    ensure(x.form !== "opened", "E_PLAN", "a constant is not added to an opened wire");
    const name = constant.name + (scale ? `*${scale}` : "");
    const wire = this.#emit(
      {
        kind: "bias",
        form: x.form,
        constant: `${name}@${x.fracBits}`,
        from: constant.from,
        offline: x.offline,
      },
      [x.wire],
      x.rows,
      x.columns,
    );
    return { ...x, wire };
  }

  /**
   * Ids of sums and linear layers that only a column scale reads: they are lowered with the scale
   * multiplied into their weights, since a shared wire cannot be scaled by what S alone knows.
   */
  #scaledSums(): Set<number> {
    const ids = new Set<number>();
    const mark = (id: number): void => {
      const op = this.#graph.ops[id]!;
      if (op.kind !== "add" && op.kind !== "linear") return;
      const readers = this.#graph.ops.filter((other) => operands(other).includes(id)).length;
      if (readers !== 1 || isOutput(this.#graph, id)) return;
      ids.add(id);
      if (op.kind === "add") [op.a, op.b].forEach(mark);
    };
    for (const op of this.#graph.ops) if (op.kind === "mul") mark(op.a);
    return ids;
  }

  #columnScale(op: Op & { kind: "mul" }): Value {
    const factor = this.#value(op.b);
    if (factor.role === "activation") return this.#entryProduct(this.#activation(op.a), factor);
    ensure(
      this.#graph.ops[op.a]!.kind !== "layerNorm",
      "E_PLAN",
      "a norm with a scale has no secure form yet: train the model with norm.scale false",
    );
    return { ...this.#scaled(op.a, this.#constant(op.b).name), accumulated: true };
  }

  /** Tensor `id` times a column scale that S holds. */
  #scaled(id: number, scale: string): Activation {
    const op = this.#graph.ops[id]!;
    if (!this.#values.has(id) && op.kind === "add") {
      const b = this.#graph.ops[op.b]!;
      const left = this.#scaled(op.a, scale);
      if (b.kind === "weight") return this.#addConstant(left, this.#constant(op.b), scale);
      return this.#sum(left, this.#scaled(op.b, scale));
    }
    if (!this.#values.has(id) && op.kind === "linear") {
      const { map, bits, columns } = this.#matrixOf(op, scale);
      const out = this.#apply(this.#activation(op.x), map, bits, columns);
      if (op.bias === undefined) return out;
      return this.#addConstant(out, this.#constant(op.bias), scale);
    }
    const x = this.#toClient(this.#activation(id));
    const map: LinearMap = { type: "diagonal", weight: scale };
    return this.#apply(x, map, this.#weightBits(scale), x.columns);
  }

  // ---- nonlinear -------------------------------------------------------------------------------

  #quad(op: Op & { kind: "quad" }): Value {
    if (!this.#isMerged) {
      return lowerQuad(this.#builder, this.#activation(op.x), op.coefficients);
    }
    const [c2, c1, c0] = op.coefficients;
    const leading = Math.log2(c2);
    ensure(Number.isInteger(leading), "E_PLAN", "quad: the leading coefficient is no power of two");
    const layer = this.#quads++;
    const x = this.#activation(op.x);
    const wireName = `layers.${layer}.u`;
    const range = this.#range(layer);
    const bits = this.#activationBits(layer, leading);
    const magnitude = this.#bound(range.u);
    const opened = this.#open(x, {
      shift: x.fracBits - bits,
      squares: "each",
      wireName,
      magnitude,
    });
    const { rows, columns } = x;
    const wire = this.#emit(
      {
        kind: "quad",
        linear: BigInt(Math.round((c1 / c2) * 2 ** bits)),
        constant: BigInt(Math.round((c0 / c2) * 2 ** (2 * bits))),
      },
      [opened.wire],
      rows,
      columns,
    );
    const fracBits = 2 * bits - leading;
    return activation({ wire, form: "shared", rows, columns, fracBits, offline: false });
  }

  /** Bits of the activation's input: as many as leave room for the layer's output. */
  #activationBits(layer: number, leading: number): number {
    const weight = `layers.${layer}.o.weight`;
    const range = this.#range(layer);
    const columns = this.#columnsOf(weight);
    const greatest =
      this.#normKind() === "layernorm"
        ? columns * Math.sqrt(columns * this.#varianceBound(range))
        : this.#bound(range.o);
    const room = 61.5 - Math.log2(greatest) - this.#weightBits(weight) + leading;
    const bits = Math.min(OPERAND_BITS, Math.floor(room / 2));
    ensure(bits >= 6, "E_PLAN", `wire layers.${layer}.o: its bound leaves the activation no bits`);
    return bits;
  }

  #layerNorm(op: Op & { kind: "layerNorm" }): Value {
    const layer = this.#norms++;
    const x = this.#activation(op.x);
    ensure(x.form === "shared", "E_PLAN", "a norm takes a shared wire, such as a sum");
    const range = this.#range(layer);
    const { rows, columns } = x;
    const wireName = `layers.${layer}.norm`;
    const proven = this.#varianceBound(range);
    const scales =
      this.#known.norms.get(layer) ??
      normScales(wireName, columns, op.eps, { ...range.variance, proven });
    this.#known.norms.set(layer, scales);
    const magnitude = columns * Math.sqrt(columns * proven);
    const { offline } = x;
    const centred = this.#emit({ kind: "center", offline }, [x.wire], rows, columns);
    const shift = x.fracBits + scales.growth - scales.operandBits;
    const how = { shift, squares: "rows", wireName, magnitude } as const;
    const y = this.#open({ ...x, wire: centred }, how);
    const squares = this.#emit({ kind: "sumSquares", width: columns }, [y.wire], rows, 1);
    const { table } = scales;
    const factor = this.#emit(
      { kind: "spline", table, wireName: `${wireName}.variance` },
      [squares],
      rows,
      1,
    );
    return this.#normalised(y, factor, scales, wireName);
  }

  #rmsNorm(op: Op & { kind: "rmsNorm" }): Value {
    const name = op.name ?? "norm";
    const x = this.#toShared(this.#activation(op.x));
    ensure(x.form === "shared", "E_PLAN", `wire ${name}: a norm takes no opened wire`);
    const range = this.#namedRange(name);
    const { rows, columns } = x;
    const proven = this.#numbers.calibratedBounds ? 16 * range.calibrated[1] : range.proven;
    const scales =
      this.#known.norms.get(name) ??
      normScales(
        name,
        columns,
        op.eps,
        { ...range, proven },
        {
          centred: false,
          bits: operandBitsOf(this.#numbers),
        },
      );
    this.#known.norms.set(name, scales);
    const magnitude = Math.sqrt(columns * proven);
    const shift = x.fracBits - scales.operandBits;
    const y = this.#open(x, { shift, squares: "rows", wireName: name, magnitude });
    const squares = this.#emit({ kind: "sumSquares", width: columns }, [y.wire], rows, 1);
    const { table } = scales;
    const wireName = `${name}.square`;
    const factor = this.#emit({ kind: "spline", table, wireName }, [squares], rows, 1);
    return this.#normalised(y, factor, scales, name);
  }

  /** a b entry by entry: a gated activation. */
  #entryProduct(a: Activation, b: Activation): Value {
    const fracBits = operandBitsOf(this.#numbers);
    const { rows, columns } = a;
    const [y, g] = [a, b].map((x) => {
      const name = x.name;
      ensure(name !== undefined && x.form === "shared", "E_PLAN", "a product of unnamed wires");
      return this.#open(
        { ...x, rows: rows * columns, columns: 1 },
        {
          shift: x.fracBits - fracBits,
          squares: "none",
          wireName: name,
          magnitude: x.magnitude ?? this.#boundOf(name),
        },
      );
    }) as [Activation, Activation];
    const upperBits = [this.#upperBitsOf(y.wire), this.#upperBitsOf(g.wire)] as const;
    const wire = this.#emit({ kind: "product", upperBits }, [y.wire, g.wire], rows * columns, 1);
    const made = { wire, form: "shared", rows, columns, fracBits: 2 * fracBits } as const;
    return activation({ ...made, offline: false });
  }

  #matmul(op: Op & { kind: "matmul" }): Value {
    const a = this.#value(op.a);
    if (op.transposeB)
      return this.#attentionParts.scores(this.#activation(op.a), this.#maskedRows(op.b));
    ensure(a.role === "weights", "E_PLAN", "a product of two activations that is no attention");
    return this.#attentionParts.mix(a, this.#maskedRows(op.b), this.#mixBits(a.layer));
  }

  #mixBits(layer: string): MixBits {
    if (this.#isMerged) {
      // As many as constant attention has, to which it is added.
      const bits = this.#stateBits + this.#weightBits(`${layer}.constant`);
      return { usual: bits, room: bits };
    }
    const room = this.#residualRoom() - this.#weightBits(`${layer}.output.weight`);
    return { usual: this.#stateBits + 8, room };
  }

  #scores(id: number): CausalWire {
    const scores = this.#value(id);
    ensure(scores.role === "scores", "E_PLAN", "attention weights are made of scores");
    return scores;
  }

  /** Bits after the point that a summand of the residual stream may have. */
  #residualRoom(): number {
    const streams = Object.entries(this.#numbers.ranges ?? {})
      .filter(([name]) => name.endsWith("stream"))
      .map(([, { proven, calibrated }]) => this.#bound({ proven, calibrated: calibrated[1] }));
    if (streams.length > 0) {
      return HEADROOM_BITS - 1 - Math.ceil(Math.log2(Math.max(...streams)));
    }
    const squares = Object.entries(this.#numbers.ranges ?? {})
      .filter(([name]) => name.endsWith("norm"))
      .map(([, range]) =>
        this.#numbers.calibratedBounds ? 16 * range.calibrated[1] : range.proven,
      );
    const columns = this.#graph.ops.find(({ kind }) => kind === "rmsNorm")?.shape.at(-1) ?? 1;
    return HEADROOM_BITS - 1 - Math.ceil(Math.log2(columns * Math.max(...squares)) / 2);
  }

  #normalised(y: Activation, factor: number, scales: NormScales, wireName: string): Activation {
    const { rows, columns } = y;
    const column = activation({
      wire: factor,
      form: "shared",
      rows,
      columns: 1,
      fracBits: scales.table.fracBits,
      offline: false,
    });
    const factorShift = scales.table.fracBits - scales.factorBits;
    const g = this.#open(column, {
      shift: factorShift,
      squares: "none",
      wireName: `${wireName}.factor`,
      magnitude: scales.greatestFactor,
    });
    const upperBits = [this.#upperBitsOf(y.wire), this.#upperBitsOf(g.wire)] as const;
    const wire = this.#emit({ kind: "product", upperBits }, [y.wire, g.wire], rows, columns);
    const fracBits = scales.operandBits + scales.factorBits;
    return activation({ wire, form: "shared", rows, columns, fracBits, offline: false });
  }

  /** Opens a shared wire of which |x| <= magnitude is known, in real units. */
  #open(x: Activation, how: OpenOptions): Activation {
    const { shift, squares, wireName, magnitude } = how;
    ensure(x.form === "shared", "E_PLAN", `wire ${wireName} is opened but not shared`);
    ensure(shift >= 1, "E_PLAN", `wire ${wireName} has too few fractional bits to be truncated`);
    const { leastBits = shift + 2 } = how;
    const least = Math.max(openingBits(wireName, x.fracBits, magnitude), leastBits);
    ensure(least <= RING_BITS, "E_PLAN", `wire ${wireName} does not fit the ring`);
    // A bound that nobody has proven saves no bits: what exceeds it keeps all the room there is.
    const openBits = this.#numbers.calibratedBounds && !how.narrow ? RING_BITS : least;
    const { rows, columns, offline } = x;
    const body = { kind: "open", shift, openBits, squares, offline, wireName } as const;
    const wire = this.#emit(body, [x.wire], rows, columns);
    const fracBits = x.fracBits - shift;
    return activation({ wire, form: "opened", rows, columns, fracBits, offline: false });
  }

  #upperBitsOf(wire: number): number {
    const gate = this.#gates.find((other) => other.output === wire)!;
    ensure(gate.kind === "open", "E_INTERNAL", "the wire was not opened");
    return openBitsOf(gate, RING_BITS) - gate.shift;
  }

  // ---- conversions -----------------------------------------------------------------------------

  /** The wire under C's mask; a residual sum is truncated to the state's scale on the way. */
  #toClient(given: Activation): Activation {
    const carriedWhole = given.form === "client" && given.accumulated;
    if (given.form === "client" && !carriedWhole) return given;
    const x = this.#toShared(given);
    const known = this.#asClient.get(x.wire);
    if (known) return known;
    const ends = x.form === "shared" && x.accumulated && x.fracBits > this.#stateBits;
    const source = ends ? this.#truncatedSum(x) : x;
    const { rows, columns, fracBits, offline } = source;
    const wire = this.#emit({ kind: "remask", offline }, [source.wire], rows, columns);
    const client = activation({ wire, form: "client", rows, columns, fracBits, offline: true });
    this.#asClient.set(x.wire, client);
    return client;
  }

  /** A client-masked wire as shares. */
  #toShared(x: Activation): Activation {
    if (x.form !== "client") return x;
    const known = this.#asShares.get(x.wire);
    if (known) return known;
    const wire = this.#emit({ kind: "share" }, [x.wire], x.rows, x.columns);
    const made: Activation = { ...x, wire, form: "shared" };
    this.#asShares.set(x.wire, made);
    return made;
  }

  /** A residual sum that no norm follows, opened at the state's scale. */
  #truncatedSum(x: Activation): Activation {
    if (!this.#isMerged) {
      const wireName = x.name!;
      const magnitude = this.#boundOf(wireName);
      const shift = x.fracBits - this.#stateBits;
      return this.#open(x, { shift, squares: "none", wireName, magnitude });
    }
    const layer = Math.max(0, this.#quads - 1);
    const wireName = `layers.${layer}.o`;
    const magnitude = this.#bound(this.#range(layer).o);
    return this.#open(x, {
      shift: x.fracBits - this.#stateBits,
      squares: "none",
      wireName,
      magnitude,
    });
  }

  #store(tensor: Tensor, target: StoreTarget): void {
    if (this.#cached.has(target.name)) return;
    const value = this.#value(tensor.id);
    if (value.role === "rows" || (value.role === "activation" && value.heads !== undefined)) {
      const rows = this.#maskedRows(tensor.id);
      this.#attentionParts.cached(rows, undefined, target.name, rows.rows);
      return;
    }
    const x = this.#activation(tensor.id);
    if (target.untruncated) {
      this.#storeSum(x, target);
      return;
    }
    const client = this.#toClient(x);
    ensure(client.fracBits === this.#stateBits, "E_PLAN", `state ${target.name} has another scale`);
    this.#emit({ kind: "store", ...target }, [client.wire], client.rows, client.columns);
  }

  /** A residual stream on its way to further layers keeps all its bits: C's part goes ahead. */
  #storeSum(x: Activation, target: StoreTarget): void {
    const { rows, columns, fracBits, offline } = x;
    const wire = this.#emit({ kind: "remask", offline }, [x.wire], rows, columns);
    const { name, replaces } = target;
    this.#known.carried.set(name, { fracBits, name: x.name });
    this.#emit({ kind: "store", name, replaces }, [wire], rows, columns);
  }

  #logits(op: Op, name: string): void {
    ensure(op.kind === "linear", "E_PLAN", `output ${name} is not the result of a linear layer`);
    const { map, bits, columns } = this.#matrixOf(op);
    const x = this.#toClient(this.#activation(op.x));
    const scale = x.fracBits + bits;
    const bound = this.#numbers.logitBound;
    ensure(bound, "E_PLAN", "config.json has no logitBound: calibrate the model first");
    const sentBits = logitBitsOf(this.#numbers);
    // Room above the bound, so that the greatest logit does not round up to the sign bit.
    const magnitude = Math.ceil(Math.log2(this.#bound(bound) * (1 + 2 ** -12)));
    const fracBits = Math.min(sentBits - 1 - magnitude, scale - 1);
    ensure(fracBits >= 1, "E_PLAN", "the logits' bound leaves no fractional bits");
    const constant = op.bias === undefined ? undefined : this.#constant(op.bias);
    const body = {
      kind: "logits",
      map,
      bias: constant && `${constant.name}@${scale}`,
      shift: scale - fracBits,
      sentBits,
      fracBits,
      name,
    } as const;
    this.#emit(body, [x.wire], x.rows, columns);
  }

  // ---- look-ups --------------------------------------------------------------------------------

  #emit(body: GateBody, inputs: readonly number[], rows: number, columns: number): number {
    const output = this.#wires++;
    const id = this.#gates.length;
    // Items name both in 16 bits (run/items.ts).
    ensure(output <= MAX_NUMBER, "E_PLAN", "a segment has too many gates: split the prompt");
    this.#gates.push({ ...body, id, inputs, output, rows, columns } as GateSpec);
    return output;
  }

  #value(id: number): Value {
    const value = this.#values.get(id);
    ensure(value, "E_INTERNAL", `tensor ${id} was not lowered`);
    return value;
  }

  #activation(id: number): Activation {
    const value = this.#value(id);
    ensure(value.role === "activation", "E_PLAN", `tensor ${id} is a constant, not an activation`);
    return value;
  }

  #constant(id: number): Constant {
    const op = this.#graph.ops[id]!;
    const value = this.#values.get(id);
    ensure(value?.role === "constant", "E_PLAN", `${op.kind} is not a parameter of the server`);
    return value;
  }

  #weightBits(name: string): number {
    const bits = this.#numbers.weightFracBits?.[name];
    const remedy = "export the model first (stage export, docs/format.md)";
    const message = `config.json has no weightFracBits for ${name}: ${remedy}`;
    ensure(bits !== undefined, "E_PLAN", message);
    return bits;
  }

  #columnsOf(weight: string): number {
    const op = this.#graph.ops.find((other) => other.kind === "weight" && other.name === weight);
    ensure(op, "E_PLAN", `the graph has no weight ${weight}`);
    return op.shape.at(-1)!;
  }

  #normKind(): "layernorm" | "none" {
    return this.#graph.ops.some((op) => op.kind === "layerNorm") ? "layernorm" : "none";
  }

  #range(layer: number): LayerRange {
    const range = this.#numbers.wireBounds?.[layer];
    ensure(range, "E_PLAN", `config.json has no wireBounds for layer ${layer}: calibrate first`);
    return range;
  }

  /** The bound that the plan relies on: proven, or calibrated with a factor of 4 by request. */
  #bound(range: { readonly proven: number; readonly calibrated: number }): number {
    return this.#numbers.calibratedBounds ? 4 * range.calibrated : range.proven;
  }

  #namedRange(name: string): WireRange {
    const range = this.#numbers.ranges?.[name];
    ensure(range, "E_PLAN", `config.json has no range of ${name}: calibrate the model first`);
    return range;
  }

  #boundOf(name: string): number {
    const { proven, calibrated } = this.#namedRange(name);
    return Math.max(LEAST_MAGNITUDE, this.#bound({ proven, calibrated: calibrated[1] }));
  }

  #varianceBound(range: LayerRange): number {
    const { proven, calibrated } = range.variance;
    return this.#numbers.calibratedBounds ? 16 * calibrated[1] : proven;
  }
}

/** Operations that have gates, or that only name data. */
const lowered: ReadonlySet<OpKind> = new Set<OpKind>([
  "ids",
  "input",
  "weight",
  "sliceRows",
  "concatRows",
  "embed",
  "add",
  "mul",
  "scale",
  "linear",
  "constantAttention",
  "quad",
  "layerNorm",
  "rmsNorm",
  "gelu",
  "silu",
  "relu",
  "rope",
  "splitHeads",
  "mergeHeads",
  "repeatHeads",
  "matmul",
  "causalSoftmax",
  "attentionWeights",
  "causalCubes",
  "causalScale",
  "piecewise",
]);

function withoutGate(kind: OpKind): MergenError {
  const remedy = "run this recipe in float mode";
  return new MergenError("E_PLAN", `the operation ${kind} has no secure gate yet: ${remedy}`);
}

function isOutput(graph: Graph, id: number): boolean {
  return [...graph.outputs.values()].some((tensor) => tensor.id === id);
}
