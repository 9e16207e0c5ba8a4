// `mergen train` as processes: killed at any moment and started again, stopped by a loss that is no
// number, by a full disk, and refused for whatever is wrong with its files.

import { existsSync } from "node:fs";
import { cp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadFloatKernels, parseTrainConfig, runStage } from "../../src/index.ts";
import { Random } from "../../src/model/random.ts";
import {
  expectError,
  type Finished,
  jsonLines,
  mergen,
  Running,
  type TestFolder,
  testFolder,
} from "../../test/cli.ts";
import { fullDevice, itOnFullDevice } from "../../test/full-device.ts";

const names = ["The Mill", "The Vaults", "Blue Spice", "Cocum"];
const foods = ["French", "Italian", "Chinese"];
const slots = ["name", "food"].map((name) => ({ name, width: 2 }));
const shape = {
  hiddenSize: 16,
  layerCount: 2,
  headCount: 2,
  innerSize: 32,
  prompt: { kind: "slots", prefix: " ", slots },
  generation: { maxTokens: 8, chunk: 4, anchor: 1 },
};
const decoder = {
  ...shape,
  recipe: "vanilla",
  attention: "softmax",
  activation: { kind: "gelu", form: "tanh" },
  norm: { kind: "layernorm", eps: 1e-5, scale: true },
  nextToken: "lookup",
};
const merged = {
  ...shape,
  recipe: "merge",
  attention: "constant",
  activation: { kind: "quad", coefficients: [0.125, 0.25, 0.5] },
  norm: { kind: "layernorm", eps: 1e-5, scale: false },
  nextToken: "resend",
  embeddingScale: 16,
  sharedAttention: true,
};

let folder: TestFolder;
let common: object;

beforeAll(async () => {
  folder = await testFolder();
  const data = folder.path("data");
  await mkdir(data);
  const lines = names.flatMap((name) =>
    foods.map((food) => {
      const ref = `${name} serves ${food} food.`;
      return JSON.stringify({ input: `name[${name}], food[${food}]`, ref });
    }),
  );
  for (const split of ["train", "dev", "test"]) {
    await writeFile(join(data, `${split}.jsonl.gz`), gzipSync(lines.join("\n")));
  }
  const kernels = await loadFloatKernels();
  const run = (stage: object) =>
    runStage(parseTrainConfig({ data, ...stage }), { kernels, log: () => {} });
  const words = { vocabSize: 420, wordMerges: 120, minCount: 2, isolatedSlots: ["name", "food"] };
  await run({ stage: "tokenizer", out: folder.path("tokenizer"), ...words });
  common = {
    data,
    tokenizer: folder.path("tokenizer"),
    batchSize: 4,
    buckets: [8],
    threads: 1,
    steps: 40,
    warmupSteps: 4,
    rate: 0.01,
    logEvery: 10,
    evaluateEvery: 20,
    checkpointEvery: 1,
  };
  await run({ ...common, stage: "teacher", out: folder.path("taught"), model: decoder });
  const teacher = folder.path("taught/model");
  await run({ stage: "distil", out: folder.path("distil"), teacher, syntheticCount: 0 });
}, 60_000);
afterAll(() => folder.dispose());

const model = () => folder.path("taught/model");
const teacherStage = (changes: object = {}) => ({
  ...common,
  stage: "teacher",
  model: decoder,
  ...changes,
});
const studentStage = (changes: object = {}) => ({
  ...common,
  stage: "student",
  pairs: folder.path("distil/pairs.jsonl"),
  model: merged,
  phases: [
    { share: 1, parts: [{ kind: "real" }] },
    { share: 1, parts: [{ kind: "rollout", soft: 0.5, hidden: 0.2 }, { kind: "own" }] },
  ],
  teacher: model(),
  ...changes,
});

let configs = 0;
async function command(config: object, ...rest: string[]): Promise<string[]> {
  const path = await folder.file(`config-${configs++}.json`, JSON.stringify(config));
  return ["train", path, "--json", ...rest];
}

const train = async (config: object): Promise<Finished> => mergen(await command(config));

/** All that must not depend on kills: the model and the state of training. */
const results = (out: string) =>
  Promise.all(
    ["model/model.safetensors", "model/config.json", "checkpoint.safetensors", "best.safetensors"]
      .map((name) => join(out, name))
      .map((path) => readFile(path, "base64")),
  );

