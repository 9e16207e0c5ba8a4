import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { loadModel, saveModel } from "../model/checkpoint.ts";
import { floatBench } from "../party/local.ts";
import { isMerged, presetNames } from "../recipe/presets.ts";
import { parseTrainConfig } from "./config.ts";
import { randomModel } from "./random-model.ts";
import { runStage } from "./stages.ts";

const kernels = await loadFloatKernels();
const folder = await mkdtemp(join(tmpdir(), "mergen-adapt-"));
const at = (...parts: string[]) => join(folder, ...parts);
const data = at("data", "train.jsonl.gz");

const names = ["The Mill", "The Vaults", "Blue Spice", "Cocum"];
const foods = ["French", "Italian", "Chinese"];
const examples = names.flatMap((name) =>
  foods.flatMap((food) =>
    ["riverside", "city centre"].map((area) => ({
      input: `name[${name}], food[${food}], area[${area}]`,
      ref: `${name} serves ${food} food in the ${area}.`,
    })),
  ),
);

const training = {
  data: at("data"),
  tokenizer: at("tokenizer"),
  batchSize: 6,
  buckets: [8],
  threads: 1,
  warmupSteps: 5,
  rate: 0.01,
  evaluateEvery: 1000,
};

beforeAll(async () => {
  await mkdir(at("data"));
  const text = examples.map((example) => JSON.stringify(example)).join("\n");
  for (const split of ["train", "dev", "test"]) {
    await writeFile(at("data", `${split}.jsonl.gz`), gzipSync(text));
  }
  const stage = (config: object) => runStage(parseTrainConfig(config), { kernels, log: () => {} });
  const isolatedSlots = ["name", "food", "area"];
  const sizes = { vocabSize: 450, wordMerges: 150, minCount: 2, isolatedSlots };
  await stage({ stage: "tokenizer", data: at("data"), out: at("tokenizer"), ...sizes });
  await stage({
    ...training,
    stage: "teacher",
    out: at("taught"),
    steps: 80,
    model: {
      recipe: "vanilla",
      hiddenSize: 16,
      layerCount: 2,
      headCount: 2,
      innerSize: 32,
      attention: "softmax",
      activation: { kind: "gelu", form: "tanh" },
      norm: { kind: "layernorm", eps: 1e-5, scale: true },
      nextToken: "lookup",
      prompt: {
        kind: "slots",
        prefix: " ",
        slots: isolatedSlots.map((name) => ({ name, width: 2 })),
      },
      generation: { maxTokens: 8, chunk: 4, anchor: 1 },
    },
  });
});
afterAll(() => rm(folder, { recursive: true }));

interface Adapted {
  readonly lines: string[];
  readonly losses: number[];
  readonly out: string;
  readonly result: Readonly<Record<string, unknown>>;
}

