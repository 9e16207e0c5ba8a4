// Ordinary decoders in three modes, node by node: secure equals fixed in every wire, and fixed
// stays within the stated errors of float, with caches over several tokens.

import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { floatReference } from "../src/kernel/float-reference.ts";
import { loadRingKernels } from "../src/kernel/load-node.ts";
import { referenceRingKernels } from "../src/kernel/reference.ts";
import type { RingKernels } from "../src/kernel/ring-kernels.ts";
import { fixedBench, floatBench } from "../src/party/local.ts";
import { generationOptions, planGeneration } from "../src/party/plan.ts";
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
