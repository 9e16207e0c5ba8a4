// What a generation will cost by part of the model and by segment: the bytes and round trips of
// predict.ts, each counted once, and what there is to compute.

import { noCost } from "../gate/gate.ts";
import { type GateSpec, gateOf } from "../gate/index.ts";
import type { Segment } from "../generate/schedule.ts";
import { RING_BITS } from "../plan/format.ts";
import { type Part, parts, partsOf } from "../plan/parts.ts";
import { onlineCost, type SentItem } from "../run/cost.ts";
import { ITEM_HEADER_BYTES } from "../run/items.ts";
import { frameBytes } from "../wire/frame.ts";
import { clientGroups, type Plan, serverGroups } from "./plan.ts";
import { predict } from "./predict.ts";

/** Bytes are of payloads with the headers of items, without those of frames. */
export interface PartBytes {
  readonly onlineBytes: number;
  /** A message that holds items of several parts counts as an equal share of each. */
  readonly roundTrips: number;
  readonly offlineBytes: number;
}

/** Gates of one part whose time depends alike on how much there is of them. */
export interface Task {
  readonly part: Part;
  /** Kind of the gates; products by whether they have one row or more. */
  readonly task: string;
  readonly gates: number;
  /** Multiply-adds; of gates with function keys, bytes of keys; else words. */
  readonly work: number;
}

export interface SegmentCost {
  readonly id: number;
  readonly segment: Segment;
  readonly parts: Readonly<Record<Part, PartBytes>>;
  readonly tasks: readonly Task[];
  /** Of linear layers and attention, offline. */
  readonly multiplyAdds: number;
}

export interface PartPrediction {
  readonly segments: readonly SegmentCost[];
  /** Headers of frames and bundles: what the parts leave of the bytes of a generation. */
  readonly framing: { readonly onlineBytes: number; readonly offlineBytes: number };
}

/** How a gate's computation is counted. */
export function taskOf(gate: GateSpec): { readonly task: string; readonly work: number } {
  const { dealerToServer, dealerToClient, multiplyAdds } = costOf(gate);
  const words = gate.rows * gate.columns;
  if (gate.kind === "linear" || gate.kind === "logits") {
    const rows = gate.rows === 1 ? "one row" : "rows";
    const type = gate.map.type === "matrix" ? `product, ${rows}` : `${gate.map.type} product`;
    return { task: type, work: Math.max(multiplyAdds, words) };
  }
  const keys = dealerToServer + dealerToClient;
  if (keyed.has(gate.kind)) return { task: gate.kind, work: keys };
  return { task: gate.kind, work: multiplyAdds > 0 ? multiplyAdds : words };
}

const keyed: ReadonlySet<string> = new Set(["argmax", "indexOneHot", "max", "piecewise", "spline"]);

function costOf(gate: GateSpec) {
  return { ...noCost, ...gateOf(gate).cost(gate, RING_BITS) };
}

/** The part that a gate's computation and dealt bytes count with: a head's product is linear. */
export function computedPart(gate: GateSpec, part: Part): Part {
  return gate.kind === "logits" ? "linear" : part;
}

type Mutable = { onlineBytes: number; roundTrips: number; offlineBytes: number };

/** Costs of a run that goes on to exactly the plan's number of tokens. */
export function predictParts(plan: Plan): PartPrediction {
  const costs = new Map<number, Record<Part, Mutable>>();
  const partOf = new Map<number, ReadonlyMap<number, Part>>();
  const segments = plan.segments.map(({ id, segment, gates }) => {
    const found = partsOf(gates);
    const own = Object.fromEntries(
      parts.map((part) => [part, { onlineBytes: 0, roundTrips: 0, offlineBytes: 0 }]),
    ) as Record<Part, Mutable>;
    partOf.set(id, found);
    costs.set(id, own);
    for (const gate of gates) {
      own[computedPart(gate, found.get(gate.id)!)].offlineBytes += offlineBytes(gate);
    }
    const multiplyAdds = gates.reduce((sum, gate) => sum + costOf(gate).multiplyAdds, 0);
    return { id, segment, parts: own, tasks: tasksOf(gates, found), multiplyAdds };
  });
  const shareOf = ({ segment, gate }: SentItem) =>
    costs.get(segment)![partOf.get(segment)!.get(gate)!];
  const framing = { onlineBytes: 0, offlineBytes: 0 };
  onlineCost({
    serverGroups: plan.bundles.flatMap(serverGroups),
    clientGroups: plan.bundles.flatMap(clientGroups),
    onMessage(from, items) {
      const size = items.reduce((sum, { bytes }) => sum + bytes + ITEM_HEADER_BYTES, 0);
      framing.onlineBytes += frameBytes(size) - size;
      for (const item of items) shareOf(item).onlineBytes += item.bytes + ITEM_HEADER_BYTES;
      const sharing = from === "server" ? new Set(items.map(shareOf)) : [];
      for (const share of sharing) share.roundTrips += 1 / (sharing as Set<Mutable>).size;
    },
  });
  const { offline } = predict(plan);
  const dealt = segments.flatMap((cost) => parts.map((part) => cost.parts[part].offlineBytes));
  framing.offlineBytes =
    offline.dealerToServerBytes +
    offline.dealerToClientBytes +
    offline.clientToServerBytes -
    dealt.reduce((sum, bytes) => sum + bytes, 0);
  return { segments, framing };
}

function offlineBytes(gate: GateSpec): number {
  const { dealerToServer, dealerToClient, clientToServer } = costOf(gate);
  return [dealerToServer, dealerToClient, clientToServer]
    .filter((bytes) => bytes > 0)
    .reduce((sum, bytes) => sum + bytes + ITEM_HEADER_BYTES, 0);
}

function tasksOf(gates: readonly GateSpec[], partOf: ReadonlyMap<number, Part>): Task[] {
  const tasks = new Map<string, Task>();
  for (const gate of gates) {
    const part = computedPart(gate, partOf.get(gate.id)!);
    const { task, work } = taskOf(gate);
    const key = `${part} ${task}`;
    const before = tasks.get(key) ?? { part, task, gates: 0, work: 0 };
    tasks.set(key, { part, task, gates: before.gates + 1, work: before.work + work });
  }
  return [...tasks.values()];
}
