import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { loadModel } from "../model/checkpoint.ts";
import { weightShapes } from "../model/decoder.ts";
import { parseTrainConfig } from "./config.ts";
import { runStage } from "./stages.ts";
import { loadTokenPairs } from "./token-set.ts";

const kernels = await loadFloatKernels();
const folder = await mkdtemp(join(tmpdir(), "mergen-stages-"));
const at = (...parts: string[]) => join(folder, ...parts);
const lines: string[] = [];
const context = { kernels, log: (line: string) => lines.push(line) };

const names = ["The Mill", "The Vaults", "Blue Spice", "Cocum"];
const foods = ["French", "Italian", "Chinese"];
const areas = ["riverside", "city centre"];

function example(name: string, food: string, area: string) {
  const input = `name[${name}], food[${food}], area[${area}]`;
  return { input, ref: `${name} serves ${food} food in the ${area}.` };
}

const all = names.flatMap((name) =>
  foods.flatMap((food) => areas.map((area) => example(name, food, area))),
);

beforeAll(async () => {
  await mkdir(at("data"));
  const share = (rests: number[]) => all.filter((_, index) => rests.includes(index % 7));
  const split = { train: share([0, 1, 2, 3, 4]), dev: share([5]), test: share([6]) };
  for (const [name, items] of Object.entries(split)) {
    const text = items.map((item) => JSON.stringify(item)).join("\n");
    await writeFile(at("data", `${name}.jsonl.gz`), gzipSync(text));
  }
});
afterAll(() => rm(folder, { recursive: true }));

const model = {
  hiddenSize: 16,
  layerCount: 1,
  headCount: 2,
  innerSize: 32,
  prompt: {
    kind: "slots",
    prefix: " ",
    slots: ["name", "food", "area"].map((name) => ({ name, width: 2 })),
  },
  generation: { maxTokens: 8, chunk: 4, anchor: 0 },
};
const training = {
  data: at("data"),
  tokenizer: at("tokenizer"),
  batchSize: 6,
  buckets: [8],
  threads: 1,
  steps: 60,
  warmupSteps: 5,
  rate: 0.01,
  logEvery: 20,
  evaluateEvery: 60,
};

const run = (config: object, ...overrides: string[]) =>
  runStage(parseTrainConfig(config, { overrides }), context);

describe("the stages, one after the other on a tiny data set", () => {
  it("tokenizer", async () => {
    const result = await run({
      stage: "tokenizer",
      data: at("data"),
      out: at("tokenizer"),
      vocabSize: 450,
      wordMerges: 150,
      minCount: 2,
      isolatedSlots: ["name", "food", "area"],
    });
    expect(result).toMatchObject({ size: expect.any(Number) });
    expect(Number(result.meanTokens)).toBeLessThan(8);
  });

  it("teacher", async () => {
    const result = await run({
      ...training,
      stage: "teacher",
      out: at("teacher"),
      model: {
        ...model,
        recipe: "vanilla",
        attention: "softmax",
        activation: { kind: "gelu", form: "tanh" },
        norm: { kind: "layernorm", eps: 1e-5, scale: true },
        nextToken: "lookup",
      },
    });
    expect(result).toMatchObject({ step: 60 });
    expect(Number(result.loss)).toBeLessThan(2.5);
    expect(lines.some((line) => line.includes("GFLOP/s"))).toBe(true);
  });

  it("distil: outputs of all training inputs and made-up ones that end", async () => {
    const result = await run({
      stage: "distil",
      data: at("data"),
      out: at("distil"),
      teacher: at("teacher", "model"),
      syntheticCount: 100,
      batchSize: 7,
    });
    const pairs = await loadTokenPairs(at("distil", "pairs.jsonl"));
    expect(pairs).toHaveLength(Number(result.outputs));
    expect(pairs.length).toBeGreaterThanOrEqual(6);
    for (const { prompt, output } of pairs) {
      expect(prompt).toHaveLength(7);
      expect(output.indexOf(2)).toBe(output.length - 1);
    }
  });

  it("student", async () => {
    const result = await run({
      ...training,
      stage: "student",
      out: at("student"),
      pairs: at("distil", "pairs.jsonl"),
      phases: [
        { share: 1, parts: [{ kind: "real" }] },
        {
          share: 2,
          parts: [
            { kind: "rollout", align: 0.1 },
            { kind: "own", rows: 0.5 },
          ],
        },
      ],
      model: {
        ...model,
        recipe: "merge",
        attention: "constant",
        activation: { kind: "quad", coefficients: [0.125, 0.25, 0.5] },
        norm: { kind: "layernorm", eps: 1e-5, scale: false },
        nextToken: "resend",
        embeddingScale: 16,
        sharedAttention: true,
      },
    });
    expect(result).toMatchObject({ step: 60 });
    expect(lines.some((line) => line.includes("rollout.ce"))).toBe(true);
    expect(lines.some((line) => line.includes("resend ROUGE-L"))).toBe(true);
  });

  it("student of a recipe, from its teacher's weights", async () => {
    const config = {
      ...training,
      stage: "student",
      out: at("puma"),
      pairs: at("distil", "pairs.jsonl"),
      teacher: at("teacher", "model"),
      recipe: "puma",
      phases: [{ share: 1, parts: [{ kind: "real" }] }],
    };
    const result = await run(config, "steps=5");
    expect(result).toMatchObject({ step: 5 });
    expect(Number(result.loss)).toBeLessThan(2.5);
    const { config: made } = await loadModel(at("puma", "model"));
    expect(made).toMatchObject({ recipe: "puma", activation: { kind: "piecewise" } });
    const both = { ...config, model: { ...model, recipe: "x", attention: "softmax" } };
    const shape = { activation: {}, norm: {}, nextToken: "lookup" };
    for (const wrong of [
      { ...both, model: { ...both.model, ...shape } },
      { ...config, teacher: undefined },
      { ...config, recipe: undefined },
    ]) {
      expect(() => parseTrainConfig(wrong)).toThrow("either model, or teacher and recipe");
    }
  });

  it("export: a model on its grid, half the size, with bounds", async () => {
    await run({
      stage: "export",
      data: at("data"),
      out: at("export"),
      model: at("student", "model"),
      calibrationCount: 3,
    });
    const { config, weights } = await loadModel(at("export"), { weightShapes });
    expect(config.sharedAttention).toBeUndefined();
    expect(config.wireBounds).toHaveLength(1);
    for (const [name, { data }] of weights) {
      const scale = 2 ** config.weightFracBits![name];
      expect(data.every((value) => Number.isInteger(value * scale))).toBe(true);
    }
    const sizes = await Promise.all(
      ["export", "student/model"].map((dir) => readFile(at(dir, "model.safetensors"))),
    );
    expect(sizes[0].length).toBeLessThan(0.6 * sizes[1].length);
  });

  it("evaluate, in both modes", async () => {
    const config = { stage: "evaluate", data: at("data"), model: at("export") };
    const result = await run(config, "count=3");
    expect(Object.keys(result)).toEqual(["resend", "lookup"]);
    expect(result.resend).toMatchObject({ rougeL: expect.any(Number), texts: { length: 3 } });
  });

  it("a missing model and a missing data set are named", async () => {
    const distil = { stage: "distil", data: at("nowhere"), out: at("x"), teacher: at("nowhere") };
    await expect(run(distil)).rejects.toMatchObject({ code: "E_MODEL" });
    const tokenizer = { stage: "tokenizer", data: at("nowhere"), out: at("x") };
    await expect(run(tokenizer)).rejects.toMatchObject({ code: "E_DATA" });
  });
});
