import { describe, expect, it } from "vitest";
import { compareFixedSecure, compareFloatFixed } from "../../test/compare.ts";
import { errorOf } from "../../test/errors.ts";
import { tinyTokenizerJson, tinyTokens, tinyVocabSize } from "../../test/tiny-model.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import type { Model } from "../model/checkpoint.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { fixedBench, floatBench, insecureSecureBench } from "../party/local.ts";
import { planGeneration } from "../party/plan.ts";
import { checkBounds } from "../plan/bounds.ts";
import { randomModel } from "./random-model.ts";

const floats = await loadFloatKernels();
const rings = await loadRingKernels();
const tiny = { shape: "tiny", recipe: "merge", positions: 48, seed: 1 } as const;

describe.each(["layernorm", "affine"] as const)("a random model, %s", (norm) => {
  it.each([1, 2, 3])("says the same in float, fixed and secure mode, seed %i", async (seed) => {
    const model = randomModel({ ...tiny, norm, seed }, floats);
    const asked = { prompt: "aaaa", maxTokens: 40, ignoreEnd: true };
    const fixed = await fixedBench(model, rings, 1)(asked);
    const secure = await (await insecureSecureBench(model, rings, 1))(asked);
    expect(secure.tokens).toEqual(fixed.tokens);
    expect(secure.tokens).toHaveLength(40);
    // Two logits may lie closer together than the fixed mode's rounding: its text is then another.
    const float = await floatBench(model, floats)({ ...asked, maxTokens: 8 });
    expect(float.tokens).toEqual(fixed.tokens.slice(0, 8));
  });

  it("stays within the stated errors, node by node", async () => {
    const model = randomModel({ ...tiny, norm, seed: 4 }, floats);
    const short = { ...model.config.generation, maxTokens: 6, chunk: 3 };
    const run = {
      model: { ...model, config: { ...model.config, generation: short } },
      kernels: rings,
      prompt: "aeiou",
      seed: 4,
    };
    const { logitError } = await compareFloatFixed(run);
    const greatest = model.config.logitBound!.calibrated;
    expect(logitError).toBeLessThan(0.005 * greatest);
    expect((await compareFixedSecure(run)).tokens).toHaveLength(6);
  });
});

it("says the same whether columns are stored with shifts or without", async () => {
  const model = randomModel({ ...tiny, seed: 5 }, floats);
  const { columns, shifted, plain } = coarseColumns(model, "layers.0.u.weight");
  expect(columns).toBe(128);
  const asked = { prompt: "aeiou", maxTokens: 6, ignoreEnd: true };
  const all = [plain, shifted].map(async (weights) => {
    const changed = { ...model, weights };
    const fixed = await fixedBench(changed, rings, 1)(asked);
    const secure = await (await insecureSecureBench(changed, rings, 1))(asked);
    return [fixed.tokens, secure.tokens, secure.online.serverSentBytes];
  });
  const [without, withShifts] = await Promise.all(all);
  expect(withShifts!.slice(0, 2)).toEqual([without![0], without![0]]);
  expect(withShifts![2]).toBe(without![2]);
});

/** Columns 1, 4, 7, .. of a matrix rounded to multiples of 2^3, with and without their shifts. */
function coarseColumns({ config, weights }: Model, name: string) {
  const { shape, data } = weights.get(name)!;
  const columns = shape[1]!;
  const columnShifts = Uint8Array.from({ length: columns }, (_, j) => (j % 3 === 1 ? 3 : 0));
  const unit = (j: number) => 2 ** (columnShifts[j % columns]! - config.weightFracBits![name]!);
  const coarse = data.map((value, i) => Math.round(value / unit(i)) * unit(i));
  const plain = new Map(weights).set(name, { shape, data: coarse });
  const shifted = new Map(weights).set(name, { shape, data: coarse, columnShifts });
  return { columns, plain, shifted };
}

describe("of real sizes", () => {
  // The first layer's bounds are the widest: its input has positions added.
  it.each(["gpt2", "gpt2-xl"])("%s can be planned, and its bounds hold", async (shape) => {
    const sizes = { positions: 16, vocabulary: 300, layers: 1 };
    const { config, weights } = randomModel({ ...tiny, ...sizes, shape }, floats);
    if (shape === "gpt2") checkBounds(config, weights, floats);
    const options = { promptPositions: 4, maxTokens: 8, chunk: 16, anchor: 0 };
    const plan = await planGeneration(config, options);
    expect(plan.segments).toHaveLength(9);
  });
});

describe("making one", () => {
  it("gives the same model for the same options", () => {
    const [one, other] = [randomModel(tiny, floats), randomModel(tiny, floats)];
    expect(one.config).toEqual(other.config);
    expect(one.weights).toEqual(other.weights);
    expect(one.tokenizer.files).toEqual(other.tokenizer.files);
    expect(one.config.calibratedBounds).toBeUndefined();
  });

  it("takes a tokenizer, and its size and special token with it", () => {
    const tokenizer = new Tokenizer({ tokenizer: tinyTokenizerJson() });
    const { config } = randomModel({ ...tiny, tokenizer }, floats);
    expect(config.vocabSize).toBe(tinyVocabSize);
    expect(config.tokens.end).toBe(tinyTokens.pad);
    const other = { ...tiny, tokenizer, vocabulary: tinyVocabSize - 1 };
    errorOf("E_TOKENIZER", () => randomModel(other, floats));
  });

  it("makes an ordinary decoder whose texts neither stand still nor forget their prompt", async () => {
    const model = randomModel({ ...tiny, shape: "e2e", recipe: "vanilla" }, floats);
    const bench = floatBench(model, floats);
    const texts: (readonly number[])[] = [];
    for (const prompt of ["aaaa", "eaia"]) {
      texts.push((await bench({ prompt, maxTokens: 32, ignoreEnd: true })).tokens);
      expect(new Set(texts.at(-1)).size).toBeGreaterThan(8);
    }
    expect(texts[0]).not.toEqual(texts[1]);
  });

  it("makes an ordinary decoder for float mode", async () => {
    const model = randomModel({ ...tiny, recipe: "vanilla" }, floats);
    expect(model.config.wireBounds).toBeUndefined();
    const asked = { prompt: "aaaa", maxTokens: 4, ignoreEnd: true };
    expect((await floatBench(model, floats)(asked)).tokens).toHaveLength(4);
  });
});