async function adapt(recipe: string, changes: object = {}): Promise<Adapted> {
  const lines: string[] = [];
  const config = {
    stage: "adapt",
    teacher: at("taught", "model"),
    recipe,
    data,
    out: at(`student-${recipe}`),
    batchSize: 6,
    threads: 1,
    steps: 30,
    warmupSteps: 3,
    rate: 0.004,
    logEvery: 1,
    evaluateEvery: 1000,
    ...changes,
  };
  const context = { kernels, log: (line: string) => lines.push(line) };
  const result = await runStage(parseTrainConfig(config), context);
  const losses = lines.flatMap((line) => {
    const found = /^step \d+\/\d+: loss ([\d.]+)/.exec(line);
    return found ? [Number(found[1])] : [];
  });
  return { lines, losses, out: config.out, result };
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe("every recipe", () => {
  it.each(presetNames)("%s: the loss falls, and the folder runs in float mode", async (recipe) => {
    const { losses, out, result } = await adapt(recipe, { targets: "references" });
    expect(losses).toHaveLength(30);
    // Where states are sent again, the second phase begins at step 4.
    const first = losses.slice(4, 7);
    expect(mean(losses.slice(-5))).toBeLessThan(0.98 * mean(first));
    expect(result).toMatchObject({ model: out, recipe, step: 30 });
    const student = await loadModel(out);
    expect(student.config).toMatchObject({ recipe });
    expect(student.config.sharedAttention).toBeUndefined();
    expect(student.config.positionCount).toBe(14);
    const text = await floatBench(student, kernels)({ prompt: examples[0].input });
    expect(text.tokens.length).toBeLessThanOrEqual(8);
    expect(await readdir(folder)).not.toContain(`student-${recipe}.training`);
  });

  it("a transformer begins as its teacher: the loss is the teacher's where functions agree", async () => {
    const first = async (recipe: string) =>
      (await adapt(recipe, { steps: 1, out: at(`first-${recipe}`), targets: "references" }))
        .losses[0];
    const taught = await first("iron");
    expect(Math.abs((await first("east")) - taught)).toBeLessThan(0.05);
    expect(taught).toBeLessThan(0.7 * (await first("merge-mm")));
    expect(isMerged("merge-mm")).toBe(true);
  });
});

describe("a run", () => {
  it("learns the teacher's own texts, and scores held-out examples", async () => {
    const { lines } = await adapt("puma", { out: at("own"), steps: 3, evaluateEvery: 3 });
    expect(lines.some((line) => line.startsWith("the teacher's texts on 22 prompts"))).toBe(true);
    expect(lines.some((line) => /lookup ROUGE-L/.test(line))).toBe(true);
  });

  it("goes on where it was stopped, and not with other settings", async () => {
    const out = at("stopped");
    const stop = new AbortController();
    const base = { teacher: at("taught", "model"), data, out, batchSize: 6, threads: 1 };
    const config = { ...base, stage: "adapt", targets: "references", steps: 6, logEvery: 1 };
    const lines: string[] = [];
    const log = (line: string) => {
      lines.push(line);
      if (line.startsWith("step 3/")) stop.abort();
    };
    const run = (changes: object, signal?: AbortSignal) =>
      runStage(parseTrainConfig({ ...config, recipe: "puma", ...changes }), {
        kernels,
        log,
        signal,
      });
    expect(await run({}, stop.signal)).toEqual({ step: 3 });
    await expect(loadModel(out)).rejects.toMatchObject({ code: "E_MODEL" });
    await expect(run({ recipe: "east" })).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(run({ seed: 9 })).rejects.toThrow("other settings");
    await run({});
    expect(lines).toContain("resumed behind step 3");
    expect((await loadModel(out)).config.recipe).toBe("puma");
  });

  it("stops at a loss that is no number, and keeps the last good checkpoint", async () => {
    const changes = { rate: 1e38, clip: 1e38, warmupSteps: 0, checkpointEvery: 1, steps: 9 };
    const wild = adapt("mpcformer-2quad", { ...changes, out: at("wild"), targets: "references" });
    await expect(wild).rejects.toMatchObject({ code: "E_TRAIN" });
    await expect(wild).rejects.toThrow(/at step \d+; .*checkpoint\.safetensors holds step \d+/);
    expect(await readdir(at("wild.training"))).toContain("checkpoint.safetensors");
    await expect(loadModel(at("wild"))).rejects.toMatchObject({ code: "E_MODEL" });
  });

  it("takes plain text prompts of several lengths", async () => {
    const shape = { shape: "tiny", recipe: "vanilla", positions: 48, layers: 1, seed: 1 } as const;
    await saveModel(at("plain"), randomModel(shape, kernels));
    const lines = ["aaaa", "aeiouaei", "oo"].map((input) => JSON.stringify({ input, ref: "eee" }));
    await writeFile(at("plain.jsonl"), lines.join("\n"));
    const changes = { teacher: at("plain"), data: at("plain.jsonl"), targets: "references" };
    const { out } = await adapt("merge", {
      ...changes,
      batchSize: 2,
      steps: 3,
      out: at("plain-er"),
    });
    const { config } = await loadModel(out);
    expect(config.prompt).toEqual({ kind: "text", bucket: 8 });
    expect(config.positionCount).toBe(8 + config.generation.maxTokens - 1);
  });
});

describe("bad input", () => {
  const refused = async (changes: object, code: string, says: RegExp) => {
    const run = adapt("puma", { out: at("refused"), ...changes });
    await expect(run).rejects.toMatchObject({ code });
    await expect(run).rejects.toThrow(says);
    expect(await readdir(folder)).not.toContain("refused");
  };
  const file = async (name: string, text: string) => {
    await writeFile(at(name), text);
    return { data: at(name) };
  };
  const good = JSON.stringify(examples[0]);

  it("the teacher's own folder as out, a batch that threads cannot share: before all work", async () => {
    const own = at("taught", "model");
    const before = await readFile(join(own, "model.safetensors"));
    await refused({ out: own }, "E_CONFIG", /is the teacher's own folder: take another out/);
    expect((await readFile(join(own, "model.safetensors"))).equals(before)).toBe(true);
    const odd = { batchSize: 3, threads: 2 };
    await refused(odd, "E_CONFIG", /batchSize 3 is not a multiple of threads, 2: change either/);
    expect(await readdir(folder)).not.toContain("refused.training");
  });

  it("data: not JSON, without a field, empty, missing, a prompt that does not fit", async () => {
    await refused(
      await file("a.jsonl", `${good}\nnonsense\n`),
      "E_DATA",
      /a\.jsonl:2: is not JSON/,
    );
    const lacking = await file("b.jsonl", `${good}\n{"ref": "x"}\n`);
    await refused(lacking, "E_DATA", /b\.jsonl:2: lacks a text "input"/);
    await refused(await file("c.jsonl", ""), "E_DATA", /holds no example/);
    await refused({ data: at("none.jsonl") }, "E_DATA", /none\.jsonl/);
    const other = await file("d.jsonl", `${good}\n{"input": "drink[tea]", "ref": "x"}\n`);
    await refused(other, "E_DATA", /d\.jsonl: example 2: slot 1 of the prompt is unknown/);
  });

  it("settings: an unknown key or recipe, a recipe for other weights, no teacher", async () => {
    await refused({ momentum: 1 }, "E_CONFIG", /momentum/);
    await refused({ recipe: "grill" }, "E_CONFIG", /recipe/);
    await refused({ teacher: at("nowhere") }, "E_MODEL", /nowhere/);
    const merged = randomModel({ shape: "tiny", recipe: "merge", positions: 32, seed: 1 }, kernels);
    await saveModel(at("merged"), merged);
    await refused(
      { teacher: at("merged") },
      "E_CONFIG",
      /puma needs an ordinary decoder's weights/,
    );
    const config = JSON.parse(await readFile(at("merged", "config.json"), "utf8"));
    await writeFile(at("merged", "config.json"), JSON.stringify({ ...config, model_type: "bert" }));
    await refused({ teacher: at("merged") }, "E_MODEL", /model_type/);
  });

  it("a teacher that ends no text, and fewer texts than threads", async () => {
    const shape = { shape: "tiny", recipe: "vanilla", positions: 48, layers: 1, seed: 1 } as const;
    await saveModel(at("endless"), randomModel(shape, kernels));
    const plain = await file("e.jsonl", JSON.stringify({ input: "aaaa", ref: "eee" }));
    await refused({ teacher: at("endless"), ...plain }, "E_DATA", /ends no text.*references/);
    const references = { targets: "references", threads: 2, ...plain, teacher: at("endless") };
    await refused({ ...references, out: at("few") }, "E_DATA", /too few for 2 threads/);
  });
});
