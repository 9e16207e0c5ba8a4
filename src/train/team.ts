// The threads of a training run, behind one call. A run with one shard works in the calling thread.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { Shard, type ShardAnswer, type ShardRequest, type SharedRun } from "./shard.ts";
import type { StepReport } from "./task.ts";

export interface Team {
  gradient(step: number, steps: number): Promise<StepReport[]>;
  /** Sum of squares of the averaged gradient. */
  reduce(): Promise<number>;
  update(options: { step: number; rate: number; scale: number }): Promise<void>;
  close(): Promise<void>;
}

type AskAll = (request: ShardRequest) => Promise<ShardAnswer[]>;

export function createTeam(run: SharedRun, kernels: FloatKernels): Team {
  if (run.gradients.length === 1) {
    const shard = new Shard(run, 0, kernels);
    return teamOf(
      async (request) => [shard.answer(request)],
      async () => {},
    );
  }
  const file = import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js";
  const workers = run.gradients.map(
    (_, index) => new Worker(new URL(file, import.meta.url), { workerData: { run, index } }),
  );
  const askAll: AskAll = (request) =>
    Promise.all(
      workers.map(async (worker) => {
        const answer = once(worker, "message");
        worker.postMessage(request);
        return (await answer)[0] as ShardAnswer;
      }),
    );
  return teamOf(askAll, async () => {
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
}

function teamOf(askAll: AskAll, close: () => Promise<void>): Team {
  return {
    async gradient(step, steps) {
      return (await askAll({ kind: "gradient", step, steps })) as StepReport[];
    },
    async reduce() {
      const answers = (await askAll({ kind: "reduce" })) as { squares: number }[];
      return answers.reduce((sum, { squares }) => sum + squares, 0);
    },
    async update(options) {
      await askAll({ kind: "update", ...options });
    },
    close,
  };
}
