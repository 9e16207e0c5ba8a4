// Local maps of shared wires that attention weights need: an opened wire as shares, the sum of a
// row's weights, and scores less one word of their row. No message, no correlation.

import type { Ring, Words } from "../ring/ring.ts";
import { narrowShare } from "../share/opened.ts";
import type { ClientWire, ServerWire } from "../share/wires.ts";
import { openedOf, shareOf, wire } from "./access.ts";
import { type CausalDims, rowSums, spreadOverRows } from "./causal.ts";
import { type Gate, type GateBase, local, noCost } from "./gate.ts";

/** An opened wire as a shared one, right modulo 2^(its upper bits). */
export interface Unmask extends GateBase {
  readonly kind: "unmask";
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
  const share = narrowShare(context.ring, openedOf(context, gate.inputs[0]!), isServer);
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
