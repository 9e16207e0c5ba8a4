import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { floatBench } from "../party/local.ts";
import { isMerged, presetNames } from "../recipe/presets.ts";
import { randomModel } from "../train/random-model.ts";
import { checkWeights } from "./check-weights.ts";
import { weightShapes } from "./decoder.ts";
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
      // An affine norm of random weights is drawn for what it is.
      if (name === "the-x") return;
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

  it("norms without scale and shift get them where a recipe needs them", async () => {
    const base = randomModel({ ...tiny, recipe: "vanilla" }, floats);
    const norm = { kind: "layernorm", eps: 1e-5, scale: false } as const;
    const weights = new Map(
      [...base.weights].filter(([name]) => !/norm\.(scale|shift)/.test(name)),
    );
    const bare = { ...base, weights, config: { ...base.config, norm } };
    const taken = modelWithRecipe(bare, "the-x");
    checkWeights(taken.weights, weightShapes(taken.config));
    expect(taken.config.weightFracBits!["norm.scale"]).toBeLessThanOrEqual(14);
    expect(taken.weights.get("norm.scale")!.data.every((value) => value === 1)).toBe(true);
    expect((await floatBench(taken, floats)(asked)).tokens).toHaveLength(5);
  });

  it("weights of the other module are refused", () => {
    const base = randomModel({ ...tiny, recipe: "merge" }, floats);
    errorOf("E_CONFIG", () => withRecipe(base.config, "vanilla"));
    errorOf("E_CONFIG", () => modelWithRecipe(base, "nothing"));
  });
});
