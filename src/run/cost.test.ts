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
import { dealBundle } from "./dealer.ts";
import { prepareBundle } from "./party.ts";

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

  it("a plan that cannot come to an end is an error, not a loop", async () => {
    const plan = await planOf({ maxTokens: 1 });
    const groups = [plan.segments.slice(1)]; // A head whose state nobody makes.
    expect(() => onlineCost({ serverGroups: groups, clientGroups: groups })).toThrow(
      expect.objectContaining({ code: "E_INTERNAL" }),
    );
  });
});
