// Rows of an opened wire behind those of earlier segments: attention's keys and values. Both
// parties keep what they know of the rows, D their masks. No message, no correlation.

import { ensure } from "../errors.ts";
import { appended } from "../ring/memory.ts";
import type { Ring } from "../ring/ring.ts";
import { narrowWire } from "../share/opened.ts";
import type { ClientWire, OpenedWire, ServerWire } from "../share/wires.ts";
import { openedOf, wire } from "./access.ts";
import { type Gate, type GateBase, local, noCost } from "./gate.ts";

export interface Cache extends GateBase {
  readonly kind: "cache";
  /** The carried wire that holds the rows before; none in the first segment. */
  readonly after: string | undefined;
  /** What all rows so far are carried as. */
  readonly name: string;
}

interface Places<W> {
  readonly ring: Ring;
  readonly wires: Map<number, W>;
  readonly states: Map<string, W>;
}

/** Puts the wire with all rows in its places. */
function keep<W>(gate: Cache, context: Places<W>, all: W): void {
  context.wires.set(gate.output, all);
  if (gate.after !== undefined) context.states.delete(gate.after);
  context.states.set(gate.name, all);
}

function before<W>(gate: Cache, context: Places<W>): W | undefined {
  if (gate.after === undefined) return undefined;
  const state = context.states.get(gate.after);
  ensure(state !== undefined, "E_INTERNAL", `state ${gate.after} is missing`);
  return state;
}

function extend<W extends ClientWire | ServerWire>(gate: Cache, context: Places<W>): void {
  const rows = openedOf(context, gate.inputs[0]!);
  const earlier = before(gate, context) as OpenedWire | undefined;
  const fits = !earlier || (earlier.form === "opened" && earlier.upperBits === rows.upperBits);
  ensure(fits, "E_INTERNAL", "cached rows were opened with another width");
  const parts = earlier ? [earlier, rows] : [rows];
  const all = narrowWire(
    rows.upperBits,
    appended(parts.map(({ a }) => a)),
    appended(parts.map(({ r1 }) => r1)),
  );
  keep(gate, context, all as W);
}

export const cache: Gate<Cache> = {
  reference(gate, context) {
    const earlier = before(gate, context);
    const { values } = wire(context, gate.inputs[0]!);
    keep(gate, context, { values: appended(earlier ? [earlier.values, values] : [values]) });
  },
  deal(gate, context) {
    const rows = wire(context, gate.inputs[0]!);
    const earlier = before(gate, context);
    const opened = rows.form === "opened" && (!earlier || earlier.form === "opened");
    ensure(opened, "E_INTERNAL", "only opened rows are cached under masks of both");
    const parts = earlier?.form === "opened" ? [earlier.r1, rows.r1] : [rows.r1];
    const { upperBits, b } = rows;
    keep(gate, context, { form: "opened", upperBits, r1: appended(parts), b });
  },
  prepare() {},
  client: (gate, context) => local(() => extend(gate, context)),
  server: (gate, context) => local(() => extend(gate, context)),
  cost: () => noCost,
};
