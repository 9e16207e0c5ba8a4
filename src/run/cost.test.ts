// What the cost interpreter says against what the other interpreters really make. The parties' own
// counters are compared in test/differential.test.ts.

import { describe, expect, it } from "vitest";
import { partyTensors } from "../../test/masked-tensors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { clientGroups, type Plan, planGeneration, serverGroups } from "../party/plan.ts";
import { Prg } from "../ring/prg.ts";
import { Ring } from "../ring/ring.ts";
import { computeCost, offlineCost, onlineCost } from "./cost.ts";
import { dealBundle, type NumberedSegment } from "./dealer.ts";
import { decodeItems, ItemStore } from "./items.ts";
import { clientSegment, prepareBundle, serverJobs } from "./party.ts";
import { Scheduler } from "./scheduler.ts";

const kernels = await loadRingKernels();
const model = mergedModel({ seed: 8, maxTokens: 4, hiddenSize: 12, layerCount: 2 });
const planOf = (options: Partial<Plan["options"]> = {}) =>
  planGeneration(model.config, {
    promptPositions: 4,
    maxTokens: 4,
    chunk: 2,
    anchor: 0,
    ...options,
  });

/** Runs the parties with messages delivered in one of several orders. */
function runCrossing(ring: Ring, segment: NumberedSegment, count: number, order: number) {
  const seed = (value: number) => new Prg(kernels, new Uint8Array(32).fill(value));
  const [client, server, own] = [seed(1), seed(2), seed(3)];
  const values = BigUint64Array.from({ length: count }, (_, i) => BigInt((i * 977) % 1201));
  const mask = seed(4).words({ segment: 0, gate: 0 }, "mask", count, 64);
  const tensors = { matrix: fail, attention: fail, words: fail };
  const common = { ring, segments: [segment], tensors };
  const states = new Map([["x", { form: "client", mask } as const]]);
  const functionPrg = "chacha12";
  const dealt = dealBundle({
    ...common,
    states: new Map(states),
    client,
    server,
    own,
    functionPrg,
  });
  const prepared = prepareBundle({ ...common, states: new Map(states), random: client });
  const storeOf = (payload: Uint8Array) => {
    const store = new ItemStore();
    store.add(decodeItems(payload));
    return store;
  };
  const atClient = clientSegment({
    ...{ ring, segment, functionPrg, random: client, wires: prepared.wires[0]! },
    dealt: storeOf(dealt.forClient),
    states: new Map(),
  });
  const masked = ring.add(values, mask);
  const serverStates = new Map([["x", { form: "client", masked } as const]]);
  const jobs = serverJobs({
    ...{ ring, segment, tensors, functionPrg, random: server, states: serverStates },
    ...{ dealt: storeOf(dealt.forServer), uploaded: storeOf(prepared.upload) },
  });
  const parties = [new Scheduler(), new Scheduler()];
  const queues: Uint8Array[][] = [[], []];
  const sent: number[][] = [[], []];
  const flush = (party: number) => {
    parties[party]!.advance();
    const payload = parties[party]!.takeOutbox();
    if (payload) sent[party]!.push(payload.length);
    if (payload) queues[1 - party]!.push(payload);
    parties[party]!.advancePatient();
  };
  parties[0]!.add(atClient.jobs);
  parties[1]!.add(jobs);
  for (const party of order % 2 === 0 ? [0, 1] : [1, 0]) flush(party);
  for (let turn = order >> 1; queues.some(({ length }) => length > 0); turn++) {
    const party = queues[turn % 2]!.length > 0 ? turn % 2 : 1 - (turn % 2);
    parties[party]!.deliver(queues[party]!.shift()!);
    flush(party);
  }
  const greatest = Math.max(...Array.from(values, Number));
  return { sent, revealed: atClient.context.revealed.get("y"), greatest };
}

function fail(): never {
  throw new Error("there are no tensors");
}

