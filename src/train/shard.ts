// One thread's part of a training step: the gradient of its part of the batch, then the update of
// its slice of the weights from everybody's gradients.

import type { FloatKernels } from "../kernel/float-kernels.ts";
import { type AdamOptions, adamUpdate } from "./optimizer.ts";
import { type Layout, views } from "./parameters.ts";
import { createTask, type StepReport, type Task, type TaskSpec } from "./task.ts";

/** What all threads of a run share. */
export interface SharedRun {
  readonly spec: TaskSpec;
  readonly layout: Layout;
  readonly weights: Float32Array;
  readonly moment1: Float32Array;
  readonly moment2: Float32Array;
  /** Parts, one after the other, into which each thread cuts its part of a step's texts. */
  readonly accumulate: number;
  /** One per thread. */
  readonly gradients: readonly Float32Array[];
  readonly adam: AdamOptions;
}

export type ShardRequest =
  | { readonly kind: "gradient"; readonly step: number; readonly steps: number }
  /** Averages the gradients over this thread's slice; answers its sum of squares. */
  | { readonly kind: "reduce" }
  | {
      readonly kind: "update";
      readonly step: number;
      readonly rate: number;
      readonly scale: number;
    };

export type ShardAnswer = StepReport | { readonly squares: number } | undefined;

export class Shard {
  readonly #run: SharedRun;
  readonly #index: number;
  readonly #kernels: FloatKernels;
  readonly #task: Task;
  readonly #weights: ReadonlyMap<string, Float32Array>;
  readonly #gradients: ReadonlyMap<string, Float32Array>;
  readonly #from: number;
  readonly #to: number;

  constructor(run: SharedRun, index: number, kernels: FloatKernels) {
    this.#run = run;
    this.#index = index;
    this.#kernels = kernels;
    this.#task = createTask(run.spec, kernels);
    this.#weights = views(run.layout, run.weights);
    this.#gradients = views(run.layout, run.gradients[index]);
    const count = run.gradients.length;
    const slice = Math.ceil(run.layout.length / count / 16) * 16;
    this.#from = Math.min(run.layout.length, index * slice);
    this.#to = Math.min(run.layout.length, (index + 1) * slice);
  }

  answer(request: ShardRequest): ShardAnswer {
    switch (request.kind) {
      case "gradient":
        return this.#gradient(request);
      case "reduce":
        return { squares: this.#reduce() };
      case "update": {
        const { rate, scale, step } = request;
        const range = { from: this.#from, to: this.#to };
        adamUpdate(this.#run, this.#kernels, { ...range, rate, scale, step });
        return undefined;
      }
      default:
        return request satisfies never;
    }
  }

  /** Gradients of all parts added up; the report of them together. */
  #gradient({ step, steps }: ShardRequest & { kind: "gradient" }): StepReport {
    const { accumulate, gradients } = this.#run;
    gradients[this.#index].fill(0);
    const threads = gradients.length;
    const reports = Array.from({ length: accumulate }, (_, part) =>
      this.#task.step({
        step,
        steps,
        shard: { index: part * threads + this.#index, count: threads * accumulate },
        weights: this.#weights,
        gradients: this.#gradients,
      }),
    );
    return togetherOf(reports);
  }

  #reduce(): number {
    const [total, ...others] = this.#run.gradients;
    // One gradient at a time: an inner loop over them costs seven times as much.
    for (const other of others) {
      for (let i = this.#from; i < this.#to; i++) total[i] += other[i];
    }
    const share = 1 / (this.#run.gradients.length * this.#run.accumulate);
    let squares = 0;
    for (let i = this.#from; i < this.#to; i++) {
      const value = total[i] * share;
      total[i] = value;
      squares += value * value;
    }
    for (const { offset, length, isStatistic } of this.#run.layout.parameters) {
      if (!isStatistic) continue;
      const to = Math.min(this.#to, offset + length);
      for (let i = Math.max(this.#from, offset); i < to; i++) squares -= total[i] ** 2;
    }
    return Math.max(0, squares);
  }
}

/** Means of losses, sums of all else. */
function togetherOf(reports: readonly StepReport[]): StepReport {
  if (reports.length === 1) return reports[0]!;
  const sum = (value: (report: StepReport) => number) =>
    reports.reduce((total, report) => total + value(report), 0);
  const names = new Set(reports.flatMap(({ parts }) => Object.keys(parts)));
  const mean = (name: string) => sum(({ parts }) => parts[name] ?? 0) / reports.length;
  return {
    loss: sum(({ loss }) => loss) / reports.length,
    parts: Object.fromEntries([...names].map((name) => [name, mean(name)])),
    tokens: sum(({ tokens }) => tokens),
    multiplyAdds: sum(({ multiplyAdds }) => multiplyAdds),
  };
}
