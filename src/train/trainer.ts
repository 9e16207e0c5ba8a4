// The training loop: gradients from all threads, clipping, update, progress, checkpoints.

import { ensure, MergenError } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { weightShapes } from "../model/decoder.ts";
import { initialWeights } from "../model/initial.ts";
import type { Weights } from "../model/safetensors.ts";
import { type AdamOptions, learningRate, type Schedule } from "./optimizer.ts";
import { layoutOf, sharedVector, toWeights, views } from "./parameters.ts";
import type { SharedRun } from "./shard.ts";
import type { StepReport, TaskSpec } from "./task.ts";
import { createTeam, type Team } from "./team.ts";
import { loadTraining, saveTraining } from "./training-checkpoint.ts";

export type Log = (line: string) => void;

export interface TrainOptions {
  readonly task: TaskSpec;
  readonly schedule: Schedule;
  readonly adam: AdamOptions;
  /** Greatest 2-norm of a gradient. */
  readonly clip: number;
  /** Threads; each takes an equal part of every batch. */
  readonly threads: number;
  /** Where the state is kept; without it nothing is written and nothing resumed. */
  readonly checkpoint?: string | undefined;
  readonly checkpointEvery: number;
  readonly logEvery: number;
  readonly evaluateEvery: number;
  /** Answers a line for the log. */
  readonly evaluate?: ((weights: ReadonlyMap<string, Float32Array>) => Promise<string>) | undefined;
  /** Weights to begin with where there is no checkpoint; else they are made from the seed. */
  readonly initial?: Weights | undefined;
  readonly kernels: FloatKernels;
  readonly log: Log;
  /** Ends the run after the current step, with a checkpoint. */
  readonly signal?: AbortSignal | undefined;
}

export interface TrainResult {
  readonly weights: Weights;
  /** Loss of every step of this call. */
  readonly losses: readonly number[];
  /** Steps done in all; less than asked for when the signal ended the run. */
  readonly step: number;
}

/**
 * Trains from the checkpoint, or from the beginning, to the schedule's end.
 * @throws E_TRAIN naming the step when the loss is no number, and the step of the last checkpoint,
 * which stays as it was
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { task, threads, kernels } = options;
  ensure(task.batchSize % threads === 0, "E_CONFIG", "batchSize is not a multiple of threads");
  const layout = layoutOf(weightShapes(task.model));
  const vector = () => sharedVector(layout.length);
  const run: SharedRun = {
    spec: task,
    layout,
    weights: vector(),
    moment1: vector(),
    moment2: vector(),
    gradients: Array.from({ length: threads }, vector),
    adam: options.adam,
  };
  const begun = await begin(run, options);
  const team = createTeam(run, kernels);
  try {
    const { losses, step } = await loop(run, team, begun, options);
    return { weights: toWeights(layout, run.weights), losses, step };
  } finally {
    await team.close();
  }
}

/** Fills the weights; the number of steps already done. */
async function begin(run: SharedRun, options: TrainOptions): Promise<number> {
  const { checkpoint, task, log } = options;
  const done =
    checkpoint === undefined ? undefined : await loadTraining(checkpoint, run.layout, run);
  if (done !== undefined) {
    log(`resumed behind step ${done}`);
    return done;
  }
  const initial = options.initial ?? initialWeights(task.model, task.seed);
  for (const [name, target] of views(run.layout, run.weights)) {
    const source = initial.get(name);
    ensure(source?.data.length === target.length, "E_TRAIN", `initial weight ${name} does not fit`);
    target.set(source.data);
  }
  return 0;
}

async function loop(run: SharedRun, team: Team, begun: number, options: TrainOptions) {
  const { schedule, clip, log, checkpoint } = options;
  const progress = new Progress(schedule.steps, log);
  const losses: number[] = [];
  let step = begun;
  let saved = begun;
  const save = async () => {
    if (!checkpoint) return;
    await saveTraining(checkpoint, run.layout, { ...run, step });
    saved = step;
  };
  while (step < schedule.steps && !options.signal?.aborted) {
    const reports = await team.gradient(step, schedule.steps);
    const loss = mean(reports.map((report) => report.loss));
    const norm = Math.sqrt(await team.reduce());
    if (!Number.isFinite(loss) || !Number.isFinite(norm)) {
      const message = `the loss or its gradient is not a number at step ${step}`;
      const kept = saved > 0 ? `${checkpoint} holds step ${saved}` : "no checkpoint was written";
      throw new MergenError("E_TRAIN", `${message}; ${kept}; lower the rate and resume`);
    }
    const rate = learningRate(schedule, step);
    step++;
    await team.update({ step, rate, scale: norm > clip ? clip / norm : 1 });
    losses.push(loss);
    progress.add(reports, norm);
    const last = step === schedule.steps;
    if (step % options.logEvery === 0 || last) progress.print(step, rate);
    if (options.evaluate && (step % options.evaluateEvery === 0 || last)) {
      log(`step ${step}: ${await options.evaluate(views(run.layout, run.weights))}`);
      progress.restart();
    }
    if (step % options.checkpointEvery === 0) await save();
  }
  await save();
  return { losses, step };
}

/** Sums reports between two lines of the log. */
class Progress {
  readonly #steps: number;
  readonly #log: Log;
  #count = 0;
  #parts = new Map<string, number>();
  #loss = 0;
  #norm = 0;
  #tokens = 0;
  #multiplyAdds = 0;
  #since = performance.now();

  constructor(steps: number, log: Log) {
    this.#steps = steps;
    this.#log = log;
  }

  add(reports: readonly StepReport[], norm: number): void {
    this.#count++;
    this.#norm += norm;
    for (const { loss, parts, tokens, multiplyAdds } of reports) {
      this.#loss += loss / reports.length;
      this.#tokens += tokens;
      this.#multiplyAdds += multiplyAdds;
      for (const [name, value] of Object.entries(parts)) {
        this.#parts.set(name, (this.#parts.get(name) ?? 0) + value / reports.length);
      }
    }
  }

  print(step: number, rate: number): void {
    const seconds = (performance.now() - this.#since) / 1000;
    const n = this.#count;
    const parts = [...this.#parts].map(([name, sum]) => `${name} ${(sum / n).toFixed(3)}`);
    const left = ((this.#steps - step) * seconds) / n;
    this.#log(
      `step ${step}/${this.#steps}: loss ${(this.#loss / n).toFixed(4)} (${parts.join(", ")}), ` +
        `norm ${(this.#norm / n).toFixed(2)}, rate ${rate.toExponential(2)}, ` +
        `${(this.#tokens / seconds).toFixed(0)} tokens/s, ` +
        `${((2 * this.#multiplyAdds) / seconds / 1e9).toFixed(0)} GFLOP/s, ` +
        `${(left / 60).toFixed(1)} min left`,
    );
    this.restart();
  }

  restart(): void {
    this.#count = 0;
    this.#parts.clear();
    this.#loss = 0;
    this.#norm = 0;
    this.#tokens = 0;
    this.#multiplyAdds = 0;
    this.#since = performance.now();
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