describe("offline", () => {
  it("a bundle's three payloads are as long as stated", async () => {
    const plan = await planOf();
    const seed = (value: number) => new Uint8Array(32).fill(value);
    const tensors = partyTensors(kernels, model, plan.tensors, seed(9));
    const ring = new Ring(kernels);
    const [dealerStates, clientStates] = [new Map(), new Map()];
    for (const [index, segments] of plan.bundles.entries()) {
      const [client, server, own] = [1, 2, 3].map((n) => new Prg(kernels, seed(n + 10 * index)));
      const dealt = dealBundle({
        ring,
        segments,
        states: dealerStates,
        tensors: tensors.dealer,
        client: client!,
        server: server!,
        own: own!,
        functionPrg: "chacha12",
      });
      const { upload } = prepareBundle({
        ring,
        segments,
        states: clientStates,
        tensors: tensors.client,
        random: client!,
      });
      expect(offlineCost(segments)).toEqual({
        dealerToServer: dealt.forServer.length,
        dealerToClient: dealt.forClient.length,
        clientToServer: upload.length,
      });
    }
  });
});

describe("multiply-adds", () => {
  it("of one token follow the shapes", async () => {
    const { vocabSize: V, hiddenSize: d, innerSize: I } = model.config;
    const cost = (plan: Plan) => computeCost(plan.segments).multiplyAdds;
    // One more re-sent position t: attention over t + 1 rows, u and o of each layer, and the head.
    const [shorter, longer] = [await planOf({ maxTokens: 3 }), await planOf({ maxTokens: 4 })];
    const positions = 4 + 4 - 1;
    expect(cost(longer) - cost(shorter)).toBe(2 * (positions * d + 2 * d * I) + d * V);
  });
});

describe("online", () => {
  it("both directions' payloads add up to what the gates state, with item headers", async () => {
    const plan = await planOf();
    const { clientMessages, serverMessages, roundTrips } = onlineCost({
      serverGroups: plan.bundles.flatMap(serverGroups),
      clientGroups: plan.bundles.flatMap(clientGroups),
    });
    const { gateOf } = await import("../gate/index.ts");
    const stated = { client: 0, server: 0 };
    for (const { gates } of plan.segments) {
      for (const gate of gates) {
        for (const { from, bytes } of gateOf(gate).cost(gate, 64).online)
          stated[from] += bytes + 12;
      }
    }
    const total = (sizes: readonly number[]) => sizes.reduce((sum, size) => sum + size, 0);
    expect({ client: total(clientMessages), server: total(serverMessages) }).toEqual(stated);
    expect(serverMessages).toHaveLength(roundTrips);
    expect(clientMessages).toHaveLength(roundTrips);
  });

  it("of exchanges that cross, whichever message is first: a level a message", () => {
    // Both hold their part from the start: nobody speaks first.
    const ring = new Ring(kernels);
    const count = 13;
    const base = { inputs: [], rows: 1, columns: count } as const;
    const wireName = "x";
    const segment: NumberedSegment = {
      id: 0,
      gates: [
        { kind: "load", name: "x", id: 0, output: 0, ...base },
        { kind: "sum", shifts: [0, 1], offline: true, ...base, id: 1, output: 1, inputs: [0, 0] },
        {
          ...{ kind: "max", lengths: [count], heads: 1, domainBits: 20, wireName },
          ...{ id: 2, output: 2, inputs: [1], rows: 1, columns: 1 },
        },
        {
          kind: "reveal",
          name: "y",
          wordBits: 20,
          id: 3,
          inputs: [2],
          output: 3,
          rows: 1,
          columns: 1,
        },
      ],
    };
    // To the cost the loaded wire is there from the start, too.
    const gates = segment.gates.slice(1).map((gate) => ({
      ...gate,
      inputs: gate.inputs.filter((wire) => wire > 0),
    }));
    const groups = [[{ ...segment, gates }]];
    const predicted = onlineCost({ serverGroups: groups, clientGroups: groups });
    expect(predicted.clientMessages.length).toBe(4);
    for (const order of [0, 1, 2, 3]) {
      const { sent, revealed, greatest } = runCrossing(ring, segment, count, order);
      expect(sent).toEqual([predicted.clientMessages, predicted.serverMessages]);
      expect(revealed).toEqual(Int32Array.of(3 * greatest));
    }
  });

  it("a plan that cannot come to an end is an error, not a loop", async () => {
    const plan = await planOf({ maxTokens: 1 });
    const groups = [plan.segments.slice(1)]; // A head whose state nobody makes.
    expect(() => onlineCost({ serverGroups: groups, clientGroups: groups })).toThrow(
      expect.objectContaining({ code: "E_INTERNAL" }),
    );
  });
});
