import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { floatBench } from "../party/local.ts";
import { isMerged, presetNames } from "../recipe/presets.ts";
import { randomModel } from "../train/random-model.ts";
import { checkWeights } from "./check-weights.ts";
import { weightShapes } from "./decoder.ts";
import { roundToColumnGrid } from "./grid.ts";
import { modelWithRecipe, withRecipe } from "./preset.ts";

const floats = await loadFloatKernels();
const tiny = { shape: "tiny", positions: 32, layers: 2, seed: 1 } as const;
const asked = { prompt: "aeiou", maxTokens: 5, ignoreEnd: true };

describe("random models and models under another recipe", () => {
  it.each(presetNames)(
    "%s: made so, or taken from another's weights, says the same",
    async (name) => {
      const made = randomModel({ ...tiny, recipe: name }, floats);
      checkWeights(made.weights, weightShapes(made.config));
      const text = await floatBench(made, floats)(asked);
      expect(text.tokens).toHaveLength(5);
      const base = randomModel({ ...tiny, recipe: isMerged(name) ? "merge" : "vanilla" }, floats);
      const taken = modelWithRecipe(base, name);
      checkWeights(taken.weights, weightShapes(taken.config));
      expect(Object.keys(taken.config.weightFracBits!)).toEqual(
        expect.arrayContaining([...weightShapes(taken.config).keys()]),
      );
      // Random weights are drawn for the activation and the norm that they meet.
      const drawnFor = ({ config }: typeof base) => [config.activation.kind, config.norm.kind];
      if (String(drawnFor(made)) !== String(drawnFor(base))) return;
      expect((await floatBench(taken, floats)(asked)).tokens).toEqual(text.tokens);
    },
  );

  it("its own recipe changes nothing, and added weights lie on a grid", () => {
    const base = randomModel({ ...tiny, recipe: "vanilla" }, floats);
    expect(modelWithRecipe(base, "vanilla")).toBe(base);
    const { config, weights } = modelWithRecipe(base, "the-x");
    const name = "layers.1.attention.reciprocal.2.weight";
    const unit = 2 ** -config.weightFracBits![name]!;
    const data = [...weights.get(name)!.data];
    expect(data.every((value) => Number.isInteger(value / unit))).toBe(true);
    expect(Math.max(...data) / unit).toBeLessThan(32768);
    expect(Math.max(...data)).toBeGreaterThan(0);
  });

  it("norms without scale and shift become affine ones of nothing", async () => {
    const base = randomModel({ ...tiny, recipe: "vanilla" }, floats);
    const taken = modelWithRecipe(base, "the-x");
    expect(base.config.norm.scale).toBe(false);
    expect(taken.config.norm).toMatchObject({ kind: "affine", scale: false });
    checkWeights(taken.weights, weightShapes(taken.config));
    expect([...taken.weights.keys()].filter((name) => name.includes("norm"))).toEqual([]);
    expect((await floatBench(taken, floats)(asked)).tokens).toHaveLength(5);
  });

  it("an imported model, whose positions and biases have no grid, takes other recipes", async () => {
    const base = randomModel({ ...tiny, recipe: "vanilla" }, floats);
    const { weightFracBits, ...config } = base.config;
    const imported = { ...base, ...roundToColumnGrid({ config, weights: base.weights }) };
    for (const name of presetNames.filter((each) => !isMerged(each))) {
      const taken = modelWithRecipe(imported, name);
      expect(taken.config.weightFracBits).not.toHaveProperty(["position.weight"]);
      expect((await floatBench(taken, floats)(asked)).tokens).toHaveLength(5);
    }
  });

  it("weights of the other module are refused", () => {
    const base = randomModel({ ...tiny, recipe: "merge" }, floats);
    errorOf("E_CONFIG", () => withRecipe(base.config, "vanilla"));
    errorOf("E_CONFIG", () => modelWithRecipe(base, "nothing"));
  });
});
