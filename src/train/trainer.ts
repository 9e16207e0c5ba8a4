// The training loop: gradients from all threads, clipping, update, progress, checkpoints.

import { rm } from "node:fs/promises";
import { ensure, MergenError } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { weightShapes } from "../model/decoder.ts";
import { initialWeights } from "../model/initial.ts";
import type { Weights } from "../model/safetensors.ts";
import { Curve } from "./curve.ts";
import { type AdamOptions, learningRate, type Schedule } from "./optimizer.ts";
import { layoutOf, sharedVector, toWeights, views } from "./parameters.ts";
import { Progress, progressLine } from "./progress.ts";
import type { SharedRun } from "./shard.ts";
import type { TaskSpec } from "./task.ts";
import { createTeam, type Team } from "./team.ts";
import {
  type Best,
  loadBest,
  loadTraining,
  saveBest,
  saveTraining,
} from "./training-checkpoint.ts";

export type Log = (line: string) => void;

/** What an evaluation says of some weights. */
export interface Evaluation {
  /** For the log. */
  readonly line: string;
  /** For the curve, by name. */
  readonly scores: Readonly<Record<string, number>>;
  /** By which weights are compared; more is better. */
  readonly score: number;
}

export interface TrainOptions {
  readonly task: TaskSpec;
  readonly schedule: Schedule;
  readonly adam: AdamOptions;
  /** Greatest 2-norm of a gradient. */
  readonly clip: number;
  /** Threads; each takes an equal part of every batch. */
  readonly threads: number;
  /**
   * Into how many parts, computed one after the other, each thread cuts its part of a step's
   * texts; 1 if absent. More parts take less memory and have the same gradient.
   */
  readonly accumulate?: number | undefined;
  /** Where the state is kept; without it nothing is written and nothing resumed. */
  readonly checkpoint?: string | undefined;
  readonly checkpointEvery: number;
  readonly logEvery: number;
  readonly evaluateEvery: number;
  readonly evaluate?:
    | ((weights: ReadonlyMap<string, Float32Array>) => Promise<Evaluation>)
    | undefined;
  /** Where the weights with the best score are kept. */
  readonly best?: string | undefined;
  /** Which weights are the result: the last ones, or those of `best`; last if absent. */
  readonly keep?: "best" | "last" | undefined;
  /** Where the curve is kept, without the ending of the files' names. */
  readonly curve?: string | undefined;
  /** Weights to begin with where there is no checkpoint; else they are made from the seed. */
  readonly initial?: Weights | undefined;
  readonly kernels: FloatKernels;
  readonly log: Log;
  /** Ends the run after the current step, with a checkpoint. */
  readonly signal?: AbortSignal | undefined;
}

export interface TrainResult {
  readonly weights: Weights;
  /** The step that the weights are of. */
  readonly weightsStep: number;
  /** The best score so far, where there was an evaluation. */
  readonly best: Best | undefined;
  /** Loss of every step of this call. */
  readonly losses: readonly number[];
  /** Steps done in all; less than asked for when the signal ended the run. */
  readonly step: number;
}

/** @throws E_CONFIG when threads cannot share a batch evenly */
export function checkBatch(batchSize: number, threads: number): void {
  const message = `batchSize ${batchSize} is not a multiple of threads, ${threads}: change either`;
  ensure(batchSize % threads === 0, "E_CONFIG", message);
}

