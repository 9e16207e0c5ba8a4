import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import vectors from "../../test/vectors/training-losses.json" with { type: "json" };
import { loadFloatKernels } from "../kernel/float-load.ts";
import { weightShapes } from "../model/decoder.ts";
import type { Weights, WeightTensor } from "../model/safetensors.ts";
import { modelConfig } from "./model-shape.ts";
import { sharedVector } from "./parameters.ts";
import type { StudentOptions, StudentPart } from "./student-phases.ts";
import type { TaskSpec } from "./task.ts";
import { tokenSet } from "./token-set.ts";
import { type TrainOptions, train } from "./trainer.ts";

const kernels = await loadFloatKernels();
const folder = await mkdtemp(join(tmpdir(), "mergen-train-"));
afterAll(() => rm(folder, { recursive: true }));

const tinyModel = (attention: "softmax" | "constant") =>
  modelConfig(
    {
      recipe: attention === "softmax" ? "vanilla" : "merge",
      hiddenSize: 8,
      layerCount: 2,
      headCount: 2,
      innerSize: 16,
      attention,
      activation:
        attention === "softmax"
          ? { kind: "gelu", form: "tanh" }
          : { kind: "quad", coefficients: [0.125, 0.25, 0.5] },
      norm: { kind: "layernorm", eps: 1e-5, scale: attention === "softmax" },
      residual: true,
      nextToken: attention === "softmax" ? "lookup" : "resend",
      tiedHead: true,
      prompt: { kind: "slots", slots: [{ name: "name", width: 2 }] },
      generation: { maxTokens: 5, chunk: 5, anchor: 0 },
    },
    13,
  );

const pairs = vectors.prompts.map((prompt, row) => ({ prompt, output: vectors.outputs[row] }));
const data = tokenSet(pairs, { outputLength: 5, end: 2 });
const common = { data, batchSize: 6, buckets: [5], seed: 7 };

function part(changes: Partial<StudentPart>): StudentPart {
  const losses = { ce: 1, align: 0, soft: 0, hidden: 0 };
  return { kind: "real", rows: 1, ...losses, passes: 0, probability: [1, 1], ...changes };
}

function studentOptions(...parts: StudentPart[]): StudentOptions {
  return {
    phases: [{ share: 1, parts }],
    ...{ tailWeight: 0.05, smoothing: 0, noise: 0, dropout: 0 },
    ...{ temperature: 2, hiddenLoss: "cosine", hiddenLayers: "last" },
  };
}

function student(...parts: StudentPart[]): TaskSpec {
  const options = studentOptions(...parts);
  return { ...common, kind: "student", model: tinyModel("constant"), options };
}

/** A student of given tokens that is held to the model of `teacher` with formula weights. */
function taught(changes: Partial<StudentPart>, more: Partial<StudentOptions> = {}): TaskSpec {
  const task = student(part({ ce: 0.5, ...changes }));
  const weights = new Map(
    [...formulaWeights(teacher)].map(([name, { data }]) => {
      const shared = sharedVector(data.length);
      shared.set(data);
      return [name, shared];
    }),
  );
  const spec = { model: teacher.model, weights };
  return { ...task, teacher: spec, options: { ...task.options, ...more } } as TaskSpec;
}

const teacher: TaskSpec = {
  ...common,
  kind: "teacher",
  model: tinyModel("softmax"),
  options: { smoothing: 0, dropout: 0 },
};

function options(task: TaskSpec, changes: Partial<TrainOptions> = {}): TrainOptions {
  return {
    task,
    schedule: { rate: 0.01, warmupSteps: 3, finalShare: 0.1, steps: 10 },
    adam: { betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.05 },
    clip: 1,
    threads: 1,
    checkpointEvery: 1000,
    logEvery: 1000,
    evaluateEvery: 1000,
    kernels,
    log: () => {},
    ...changes,
  };
}

/** The formula of test/vectors/training-losses.py. */
function formulaWeights(task: TaskSpec): Weights {
  const weights: Weights = new Map();
  for (const [name, shape] of weightShapes(task.model)) {
    const seed = [...name].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
    const count = shape.reduce((total, size) => total * size, 1);
    const bias = name.endsWith(".scale") ? 1 : 0;
    const data = Float32Array.from(
      { length: count },
      (_, i) => 0.3 * Math.sin(0.37 * (i + 1) + 0.11 * seed) + bias,
    );
    weights.set(name, { shape, data });
  }
  return weights;
}

const bytes = (weights: Weights) =>
  [...weights].map(([name, { data }]: [string, WeightTensor]) => [name, [...data]]);

describe("ten training steps", () => {
  it.each([
    ["vanilla", teacher],
    ["merge", student(part({ kind: "real" }))],
    ["rollout", student(part({ kind: "rollout", align: 0.5 }))],
    ["soft", taught({ soft: 0.7 })],
    ["squared", taught({ hidden: 0.7 }, { hiddenLoss: "squared" })],
    ["cosine", taught({ hidden: 0.7 }, { hiddenLayers: "all" })],
  ] as const)("have the losses of PyTorch: %s", async (name, task) => {
    const { losses } = await train(options(task, { initial: formulaWeights(task) }));
    expect(losses).toHaveLength(10);
    for (const [step, loss] of losses.entries()) {
      const known = vectors.losses[name][step];
      expect(Math.abs(loss - known) / known, `step ${step}`).toBeLessThan(1e-4);
    }
  });
});