/** Steps of the points of a curve, whose picture is there. */
async function curveSteps(out: string): Promise<number[][]> {
  expect(await readFile(join(out, "curve.svg"), "utf8")).toMatch(/^<svg/);
  const { losses, scores } = JSON.parse(await readFile(join(out, "curve.json"), "utf8"));
  return [losses, scores].map((points: { step: number }[]) => points.map(({ step }) => step));
}

describe("a run that is killed", () => {
  it.each([
    ["teacher", () => teacherStage({ dropout: 0.1, steps: 120 }), 1],
    ["student with a teacher, in parts", () => studentStage({ accumulate: 2, batchSize: 2 }), 2],
  ] as const)(
    "goes on to the same weights: %s",
    async (name, config, seed) => {
      const settings = { ...config(), keep: "best", logEvery: 5 };
      const whole = folder.path(`whole-${seed}`);
      expect((await train({ ...settings, out: whole })).status).toBe(0);
      const out = folder.path(`killed-${seed}`);
      const args = await command({ ...settings, out });
      const random = new Random(seed, 77);
      for (let kill = 0; kill < 4; kill++) {
        const lines = random.below(4);
        const run = new Running(args);
        const ended = () => run.child.exitCode !== null;
        const logged = () => run.stderr.split("\n").filter((line) => /^step/.test(line)).length;
        await run.until(() => logged() >= lines).catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, 80 * random.uniform()));
        if (!ended()) run.signal("SIGKILL");
        await run.finished;
      }
      const last = await mergen(args);
      expect(last.status, name).toBe(0);
      expect(last.stderr, "a kill in the middle").toMatch(/^resumed behind step [1-9]/m);
      expect(await results(out)).toEqual(await results(whole));
      expect(await curveSteps(out)).toEqual(await curveSteps(whole));
    },
    120_000,
  );
});

describe("two runs of one folder", () => {
  it("the second is refused while the first is there, whatever became of one before", async () => {
    const out = folder.path("locked");
    const stage = teacherStage({ out, steps: 5000, logEvery: 1 });
    const args = await command(stage);
    for (const signal of ["SIGKILL", "SIGINT"] as const) {
      const first = new Running(args);
      await first.until(({ stderr }) => /^step/m.test(stderr));
      const second = await train(teacherStage({ out, steps: 3 }));
      const { pid } = first.child;
      expectError(second, "E_BUSY", new RegExp(`locked: process ${pid} trains into it`));
      first.signal(signal);
      await first.finished;
      expect(existsSync(`${out}.lock`), signal).toBe(signal === "SIGKILL");
    }
    const last = await train(teacherStage({ out, steps: 1, logEvery: 1 }));
    expect(last.stderr).not.toMatch(/takes over/);
    expect(last.status).toBe(0);
    expect(existsSync(`${out}.lock`)).toBe(false);
  }, 60_000);
});

describe("a run that cannot go on", () => {
  it("a loss that is no number: the step is named, the checkpoint stays", async () => {
    const out = folder.path("wild");
    const calm = teacherStage({ out, steps: 40 });
    const first = await train({ ...calm, steps: 4 });
    expect(jsonLines(first)).toMatchObject([{ step: 4 }]);
    const before = await readFile(join(out, "checkpoint.safetensors"));
    const wild = { ...calm, rate: 1e38, clip: 1e30, warmupSteps: 0, checkpointEvery: 1000 };
    expectError(await train(wild), "E_TRAIN", /not a number at step \d+; .*holds step 4; lower/);
    expect((await readFile(join(out, "checkpoint.safetensors"))).equals(before)).toBe(true);
    expect(jsonLines(await train(calm))).toMatchObject([{ step: 40 }]);
  });

  itOnFullDevice("a full disk: the checkpoint stays", async () => {
    const out = folder.path("full");
    const stage = teacherStage({ out, checkpointEvery: 5 });
    expect((await train({ ...stage, steps: 5 })).status).toBe(0);
    const path = join(out, "checkpoint.safetensors");
    const before = await readFile(path);
    await symlink(fullDevice, `${path}.part`);
    const finished = await train(stage);
    expectError(finished, "E_TRAIN", /checkpoint\.safetensors: cannot be written: ENOSPC.*step 5;/);
    expect((await readFile(path)).equals(before)).toBe(true);
    expect(jsonLines(await train(stage))).toMatchObject([{ step: 40 }]);
  });
});