/**
 * Trains from the checkpoint, or from the beginning, to the schedule's end.
 * @throws E_TRAIN naming the step when the loss is no number, and the step of the last checkpoint,
 * which stays as it was; likewise when a checkpoint cannot be written
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { task, threads, kernels, accumulate = 1 } = options;
  checkBatch(task.batchSize / accumulate, threads);
  const layout = layoutOf(weightShapes(task.model));
  const vector = () => sharedVector(layout.length);
  const run: SharedRun = {
    spec: task,
    layout,
    accumulate,
    weights: vector(),
    moment1: vector(),
    moment2: vector(),
    gradients: Array.from({ length: threads }, vector),
    adam: options.adam,
  };
  const begun = await begin(run, options);
  const team = createTeam(run, kernels);
  try {
    const { losses, step, best } = await loop(run, team, begun, options);
    const whole = step === options.schedule.steps;
    if (options.keep === "best" && options.best && best && whole) {
      const kept = await loadBest(options.best, layout);
      ensure(kept, "E_TRAIN", `${options.best}: is gone`);
      return { weights: kept.weights, weightsStep: kept.step, losses, step, best };
    }
    return { weights: toWeights(layout, run.weights), weightsStep: step, losses, step, best };
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
  const { schedule, clip } = options;
  const record = await Recorder.open(run, begun, options);
  const { progress } = record;
  const losses: number[] = [];
  let step = begun;
  while (step < schedule.steps && !options.signal?.aborted) {
    const reports = await team.gradient(step, schedule.steps);
    const loss = mean(reports.map((report) => report.loss));
    const norm = Math.sqrt(await team.reduce());
    if (!Number.isFinite(loss) || !Number.isFinite(norm)) {
      const message = `the loss or its gradient is not a number at step ${step}`;
      throw new MergenError("E_TRAIN", `${message}; ${record.kept}; lower the rate and resume`);
    }
    const rate = learningRate(schedule, step);
    step++;
    await team.update({ step, rate, scale: norm > clip ? clip / norm : 1 });
    losses.push(loss);
    progress.add(reports, norm);
    const last = step === schedule.steps;
    const logs = step % options.logEvery === 0 || last;
    const evaluates = options.evaluate && (step % options.evaluateEvery === 0 || last);
    if (logs) record.progressed(step, rate);
    if (evaluates) await record.evaluate(step);
    if (logs || evaluates) await record.draw({ last });
    if (step % options.checkpointEvery === 0) await record.save(step);
  }
  if (record.saved < step) await record.save(step);
  return { losses, step, best: record.best };
}

/** What a run leaves behind while it goes on: log, curve, checkpoints, the best weights. */
class Recorder {
  readonly progress = new Progress();
  /** The step of the last checkpoint. */
  saved: number;
  best: Best | undefined;
  readonly #run: SharedRun;
  readonly #options: TrainOptions;
  readonly #curve: Curve | undefined;

  private constructor(
    run: SharedRun,
    options: TrainOptions,
    { begun, best, curve }: { begun: number; best?: Best; curve?: Curve | undefined },
  ) {
    this.#run = run;
    this.#options = options;
    this.saved = begun;
    this.best = best;
    this.#curve = curve;
  }

  /** Without a checkpoint to go on from, what an older run has left is removed. */
  static async open(run: SharedRun, begun: number, options: TrainOptions): Promise<Recorder> {
    const curve = options.curve ? await Curve.open(options.curve, begun) : undefined;
    if (options.best && begun === 0) await rm(options.best, { force: true });
    const best = options.best && (await loadBest(options.best, run.layout));
    return new Recorder(run, options, best ? { begun, best, curve } : { begun, curve });
  }

  /** What an error says of the last checkpoint. */
  get kept(): string {
    const { checkpoint } = this.#options;
    return this.saved > 0 ? `${checkpoint} holds step ${this.saved}` : "no checkpoint was written";
  }

  progressed(step: number, rate: number): void {
    const point = this.progress.at(step, rate);
    this.#options.log(progressLine(point, this.#options.schedule.steps));
    this.#curve?.addLoss(point);
    this.progress.restart();
  }

  /** Scores the weights and keeps them where they are the best so far, the first of equal ones. */
  async evaluate(step: number): Promise<void> {
    const { evaluate, best: path, log } = this.#options;
    const { layout, weights } = this.#run;
    const { line, scores, score: exact } = await evaluate!(views(layout, weights));
    log(`step ${step}: ${line}`);
    this.#curve?.addScores({ step, scores });
    const score = Math.fround(exact);
    if (this.best && !(score > this.best.score)) return;
    this.best = { step, score };
    if (path) await this.#durably(() => saveBest(path, layout, { weights, step, score }));
  }

  /** A curve that cannot be written is no reason to stop. */
  async draw(when: { last: boolean }): Promise<void> {
    try {
      await this.#curve?.write(when);
    } catch (error) {
      this.#options.log(`the curve was not written: ${(error as Error).message}`);
    }
    this.progress.restart();
  }

  async save(step: number): Promise<void> {
    const { checkpoint } = this.#options;
    if (!checkpoint) return;
    await this.#durably(() => saveTraining(checkpoint, this.#run.layout, { ...this.#run, step }));
    this.saved = step;
  }

  async #durably(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      if (!(error instanceof MergenError)) throw error;
      const remedy = "make room and give the same command";
      const message = `${error.message}; ${this.kept}; ${remedy}`;
      throw new MergenError(error.code, message, { cause: error });
    }
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
