// Every recipe in every mode on a tiny decoder with random weights: float, fixed and secure, node
// by node, and what a secure run sends against what its plan said.

import { beforeAll, describe, expect, it } from "vitest";
import { loadFloatKernels } from "../src/kernel/float-load.ts";
import { loadRingKernels } from "../src/kernel/load-node.ts";
import type { RingKernels } from "../src/kernel/ring-kernels.ts";
import { initialWeights } from "../src/model/initial.ts";
import { encodePrompt } from "../src/model/prompt.ts";
import { fixedBench } from "../src/party/local.ts";
import { logitError } from "../src/party/logit-error.ts";
import { generationOptions, planGeneration } from "../src/party/plan.ts";
import { predict } from "../src/party/predict.ts";
import { servable } from "../src/party/servable.ts";
import { type PresetName, presetNames } from "../src/recipe/presets.ts";
import { randomModel } from "../src/train/random-model.ts";
import { compareFixedSecure } from "./compare.ts";
import { createWorld } from "./parties.ts";

let kernels: RingKernels;
beforeAll(async () => {
  kernels = await loadRingKernels();
});
const floats = await loadFloatKernels();

/** Of logits up to about 10; docs/methods.md states what was measured. */
const ERROR = 2e-3;
/**
 * 2relu: a row whose scores are hardly above 0 is divided by eps, and their rounding with it.
 * power: x^4 is rounded twice before, to the bits that the range of its sums leaves.
 */
const statedErrors: Partial<Record<PresetName, number>> = {
  "mpcformer-2relu": 3e-2,
  "power-softmax": 3e-2,
};

const prompt = "aeio";
const maxTokens = 4;

function modelOf(recipe: PresetName, seed = 1) {
  const made = randomModel({ shape: "tiny", positions: 32, recipe, seed }, floats);
  const model = servable(made, floats, { calibratedBounds: recipe === "the-x" });
  // What is proven of a sum of x^4 leaves x too few bits for rows of small scores.
  if (recipe !== "power-softmax") return model;
  return { ...model, config: { ...model.config, calibratedBounds: true } };
}

describe.each(presetNames)("%s", (recipe) => {
  it.each([1, 2, 3])("fixed stays within the stated error of float, seed %i", async (seed) => {
    const model = modelOf(recipe, seed);
    const asked = { prompt: [5, 9, 200, 31, 7, 99], maxTokens: 6 };
    const { greatest, rms, peak } = await logitError(
      model,
      { ring: kernels, float: floats },
      asked,
    );
    expect(peak).toBeGreaterThan(1);
    expect(greatest).toBeLessThan(statedErrors[recipe] ?? ERROR);
    expect(rms).toBeLessThan(greatest);
    expect(greatest).toBeGreaterThan(0);
  });

  it("secure equals fixed, and sends what its plan says", async () => {
    const model = modelOf(recipe);
    const run = { model, kernels, prompt, maxTokens, seed: 1 };
    const { tokens, wires } = await compareFixedSecure(run);
    expect(tokens).toHaveLength(maxTokens);
    expect(wires).toBeGreaterThan(10);

    const world = await createWorld({ model, kernels });
    await world.server.register();
    const generation = await world.generate({ prompt, maxTokens, ignoreEnd: true });
    for (const { ended } of world.services) expect(await ended).toBeUndefined();
    expect(generation.tokens).toEqual(tokens);
    const { config, tokenizer } = model;
    const rows = encodePrompt(prompt, config, tokenizer).length;
    const plan = await planGeneration(config, generationOptions(config, rows, { maxTokens }));
    const { online, offline } = predict(plan);
    expect(generation.online).toMatchObject(online);
    expect(generation.offline).toMatchObject(offline);
  });
});

describe("merge-er whose last norm has a scale and a shift", () => {
  /** As training leaves it: once it is folded, re-sent states pass a layer of their own. */
  function learned() {
    const { config, tokenizer } = randomModel(
      { shape: "tiny", positions: 32, recipe: "merge-er", seed: 1 },
      floats,
    );
    const { scaledQuery, headBias, ...rest } = config;
    const norm = { kind: "layernorm", eps: 1e-5, scale: true } as const;
    const plain = { ...rest, norm, tiedHead: true };
    const weights = initialWeights(plain, 3);
    for (const [name, { data }] of weights) {
      for (let i = 0; i < data.length; i++) {
        if (name.endsWith("norm.scale")) data[i] = 1 + 0.3 * Math.sin(i);
        if (name.endsWith("norm.shift")) data[i] = 0.2 * Math.cos(i);
      }
    }
    return servable({ config: plain, weights, tokenizer }, floats);
  }

  it.each([
    [0, 4],
    [0, 1],
    [2, 2],
    [1, 1],
  ])("sessions give what fixed gives, anchor %i, chunk %i", async (anchor, chunk) => {
    const model = learned();
    expect(model.config).toMatchObject({ resendMap: true, tiedHead: false });
    const asked = { prompt, maxTokens, anchor, chunk };
    const { tokens } = await compareFixedSecure({ model, kernels, seed: 1, ...asked });
    const world = await createWorld({ model, kernels });
    await world.server.register();
    const generation = await world.generate({ ...asked, ignoreEnd: true });
    expect(generation.tokens).toEqual(tokens);
    const fixed = await fixedBench(model, kernels, 1)({ ...asked, ignoreEnd: true });
    expect(fixed.tokens).toEqual(tokens);
  });
});
