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

import { ensure, MergenError } from "../errors.ts";
import { type CausalDims, scoreCount, visible } from "../gate/causal.ts";
import { squarings, type WeightForm, type WeightScales, weightScales } from "./attention-scales.ts";
import { type Activation, activation, type Builder } from "./builder.ts";
import { openingBits, operandBitsOf, RING_BITS } from "./format.ts";
import {
  cubeTable,
  expFormTable,
  expTable,
  inverseTable,
  reciprocalTable,
  reluTable,
} from "./tables.ts";

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
  /** What weights are multiplied by afterwards, one word a row and head; default 1 / their sum. */
  readonly factor?: Activation | undefined;
}

/** Bits after the point that a weighted mean of values usually has, and at the most. */
export interface MixBits {
  readonly usual: number;
  readonly room: number;
}

/** Bits after the point of sines and cosines. */
const ROPE_BITS = 16;
/** Bits of an inverse with which a value of 1 fits the ring, with room for its rounding. */
const INVERSE_BITS = 58;
/** What is lost of a sum of weights where its inverse has few bits: at the most this. */
const ROUNDED = 2 ** -7;
/** How far beyond the seen range of sums the fine knots reach, either way. */
const SUM_MARGIN = 1.5;
/** Bits of the least sum that is told from 0. */
const SUM_BITS = 6;
/** Octaves of sums in which an inverse is right to an operand's bits; more in which to fewer. */
const octaves = { fine: 12, low: 6 };
/** Bits of the least sum that has an inverse of its own, where the weights have as many. */
const LEAST_SUM_BITS = 10;
const POWER_PRECISION = 8;
/** Sums of powers reach farther down. */
const powerOctaves = { fine: 8, low: 22 };
/** What an exponent's domain has below the least one, for the blocks of its table. */
const EXPONENT_SPARE = 2 ** -2;
/** A wire's bits beyond those of its magnitude: its sign, and room for rounding. */
const SIGN_BITS = 2;

export class AttentionLowering {
  readonly #builder: Builder;
  readonly #form: WeightForm | undefined;
  readonly #masked = new Map<number, MaskedRows>();
  readonly #scales = new Map<string, WeightScales>();
  /** Opened scores by the wire that they are opened from. */
  readonly #opened = new Map<number, Activation>();

  constructor(builder: Builder, form: WeightForm | undefined) {
    this.#builder = builder;
    this.#form = form;
  }