describe.concurrent("bad input", () => {
  const refused = async (config: object, code: Parameters<typeof expectError>[1], says: RegExp) =>
    expectError(await train(config), code, says);
  let outs = 0;
  const out = () => folder.path(`refused-${outs++}`);

  /** The data folder with another training set. */
  async function withTraining(name: string, content: Uint8Array | string): Promise<string> {
    const data = folder.path(name);
    await cp(folder.path("data"), data, { recursive: true });
    await writeFile(join(data, "train.jsonl.gz"), content);
    return data;
  }

  it("an empty data set", async () => {
    const data = await withTraining("empty", gzipSync(""));
    await refused(teacherStage({ data, out: out() }), "E_DATA", /empty.train\.jsonl\.gz/);
    const pairs = await folder.file("none.jsonl", "");
    await refused(studentStage({ pairs, out: out() }), "E_DATA", /none\.jsonl/);
  });

  it("a malformed line: file and line are named", async () => {
    const good = '{"input":"name[Cocum]","ref":"Cocum."}';
    const data = await withTraining("broken", gzipSync(`${good}\n${good}\n{"input":3}\n`));
    await refused(teacherStage({ data, out: out() }), "E_DATA", /train\.jsonl\.gz:3/);
    const pair = '{"prompt":[1,2,3,4,5],"output":[3,2]}';
    const pairs = await folder.file("broken.jsonl", `${pair}\n{"prompt":[1,"x"]}\n`);
    await refused(studentStage({ pairs, out: out() }), "E_DATA", /broken\.jsonl:2/);
  });

  it("ids and prompts that the model does not have", async () => {
    const ids = await folder.file("ids.jsonl", '{"prompt":[1,2,3,4,5],"output":[99999,2]}\n');
    await refused(studentStage({ pairs: ids, out: out() }), "E_DATA", /ids\.jsonl:1.*99999/);
    const short = await folder.file("short.jsonl", '{"prompt":[1,2],"output":[3,2]}\n'.repeat(8));
    await refused(
      studentStage({ pairs: short, out: out() }),
      "E_DATA",
      /prompts have 2 positions, .* 5/,
    );
  });

  it("an unknown key, also of a part", async () => {
    await refused(teacherStage({ out: out(), frob: 1 }), "E_CONFIG", /config.*frob/);
    const phases = [{ share: 1, parts: [{ kind: "real", sofft: 1 }] }];
    await refused(studentStage({ out: out(), phases }), "E_CONFIG", /phases\.0\.parts\.0.*sofft/);
  });

  it("no teacher for soft labels", async () => {
    const changes = { teacher: undefined, out: out() };
    await refused(studentStage(changes), "E_CONFIG", /phases\.1: soft and hidden need a teacher/);
  });

  it("a teacher of another vocabulary, width or architecture", async () => {
    const other = await folder.model("other", { bucket: 8 });
    await refused(studentStage({ teacher: other, out: out() }), "E_CONFIG", /vocabSize is \d+/);
    const wide = { model: { ...merged, hiddenSize: 8 }, out: out() };
    await refused(studentStage(wide), "E_CONFIG", /its hiddenSize is 16, the student's 8/);
    const deep = { model: { ...merged, layerCount: 3 }, hiddenLayers: "all", out: out() };
    await refused(studentStage(deep), "E_CONFIG", /its layerCount is 2, the student's 3/);
    const recipe = { teacher: other, recipe: "puma", model: undefined, out: out() };
    await refused(studentStage(recipe), "E_CONFIG", /merged module, puma needs an ordinary/);
    const none = { teacher: folder.path("nobody"), out: out() };
    await refused(studentStage(none), "E_MODEL", /nobody/);
  });

  it("a teacher whose ids mean other tokens", async () => {
    const teacher = folder.path("renamed");
    await cp(model(), teacher, { recursive: true });
    const path = join(teacher, "tokenizer.json");
    const tokenizer = JSON.parse(await readFile(path, "utf8"));
    const vocab = tokenizer.model.vocab as Record<string, number>;
    const [first, second] = Object.keys(vocab).slice(-2) as [string, string];
    [vocab[first], vocab[second]] = [vocab[second]!, vocab[first]!];
    await rm(path);
    await writeFile(path, JSON.stringify(tokenizer));
    await refused(studentStage({ teacher, out: out() }), "E_CONFIG", /its tokenizer is another/);
  });
});
