// Softmax attention as gates. Queries, keys and values are opened under masks of both parties, so
// that scores and weighted sums are products of two opened wires (gate/bilinear.ts):
//   query, key    open (truncate), lift, exchange                 n bits: those that a score needs
//                 with rotary positions: turn and open (truncate) in the place of the exchange
//   scores        q k^T, local; open (truncate)
//   weights       max of each row, exp(score - max); not divided by their sum
//   value         open (truncate), lift, exchange                 n bits: those that a sum needs
//   mixed         sum of weights times values, local; open; times 1 / (sum of weights)
// A wire that is opened with truncation is right modulo 2^(64 - shift) only; lifting it and opening
// it again costs bytes, but no time: each party has what it sends by then.

import { ensure } from "../errors.ts";
import { type CausalDims, scoreCount, visible } from "../gate/causal.ts";
import { type Activation, activation, type Builder } from "./builder.ts";
import { openingBits, operandBitsOf, RING_BITS } from "./format.ts";
import { expTable, RECIPROCAL_BITS, reciprocalTable } from "./tables.ts";

/** Rows under masks of both, as products take them. */
export interface MaskedRows {
  readonly role: "rows";
  readonly wire: number;
  readonly rows: number;
  readonly columns: number;
  readonly fracBits: number;
  readonly heads: number;
}

/** Scores, or weights that are not yet divided by their sum, as gate/causal.ts lays them out. */
export interface CausalWire {
  readonly role: "scores" | "weights";
  readonly wire: number;
  readonly fracBits: number;
  readonly dims: CausalDims;
  /** What stated ranges call the layer's attention. */
  readonly layer: string;
}

/** Bits after the point of sines and cosines. */
const ROPE_BITS = 16;
/** Bits after the point of weights before they are divided by their sum. */
const WEIGHT_BITS = 28;
/** A wire's bits beyond those of its magnitude: its sign, and room for rounding. */
const SIGN_BITS = 2;

export class AttentionLowering {
  readonly #builder: Builder;
  readonly #masked = new Map<number, MaskedRows>();

  constructor(builder: Builder) {
    this.#builder = builder;
  }

  get #operandBits(): number {
    return operandBitsOf(this.#builder.numbers);
  }

  /** A split query, key or value under masks of both. */
  rows(x: Activation): MaskedRows {
    const known = this.#masked.get(x.wire);
    if (known) return known;
    ensure(x.heads !== undefined && x.name !== undefined, "E_PLAN", "rows of no heads are opened");
    const made = this.#openedRows(x, x.name, x.heads);
    this.#masked.set(x.wire, made);
    return made;
  }

  #openedRows(x: Activation, name: string, heads: number): MaskedRows {
    const { emit, open, bound } = this.#builder;
    const { rows, columns } = x;
    const bits = this.#operandBits;
    const opened = open(x, {
      shift: x.fracBits - bits,
      squares: "none",
      wireName: name,
      magnitude: bound(name),
    });
    const lifted = emit({ kind: "unmask", lift: true }, [opened.wire], rows, columns);
    const layer = name.replace(/\.[^.]*$/, "");
    const made = { role: "rows", rows, columns, fracBits: bits, heads } as const;
    const openBits = name.endsWith(".value") ? this.#mixBits(layer) : this.#scoreBits(layer);
    if (x.rope) return { ...made, wire: this.#turned(x, { wire: lifted, openBits, heads, name }) };
    return { ...made, wire: emit({ kind: "exchange", openBits }, [lifted], rows, columns) };
  }

  /** Bits that a product of a query and a key needs. */
  #scoreBits(layer: string): number {
    const name = `${layer}.score`;
    return openingBits(name, 2 * this.#operandBits, this.#builder.bound(name));
  }