  #scalesOf(layer: string): WeightScales {
    const known = this.#scales.get(layer);
    if (known) return known;
    ensure(this.#form, "E_PLAN", "keys and values without attention weights");
    const made = weightScales(this.#form, layer, this.#builder);
    this.#scales.set(layer, made);
    return made;
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
    const layer = name.replace(/\.[^.]*$/, "");
    const isValue = name.endsWith(".value");
    const bits = isValue ? this.#scalesOf(layer).valueBits : this.#operandBits;
    const opened = open(x, {
      shift: x.fracBits - bits,
      squares: "none",
      wireName: name,
      magnitude: bound(name),
    });
    const lifted = emit({ kind: "unmask", lift: true }, [opened.wire], rows, columns);
    const made = { role: "rows", rows, columns, fracBits: bits, heads } as const;
    const openBits = isValue ? this.#mixBits(layer) : this.#scoreBits(layer);
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

  #mixMagnitude(layer: string): number {
    return this.#scalesOf(layer).greatestSum * this.#builder.bound(`${layer}.value`);
  }

  #mixBits(layer: string): number {
    const { fracBits: weightBits, valueBits } = this.#scalesOf(layer);
    const fracBits = weightBits + valueBits;
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

  /** Weights but for what they are divided by. */
  weights(scores: CausalWire): CausalWire {
    const form = this.#form!;
    switch (form.kind) {
      case "exact":
      case "softmax":
        return this.#exponentials(scores);
      case "2quad":
        return this.#squares(scores, form.shift);
      case "2relu":
        return this.#clipped(scores, form.eps);
      case "power":
        return this.#powers(scores, form.exponent);
      case "the-x":
        throw new MergenError("E_PLAN", "scores that are scaled have no sum of their own");
      default:
        return form satisfies never;
    }
  }

  /** exp(score - greatest score of the row). */
  #exponentials({ wire: from, fracBits, dims, layer }: CausalWire): CausalWire {
    const { emit, bound } = this.#builder;
    const size = scoreCount(dims);
    const { scoreBits: bits, fracBits: valueBits } = this.#scalesOf(layer);
    const opened = this.#openedScores(from, fracBits, { layer, size });
    const shared = emit({ kind: "unmask", lift: false }, [opened.wire], 1, size);
    const wireName = `${layer}.score`;
    const domainBits = bits + Math.ceil(Math.log2(2 * bound(wireName))) + 1;
    const lengths = visible(dims);
    const body = { kind: "max", lengths, heads: dims.heads, domainBits, wireName } as const;
    const greatest = emit(body, [shared], dims.rows, dims.heads);
    const below = emit({ kind: "rowDifference", dims }, [shared, greatest], 1, size);
    // From the greatest down: one bit fewer than differences of both signs.
    const least = -2 * bound(wireName);
    const form = this.#form!;
    const spare = form.kind === "softmax" ? 0 : EXPONENT_SPARE;
    const openBits = bits + Math.ceil(Math.log2(spare - least));
    const differences = emit({ kind: "exchange", openBits }, [below], 1, size);
    const argument = { fracBits: bits, bits: openBits, precision: bits };
    const table =
      form.kind === "softmax"
        ? expFormTable(form.exp, argument, valueBits)
        : expTable(argument, least, valueBits);
    const wire = emit({ kind: "piecewise", table, wireName }, [differences], 1, size);
    return { role: "weights", wire, fracBits: valueBits, dims, layer };
  }

