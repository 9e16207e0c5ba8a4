// What a run leaves behind: the best weights, the curve, and checkpoints when the disk is full.

import { mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fullDevice, itOnFullDevice } from "../../test/full-device.ts";
import { bytes, options, schedule, teacher } from "../../test/training-tasks.ts";
import { type Evaluation, type TrainOptions, train } from "./trainer.ts";

const folder = await mkdtemp(join(tmpdir(), "mergen-recorder-"));
afterAll(() => rm(folder, { recursive: true }));

const scoresOf = (scores: readonly number[]) => {
  let at = 0;
  return async (): Promise<Evaluation> => {
    const score = scores[at++ % scores.length]!;
    return { line: `score ${score}`, scores: { score }, score };
  };
};

function run(name: string, changes: Partial<TrainOptions> = {}) {
  return train(
    options(teacher, {
      schedule: { ...schedule, steps: 12 },
      checkpoint: join(folder, `${name}.safetensors`),
      best: join(folder, `${name}-best.safetensors`),
      curve: join(folder, name),
      evaluateEvery: 3,
      logEvery: 2,
      ...changes,
    }),
  );
}

/** A signal that stops a run behind a step: the loop asks it before each one. */
function stopBehind(step: number): AbortSignal {
  let asked = 0;
  return new Proxy(new AbortController().signal, {
    get(target, key) {
      return key === "aborted" ? asked++ >= step : Reflect.get(target, key);
    },
  });
}

describe("the best weights", () => {
  const evaluate = () => scoresOf([0.1, 0.7, 0.7, 0.3]);

  it("are those of the first best score, or the last ones, as asked", async () => {
    const kept = await run("kept", { keep: "best", evaluate: evaluate() });
    expect(kept).toMatchObject({ step: 12, weightsStep: 6, best: { step: 6 } });
    const six = await run("six", { schedule: { ...schedule, steps: 12 }, signal: stopBehind(6) });
    expect(six.step).toBe(6);
    expect(bytes(kept.weights)).toEqual(bytes(six.weights));
    const last = await run("last", { evaluate: evaluate() });
    expect(last).toMatchObject({ step: 12, weightsStep: 12, best: { step: 6 } });
    expect(bytes(last.weights)).not.toEqual(bytes(kept.weights));
  });

  it("outlive a stop, and a run from the beginning does not know them", async () => {
    const stopped = await run("stopped", {
      evaluate: evaluate(),
      signal: stopBehind(8),
      logEvery: 1,
    });
    expect(stopped.step).toBe(8);
    const resumed = await run("stopped", { keep: "best", evaluate: scoresOf([0.7, 0.3]) });
    expect(resumed).toMatchObject({ step: 12, weightsStep: 6 });
    await rm(join(folder, "stopped.safetensors"));
    const anew = await run("stopped", { keep: "best", evaluate: scoresOf([0.2, 0.1, 0, 0]) });
    expect(anew).toMatchObject({ weightsStep: 3 });
    expect(anew.best!.score).toBeCloseTo(0.2);
  });
});

describe("the curve", () => {
  it("holds a point for each line of the log and each score, also after a stop", async () => {
    const evaluate = scoresOf([0.5]);
    await run("curve", { evaluate, signal: stopBehind(7) });
    // Lines behind the checkpoint are of steps that are done again.
    await run("curve", { evaluate });
    const curve = JSON.parse(await readFile(join(folder, "curve.json"), "utf8"));
    expect(curve.format).toBe("mergen-curve-1");
    const steps = (points: { step: number }[]) => points.map(({ step }) => step);
    expect(steps(curve.losses)).toEqual([2, 4, 6, 8, 10, 12]);
    expect(steps(curve.scores)).toEqual([3, 6, 9, 12]);
    expect(curve.scores[0].scores).toEqual({ score: 0.5 });
    for (const { loss, parts, rate } of curve.losses) {
      expect(loss).toBeGreaterThan(0);
      expect(parts.text).toBeCloseTo(loss, 6);
      expect(rate).toBeGreaterThan(0);
    }
    const svg = await readFile(join(folder, "curve.svg"), "utf8");
    expect(svg).toMatch(/^<svg/);
    expect(svg).toContain("score");
  });

  it("that cannot be written is no reason to stop", async () => {
    const lines: string[] = [];
    const log = (line: string) => lines.push(line);
    const result = await run("nowhere", { curve: join(folder, "none", "curve"), log });
    expect(result.step).toBe(12);
    expect(lines.some((line) => line.includes("the curve was not written"))).toBe(true);
  });
});

describe("a full disk", () => {
  itOnFullDevice("leaves the old checkpoint", async () => {
    await run("full", { signal: stopBehind(4), checkpointEvery: 2 });
    const path = join(folder, "full.safetensors");
    const before = await readFile(path);
    // What is written aside goes to a device on which there is never room.
    await symlink(fullDevice, `${path}.part`);
    const rest = run("full", { checkpointEvery: 2 });
    await expect(rest).rejects.toMatchObject({ code: "E_TRAIN" });
    await expect(rest).rejects.toThrow(/full\.safetensors: cannot be written: ENOSPC; .*step 4;/);
    expect((await readFile(path)).equals(before)).toBe(true);
    expect(await readdir(folder)).not.toContain("full.safetensors.part");
    // With room again it goes on, to what an uninterrupted run gives.
    const resumed = await run("full");
    const whole = await run("whole");
    expect(bytes(resumed.weights)).toEqual(bytes(whole.weights));
  });

  itOnFullDevice("leaves the old best weights", async () => {
    const path = join(folder, "best-best.safetensors");
    await run("best", { evaluate: scoresOf([0.1]), signal: stopBehind(6) });
    const before = await readFile(path);
    await symlink(fullDevice, `${path}.part`);
    await expect(run("best", { evaluate: scoresOf([0.9]) })).rejects.toThrow(/ENOSPC.*step 6/);
    expect((await readFile(path)).equals(before)).toBe(true);
  });
});