  /** Turned by its positions and truncated once more, to the bits that products need. */
  #turned(
    { rope, rows, columns }: Activation,
    options: { wire: number; openBits: number; heads: number; name: string },
  ): number {
    const { emit, open, bound } = this.#builder;
    const { openBits, heads, name: wireName } = options;
    const fracBits = ROPE_BITS;
    const body = { kind: "rope", ...rope!, width: columns / heads, fracBits } as const;
    const wire = emit(body, [options.wire], rows, columns);
    const shared = { wire, form: "shared", rows, columns, offline: false } as const;
    const x = activation({ ...shared, fracBits: this.#operandBits + fracBits });
    const magnitude = Math.SQRT2 * bound(wireName);
    const leastBits = openBits + fracBits;
    const how = { shift: fracBits, squares: "none", wireName, magnitude, leastBits } as const;
    return open(x, { ...how, narrow: true }).wire;
  }

  /** Greatest sum of a row's weights. */
  get #greatestSum(): number {
    const { positionCount } = this.#builder.numbers;
    ensure(positionCount !== undefined, "E_INTERNAL", "a decoder's plan needs its positions");
    return positionCount * (1 + 2 ** -7);
  }

  #mixMagnitude(layer: string): number {
    return this.#greatestSum * this.#builder.bound(`${layer}.value`);
  }

  #mixBits(layer: string): number {
    const fracBits = WEIGHT_BITS + this.#operandBits;
    return openingBits(`${layer}.mixed`, fracBits, this.#mixMagnitude(layer));
  }

  /** Rows behind those of a carried wire, or alone. */
  cached(x: MaskedRows, after: string | undefined, name: string, rows: number): MaskedRows {
    const wire = this.#builder.emit({ kind: "cache", after, name }, [x.wire], rows, x.columns);
    return { ...x, wire, rows };
  }

  scores(query: Activation, keys: MaskedRows): CausalWire {
    const { emit } = this.#builder;
    const q = this.rows(query);
    const width = q.columns / q.heads;
    const dims = {
      rows: q.rows,
      start: keys.rows - q.rows,
      heads: q.heads,
      keyHeads: keys.heads,
      width,
    };
    const wire = emit({ kind: "scores", dims }, [q.wire, keys.wire], 1, scoreCount(dims));
    const layer = query.name!.replace(/\.[^.]*$/, "");
    return { role: "scores", wire, fracBits: q.fracBits + keys.fracBits, dims, layer };
  }

  /** exp(score - greatest score of the row): weights but for their sum. */
  softmax({ wire: from, fracBits, dims, layer }: CausalWire): CausalWire {
    const { emit } = this.#builder;
    const size = scoreCount(dims);
    const { bits, wire: opened, magnitude } = this.#openedScores(from, fracBits, layer, size);
    const domainBits = bits + Math.ceil(Math.log2(2 * magnitude)) + 1;
    const lengths = visible(dims);
    const wireName = `${layer}.score`;
    const body = { kind: "max", lengths, heads: dims.heads, domainBits, wireName } as const;
    const greatest = emit(body, [opened], dims.rows, dims.heads);
    const below = emit({ kind: "rowDifference", dims }, [opened, greatest], 1, size);
    // From the greatest down: one bit fewer than differences of both signs.
    const openBits = domainBits - 1;
    const argument = emit({ kind: "exchange", openBits }, [below], 1, size);
    const table = expTable({ fracBits: bits, bits: openBits, precision: bits }, WEIGHT_BITS);
    const wire = emit({ kind: "piecewise", table, wireName }, [argument], 1, size);
    return { role: "weights", wire, fracBits: WEIGHT_BITS, dims, layer };
  }

  /** Truncated scores as shares. */
  #openedScores(wire: number, fracBits: number, layer: string, size: number) {
    const { emit, open, bound } = this.#builder;
    const bits = this.#operandBits;
    const wireName = `${layer}.score`;
    const magnitude = bound(wireName);
    const shared = { wire, form: "shared", rows: 1, columns: size, fracBits } as const;
    const x = activation({ ...shared, offline: false });
    const how = { shift: fracBits - bits, squares: "none", wireName, magnitude } as const;
    const opened = open(x, { ...how, narrow: true });
    const lifted = emit({ kind: "unmask", lift: false }, [opened.wire], 1, size);
    return { bits, wire: lifted, magnitude };
  }

  /** The weighted mean of values, [rows, heads * width], at `fracBits`. */
  mix(weights: CausalWire, values: MaskedRows, fracBits: number): Activation {
    const { emit, open, upperBitsOf } = this.#builder;
    const { dims, layer } = weights;
    const { rows, heads, width } = dims;
    const openBits = this.#mixBits(layer);
    const size = scoreCount(dims);
    const terms = emit({ kind: "exchange", openBits }, [weights.wire], 1, size);
    const sum = emit({ kind: "mix", dims }, [terms, values.wire], rows * heads, width);
    const factorBits = this.#operandBits + Math.ceil(Math.log2(this.#greatestSum) / 2);
    const mixed = activation({
      wire: sum,
      form: "shared",
      rows: rows * heads,
      columns: width,
      fracBits: weights.fracBits + values.fracBits,
      offline: false,
    });
    const y = open(mixed, {
      shift: mixed.fracBits - (fracBits - factorBits),
      squares: "none",
      wireName: `${layer}.mixed`,
      magnitude: this.#mixMagnitude(layer),
      narrow: true,
    });
    const g = this.#reciprocalSum(weights, factorBits);
    const upperBits = [upperBitsOf(y.wire), upperBitsOf(g.wire)] as const;
    const wire = emit({ kind: "product", upperBits }, [y.wire, g.wire], rows * heads, width);
    return activation({
      wire,
      form: "shared",
      rows,
      columns: heads * width,
      fracBits,
      offline: false,
      heads,
    });
  }

  /** One word a row and head, opened. */
  #reciprocalSum({ wire, fracBits, dims, layer }: CausalWire, factorBits: number): Activation {
    const { emit, open } = this.#builder;
    const { rows, heads } = dims;
    const sum = emit({ kind: "rowSum", dims }, [wire], rows, heads);
    const openBits = fracBits + Math.ceil(Math.log2(this.#greatestSum)) + 1;
    ensure(openBits <= RING_BITS - SIGN_BITS, "E_PLAN", `wire ${layer}.sum does not fit the ring`);
    const argument = emit({ kind: "exchange", openBits }, [sum], rows, heads);
    const precision = this.#operandBits;
    const table = reciprocalTable({ fracBits, bits: openBits, precision }, this.#greatestSum);
    const wireName = `${layer}.sum`;
    const factor = emit({ kind: "piecewise", table, wireName }, [argument], rows * heads, 1);
    const column = activation({
      wire: factor,
      form: "shared",
      rows: rows * heads,
      columns: 1,
      fracBits: RECIPROCAL_BITS,
      offline: false,
    });
    const shift = RECIPROCAL_BITS - factorBits;
    return open(column, { shift, squares: "none", wireName, magnitude: 1.05 });
  }
}