  /** (score + shift)^2: local once the scores are opened with squares. */
  #squares({ wire: from, fracBits, dims, layer }: CausalWire, shift: number): CausalWire {
    const size = scoreCount(dims);
    const opened = this.#openedScores(from, fracBits, { layer, size, squares: "each" });
    const unit = 2 ** opened.fracBits;
    const linear = BigInt(Math.round(2 * shift * unit));
    const constant = BigInt(Math.round((shift * unit) ** 2));
    const wire = this.#builder.emit({ kind: "quad", linear, constant }, [opened.wire], 1, size);
    return { role: "weights", wire, fracBits: 2 * opened.fracBits, dims, layer };
  }

  /** max(score, 0) + eps / (positions that the row sees). */
  #clipped({ wire: from, fracBits, dims, layer }: CausalWire, eps: number): CausalWire {
    const { emit, upperBitsOf } = this.#builder;
    const size = scoreCount(dims);
    const { fracBits: valueBits } = this.#scalesOf(layer);
    const opened = this.#openedScores(from, fracBits, { layer, size });
    const argument = { fracBits: opened.fracBits, bits: upperBitsOf(opened.wire) };
    const table = reluTable(argument, valueBits);
    const body = { kind: "piecewise", table, wireName: `${layer}.score` } as const;
    const clipped = emit(body, [opened.wire], 1, size);
    const constants = visible(dims).map((seen) => Math.round((eps / seen) * 2 ** valueBits));
    const wire = emit({ kind: "rowShift", dims, constants }, [clipped], 1, size);
    return { role: "weights", wire, fracBits: valueBits, dims, layer };
  }

  /** score^exponent: squares, opened anew before each next one. */
  #powers({ wire: from, fracBits, dims, layer }: CausalWire, exponent: number): CausalWire {
    const { emit, open, bound } = this.#builder;
    const size = scoreCount(dims);
    const lastBits = this.#scalesOf(layer).fracBits / 2;
    const wireName = `${layer}.score`;
    const each = { layer, size, squares: "each" } as const;
    let x = this.#openedScores(from, fracBits, each);
    let magnitude = bound(wireName);
    const square = ({ wire }: Activation) =>
      emit({ kind: "quad", linear: 0n, constant: 0n }, [wire], 1, size);
    for (let left = squarings(exponent); left > 1; left--) {
      magnitude *= magnitude;
      const wire = square(x);
      const squared = activation({ ...x, wire, form: "shared", fracBits: 2 * x.fracBits });
      // Half as many bits as the last square has room for, or what is there.
      const bits = Math.min(lastBits, squared.fracBits - 1);
      const how = { squares: "each", wireName, magnitude: 1.01 * magnitude } as const;
      x = open(squared, { ...how, shift: squared.fracBits - bits });
    }
    return { role: "weights", wire: square(x), fracBits: 2 * x.fracBits, dims, layer };
  }

  /** Sums of max(score / 2 + 1, 0)^3, [rows * heads, 1]. */
  cubes({ wire: from, fracBits, dims, layer }: CausalWire): Activation {
    const { emit, open, upperBitsOf, bound } = this.#builder;
    const { rows, heads } = dims;
    const opened = this.#openedScores(from, fracBits, { layer, size: scoreCount(dims) });
    const table = cubeTable({ fracBits: opened.fracBits, bits: upperBitsOf(opened.wire) });
    const body = { kind: "piecewise", table, wireName: `${layer}.score` } as const;
    const cubes = emit(body, [opened.wire], 1, scoreCount(dims));
    const wire = emit({ kind: "rowSum", dims }, [cubes], rows, heads);
    const shape = { rows: rows * heads, columns: 1 };
    const fields = { wire, form: "shared", ...shape, offline: false } as const;
    const sum = activation({ ...fields, fracBits: table.fracBits });
    const wireName = `${layer}.cubes`;
    const shift = sum.fracBits - this.#operandBits;
    return open(sum, { shift, squares: "none", wireName, magnitude: bound(wireName) });
  }

  /** Scores as weights that a factor of each row stands before. */
  scaled(scores: CausalWire, factor: Activation): CausalWire {
    const { emit } = this.#builder;
    const { dims, layer } = scores;
    const size = scoreCount(dims);
    const opened = this.#openedScores(scores.wire, scores.fracBits, { layer, size });
    const wire = emit({ kind: "unmask", lift: true }, [opened.wire], 1, size);
    return { role: "weights", wire, fracBits: opened.fracBits, dims, layer, factor };
  }

  /** Truncated scores. */
  #openedScores(
    wire: number,
    fracBits: number,
    options: { layer: string; size: number; squares?: "each" },
  ): Activation {
    const known = this.#opened.get(wire);
    if (known) return known;
    const { open, bound } = this.#builder;
    const { layer, size, squares = "none" } = options;
    const wireName = `${layer}.score`;
    const shared = { wire, form: "shared", rows: 1, columns: size, fracBits } as const;
    const x = activation({ ...shared, offline: false });
    const shift = fracBits - this.#scalesOf(layer).scoreBits;
    const how = { shift, squares, wireName, magnitude: bound(wireName), narrow: true } as const;
    const opened = open(x, how);
    this.#opened.set(wire, opened);
    return opened;
  }

  /** The weighted mean of values, [rows, heads * width]. */
  mix(weights: CausalWire, values: MaskedRows, bits: MixBits): Activation {
    const { emit, open, upperBitsOf } = this.#builder;
    const { dims, layer } = weights;
    const { rows, heads, width } = dims;
    const openBits = this.#mixBits(layer);
    const size = scoreCount(dims);
    const terms = emit({ kind: "exchange", openBits }, [weights.wire], 1, size);
    const sum = emit({ kind: "mix", dims }, [terms, values.wire], rows * heads, width);
    const mixed = activation({
      wire: sum,
      form: "shared",
      rows: rows * heads,
      columns: width,
      fracBits: weights.fracBits + values.fracBits,
      offline: false,
    });
    const split = this.#split(weights, mixed.fracBits, bits);
    const y = open(mixed, {
      shift: mixed.fracBits - split.mixed,
      squares: "none",
      wireName: `${layer}.mixed`,
      magnitude: this.#mixMagnitude(layer),
      narrow: true,
    });
    const g = this.#factor(weights, split.factor);
    const upperBits = [upperBitsOf(y.wire), upperBitsOf(g.wire)] as const;
    const wire = emit({ kind: "product", upperBits }, [y.wire, g.wire], rows * heads, width);
    return activation({
      wire,
      form: "shared",
      rows,
      columns: heads * width,
      fracBits: split.mixed + split.factor,
      offline: false,
      heads,
    });
  }

  /**
   * Bits after the point of a weighted sum and of its factor. The first is rounded to 2^-a and then
   * divided by a sum, the second rounded to 2^-b and multiplied by one: so where sums were seen,
   * both errors are as small as an operand's, or as the room allows.
   */
  #split({ layer, factor }: CausalWire, fracBits: number, { usual, room }: MixBits) {
    const form = this.#form!;
    const { greatestSum } = this.#scalesOf(layer);
    if (form.kind === "exact" || form.kind === "softmax") {
      const bits = this.#operandBits + Math.ceil(Math.log2(greatestSum) / 2);
      const all = Math.min(usual, room);
      return { mixed: all - bits, factor: bits };
    }
    if (factor) {
      const ratio = this.#builder.bound(factor.name!) / this.#mixMagnitude(layer);
      const mixed = Math.floor((room + Math.log2(ratio)) / 2);
      const most = Math.min(mixed, fracBits - 1);
      return { mixed: most, factor: Math.min(room - mixed, factor.fracBits - 1) };
    }
    const { least, low, high } = this.#sumRange(layer);
    const divisor = form.kind === "power" ? least : low;
    let mixed = this.#operandBits - Math.floor(Math.log2(divisor));
    let bits = this.#operandBits + Math.ceil(Math.log2(high));
    const beyond = Math.max(0, mixed + bits - room);
    mixed = Math.min(mixed - Math.ceil(beyond / 2), fracBits - 1);
    bits -= Math.floor(beyond / 2);
    return { mixed, factor: bits };
  }

  /** Bits to which the inverse of a row's sum is right: a power's sums have too wide a range. */
  get #sumPrecision(): number {
    return this.#form!.kind === "power" ? POWER_PRECISION : this.#operandBits;
  }

  /**
   * Where the inverse of a row's sum is right to an operand's bits: where sums were seen. From
   * `least` on it is right to fewer: a first position has a sum of one weight, and that may be
   * anything.
   */
  #sumRange(layer: string) {
    const form = this.#form!;
    const { calibrated } = this.#builder.range(`${layer}.sum`);
    const { fracBits, greatestSum } = this.#scalesOf(layer);
    const high = Math.min(calibrated[1] * SUM_MARGIN, greatestSum);
    const unit = 2 ** -fracBits;
    const { fine, low: more } = form.kind === "power" ? powerOctaves : octaves;
    const seen = Math.max(calibrated[0] / SUM_MARGIN, high * 2 ** -fine);
    const low = Math.min(Math.max(seen, unit * 2 ** SUM_BITS), high / 2);
    const below = form.kind === "2relu" ? form.eps * (1 - ROUNDED) : low * 2 ** -more;
    const least = Math.min(low, Math.max(unit * 2 ** SUM_BITS, below));
    // A sum keeps as many bits as its inverse's precision is worth: with more, slopes per unit of
    // it would round to nothing.
    const wanted = Math.max(
      this.#sumPrecision + 3 - Math.floor(Math.log2(low)),
      LEAST_SUM_BITS - Math.floor(Math.log2(least)),
    );
    const bits = Math.min(fracBits, wanted);
    return { least, low, high, bits };
  }

  /** One word a row and head, opened. */
  #factor({ wire, fracBits, dims, layer, factor }: CausalWire, factorBits: number): Activation {
    const { emit, open } = this.#builder;
    const { rows, heads } = dims;
    if (factor) {
      const wireName = factor.name!;
      const shift = factor.fracBits - factorBits;
      const magnitude = this.#builder.bound(wireName);
      return open(factor, { shift, squares: "none", wireName, magnitude });
    }
    const sum = emit({ kind: "rowSum", dims }, [wire], rows, heads);
    const argument = this.#sumArgument(sum, { rows, heads, layer, fracBits });
    const { table, greatest } = this.#inverse(layer, { ...argument, factorBits });
    const wireName = `${layer}.sum`;
    const made = emit({ kind: "piecewise", table, wireName }, [argument.wire], rows * heads, 1);
    const column = activation({
      wire: made,
      form: "shared",
      rows: rows * heads,
      columns: 1,
      fracBits: table.fracBits,
      offline: false,
    });
    const shift = table.fracBits - factorBits;
    return open(column, { shift, squares: "none", wireName, magnitude: 1.05 * greatest });
  }

  /** A row's sum, opened as a table's argument: whole, or truncated where that is too fine. */
  #sumArgument(
    wire: number,
    { layer, fracBits, ...shape }: { rows: number; heads: number; layer: string; fracBits: number },
  ): { wire: number; fracBits: number; openBits: number } {
    const { emit, open, upperBitsOf } = this.#builder;
    const form = this.#form!;
    const { greatestSum } = this.#scalesOf(layer);
    const { rows, heads: columns } = shape;
    const wireName = `${layer}.sum`;
    const exact = form.kind === "exact" || form.kind === "softmax";
    const bits = exact ? fracBits : this.#sumRange(layer).bits;
    if (bits < fracBits) {
      const shared = { wire, form: "shared", rows, columns, fracBits, offline: false } as const;
      const how = { shift: fracBits - bits, squares: "none", wireName, narrow: true } as const;
      const opened = open(activation(shared), { ...how, magnitude: greatestSum });
      return { wire: opened.wire, fracBits: bits, openBits: upperBitsOf(opened.wire) };
    }
    const openBits = fracBits + Math.ceil(Math.log2(greatestSum)) + 1;
    ensure(openBits <= RING_BITS - SIGN_BITS, "E_PLAN", `wire ${wireName} does not fit the ring`);
    const argument = emit({ kind: "exchange", openBits }, [wire], rows, columns);
    return { wire: argument, fracBits, openBits };
  }

  /** The table of 1 / sum, and its greatest value. */
  #inverse(layer: string, bits: { fracBits: number; openBits: number; factorBits: number }) {
    const form = this.#form!;
    const { fracBits, openBits, factorBits } = bits;
    const argument = { fracBits, bits: openBits, precision: this.#sumPrecision };
    if (form.kind === "exact" || form.kind === "softmax") {
      const { greatestSum } = this.#scalesOf(layer);
      return { table: reciprocalTable(argument, greatestSum), greatest: 1 };
    }
    const { least, low, high: seen } = this.#sumRange(layer);
    const added = form.kind === "power" ? form.eps : 0;
    // Above, an inverse that is rounded to few bits must lie below: the staircase does.
    const exact = Math.max(2 * low, ROUNDED * 2 ** factorBits);
    const high = Math.min(seen, exact);
    const valueBits = INVERSE_BITS + Math.floor(Math.log2(least));
    ensure(valueBits > factorBits, "E_PLAN", `wire ${layer}.sum: its range is too wide`);
    const range = { least, low, high, added, unitBits: factorBits };
    return { table: inverseTable(argument, range, valueBits), greatest: 1 / (least + added) };
  }
}