describe("the student's passes", () => {
  it("repeated often enough, re-sent passes are the exact roll-out", async () => {
    const initial = formulaWeights(student(part({})));
    // Pass k has the right states up to position k; the mean over passes hides it, so compare with
    // one more pass: the last term of the sums is their difference.
    const meanOver = async (passes: number) => {
      const task = student(part({ kind: "resent", passes }));
      const run = options(task, { initial, schedule: { ...schedule, steps: 1 } });
      return (await train(run)).losses[0] * (passes + 1);
    };
    const last = (await meanOver(6)) - (await meanOver(5));
    const exact = await train(
      options(student(part({ kind: "rollout" })), { initial, schedule: { ...schedule, steps: 1 } }),
    );
    const own = await train(
      options(student(part({ kind: "own" })), { initial, schedule: { ...schedule, steps: 1 } }),
    );
    expect(last).toBeCloseTo(exact.losses[0], 4);
    expect(own.losses[0]).toBeCloseTo(exact.losses[0], 4);
  });

  it("a roll-out of given tokens alone is the pass on real tokens", async () => {
    const initial = formulaWeights(student(part({})));
    const one = { initial, schedule: { ...schedule, steps: 1 } };
    const mixed = student(part({ kind: "rollout", probability: [0, 0] }));
    const real = student(part({ kind: "real" }));
    const [a, b] = await Promise.all([train(options(mixed, one)), train(options(real, one))]);
    expect(a.losses[0]).toBeCloseTo(b.losses[0], 5);
  });

  it("refuses a phase without a loss", async () => {
    await expect(train(options(student(part({ ce: 0 }))))).rejects.toThrow("has no loss");
  });
});

const schedule = { rate: 0.01, warmupSteps: 3, finalShare: 0.1, steps: 50 };
const mixedTask: TaskSpec = {
  ...student(
    part({ kind: "real", rows: 1, align: 0.1 }),
    part({ kind: "rollout", rows: 1, probability: [0, 1] }),
    part({ kind: "resent", rows: 1, passes: 2, probability: [0.3, 0.9] }),
  ),
};

describe("determinism", () => {
  it("the same seed gives the same weights after 50 steps, another seed others", async () => {
    const noisy: TaskSpec = { ...teacher, options: { smoothing: 0.1, dropout: 0.2 } };
    const run = (task: TaskSpec) => train(options(task, { schedule }));
    const first = await run(noisy);
    expect(bytes((await run(noisy)).weights)).toEqual(bytes(first.weights));
    expect(bytes((await run({ ...noisy, seed: 8 })).weights)).not.toEqual(bytes(first.weights));
    const mixed = await run(mixedTask);
    expect(bytes((await run(mixedTask)).weights)).toEqual(bytes(mixed.weights));
  });

  it("two threads give the same weights each time", async () => {
    const task: TaskSpec = { ...teacher, model: tinyModel("softmax") };
    const run = () => train(options(task, { threads: 2, schedule }));
    const first = await run();
    expect(bytes((await run()).weights)).toEqual(bytes(first.weights));
    expect(first.losses.at(-1)).toBeLessThan(first.losses[0]);
  });

  it("a run that is stopped and resumed equals one that is not", async () => {
    const whole = await train(options(mixedTask, { schedule }));
    const checkpoint = join(folder, "resumed.safetensors");
    for (const stopAt of [17, 18, 40, 1000]) {
      const stop = new AbortController();
      let lines = 0;
      const log = (line: string) => {
        if (line.startsWith("step") && ++lines === stopAt) stop.abort();
      };
      const { signal } = stop;
      await train(options(mixedTask, { schedule, checkpoint, signal, log, logEvery: 1 }));
    }
    const resumed = await train(options(mixedTask, { schedule, checkpoint }));
    expect(resumed.losses).toEqual([]);
    expect(bytes(resumed.weights)).toEqual(bytes(whole.weights));
  });
});

describe("failures", () => {
  it("a loss that is no number names the step and keeps the last checkpoint", async () => {
    const checkpoint = join(folder, "nan.safetensors");
    const few = { ...schedule, steps: 4 };
    await train(options(teacher, { schedule: few, checkpoint }));
    const before = await readFile(checkpoint);
    const wild = { ...schedule, rate: 1e38, warmupSteps: 0 };
    const run = train(options(teacher, { schedule: wild, checkpoint, clip: 1e30 }));
    await expect(run).rejects.toMatchObject({ code: "E_TRAIN" });
    await expect(run).rejects.toThrow(/step \d+/);
    expect((await readFile(checkpoint)).equals(before)).toBe(true);
  });

  it("refuses a checkpoint of another model and an uneven split", async () => {
    const checkpoint = join(folder, "other.safetensors");
    await train(options(teacher, { checkpoint, schedule: { ...schedule, steps: 1 } }));
    const other = train(options(student(part({})), { checkpoint }));
    await expect(other).rejects.toMatchObject({ code: "E_TRAIN" });
    await expect(train(options(teacher, { threads: 4 }))).rejects.toThrow("multiple of threads");
  });
});
