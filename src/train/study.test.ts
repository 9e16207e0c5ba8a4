import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadExamples } from "../evaluate/data.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { loadModel } from "../model/checkpoint.ts";
import { parseTrainConfig } from "./config.ts";
import { runStage } from "./stages.ts";
import { cutLeft } from "./study-data.ts";
import { loadQualityResult } from "./study-result.ts";
import { runStep } from "./study-step.ts";
import { keptTexts } from "./study-texts.ts";

const kernels = await loadFloatKernels();
const folder = await mkdtemp(join(tmpdir(), "mergen-study-"));
const at = (...parts: string[]) => join(folder, ...parts);
afterAll(() => rm(folder, { recursive: true }));

const animals = ["cat", "dog", "owl", "fox", "hen"];
const places = ["barn", "yard", "pond", "wood"];
const all = animals.flatMap((animal) =>
  places.map((place) => ({
    input: `${animal} ${place}`,
    ref: `the ${animal} is in the ${place}.`,
  })),
);

function writeSplit(dir: string, name: string, items: readonly object[]): void {
  mkdirSync(at(dir), { recursive: true });
  const text = items.map((item) => JSON.stringify(item)).join("\n");
  writeFileSync(at(dir, `${name}.jsonl.gz`), gzipSync(text));
}

beforeAll(() => {
  // The last training pair is also a test case; one input is too long for the bucket.
  const long = { input: "one two six ten old big wet cat barn", ref: "the cat is in." };
  writeSplit("data", "train", [...all.slice(0, 14), long, all[18]!]);
  writeSplit("data", "more", [{ ...all[14]!, side: "user" }]);
  writeSplit("data", "dev", all.slice(15, 17));
  writeSplit("data", "test", all.slice(17));
});

const parts = [{ kind: "rollout" }];

function config(out: string, changes: object = {}): Record<string, unknown> {
  const training = { batchSize: 4, buckets: [12], threads: 1, logEvery: 5, warmupSteps: 2 };
  const model = {
    recipe: "vanilla",
    hiddenSize: 16,
    layerCount: 1,
    headCount: 2,
    innerSize: 32,
    attention: "softmax",
    activation: { kind: "gelu", form: "tanh" },
    norm: { kind: "layernorm", eps: 1e-5, scale: true },
    nextToken: "lookup",
    prompt: { kind: "text", bucket: 4, prefix: " " },
    generation: { maxTokens: 12, chunk: 4, anchor: 1 },
  };
  return {
    stage: "study",
    task: "animals",
    data: at("data"),
    trainFiles: ["train.jsonl.gz", "more.jsonl.gz"],
    out: at(out),
    results: at(out, "results"),
    secureCount: 2,
    devCount: 2,
    calibrationCount: 2,
    tokenizer: { vocabSize: 330, wordMerges: 60, minCount: 2, isolatedSlots: [] },
    teacher: { ...training, steps: 40, rate: 0.01, model },
    distil: {},
    students: {
      ...training,
      steps: 10,
      rate: 0.004,
      phases: [{ share: 1, parts: [{ kind: "real" }] }],
    },
    cells: [
      { name: "vanilla", recipe: "vanilla" },
      { name: "merge-mm", recipe: "merge-mm" },
      {
        name: "merge",
        recipe: "merge",
        after: "merge-mm",
        train: { phases: [{ share: 1, parts }] },
      },
      {
        name: "affine",
        recipe: "merge",
        after: "merge",
        train: { norm: "affine", phases: [{ share: 1, parts }] },
      },
      { name: "merge-er", recipe: "merge-er", note: "its states are its own" },
    ],
    ...changes,
  };
}

const origin = { command: "mergen train x.json", machine: "a machine", commit: "abc" };

function run(
  given: object,
  {
    log = () => {},
    signal,
    overrides = [],
  }: {
    log?: (line: string) => void;
    signal?: AbortSignal;
    overrides?: string[];
  } = {},
) {
  return runStage(parseTrainConfig(given, { overrides }), { kernels, log, signal, origin });
}

const result = (out: string, cell: string) => loadQualityResult(at(out, "results", `${cell}.json`));

