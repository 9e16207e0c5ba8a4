// The fixed-point interpreter: the same ring results as the secure modes, in the clear, one gate
// after the other. With the parties' randomness it is bit-equal to them; without, truncation
// rounds to nearest.

import type { FixedContext, Tensors } from "../gate/gate.ts";
import { type GateSpec, gateOf } from "../gate/index.ts";
import type { Ring } from "../ring/ring.ts";
import type { FixedWire } from "../share/wires.ts";
import type { NumberedSegment } from "./dealer.ts";

export type FixedStates = Map<string, FixedWire>;

/** Runs one segment; gives its logits by output name, truncated as C sees them. */
export function runFixed(options: {
  ring: Ring;
  segment: NumberedSegment;
  states: FixedStates;
  tensors: Tensors;
  parties: FixedContext["parties"];
  ids?: ReadonlyMap<string, readonly number[]>;
  /** Takes what is opened to C by itself. */
  revealed?: Map<string, Int32Array>;
  /** Called after each gate: for comparing runs node by node. */
  observe?: (gate: GateSpec, context: FixedContext) => void;
}): Map<string, Int32Array> {
  const context: FixedContext = {
    ring: options.ring,
    segment: options.segment.id,
    states: options.states,
    tensors: options.tensors,
    parties: options.parties,
    wires: new Map(),
    ids: new Map(options.ids),
    logits: new Map(),
    revealed: options.revealed ?? new Map(),
  };
  for (const gate of options.segment.gates) {
    gateOf(gate).reference(gate, context);
    options.observe?.(gate, context);
  }
  return context.logits;
}
