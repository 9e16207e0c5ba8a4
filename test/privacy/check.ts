// What must hold of every gate whenever it runs: the secure result is the reference's in all bits
// that are needed, the bytes are those of the cost formula, in order, and every correlation is used
// exactly once.

import { expect } from "vitest";
import { type Online, widthOf } from "../../src/gate/gate.ts";
import { type GateSpec, gateOf } from "../../src/gate/index.ts";
import type { Words } from "../../src/ring/ring.ts";
import { errorOf } from "../errors.ts";
import { type Channel, type Run, type RunOptions, runParties, runReference } from "./harness.ts";

/** Runs the gates securely and in the clear and checks all of that. */
export function checkGates(options: RunOptions): Run {
  const run = runParties(options);
  const reference = runReference(options);
  const { ring } = options;
  for (const gate of options.gates) {
    const wanted = reference.wires.get(gate.output)?.values;
    if (wanted && gate.kind !== "store") {
      const low = ring.lowBits(wanted, widthOf(gate, ring.bits));
      expect(firstDifference(run.value(gate.output), low), `${gate.kind} departs`).toBe(-1);
    }
    checkCost(gate, run, ring.bits);
  }
  expect(run.client.logits).toEqual(reference.logits);
  expect(run.client.revealed).toEqual(reference.revealed);
  expect(run.left, "correlations that nobody took").toBe(0);
  for (const gate of options.gates) {
    checkIdle(gate, run);
    checkSingleUse(gate, run, options.ring.bits);
  }
  return run;
}

function firstDifference(a: Words, b: Words): number {
  if (a.length !== b.length) return Math.min(a.length, b.length);
  return a.findIndex((word, i) => word !== b[i]);
}

function checkCost(gate: GateSpec, { messages }: Run, ringBits: number): void {
  const cost = gateOf(gate).cost(gate, ringBits);
  const own = messages.filter((message) => message.gate === gate);
  const sizes = (channel: Channel) =>
    own.filter((message) => message.channel === channel).map(({ bytes }) => bytes.length);
  const once = (bytes: number) => (bytes > 0 ? [bytes] : []);
  expect(sizes("dealer-server"), gate.kind).toEqual(once(cost.dealerToServer));
  expect(sizes("dealer-client"), gate.kind).toEqual(once(cost.dealerToClient));
  expect(sizes("upload"), gate.kind).toEqual(once(cost.clientToServer));
  const online = own
    .filter(({ channel }) => channel === "client-server" || channel === "server-client")
    .map(({ channel, bytes }) => ({ from: channel.split("-")[0], bytes: bytes.length }));
  expect(online, gate.kind).toEqual(cost.online);
}

/** A gate that says it is idle at C has nothing to do there. */
function checkIdle(gate: GateSpec, { client }: Run): void {
  if (!gateOf(gate).idle?.(gate)) return;
  const before = new Map(client.wires);
  expect(gateOf(gate).client(gate, client).next().done, gate.kind).toBe(true);
  expect(client.wires, gate.kind).toEqual(before);
}

/** A gate that ran takes none of its correlations again. */
function checkSingleUse(gate: GateSpec, run: Run, ringBits: number): void {
  const cost = gateOf(gate).cost(gate, ringBits);
  if (cost.dealerToServer > 0 || cost.clientToServer > 0) {
    errorOf("E_CORRELATION", () => exhaust(gateOf(gate).server(gate, run.server)));
  }
  if (cost.dealerToClient > 0) {
    errorOf("E_CORRELATION", () => exhaust(gateOf(gate).client(gate, run.client)));
  }
}

/** Drives one side alone, with zeros for what it receives. */
function exhaust(online: Online): void {
  let next = online.next(new Uint8Array(0));
  while (!next.done) {
    const answer = new Uint8Array("receive" in next.value ? next.value.receive : 0);
    next = online.next(answer);
  }
}
