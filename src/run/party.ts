// C's and S's interpreters. C prepares a bundle before its input exists; then both run the gates'
// online parts through a scheduler each.

import type { ClientContext, ServerContext, Tensors } from "../gate/gate.ts";
import { type GateSpec, gateOf } from "../gate/index.ts";
import type { Randomness } from "../ring/prg.ts";
import type { Ring } from "../ring/ring.ts";
import type { ClientWire, ServerWire } from "../share/wires.ts";
import type { NumberedSegment } from "./dealer.ts";
import { encodeItems, type Item, type ItemStore } from "./items.ts";
import type { Job } from "./scheduler.ts";

export type ClientStates = Map<string, ClientWire>;
export type ServerStates = Map<string, ServerWire>;

/** A segment that C has prepared: its masks and offline shares. */
export interface PreparedSegment {
  readonly segment: NumberedSegment;
  readonly context: ClientContext;
}

/**
 * C's offline part of a bundle: its shares of all linear layers (z_C = -(r D_W + rho)) and the
 * words to upload to S.
 */
export function prepareBundle(options: {
  ring: Ring;
  segments: readonly NumberedSegment[];
  states: ClientStates;
  /** D_W. */
  tensors: Tensors;
  random: Randomness;
  dealt: ItemStore;
}): { prepared: PreparedSegment[]; upload: Uint8Array } {
  const uploads: Item[] = [];
  const prepared = options.segments.map((segment) => {
    const context: ClientContext = {
      ring: options.ring,
      segment: segment.id,
      states: options.states,
      tensors: options.tensors,
      random: options.random,
      wires: new Map(),
      ids: new Map(),
      logits: new Map(),
      upload: (gate, bytes) => void uploads.push({ segment: segment.id, gate: gate.id, bytes }),
      fromDealer: (gate) => options.dealt.take(segment.id, gate.id),
    };
    for (const gate of segment.gates) gateOf(gate).prepare(gate, context);
    return { segment, context };
  });
  return { prepared, upload: encodeItems(uploads) };
}

/** C's online jobs of a prepared segment; `ids` are its private inputs by name. */
export function clientJobs(
  prepared: PreparedSegment,
  ids: ReadonlyMap<string, readonly number[]> = new Map(),
): Job[] {
  const { segment, context } = prepared;
  for (const [name, values] of ids) context.ids.set(name, values);
  return segment.gates.map((gate) => ({
    segment: segment.id,
    gate: gate.id,
    ready: () => gate.inputs.every((id) => context.wires.has(id) || isCarried(gate)),
    start: () => gateOf(gate).client(gate, context),
  }));
}

/** Carried wires are C's masks, known since the bundle was prepared. */
function isCarried(gate: GateSpec): boolean {
  return gate.kind === "store" || gate.kind === "load";
}

/** S's online jobs of a segment. */
export function serverJobs(options: {
  ring: Ring;
  segment: NumberedSegment;
  states: ServerStates;
  /** W, and biases. */
  tensors: Tensors;
  random: Randomness;
  dealt: ItemStore;
  uploaded: ItemStore;
}): Job[] {
  const { segment, states } = options;
  const context: ServerContext = {
    ring: options.ring,
    segment: segment.id,
    states,
    tensors: options.tensors,
    random: options.random,
    wires: new Map(),
    fromDealer: (gate) => options.dealt.take(segment.id, gate.id),
    fromClient: (gate) => options.uploaded.take(segment.id, gate.id),
  };
  return segment.gates.map((gate) => ({
    segment: segment.id,
    gate: gate.id,
    ready: () =>
      gate.inputs.every((id) => context.wires.has(id)) &&
      (gate.kind !== "load" || states.has(gate.name)),
    start: () => gateOf(gate).server(gate, context),
  }));
}
