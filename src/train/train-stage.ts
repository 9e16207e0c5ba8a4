// What the stages that train have in common: data into batches, the trainer, scores while it runs.

import { join } from "node:path";
import { ensure } from "../errors.ts";
import type { Example } from "../evaluate/data.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import { type ModelConfig, promptPositions } from "../model/config.ts";
import type { Weights } from "../model/safetensors.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { FloatWeights } from "../run/float.ts";
import type { StageConfig } from "./config.ts";
import { Scorer, scoreLine } from "./score.ts";
import { phasesAsk, type StudentOptions } from "./student-phases.ts";
import type { TaskSpec } from "./task.ts";
import { teacherSpec } from "./teacher-spec.ts";
import { type TokenPair, tokenSet } from "./token-set.ts";
import { normaliseText } from "./tokenizer.ts";
import { type Evaluation, type Log, train } from "./trainer.ts";

export interface StageContext {
  readonly kernels: FloatKernels;
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
  /** What a study's results say of how they were made. */
  readonly origin?: Origin | undefined;
}

export interface Origin {
  /** The command line. */
  readonly command: string;
  /** The processor and its number of cores. */
  readonly machine: string;
  readonly commit: string;
}

/** What a stage tells about its result, to be printed. */
export type StageResult = Readonly<Record<string, unknown>>;

/** A text of the data set as ids, its end token included. */
export function textIds(text: string, model: ModelConfig, tokenizer: Tokenizer): number[] {
  return [...tokenizer.encode(normaliseText(text)), model.tokens.end];
}

export type TrainingConfig =
  | StageConfig<"teacher">
  | Omit<StageConfig<"student">, "pairs" | "tokenizer">;

export interface TrainGiven {
  readonly model: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly pairs: readonly TokenPair[];
  readonly initial?: Weights | undefined;
  /** Needed where a phase matches logits or hidden states. */
  readonly teacher?: Model | undefined;
  /** Inputs that are scored while it trains. */
  readonly dev: readonly Example[];
}

export interface Trained {
  readonly weights: Weights;
  /** The step that the weights are of: another than `step` where the best ones are kept. */
  readonly weightsStep: number;
  /** Steps done in all. */
  readonly step: number;
  /** Of the last step of this call, if it had any. */
  readonly loss: number | undefined;
}

/** Trains as the configuration says; its folder `out` is there and keeps the checkpoint. */
export async function trainModel(
  config: TrainingConfig,
  { model, tokenizer, pairs, initial, teacher, dev }: TrainGiven,
  { kernels, log, signal }: StageContext,
): Promise<Trained> {
  const { seed, buckets, accumulate } = config;
  const batchSize = config.batchSize * accumulate;
  const data = tokenSet(pairs, { outputLength: Math.max(...buckets), end: model.tokens.end });
  const own = model.prompt.kind === "slots" ? promptPositions(model.prompt) : data.promptLength;
  const message = `prompts have ${data.promptLength} positions, the model's have ${own}`;
  ensure(data.promptLength === own, "E_DATA", message);
  const most = model.generation.maxTokens;
  ensure(data.outputLength <= most, "E_CONFIG", `a bucket is longer than maxTokens, ${most}`);
  log(`${data.count} of ${pairs.length} texts, ${kernels.name} kernels`);
  const common = { model, data, batchSize, buckets, seed };
  const task: TaskSpec =
    config.stage === "teacher"
      ? { ...common, kind: "teacher", options: config }
      : { ...common, kind: "student", options: config, teacher: taught(config) };
  const scorer = new Scorer({ config: model, tokenizer }, dev, {
    kernels,
    batchSize: config.batchSize,
  });
  const { weights, weightsStep, best, step, losses } = await train({
    task,
    schedule: config,
    adam: config,
    clip: config.clip,
    threads: config.threads,
    accumulate,
    checkpoint: join(config.out, "checkpoint.safetensors"),
    best: join(config.out, "best.safetensors"),
    keep: config.keep,
    curve: join(config.out, "curve"),
    checkpointEvery: config.checkpointEvery,
    logEvery: config.logEvery,
    evaluateEvery: config.evaluateEvery,
    evaluate: async (current) => scoreModes(scorer, current, model),
    initial,
    kernels,
    log,
    signal,
  });
  if (best) log(`best score ${best.score.toFixed(4)} at step ${best.step}`);
  return { weights, weightsStep, step, loss: losses.at(-1) };

  function taught({ phases, hiddenLayers }: StudentOptions) {
    if (!phasesAsk(phases)) return undefined;
    ensure(teacher, "E_CONFIG", "soft labels and hidden states need a teacher");
    const { promptLength, outputLength } = data;
    const student = { model, tokenizer, positions: promptLength + outputLength - 1 };
    return teacherSpec(teacher, student, { phases, hiddenLayers });
  }
}

/** The score is ROUGE-L in the way in which the model was made to go on. */
function scoreModes(scorer: Scorer, weights: FloatWeights, model: ModelConfig): Evaluation {
  const modes =
    model.nextToken === "resend" ? (["resend", "lookup"] as const) : ["lookup" as const];
  const scores = modes.map((mode) => [mode, scorer.score(weights, mode)] as const);
  return {
    line: scores.map(([mode, score]) => scoreLine(mode, score)).join("; "),
    scores: Object.fromEntries(scores.map(([mode, { rougeL }]) => [`${mode} ROUGE-L`, rougeL])),
    score: scores[0]![1].rougeL,
  };
}
