// The fixed interpreter on its own: rounding without parties, and values that leave their bounds.
// Against float and secure: test/differential.test.ts.

import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { IDS, LOGITS, planGeneration } from "../party/plan.ts";
import { ServerTensors } from "../plan/tensors.ts";
import { Ring } from "../ring/ring.ts";
import { type FixedStates, runFixed } from "./fixed.ts";

const kernels = await loadRingKernels();
const ring = new Ring(kernels);
const model = mergedModel({ seed: 12, maxTokens: 2, chunk: 2 });
const { config, weights } = model;

async function setUp() {
  const options = { promptPositions: 4, maxTokens: 2, chunk: 2, anchor: 0 };
  const plan = await planGeneration(config, options);
  const { tensors: listed } = plan;
  const tensors = new ServerTensors({ kernels, weights, numbers: config, tensors: listed });
  return { plan, tensors, ids: new Map([[IDS, [260, 1, 2, 3]]]) };
}

describe("without parties", () => {
  it("the same run twice gives the same logits", async () => {
    const { plan, tensors, ids } = await setUp();
    const run = () => {
      const states: FixedStates = new Map();
      const common = { ring, states, tensors, parties: undefined, ids };
      return plan.segments.map((segment) => runFixed({ ...common, segment }).get(LOGITS));
    };
    expect(run()).toEqual(run());
  });

  it("an opening rounds to nearest", async () => {
    const { plan, tensors, ids } = await setUp();
    const states: FixedStates = new Map();
    let openings = 0;
    runFixed({
      ring,
      segment: plan.segments[0]!,
      states,
      tensors,
      parties: undefined,
      ids,
      observe: (gate, context) => {
        if (gate.kind !== "open") return;
        openings++;
        const before = context.wires.get(gate.inputs[0]!)!.values;
        const after = context.wires.get(gate.output)!.values;
        before.forEach((word, i) => {
          const half = 1n << BigInt(gate.shift - 1);
          expect(ring.signed(after[i]!)).toBe((ring.signed(word) + half) >> BigInt(gate.shift));
        });
      },
    });
    expect(openings).toBe(3);
  });
});

describe("a value beyond its bound", () => {
  it("is E_RANGE naming the wire, where secure modes would wrap silently", async () => {
    const { plan, tensors } = await setUp();
    const states: FixedStates = new Map();
    const common = { ring, states, tensors, parties: undefined };
    runFixed({ ...common, segment: plan.segments[0]!, ids: new Map([[IDS, [260, 1, 2, 3]]]) });
    const state = states.get("state.0")!;
    const at = (bits: number) => state.values.map((word) => ring.residue(word << BigInt(bits)));
    const step = plan.segments.find(({ segment }) => segment.kind === "step")!;
    const saved = new Map(states);
    const run = (bits: number) => {
      states.clear();
      for (const [name, wire] of saved) states.set(name, wire);
      states.set("state.0", { values: at(bits) });
      return runFixed({ ...common, segment: step });
    };
    run(0);
    for (const bits of [12, 14]) {
      expect(errorOf("E_RANGE", () => run(bits)).message).toMatch(/wire layers\.0\.(u|norm)/);
    }
  });
});
