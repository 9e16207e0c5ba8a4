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
        this.#run.gradients[this.#index].fill(0);
        return this.#task.step({
          step: request.step,
          steps: request.steps,
          shard: { index: this.#index, count: this.#run.gradients.length },
          weights: this.#weights,
          gradients: this.#gradients,
        });
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

  #reduce(): number {
    const [total, ...others] = this.#run.gradients;
    // One gradient at a time: an inner loop over them costs seven times as much.
    for (const other of others) {
      for (let i = this.#from; i < this.#to; i++) total[i] += other[i];
    }
    const share = 1 / this.#run.gradients.length;
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