describe("a study of a tiny task", () => {
  const lines: string[] = [];

  it("goes from data to a result for each cell", async () => {
    const told = await run(config("whole"), { log: (line) => lines.push(line) });
    const names = ["vanilla", "merge-mm", "merge", "affine", "merge-er"];
    expect(told).toEqual({ task: "animals", done: names, failed: [], stopped: false });
    for (const name of names) {
      const { test, secure, dev, training, data, ...rest } = result("whole", name);
      expect(rest).toMatchObject({ ...origin, task: "animals", cell: name });
      expect(rest.recipe).toBe(name === "affine" ? "merge" : name);
      expect(data).toMatchObject({ train: 16, leftOut: 1, cut: { train: 1, dev: 0, test: 0 } });
      expect(data.distilled).toBeGreaterThan(0);
      expect(training).toMatchObject({
        steps: name === "vanilla" ? 40 : 10,
        batchSize: 4,
        seed: 1,
      });
      expect([test.count, secure?.count, dev.count]).toEqual([3, 2, 2]);
      // Ring arithmetic says what float says.
      expect(secure!.equal).toBe(2);
      expect(secure!.metrics).toEqual(secure!.float);
      expect(secure!.bounds).toBe(name === "affine" ? "calibrated" : "proven");
      expect(rest.anchor).toBe(name === "vanilla" || name === "merge-mm" ? 1 : 0);
      expect((await loadModel(rest.exported!)).config.weightFracBits).toBeDefined();
    }
    expect(result("whole", "merge").training.from).toBe("the weights of merge-mm");
    expect(result("whole", "merge-er").note).toBe("its states are its own");
    const cut = await loadExamples(at("whole", "prompts", "train.jsonl.gz"));
    expect(cut.map(({ input }) => input)).toContain("cat barn");
  }, 60_000);

  it("does nothing again, and makes a result that was lost from what is there", async () => {
    const before = readFileSync(at("whole", "results", "merge.json"), "utf8");
    rmSync(at("whole", "results", "merge.json"));
    const again: string[] = [];
    await run(config("whole"), { log: (line) => again.push(line) });
    expect(readFileSync(at("whole", "results", "merge.json"), "utf8")).toBe(before);
    expect(again.filter((line) => /step|secure texts|texts, /.test(line))).toEqual([]);
  });

  it("knows what an older version made, whose records lack keys that came later", async () => {
    const older = ["teacher", "merge-mm/training", "merge-mm/secure", "merge-er/export"];
    for (const step of older) {
      const path = at("whole", ...step.split("/"), "step.json");
      const later = /^ *"(accumulate|keep|temperature|soft|hidden|hiddenLoss)": .*\n/gm;
      const record = readFileSync(path, "utf8")
        .replace(later, "")
        .replace(/,(\s*\})/g, "$1");
      writeFileSync(path, record);
    }
    const again: string[] = [];
    const told = await run(config("whole"), { log: (line) => again.push(line) });
    expect(told).toMatchObject({ failed: [], stopped: false });
    expect(again.filter((line) => /step|secure texts|texts, /.test(line))).toEqual([]);
  });

  it("goes on where it was stopped, to the same texts", async () => {
    const stop = new AbortController();
    const log = (line: string) => {
      if (line.startsWith("step 5/10")) stop.abort();
    };
    const told = await run(config("cut"), { log, signal: stop.signal });
    expect(told).toMatchObject({ done: ["vanilla"], stopped: true });
    expect(existsSync(at("cut", "results", "merge-mm.json"))).toBe(false);
    const after: string[] = [];
    await run(config("cut"), { log: (line) => after.push(line) });
    expect(after).toContain("resumed behind step 5");
    const test = (out: string) => readFileSync(at(out, "merge-mm", "float", "test.jsonl"), "utf8");
    expect(test("cut")).toBe(test("whole"));
    expect(result("cut", "merge").test).toEqual(result("whole", "merge").test);
  }, 60_000);

  it("goes on behind the last secure text that a kill left whole, and takes more", async () => {
    const path = at("whole", "merge", "secure", "test.jsonl");
    const before = readFileSync(path, "utf8");
    writeFileSync(path, before.slice(0, -9));
    expect(keptTexts(path)).toHaveLength(1);
    await run(config("whole", { secureCount: 3, only: ["merge"] }));
    expect(readFileSync(path, "utf8").startsWith(before)).toBe(true);
    expect(result("whole", "merge").secure).toMatchObject({ count: 3 });
  }, 60_000);

  it("folders of other settings are told, not mixed", async () => {
    await expect(run(config("whole"), { overrides: ["students.steps=11"] })).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringContaining("work of other settings"),
    });
  });

  it("makes up dialogue acts that fit the prompt, and trains hybrid layers", async () => {
    const acts = ["Bar-Inform(Food=thai, Area=east)", "Bar-Inform(Food=welsh, Area=west)"];
    const items = [...acts, "Bar-Request(Day=?)", "Pub-Inform(Area=west)", "general-bye()"];
    const split = (name: string, ref: string) =>
      writeSplit(
        "acts",
        name,
        items.map((input) => ({ input, ref })),
      );
    split("dev", "it is no. 1.");
    split("test", "it is no. 1.");
    split("train", "it is no. 2.");
    const base = config("acts-study") as { teacher: { model: object }; students: object };
    const prompt = { kind: "text", bucket: 24, padding: "right", prefix: " " };
    const hybrid = { layers: [0], attention: { kind: "2quad", shift: 5 } };
    const study = {
      ...base,
      data: at("acts"),
      trainFiles: ["train.jsonl.gz"],
      teacher: { ...base.teacher, model: { ...base.teacher.model, prompt } },
      distil: { syntheticCount: 60, syntheticFrom: "acts" },
      students: { ...base.students, hybrid },
      cells: [{ name: "merge", recipe: "merge", train: { phases: [{ share: 1, parts }] } }],
    };
    const told = await run(study);
    expect(told).toMatchObject({ done: ["merge"], failed: [] });
    const { exported, secure } = result("acts-study", "merge");
    const { config: made } = await loadModel(exported!);
    expect(made.hybrid).toEqual(hybrid);
    expect(Object.keys(made.ranges!)).toContain("layers.0.attention.score");
    expect(secure).toMatchObject({ equal: 2, bounds: "proven" });
    const { outputs, withoutEnd } = JSON.parse(
      readFileSync(at("acts-study", "distil", "step.json"), "utf8"),
    ).result;
    expect(outputs + withoutEnd).toBeGreaterThan(5);
    expect(outputs + withoutEnd).toBeLessThan(65);
  }, 60_000);

  it("a training that comes to no number is passed over", async () => {
    const cells = [
      { name: "wild", recipe: "puma", train: { rate: 1e38, clip: 1e38, warmupSteps: 0 } },
      { name: "merge-mm", recipe: "merge-mm" },
    ];
    const told = await run(config("cut", { cells }));
    expect(told).toMatchObject({ done: ["merge-mm"], failed: ["wild"] });
    expect(existsSync(at("cut", "results", "wild.json"))).toBe(false);
  }, 60_000);
});

