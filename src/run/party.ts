// C's and S's interpreters. C prepares a bundle before its input exists; then both run the gates'
// online parts through a scheduler each.

import type {
  GateBase,
  OfflineClientContext,
  Online,
  OnlineClientContext,
  ServerContext,
  Tensors,
} from "../gate/gate.ts";
import { type GateSpec, gateOf } from "../gate/index.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import type { Randomness } from "../ring/prg.ts";
import type { Ring } from "../ring/ring.ts";
import type { ClientWire, ServerWire } from "../share/wires.ts";
import type { NumberedSegment } from "./dealer.ts";
import { isEager } from "./eager.ts";
import { encodeItems, type Item, type ItemStore } from "./items.ts";
import { prepareMasks } from "./offline.ts";
import type { Job } from "./scheduler.ts";

export type ClientStates = Map<string, ClientWire>;
export type ServerStates = Map<string, ServerWire>;

/** Stands between a gate's online part and whoever runs it: for measurements. */
export type GateWatch = (segment: NumberedSegment, gate: GateSpec, online: Online) => Online;

/**
 * What C knows of a segment before its input exists, and needs then: wires' masks and offline
 * shares.
 */
export type PreparedWires = Map<number, ClientWire>;

/**
 * C's offline part of a bundle: its shares of all linear layers (z_C = -(r D_W + rho)), and the
 * words to upload to S.
 */
export function prepareBundle(options: {
  ring: Ring;
  segments: readonly NumberedSegment[];
  states: ClientStates;
  /** D_W. */
  tensors: Tensors;
  random: Randomness;
}): { wires: PreparedWires[]; upload: Uint8Array } {
  const uploads: Item[] = [];
  const work = options.segments.map((segment) => {
    const upload = (gate: GateBase, bytes: Uint8Array) =>
      void uploads.push({ segment: segment.id, gate: gate.id, bytes });
    const { ring, states, tensors, random: client } = options;
    const context: OfflineClientContext = {
      ring,
      states,
      tensors,
      client,
      segment: segment.id,
      wires: new Map(),
      products: new Map(),
      upload,
    };
    return { gates: segment.gates, context };
  });
  prepareMasks(options.ring, work);
  for (const { gates, context } of work) {
    for (const gate of gates) gateOf(gate).prepare(gate, context);
  }
  const wires = work.map(({ gates, context }) => neededOnline(gates, context.wires));
  return { wires, upload: encodeItems(uploads) };
}

const isIdle = (gate: GateSpec) => gateOf(gate).idle?.(gate) ?? false;

/** The wires that C's online gates read, and those that they find made already. */
function neededOnline(gates: readonly GateSpec[], wires: PreparedWires): PreparedWires {
  const needed = new Map<number, ClientWire>();
  for (const gate of gates) {
    if (isIdle(gate)) continue;
    for (const id of [...gate.inputs, gate.output]) {
      const wire = wires.get(id);
      if (wire) needed.set(id, wire);
    }
  }
  return needed;
}

/** C's online part of a prepared segment. */
export interface ClientSegment {
  readonly context: OnlineClientContext;
  readonly jobs: readonly Job[];
}

export function clientSegment(options: {
  ring: Ring;
  segment: NumberedSegment;
  wires: PreparedWires;
  random: Randomness;
  functionPrg: FunctionPrg;
  dealt: ItemStore;
  /** Opened wires carried from segment to segment. */
  states: ClientStates;
  /** C's private inputs by name. */
  ids?: ReadonlyMap<string, readonly number[]>;
  watch?: GateWatch | undefined;
}): ClientSegment {
  const { ring, segment, wires, functionPrg, watch = unwatched } = options;
  const context: OnlineClientContext = {
    ring,
    wires,
    functionPrg,
    segment: segment.id,
    states: options.states,
    client: options.random,
    ids: options.ids ?? new Map(),
    logits: new Map(),
    revealed: new Map(),
    fromDealer: (gate) => options.dealt.take(segment.id, gate.id),
  };
  const jobs = segment.gates
    .filter((gate) => !isIdle(gate))
    .map((gate) => ({
      ...named(segment, gate),
      ...carried(gate.kind === "cache" ? gate : undefined),
      patient: isEager(gate),
      has: (wire: number) => wires.has(wire),
      ready: () => gate.inputs.every((id) => wires.has(id)) && cached(gate, options.states),
      start: () => watch(segment, gate, gateOf(gate).client(gate, context)),
    }));
  return { context, jobs };
}

const unwatched: GateWatch = (_segment, _gate, online) => online;

/** The carried wires that a cache waits for and makes. */
function carried(gate: { after: string | undefined; name: string } | undefined) {
  return { loads: gate?.after, stores: gate?.name };
}

/** Whether the rows that a cache goes on from are there. */
function cached(gate: GateSpec, states: ReadonlyMap<string, unknown>): boolean {
  return gate.kind !== "cache" || gate.after === undefined || states.has(gate.after);
}

function named(segment: NumberedSegment, gate: GateSpec) {
  return { segment: segment.id, gate: gate.id, inputs: gate.inputs, output: gate.output };
}

/** S's online jobs of a segment. */
export function serverJobs(options: {
  ring: Ring;
  segment: NumberedSegment;
  states: ServerStates;
  /** W, and biases. */
  tensors: Tensors;
  random: Randomness;
  functionPrg: FunctionPrg;
  dealt: ItemStore;
  uploaded: ItemStore;
  watch?: GateWatch | undefined;
}): Job[] {
  const { segment, states, watch = unwatched } = options;
  const context: ServerContext = {
    ring: options.ring,
    segment: segment.id,
    states,
    tensors: options.tensors,
    server: options.random,
    functionPrg: options.functionPrg,
    wires: new Map(),
    fromDealer: (gate) => options.dealt.take(segment.id, gate.id),
    fromClient: (gate) => options.uploaded.take(segment.id, gate.id),
  };
  const patient = patientGates(segment.gates);
  return segment.gates.map((gate) => ({
    ...named(segment, gate),
    patient: patient.has(gate.id) || isEager(gate),
    ...carried(gate.kind === "cache" ? gate : undefined),
    ...(gate.kind === "load" && { loads: gate.name }),
    ...(gate.kind === "store" && { stores: gate.name }),
    has: (wire: number) => context.wires.has(wire),
    ready: () =>
      gate.inputs.every((id) => context.wires.has(id)) &&
      (gate.kind !== "load" || states.has(gate.name)) &&
      cached(gate, states),
    start: () => watch(segment, gate, gateOf(gate).server(gate, context)),
  }));
}

/** Gates with which S sends something as soon as it has what they read. */
const speaking: ReadonlySet<GateSpec["kind"]> = new Set([
  "argmax",
  "exchange",
  "indexOneHot",
  "logits",
  "max",
  "open",
  "reveal",
  "spline",
]);

/**
 * S's openings whose result leads to nothing that S sends before C has answered: what S does with
 * them can wait until the message has left, and is done while C works.
 */
function patientGates(gates: readonly GateSpec[]): Set<number> {
  const patient = new Set<number>();
  /** Wires that lead to a message of S. */
  const urgent = new Set<number>();
  for (const gate of gates.toReversed()) {
    const listens = (gate.kind === "remask" || gate.kind === "open") && !gate.offline;
    const speaks = speaking.has(gate.kind);
    const leads = urgent.has(gate.output) || gate.kind === "store";
    if (gate.kind === "open" && gate.offline && !leads) patient.add(gate.id);
    if (listens) continue;
    if (speaks || leads) for (const wire of gate.inputs) urgent.add(wire);
  }
  return patient;
}
