import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  bytes,
  formulaWeights,
  mixedTask,
  options,
  part,
  schedule,
  student,
  taught,
  teacher,
  tinyModel,
} from "../../test/training-tasks.ts";
import vectors from "../../test/vectors/training-losses.json" with { type: "json" };
import type { Weights } from "../model/safetensors.ts";
import type { TaskSpec } from "./task.ts";
import { train } from "./trainer.ts";

const folder = await mkdtemp(join(tmpdir(), "mergen-train-"));
afterAll(() => rm(folder, { recursive: true }));

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

/** Greatest difference of two sets of weights. */
function distance(a: Weights, b: Weights): number {
  const differences = [...a].flatMap(([name, { data }]) => {
    const other = b.get(name)!.data;
    return [...data].map((value, i) => Math.abs(value - other[i]!));
  });
  return Math.max(...differences);
}

describe("a step in parts", () => {
  const short = { schedule: { ...schedule, steps: 10 } };
  const dropping: TaskSpec = { ...teacher, options: { smoothing: 0.1, dropout: 0 } };

  // Texts have 4 or 5 tokens, so that means of parts weigh differently.
  it.each([
    ["teacher", dropping],
    ["student", student(part({ kind: "rollout", align: 0.3 }))],
    ["taught student", taught({ soft: 0.7, hidden: 0.4 })],
  ] as const)("has the gradient of the whole: %s", async (_, task) => {
    const whole = await train(options(task, short));
    for (const [accumulate, threads] of [
      [2, 1],
      [3, 1],
      [1, 2],
      [3, 2],
    ] as const) {
      const parts = await train(options(task, { ...short, accumulate, threads }));
      for (const [step, loss] of whole.losses.entries()) {
        expect(Math.abs(parts.losses[step]! - loss) / loss).toBeLessThan(1e-5);
      }
      // Adam divides by the gradient's size, so rounding errors of small ones grow.
      expect(distance(parts.weights, whole.weights)).toBeLessThan(1e-3);
    }
  });

  it("sums over parts are means over texts: a wrong count would be seen", async () => {
    const losses = async (task: TaskSpec, accumulate: number) =>
      (await train(options(task, { ...short, accumulate, clip: 1e9 }))).losses;
    const six = await losses(dropping, 2);
    const three = await losses({ ...dropping, batchSize: 3 }, 1);
    expect(Math.abs(six[9]! - three[9]!)).toBeGreaterThan(1e-3);
  });

  it("threads hold the teacher's weights: two give what one does", async () => {
    const task = taught({ soft: 1, hidden: 1 }, { hiddenLayers: [0, 1] });
    const one = await train(options(task, { ...short, threads: 1 }));
    const two = await train(options(task, { ...short, threads: 2 }));
    expect(distance(one.weights, two.weights)).toBeLessThan(1e-3);
    const alone = await train(options(student(part({ ce: 0.5 })), short));
    expect(distance(one.weights, alone.weights)).toBeGreaterThan(1e-2);
  });
});

describe("a teacher", () => {
  it("gets no gradient: its weights stay as they were", async () => {
    const task = taught({ soft: 1, hidden: 1 });
    if (task.kind !== "student") throw new Error("not a student");
    const before = [...task.teacher!.weights].map(([, data]) => [...data]);
    await train(options(task));
    expect([...task.teacher!.weights].map(([, data]) => [...data])).toEqual(before);
  });

  it("is missing: soft labels are refused", async () => {
    const run = train(options(student(part({ soft: 1 }))));
    await expect(run).rejects.toMatchObject({ code: "E_CONFIG" });
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
