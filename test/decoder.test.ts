// Ordinary decoders in three modes, node by node: secure equals fixed in every wire, and fixed
// stays within the stated errors of float, with caches over several tokens.

import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import type { GateSpec } from "../src/gate/index.ts";
import { floatReference } from "../src/kernel/float-reference.ts";
import { loadRingKernels } from "../src/kernel/load-node.ts";
import { referenceRingKernels } from "../src/kernel/reference.ts";
import type { RingKernels } from "../src/kernel/ring-kernels.ts";
import { encodePrompt } from "../src/model/prompt.ts";
import { fixedBench, floatBench } from "../src/party/local.ts";
import { generationOptions, type PlannedSegment, planGeneration } from "../src/party/plan.ts";
import { predict } from "../src/party/predict.ts";
import { compareFixedSecure, compareFloatFixed } from "./compare.ts";
import { type DecoderOptions, decoderModel, isLlama } from "./decoder-model.ts";
import { createWorld } from "./parties.ts";

let kernels: RingKernels;
beforeAll(async () => {
  kernels = await loadRingKernels();
});

const reference = referenceRingKernels();

const shapes: [name: string, options: DecoderOptions][] = [
  ["gpt2", {}],
  ["gpt2, two layers", { layerCount: 2, seed: 2 }],
  ["gpt2, one head, erf", { headCount: 1, activation: { kind: "gelu", form: "erf" }, seed: 3 }],
  ["gpt2, relu, a tied head", { activation: { kind: "relu" }, tiedHead: true, seed: 4 }],
  ["gpt2, operands of 12 bits", { operandBits: 12, seed: 5 }],
  ["gpt2, wide scores", { spread: 3, hiddenSize: 12, headCount: 3, seed: 6 }],
  ["llama", { block: "llama", seed: 7 }],
  ["llama, key heads shared", { block: "llama", headCount: 4, kvHeadCount: 2, seed: 8 }],
  ["llama, one key head", { block: "llama", headCount: 4, kvHeadCount: 1, layerCount: 2, seed: 9 }],
  [
    "llama, relu, operands of 13 bits",
    {
      block: "llama",
      activation: { kind: "relu" },
      operandBits: 13,
      seed: 10,
    },
  ],
];

describe.each(shapes)("%s", (_name, options) => {
  const { seed = 1 } = options;
  const run = () => ({ model: decoderModel(options), kernels, prompt: "pub", seed });

  it("fixed equals secure in every wire", async () => {
    const { tokens, wires, narrow } = await compareFixedSecure(run());
    expect(tokens).toHaveLength(3);
    expect(wires).toBeGreaterThan(100);
    expect(narrow).toBeGreaterThan(wires / 2);
    const bench = await fixedBench(run().model, kernels, seed)({ prompt: "pub", ignoreEnd: true });
    expect(bench.tokens).toEqual(tokens);
  });

  it("fixed stays within the stated errors of float", async () => {
    const { matched, logitError } = await compareFloatFixed(run());
    // Norms, linear layers, scores, mixed values, activations and gated ones of each layer; then
    // embedding, last norm, state and logits.
    const { layerCount = 1, maxTokens = 3 } = options;
    expect(matched).toBe(maxTokens * (layerCount * (isLlama(options) ? 13 : 11) + 4));
    expect(logitError).toBeLessThan(0.01);
  });
});

describe("secure equals fixed", () => {
  const property = async (options: DecoderOptions, prompt: string, maxTokens: number) => {
    const model = decoderModel({ ...options, maxTokens, positionCount: 12 });
    const { seed = 1 } = options;
    const { tokens } = await compareFixedSecure({ model, kernels, prompt, seed });
    expect(tokens).toHaveLength(maxTokens);
    await compareFloatFixed({ model, kernels, prompt, seed });
  };

  it("for prompts, tokens, heads, key heads, widths and seeds drawn at random", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          seed: fc.integer({ min: 1, max: 1000 }),
          block: fc.constantFrom("gpt2", "llama"),
          keyHeads: fc.integer({ min: 1, max: 2 }),
          group: fc.integer({ min: 1, max: 2 }),
          pairs: fc.integer({ min: 1, max: 3 }),
          innerSize: fc.integer({ min: 3, max: 20 }),
          layerCount: fc.integer({ min: 1, max: 2 }),
          spread: fc.constantFrom(0.5, 1, 2),
        }),
        fc.constantFrom("p", "the pub", "a b", "zzzz"),
        fc.integer({ min: 1, max: 4 }),
        async ({ keyHeads, group, pairs, block, ...rest }, prompt, maxTokens) => {
          const headCount = keyHeads * (block === "llama" ? group : 1);
          const heads = { headCount, kvHeadCount: keyHeads, hiddenSize: headCount * 2 * pairs };
          await property(
            { ...rest, block: block as "gpt2" | "llama", ...heads },
            prompt,
            maxTokens,
          );
        },
      ),
      { numRuns: 12, seed: 17 },
    );
  });

  it("with the plain loops as with the fast kernels", async () => {
    const run = { model: decoderModel({ seed: 4, maxTokens: 2 }), prompt: "pub", seed: 4 };
    const [one, other] = [
      await compareFixedSecure({ ...run, kernels }),
      await compareFixedSecure({ ...run, kernels: reference }),
    ];
    expect(one).toEqual(other);
  });

  it("with every generator of function keys", async () => {
    const model = decoderModel({ block: "llama", seed: 5, maxTokens: 2 });
    const results = [];
    for (const functionPrg of kernels.functionPrgs) {
      results.push(
        await compareFixedSecure({ model, prompt: "pub", seed: 5, kernels, functionPrg }),
      );
    }
    for (const result of results) expect(result).toEqual(results[0]);
  });

  it("with bounds that nobody has proven", async () => {
    for (const block of ["gpt2", "llama"] as const) {
      const model = decoderModel({ block, seed: 7, maxTokens: 2, operandBits: 12 });
      const config = { ...model.config, calibratedBounds: true };
      const run = { model: { ...model, config }, kernels, prompt: "pub", seed: 7 };
      expect((await compareFixedSecure(run)).tokens).toHaveLength(2);
      await compareFloatFixed(run);
    }
  });

  it("with layers that are nearly nothing: what is rounded to a unit has room", async () => {
    for (const block of ["gpt2", "llama"] as const) {
      for (const spread of [0, 1e-6, 1e-3]) {
        const model = decoderModel({ block, seed: 8, maxTokens: 3, spread });
        const { tokens } = await compareFixedSecure({ model, kernels, prompt: "pub", seed: 8 });
        expect(tokens).toHaveLength(3);
      }
    }
  });

  it("with tokens found under masks", async () => {
    const model = decoderModel({ seed: 6 });
    for (const way of [{ next: "lookup" }, { next: "client", reveal: "token" }] as const) {
      const { tokens } = await compareFixedSecure({
        model,
        kernels,
        prompt: "pub",
        seed: 6,
        ...way,
      });
      expect(tokens).toHaveLength(3);
    }
  });
});

