// y^2 + linear y + constant of an opened wire, each entry: a quadratic activation divided by its
// leading coefficient. Local: the square of an opened wire is known in shares.
// Cost: nothing beyond the opening with squares "each". Reveals nothing.

import { byParts } from "../ring/parts.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { partOfWire, squareShare, valueShare } from "../share/opened.ts";
import type { ClientWire, OpenedWire, ServerWire } from "../share/wires.ts";
import { openedOf, wire } from "./access.ts";
import { type Gate, type GateBase, local, noCost } from "./gate.ts";

export interface Quad extends GateBase {
  readonly kind: "quad";
  /** Integer coefficients: of y at its own scale, and of 1 at the scale of y^2. */
  readonly linear: bigint;
  readonly constant: bigint;
}

function quadShare(gate: Quad, ring: Ring, opened: OpenedWire, isServer: boolean): Words {
  const square = squareShare(ring, opened, isServer);
  const value = valueShare(ring, opened, isServer);
  const out = ring.addScaled(square, value, gate.linear);
  return isServer ? ring.addConstant(out, gate.constant) : out;
}

function evaluate<W extends ClientWire | ServerWire>(
  gate: Quad,
  context: { ring: Ring; wires: Map<number, W> },
  isServer: boolean,
): void {
  const opened = openedOf(context, gate.inputs[0]!);
  const { share } = byParts(context.ring, { count: opened.a.length }, (part) => ({
    share: quadShare(gate, part.ring, partOfWire(opened, part), isServer),
  }));
  context.wires.set(gate.output, { form: "shared", share } as W);
}

export const quad: Gate<Quad> = {
  reference(gate, context) {
    const { ring } = context;
    const y = wire(context, gate.inputs[0]!).values;
    const values = ring.addScaled(ring.mul(y, y), y, gate.linear);
    context.wires.set(gate.output, { values: ring.addConstant(values, gate.constant) });
  },
  deal: (gate, context) => void context.wires.set(gate.output, { form: "shared" }),
  prepare() {},
  client: (gate, context) => local(() => evaluate(gate, context, false)),
  server: (gate, context) => local(() => evaluate(gate, context, true)),
  cost: () => noCost,
};
