// What C and S make of a plan's gates before they run: which of C's have something to do online and
// what they read, and which of S's may wait until its message has left.

import { describe, expect, it } from "vitest";
import { partyTensors } from "../../test/masked-tensors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { type GateSpec, gateOf } from "../gate/index.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { type PlannedSegment, planGeneration } from "../party/plan.ts";
import { Prg } from "../ring/prg.ts";
import { Ring } from "../ring/ring.ts";
import { ItemStore } from "./items.ts";
import { clientSegment, prepareBundle, serverJobs } from "./party.ts";

const kernels = await loadRingKernels();
const ring = new Ring(kernels);
const functionPrg = "chacha12";
const seed = (value: number) => new Uint8Array(32).fill(value);
const models = (["layernorm", "affine"] as const).map((norm) => {
  const model = mergedModel({ seed: 7, norm, layerCount: 2, maxTokens: 4, anchor: 2 });
  return [norm, model] as const;
});

async function setUp(model: (typeof models)[number][1]) {
  const options = { promptPositions: 4, maxTokens: 4, chunk: 2, anchor: 2 };
  const plan = await planGeneration(model.config, options);
  return { plan, tensors: partyTensors(kernels, model, plan.tensors, seed(1)) };
}

describe.each(models)("%s: C", (_norm, model) => {
  it("keeps of its offline part what gates online read or find made, and no more", async () => {
    const { plan, tensors } = await setUp(model);
    const states = new Map();
    for (const segments of plan.bundles) {
      const random = new Prg(kernels, seed(2));
      const given = { ring, segments, states, tensors: tensors.client, random };
      const { wires } = prepareBundle(given);
      for (const [i, segment] of segments.entries()) {
        const active = segment.gates.filter((gate) => !gateOf(gate).idle?.(gate));
        const read = new Set(active.flatMap(({ inputs, output }) => [...inputs, output]));
        for (const wire of wires[i]!.keys()) expect(read).toContain(wire);
        const dealt = new ItemStore();
        const kept = {
          ring,
          segment,
          wires: wires[i]!,
          random,
          functionPrg,
          dealt,
          states,
        } as const;
        const { jobs } = clientSegment(kept);
        expect(jobs.map(({ gate }) => gate)).toEqual(active.map(({ id }) => id));
        // Each wire that a job reads is there, or is made by a job.
        const made = new Set(jobs.map(({ output }) => output));
        for (const { inputs } of jobs) {
          for (const wire of inputs) expect(made.has(wire) || wires[i]!.has(wire)).toBe(true);
        }
      }
      random.erase();
    }
  });
});

/** Whether S sends something for a gate once its inputs are there. */
const speaks = ({ kind }: GateSpec) => kind === "open" || kind === "spline" || kind === "logits";
/** Whether a gate waits at S for what C makes of S's earlier messages. */
const listens = (gate: GateSpec) =>
  (gate.kind === "open" || gate.kind === "remask") && !gate.offline;

/** Whether S has something to send, or to carry on, that follows from a wire without C's answer. */
function leadsOn({ gates }: PlannedSegment, wire: number): boolean {
  return gates.some((gate) => {
    if (!gate.inputs.includes(wire) || listens(gate)) return false;
    return (
      speaks(gate) || gate.kind === "store" || leadsOn({ gates } as PlannedSegment, gate.output)
    );
  });
}

describe.each(models)("%s: S", (norm, model) => {
  it("may wait with openings alone that lead to no message of its own", async () => {
    const { plan, tensors } = await setUp(model);
    const names = new Set<string>();
    for (const segment of plan.segments) {
      const jobs = serverJobs({
        ring,
        segment,
        states: new Map(),
        tensors: tensors.server,
        random: new Prg(kernels, seed(3)),
        functionPrg,
        dealt: new ItemStore(),
        uploaded: new ItemStore(),
      });
      expect(jobs).toHaveLength(segment.gates.length);
      for (const [i, { patient }] of jobs.entries()) {
        const gate = segment.gates[i]!;
        if (!patient) continue;
        if (gate.kind !== "open") throw new Error(`a patient ${gate.kind}`);
        expect(leadsOn(segment, gate.output), gate.wireName).toBe(false);
        names.add(gate.wireName);
      }
      // And what might wait does.
      for (const gate of segment.gates) {
        if (gate.kind !== "open" || listens(gate) || leadsOn(segment, gate.output)) continue;
        expect(jobs.find((job) => job.gate === gate.id)!.patient, gate.wireName).toBe(true);
      }
    }
    const ofLayers = (...wires: string[]) =>
      [0, 1].flatMap((layer) => wires.map((wire) => `layers.${layer}.${wire}`));
    expect([...names].sort()).toEqual(norm === "affine" ? ofLayers("o", "u") : ofLayers("u"));
  });
});