describe("a fault is found where it happens", () => {
  type Change = (gate: GateSpec) => GateSpec;
  const changed = (change: Change) => (segments: readonly PlannedSegment[]) =>
    segments.map((segment) => ({ ...segment, gates: segment.gates.map(change) }));
  const run = (change: Change, options: DecoderOptions = {}) =>
    compareFloatFixed({
      model: decoderModel({ maxTokens: 2, ...options }),
      kernels,
      prompt: "pub",
      seed: 1,
      change: changed(change),
    });

  it.each([
    ["score", /gate \d+, piecewise layers\.0\.attention\.score: entry 0/],
    ["sum", /gate \d+, piecewise layers\.0\.attention\.sum: entry 0/],
    ["u", /gate \d+, piecewise layers\.0\.u: entry 0/],
  ])("a table of %s that is a thousandth off", async (name, message) => {
    const off = (gate: GateSpec): GateSpec => {
      if (gate.kind !== "piecewise" || !gate.wireName.endsWith(`.${name}`)) return gate;
      const add = (1n << BigInt(gate.table.fracBits)) / 1000n;
      const coefficients = gate.table.coefficients.map(([c0, ...rest]) => [c0! + add, ...rest]);
      return { ...gate, table: { ...gate.table, coefficients } };
    };
    await expect(run(off)).rejects.toThrow(message);
  });

  it("rows that are turned by the angle of the position behind theirs", async () => {
    const late = (gate: GateSpec): GateSpec =>
      gate.kind === "rope" ? { ...gate, start: gate.start + 1 } : gate;
    // Scores depend on distances: it shows where old keys meet a new query.
    await expect(run(late, { block: "llama" })).rejects.toThrow(/^step 1 .* scores: entry 0/);
  });

  it("scores of another scale", async () => {
    const coarse = (gate: GateSpec): GateSpec =>
      gate.kind === "open" && gate.wireName.endsWith(".score")
        ? { ...gate, shift: gate.shift + 1, openBits: gate.openBits! + 1 }
        : gate;
    const message = /^step 1 .* piecewise layers\.0\.attention\.score: entry/;
    await expect(run(coarse)).rejects.toThrow(message);
  });
});

describe("three parties", () => {
  it.each<[string, DecoderOptions]>([
    ["gpt2", { layerCount: 2, seed: 11 }],
    ["llama", { block: "llama", headCount: 4, kvHeadCount: 2, seed: 12 }],
  ])("%s: the tokens of fixed and of float; every counter as predicted", async (_name, options) => {
    const model = decoderModel(options);
    const world = await createWorld({ model, kernels });
    await world.server.register();
    const asked = { prompt: "pub", ignoreEnd: true } as const;
    const three = await world.generate(asked);
    for (const { ended } of world.services) expect(await ended).toBeUndefined();
    const fixed = await fixedBench(model, kernels, 1)(asked);
    const float = await floatBench(model, floatReference)(asked);
    expect(three.tokens).toEqual(fixed.tokens);
    expect(three.tokens).toEqual(float.tokens);
    const { config, tokenizer } = model;
    const positions = encodePrompt("pub", config, tokenizer).length;
    const plan = await planGeneration(config, generationOptions(config, positions, {}));
    const { online, offline } = predict(plan);
    const { seconds: _one, ...measured } = three.online;
    const { seconds: _other, ...dealt } = three.offline;
    expect({ online: measured, offline: dealt }).toEqual({ online, offline });
  });
});
