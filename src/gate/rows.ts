// Local maps of shared wires that attention weights need: an opened wire as shares, the sum of a
// row's weights, and scores less one word of their row. No message, no correlation.

import type { Ring, Words } from "../ring/ring.ts";
import { narrowShare, valueShare } from "../share/opened.ts";
import type { ClientWire, ServerWire } from "../share/wires.ts";
import { openedOf, shareOf, wire } from "./access.ts";
import { type CausalDims, rowSums, spreadOverRows } from "./causal.ts";
import { type Gate, type GateBase, local, noCost } from "./gate.ts";

/**
 * An opened wire as a shared one: right modulo 2^(its upper bits), or lifted beyond them, for which
 * it must have been opened with truncation by gate/open.ts.
 */
export interface Unmask extends GateBase {
  readonly kind: "unmask";
  readonly lift: boolean;
}

/**
 * Rotary positions: in each head, columns (2i, 2i + 1) of row r turned by (start + r)
 * base^(-2i / width), times 2^fracBits; [rows, heads * width].
 */
export interface Rope extends GateBase {
  readonly kind: "rope";
  readonly start: number;
  readonly base: number;
  /** Columns of a head. */
  readonly width: number;
  /** Bits after the point of sines and cosines. */
  readonly fracBits: number;
}

/** The sum over each row's positions: scores -> [rows, heads]; see causal.ts. */
export interface RowSum extends GateBase {
  readonly kind: "rowSum";
  readonly dims: CausalDims;
}

/** Scores, less their row's word of [rows, heads]. */
export interface RowDifference extends GateBase {
  readonly kind: "rowDifference";
  readonly dims: CausalDims;
}

/** Scores plus one public constant for all of a row's, in units of the ring. */
export interface RowShift extends GateBase {
  readonly kind: "rowShift";
  readonly dims: CausalDims;
  /** [rows], integers. */
  readonly constants: readonly number[];
}

/** A gate that both parties apply to their shares alike. */
function shareGate<S extends GateBase>(map: (gate: S, ring: Ring, x: Words[]) => Words): Gate<S> {
  const evaluate = <W extends ClientWire | ServerWire>(
    gate: S,
    context: { ring: Ring; wires: Map<number, W> },
  ) => {
    const operands = gate.inputs.map((id) => shareOf(context, id));
    const share = map(gate, context.ring, operands);
    context.wires.set(gate.output, { form: "shared", share } as W);
  };
  return {
    reference(gate, context) {
      const operands = gate.inputs.map((id) => wire(context, id).values);
      context.wires.set(gate.output, { values: map(gate, context.ring, operands) });
    },
    deal: (gate, context) => void context.wires.set(gate.output, { form: "shared" }),
    prepare() {},
    client: (gate, context) => local(() => evaluate(gate, context)),
    server: (gate, context) => local(() => evaluate(gate, context)),
    cost: () => noCost,
  };
}

function unmasked<W extends ClientWire | ServerWire>(
  gate: Unmask,
  context: { ring: Ring; wires: Map<number, W> },
  isServer: boolean,
): void {
  const opened = openedOf(context, gate.inputs[0]!);
  const share = (gate.lift ? valueShare : narrowShare)(context.ring, opened, isServer);
  context.wires.set(gate.output, { form: "shared", share } as W);
}

export const unmask: Gate<Unmask> = {
  reference(gate, context) {
    context.wires.set(gate.output, { values: wire(context, gate.inputs[0]!).values });
  },
  deal: (gate, context) => void context.wires.set(gate.output, { form: "shared" }),
  prepare() {},
  client: (gate, context) => local(() => unmasked(gate, context, false)),
  server: (gate, context) => local(() => unmasked(gate, context, true)),
  cost: () => noCost,
};

export const rowSum: Gate<RowSum> = shareGate((gate, ring, [x]) => rowSums(ring, gate.dims, x!));

export const rowDifference: Gate<RowDifference> = shareGate((gate, ring, [x, row]) =>
  ring.sub(x!, spreadOverRows(ring, gate.dims, row!)),
);

function shiftOf({ dims, constants }: RowShift, ring: Ring): Words {
  const words = constants.flatMap((constant) =>
    new Array<bigint>(dims.heads).fill(ring.residue(BigInt(constant))),
  );
  return spreadOverRows(ring, dims, BigUint64Array.from(words));
}

/** S adds the constants to its share. */
export const rowShift: Gate<RowShift> = {
  reference(gate, context) {
    const { values } = wire(context, gate.inputs[0]!);
    const { ring } = context;
    context.wires.set(gate.output, { values: ring.add(values, shiftOf(gate, ring)) });
  },
  deal: (gate, context) => void context.wires.set(gate.output, { form: "shared" }),
  prepare() {},
  client: (gate, context) =>
    local(() => {
      const share = shareOf(context, gate.inputs[0]!);
      context.wires.set(gate.output, { form: "shared", share });
    }),
  server: (gate, context) =>
    local(() => {
      const { ring } = context;
      const share = ring.add(shareOf(context, gate.inputs[0]!), shiftOf(gate, ring));
      context.wires.set(gate.output, { form: "shared", share });
    }),
  cost: () => noCost,
};

/** Factors of x, and of x with the columns of each pair exchanged, for one row: [width] each. */
function turn(gate: Rope, row: number): { cosines: bigint[]; sines: bigint[] } {
  const unit = 2 ** gate.fracBits;
  const angles = Array.from(
    { length: gate.width },
    (_, c) => (gate.start + row) * gate.base ** (-(c - (c % 2)) / gate.width),
  );
  return {
    cosines: angles.map((angle) => BigInt(Math.round(unit * Math.cos(angle)))),
    sines: angles.map((angle, c) => BigInt(Math.round((c % 2 ? unit : -unit) * Math.sin(angle)))),
  };
}

function turned(gate: Rope, ring: Ring, x: Words): Words {
  const heads = gate.columns / gate.width;
  const cosines = ring.words(x.length);
  const sines = ring.words(x.length);
  for (let row = 0; row < gate.rows; row++) {
    const factors = turn(gate, row);
    const words = (values: bigint[]) =>
      ring.repeat(
        BigUint64Array.from(values, (value) => ring.residue(value)),
        heads,
      );
    cosines.set(words(factors.cosines), row * gate.columns);
    sines.set(words(factors.sines), row * gate.columns);
  }
  return ring.add(ring.mul(x, cosines), ring.mul(exchangedPairs(ring, x), sines));
}

/** Words 2i and 2i + 1 in each other's place. */
function exchangedPairs(ring: Ring, x: Words): Words {
  const out = ring.words(x.length);
  const from = new Uint32Array(x.buffer, x.byteOffset, 2 * x.length);
  const to = new Uint32Array(out.buffer, out.byteOffset, 2 * x.length);
  for (let i = 0; i < to.length; i++) to[i] = from[i ^ 2]!;
  return out;
}

export const rope: Gate<Rope> = shareGate((gate, ring, [x]) => turned(gate, ring, x!));
