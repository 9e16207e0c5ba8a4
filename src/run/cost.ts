// The cost interpreter: what a plan will send and compute, without running it. Sizes come from the
// gates' formulas; which of them share a message is found by running the very schedulers of the
// two parties on payloads of those sizes.

import { ensure } from "../errors.ts";
import type { GateCost, Online } from "../gate/gate.ts";
import { type GateSpec, gateOf } from "../gate/index.ts";
import type { NumberedSegment } from "./dealer.ts";
import { isEager } from "./eager.ts";
import { itemsBytes } from "./items.ts";
import { type Job, Scheduler } from "./scheduler.ts";

/** Payload sizes of the messages of one direction, in order. */
export interface OnlineCost {
  readonly clientMessages: number[];
  readonly serverMessages: number[];
  /** How often C waits for an answer. */
  readonly roundTrips: number;
}

export interface OfflineCost {
  readonly dealerToServer: number;
  readonly dealerToClient: number;
  readonly clientToServer: number;
}

export interface ComputeCost {
  /** Ring multiply-adds of linear layers: S online; the same number each for C and D offline. */
  readonly multiplyAdds: number;
}

const costOf = (gate: GateSpec, ringBits: number): GateCost => gateOf(gate).cost(gate, ringBits);

/** Payload bytes of a bundle's three offline messages, without the seeds that lead the dealt. */
export function offlineCost(segments: readonly NumberedSegment[], ringBits = 64): OfflineCost {
  const sizes = { dealerToServer: [], dealerToClient: [], clientToServer: [] } as Record<
    keyof OfflineCost,
    number[]
  >;
  for (const { gates } of segments) {
    for (const gate of gates) {
      const cost = costOf(gate, ringBits);
      for (const key of Object.keys(sizes) as (keyof OfflineCost)[]) {
        if (cost[key] > 0) sizes[key].push(cost[key]);
      }
    }
  }
  return {
    dealerToServer: itemsBytes(sizes.dealerToServer),
    dealerToClient: itemsBytes(sizes.dealerToClient),
    clientToServer: itemsBytes(sizes.clientToServer),
  };
}

export function computeCost(segments: readonly NumberedSegment[], ringBits = 64): ComputeCost {
  let multiplyAdds = 0;
  for (const { gates } of segments) {
    for (const gate of gates) multiplyAdds += costOf(gate, ringBits).multiplyAdds;
  }
  return { multiplyAdds };
}

/** What a gate puts into a message. */
export interface SentItem {
  readonly segment: number;
  readonly gate: number;
  /** Without the item's header. */
  readonly bytes: number;
}

/** Groups of segments that C starts together: a group only when the one before is done. */
export type ClientGroups = readonly (readonly NumberedSegment[])[];

/**
 * The online messages of a run. They are run with stand-ins of a byte; sizes are the gates'. S
 * starts a group as soon as it is done with the one before; C may
 * start later, after it has seen logits (see party/client.ts), as the groups say.
 */
export function onlineCost(options: {
  serverGroups: readonly (readonly NumberedSegment[])[];
  clientGroups: ClientGroups;
  ringBits?: number;
  /** Sees what each message holds as it is sent. */
  onMessage?: (from: "client" | "server", items: readonly SentItem[]) => void;
}): OnlineCost {
  const ringBits = options.ringBits ?? 64;
  const client = new Feeder("client", options.clientGroups, ringBits);
  const server = new Feeder("server", options.serverGroups, ringBits);
  const clientMessages: number[] = [];
  const serverMessages: number[] = [];
  /** Sent and not taken yet: each party takes one message, works and sends, whenever they cross. */
  const [up, down]: [Uint8Array[], Uint8Array[]] = [[], []];
  let roundTrips = 0;
  const work = (party: Feeder, sent: number[], queue: Uint8Array[]): void => {
    party.advance();
    for (;;) {
      const payload = party.scheduler.takeOutbox();
      if (!payload) return;
      const items = party.takeSent();
      sent.push(itemsBytes(items.map(({ bytes }) => bytes)));
      queue.push(payload);
      options.onMessage?.(party.name, items);
      party.scheduler.advancePatient();
      party.advance();
    }
  };
  work(client, clientMessages, up);
  work(server, serverMessages, down);
  while (!client.finished) {
    const [fromClient, fromServer] = [up.shift(), down.shift()];
    ensure(
      fromClient || fromServer,
      "E_INTERNAL",
      "the plan's online part does not come to an end",
    );
    if (fromClient) {
      server.scheduler.deliver(fromClient);
      work(server, serverMessages, down);
    }
    if (fromServer) {
      client.scheduler.deliver(fromServer);
      roundTrips++;
      work(client, clientMessages, up);
    }
  }
  return { clientMessages, serverMessages, roundTrips };
}

/** A gate's exchanges in the order in which a party meets them. */
function exchangesAt(party: "client" | "server", { online, crossed }: GateCost) {
  if (!crossed || party === "client") return online;
  return online.map((_, i) => online[i ^ 1]!);
}

const standIn = new Uint8Array(1);

/** One party that runs groups of segments, each when the one before is done. */
class Feeder {
  readonly scheduler = new Scheduler();
  readonly name: "client" | "server";
  readonly #groups: readonly (readonly NumberedSegment[])[];
  readonly #ringBits: number;
  readonly #states = new Set<string>();
  /** What waits in the outbox, with its true sizes. */
  #sent: SentItem[] = [];
  #next = 0;

  constructor(
    party: "client" | "server",
    groups: readonly (readonly NumberedSegment[])[],
    ringBits: number,
  ) {
    this.name = party;
    this.#groups = groups;
    this.#ringBits = ringBits;
  }

  /** What the payload that was just taken stands for. */
  takeSent(): SentItem[] {
    const sent = this.#sent;
    this.#sent = [];
    return sent;
  }

  get finished(): boolean {
    return this.scheduler.done && this.#next === this.#groups.length;
  }

  advance(): void {
    this.scheduler.advance();
    while (this.scheduler.done && this.#next < this.#groups.length) {
      for (const segment of this.#groups[this.#next]!) this.scheduler.add(this.#jobs(segment));
      this.#next++;
      this.scheduler.advance();
    }
  }

  #jobs(segment: NumberedSegment): Job[] {
    const wires = new Set<number>();
    return segment.gates.map((gate) => ({
      segment: segment.id,
      gate: gate.id,
      inputs: gate.inputs,
      output: gate.output,
      loads: loadedBy(gate),
      stores: gate.kind === "store" || gate.kind === "cache" ? gate.name : undefined,
      patient: isEager(gate),
      ready: () => {
        for (const id of gate.inputs) if (!wires.has(id)) return false;
        const loaded = loadedBy(gate);
        return loaded === undefined || this.#states.has(loaded);
      },
      start: () => this.#script(segment.id, gate, wires),
    }));
  }

  *#script(segment: number, gate: GateSpec, wires: Set<number>): Online {
    for (const { from, bytes } of exchangesAt(this.name, costOf(gate, this.#ringBits))) {
      if (from !== this.name) {
        yield { receive: standIn.length };
        continue;
      }
      this.#sent.push({ segment, gate: gate.id, bytes });
      yield { send: standIn };
    }
    wires.add(gate.output);
    if (gate.kind === "store" || gate.kind === "cache") this.#states.add(gate.name);
  }
}

/** The carried wire that a gate waits for. */
function loadedBy(gate: GateSpec): string | undefined {
  if (gate.kind === "cache") return gate.after;
  return gate.kind === "load" ? gate.name : undefined;
}