describe("bad input", () => {
  const refused = async (given: object, code: string, says: RegExp, overrides: string[] = []) => {
    const promise = (async () => run(given, { overrides }))();
    await expect(promise).rejects.toMatchObject({ code });
    await expect(promise).rejects.toThrow(says);
  };

  it("keys: unknown ones of the study, of a stage and of a cell, before anything runs", async () => {
    await refused(config("bad", { budget: 1 }), "E_CONFIG", /budget/);
    await refused(config("bad"), "E_CONFIG", /animals\.teacher.*stepz/, ["teacher.stepz=1"]);
    await refused(config("bad"), "E_CONFIG", /animals\.cells\.vanilla|stepz/, ["students.stepz=1"]);
    const cells = [{ name: "a", recipe: "puma", train: { rats: 1 } }];
    await refused(config("bad", { cells }), "E_CONFIG", /animals\.cells\.a.*rats/);
    await refused(config("bad", { only: ["b"] }), "E_CONFIG", /no cell b; take some of vanilla/);
    expect(existsSync(at("bad"))).toBe(false);
  });

  it("cells: a name twice, a name of the study's own, a beginning that nobody trains", async () => {
    const cell = (name: string, rest: object = {}) => ({ name, recipe: "merge", ...rest });
    const twice = [cell("a"), cell("a")];
    await refused(config("bad", { cells: twice }), "E_CONFIG", /a stands twice/);
    await refused(
      config("bad", { cells: [cell("teacher")] }),
      "E_CONFIG",
      /teacher stands twice, or/,
    );
    const later = [cell("a", { after: "b" }), cell("b")];
    await refused(config("bad", { cells: later }), "E_CONFIG", /a: none before it trains b/);
    await refused(config("bad", { cells: [cell("A b")] }), "E_CONFIG", /cells\.0\.name/);
  });

  it("data: empty, without a field, missing, nothing but test cases", async () => {
    const given = (dir: string) =>
      config(`bad-${dir}`, { data: at(dir), trainFiles: ["train.jsonl.gz"] });
    const split = (dir: string, train: readonly object[]) => {
      writeSplit(dir, "train", train);
      for (const name of ["dev", "test"]) writeSplit(dir, name, all.slice(17));
      return given(dir);
    };
    await refused(split("empty", []), "E_DATA", /train\.jsonl\.gz: holds no example/);
    const lacking = [all[0]!, { input: "x" }];
    await refused(split("lacking", lacking), "E_DATA", /train\.jsonl\.gz:2: lacks a text/);
    await refused(given("nowhere"), "E_DATA", /dev\.jsonl\.gz: cannot be read/);
    await refused(split("same", all.slice(17)), "E_DATA", /all training pairs are cases/);
  });

  it("a teacher that ends no text", async () => {
    const given = config("endless");
    await refused(given, "E_DATA", /the teacher ends no text within 12 tokens/, [
      "teacher.steps=1",
    ]);
  });

  it("records and results that are none", async () => {
    mkdirSync(at("step"));
    writeFileSync(at("step", "step.json"), "{");
    const step = { folder: at("step"), settings: {}, work: () => Promise.resolve({}) };
    const context = { kernels, log: () => {} };
    await expect(runStep(step, context)).rejects.toThrow(/step\.json: cannot be read/);
    writeFileSync(at("step", "step.json"), "{}");
    await expect(runStep(step, context)).rejects.toMatchObject({ code: "E_DATA" });
    writeFileSync(at("step", "test.jsonl"), '{"words":1}\n');
    expect(() => keptTexts(at("step", "test.jsonl"))).toThrow(/test\.jsonl:1: holds no text/);
    expect(() => loadQualityResult(at("step", "step.json"))).toThrow(/step\.json: format/);
  });
});

describe("a long input", () => {
  const count = (text: string) => text.split(" ").length;

  it("keeps as many of its last words as fit", () => {
    expect(cutLeft("a b c d e", { most: 3, count })).toBe("c d e");
    expect(cutLeft("a b c", { most: 3, count })).toBe("a b c");
    expect(cutLeft("a b", { most: 0, count })).toBeUndefined();
  });
});
