// What the stages that train have in common: data into batches, the trainer, scores while it runs.

import { join } from "node:path";
import { ensure } from "../errors.ts";
import type { Example } from "../evaluate/data.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Weights } from "../model/safetensors.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { FloatWeights } from "../run/float.ts";
import type { StageConfig } from "./config.ts";
import { Scorer, scoreLine } from "./score.ts";
import type { TaskSpec } from "./task.ts";
import { type TokenPair, tokenSet } from "./token-set.ts";
import { normaliseText } from "./tokenizer.ts";
import { type Log, train } from "./trainer.ts";

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
  /** Inputs that are scored while it trains. */
  readonly dev: readonly Example[];
}

/** Trains as the configuration says; its folder `out` is there and keeps the checkpoint. */
export async function trainModel(
  config: TrainingConfig,
  { model, tokenizer, pairs, initial, dev }: TrainGiven,
  { kernels, log, signal }: StageContext,
): Promise<{ weights: Weights; step: number; loss: number | undefined }> {
  const { seed, batchSize, buckets } = config;
  const data = tokenSet(pairs, { outputLength: Math.max(...buckets), end: model.tokens.end });
  const most = model.generation.maxTokens;
  ensure(data.outputLength <= most, "E_CONFIG", `a bucket is longer than maxTokens, ${most}`);
  log(`${data.count} of ${pairs.length} texts, ${kernels.name} kernels`);
  const common = { model, data, batchSize, buckets, seed };
  const task: TaskSpec =
    config.stage === "teacher"
      ? { ...common, kind: "teacher", options: config }
      : { ...common, kind: "student", options: config };
  const scorer = new Scorer({ config: model, tokenizer }, dev, { kernels, batchSize });
  const { weights, step, losses } = await train({
    task,
    schedule: config,
    adam: config,
    clip: config.clip,
    threads: config.threads,
    checkpoint: join(config.out, "checkpoint.safetensors"),
    checkpointEvery: config.checkpointEvery,
    logEvery: config.logEvery,
    evaluateEvery: config.evaluateEvery,
    evaluate: async (current) => scoreModes(scorer, current, model),
    initial,
    kernels,
    log,
    signal,
  });
  return { weights, step, loss: losses.at(-1) };
}

function scoreModes(scorer: Scorer, weights: FloatWeights, model: ModelConfig): string {
  const modes =
    model.nextToken === "resend" ? (["resend", "lookup"] as const) : ["lookup" as const];
  return modes.map((mode) => scoreLine(mode, scorer.score(weights, mode))).join("; ");
}
