// The sum of y^2 over each row of an opened wire, [rows, width] -> [rows, 1]. Local.
// Cost: nothing beyond the opening with squares "rows", which deals one word of r1^2 a row.

import type { Ring } from "../ring/ring.ts";
import { sumSquaresShare } from "../share/opened.ts";
import type { ClientWire, ServerWire } from "../share/wires.ts";
import { openedOf, wire } from "./access.ts";
import { type Gate, type GateBase, local, noCost } from "./gate.ts";

export interface SumSquares extends GateBase {
  readonly kind: "sumSquares";
  /** Columns of the operand. */
  readonly width: number;
}

function evaluate<W extends ClientWire | ServerWire>(
  gate: SumSquares,
  context: { ring: Ring; wires: Map<number, W> },
  isServer: boolean,
): void {
  const opened = openedOf(context, gate.inputs[0]!);
  const share = sumSquaresShare(context.ring, opened, { columns: gate.width, isServer });
  context.wires.set(gate.output, { form: "shared", share } as W);
}

export const sumSquares: Gate<SumSquares> = {
  reference(gate, context) {
    const { ring } = context;
    const y = wire(context, gate.inputs[0]!).values;
    context.wires.set(gate.output, { values: ring.sumRows(ring.mul(y, y), gate.width) });
  },
  deal: (gate, context) => void context.wires.set(gate.output, { form: "shared" }),
  prepare() {},
  client: (gate, context) => local(() => evaluate(gate, context, false)),
  server: (gate, context) => local(() => evaluate(gate, context, true)),
  cost: () => noCost,
};
