// Adapting a model to a recipe in one go: its outputs on given prompts, a student of the recipe
// that begins with its weights where it can, training, a model folder. What a run that is cut off
// has done lies in a folder beside the student's, and the same command goes on from there.

import { mkdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ensure, MergenError } from "../errors.ts";
import { type Example, loadExamples } from "../evaluate/data.ts";
import { checkModelFolder, loadModel, type Model, saveModel } from "../model/checkpoint.ts";
import type { ModelConfig } from "../model/config.ts";
import { encodePrompt, padded } from "../model/prompt.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { StageConfig } from "./config.ts";
import { foldAttention } from "./export.ts";
import { studentConfig, studentWeights, withParts } from "./student-model.ts";
import { phasesAsk } from "./student-phases.ts";
import { teacherOutputs } from "./teacher-outputs.ts";
import { loadTokenPairs, saveTokenPairs, type TokenPair, tokenSet } from "./token-set.ts";
import { type StageContext, type StageResult, textIds, trainModel } from "./train-stage.ts";
import { checkBatch } from "./trainer.ts";

type AdaptConfig = StageConfig<"adapt">;
type Phases = StageConfig<"student">["phases"];

/**
 * Adapts a teacher to a recipe; `out` is then a model folder.
 * @throws E_MODEL when the teacher cannot be read or `out` be written; E_CONFIG when the recipe
 * needs other weights than the teacher has, or `out` is the teacher's folder; E_DATA naming file
 * and line, or example, that is wrong, or when the teacher ends no text; E_TRAIN naming the step at
 * which the loss was no number
 */
export async function adaptStage(config: AdaptConfig, context: StageContext): Promise<StageResult> {
  checkBatch(config.batchSize, config.threads);
  const own = await sameFile(config.out, config.teacher);
  ensure(!own, "E_CONFIG", `${config.out} is the teacher's own folder: take another out`);
  const teacher = await loadModel(config.teacher);
  withParts(studentConfig(teacher.config, { ...config, promptLength: 1 }), config);
  await checkModelFolder(config.out);
  const examples = await loadExamples(config.data);
  const prompts = encodeAll(examples, teacher, config.data);
  const promptLength = Math.max(...prompts.map(({ length }) => length));
  const model = withPrompts(
    withParts(studentConfig(teacher.config, { ...config, promptLength }), config),
    promptLength,
  );
  const folder = await trainingFolder(config, model);
  const pairs = await loadOrMake(join(folder, "pairs.jsonl"), () =>
    makePairs(config, { teacher, examples, prompts }, context),
  );
  const even = pairs.map(({ prompt, output }) => ({
    prompt: padded(prompt, promptLength, model),
    output,
  }));
  return trainStudent(config, { teacher, model, folder, examples, pairs: even }, context);
}

/** Whether two paths are of one file or folder that is there. */
async function sameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((path) => realpath(path).catch(() => "")));
  return a !== "" && a === b;
}

interface Given {
  readonly teacher: Model;
  readonly model: ModelConfig;
  readonly folder: string;
  readonly examples: readonly Example[];
  readonly pairs: readonly TokenPair[];
}

async function trainStudent(
  config: AdaptConfig,
  { teacher, model, folder, examples, pairs }: Given,
  context: StageContext,
): Promise<StageResult> {
  const { tokenizer } = teacher;
  const longest = pairs.reduce((most, { output }) => Math.max(most, output.length), 1);
  const buckets = config.buckets ?? [Math.min(longest, model.generation.maxTokens)];
  const outputLength = Math.max(...buckets);
  const data = tokenSet(pairs, { outputLength, end: model.tokens.end });
  const { kernels, log, signal } = context;
  const initial = studentWeights(teacher, model, { ...config, data, kernels });
  const dev = heldOut(examples, config.evaluateCount).dev;
  const batchSize = fittingBatch(config, data.count);
  const settings = {
    ...config,
    out: folder,
    buckets,
    batchSize,
    phases: config.phases ?? defaultPhases(model, batchSize / config.threads),
    stage: "student" as const,
  };
  checkTeachable(teacher, settings.phases);
  const given = { model, tokenizer, pairs, initial, teacher, dev };
  const result = await trainModel(settings, given, context);
  if (signal?.aborted) {
    log(`stopped at step ${result.step}; the same command goes on from there`);
    return { step: result.step };
  }
  const student = { ...foldAttention({ config: model, weights: result.weights }), tokenizer };
  await saveModel(config.out, student);
  await rm(folder, { recursive: true });
  log(`${config.out}: the ${config.recipe} student of ${config.teacher}`);
  const { step, weightsStep, loss } = result;
  return { model: config.out, recipe: config.recipe, step, weightsStep, loss };
}

/** @throws E_DATA naming the example whose prompt does not fit the model */
function encodeAll(
  examples: readonly Example[],
  { config, tokenizer }: { config: ModelConfig; tokenizer: Tokenizer },
  origin: string,
): number[][] {
  return examples.map(({ input }, index) => {
    try {
      return encodePrompt(input, config, tokenizer);
    } catch (cause) {
      if (!(cause instanceof MergenError)) throw cause;
      throw new MergenError("E_DATA", `${origin}: example ${index + 1}: ${cause.message}`, {
        cause,
      });
    }
  });
}

/** Plain text prompts all take the positions of the longest one, in training and after it. */
function withPrompts(config: ModelConfig, promptLength: number): ModelConfig {
  if (config.prompt.kind === "slots") return config;
  return { ...config, prompt: { ...config.prompt, bucket: promptLength } };
}

/**
 * The folder of what a run has done so far.
 * @throws E_CONFIG when it holds what other settings have done
 */
async function trainingFolder(config: AdaptConfig, model: ModelConfig): Promise<string> {
  const folder = `${resolve(config.out)}.training`;
  await mkdir(folder, { recursive: true });
  const { teacher, data, targets, seed, batchSize, buckets, evaluateCount } = config;
  const settings = { model, teacher, data, targets, seed, batchSize, buckets, evaluateCount };
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  const path = join(folder, "settings.json");
  const known = await readFile(path, "utf8").catch(() => undefined);
  const fits = known === undefined || known === text;
  ensure(fits, "E_CONFIG", `${folder} holds a run of other settings: remove it or change out`);
  if (known === undefined) await writeFile(path, text);
  return folder;
}

async function loadOrMake(path: string, make: () => TokenPair[]): Promise<TokenPair[]> {
  try {
    return await loadTokenPairs(path);
  } catch {
    const pairs = make();
    await saveTokenPairs(path, pairs);
    return pairs;
  }
}

/**
 * Padded prompts are no texts that the teacher reads as the student does.
 * @throws E_CONFIG when a phase asks for logits or states on them
 */
function checkTeachable({ config }: Model, phases: Phases): void {
  const fits = config.prompt.kind === "slots" || !phasesAsk(phases);
  ensure(fits, "E_CONFIG", "soft and hidden need a teacher whose prompts are slots");
}

/** Every tenth example is kept for scores, where there are enough of them. */
function heldOut(examples: readonly Example[], most: number) {
  if (examples.length < 20) return { dev: examples.slice(0, most), isTrained: () => true };
  const isTrained = (index: number) => index % 10 !== 9;
  const dev = examples.filter((_, index) => !isTrained(index)).slice(0, most);
  return { dev, isTrained };
}

function makePairs(
  config: AdaptConfig,
  given: {
    teacher: Model;
    examples: readonly Example[];
    prompts: readonly (readonly number[])[];
  },
  { kernels, log }: StageContext,
): TokenPair[] {
  const { teacher, examples } = given;
  const { isTrained } = heldOut(examples, config.evaluateCount);
  const trained = [...examples.keys()].filter(isTrained);
  if (config.targets === "references") {
    return trained.flatMap((index) =>
      examples[index].refs.map((ref) => ({
        prompt: given.prompts[index],
        output: textIds(ref, teacher.config, teacher.tokenizer),
      })),
    );
  }
  const unique = new Map(trained.map((index) => [examples[index].input, given.prompts[index]]));
  const prompts = [...unique.values()];
  log(`the teacher's texts on ${prompts.length} prompts`);
  const outputs = teacherOutputs(teacher, prompts, { kernels, log, batchSize: 64 });
  const pairs = outputs.flatMap((output, index) =>
    output ? [{ prompt: prompts[index], output }] : [],
  );
  const { maxTokens } = teacher.config.generation;
  const remedy = "take targets=references, or another teacher";
  const message = `the teacher ends no text within ${maxTokens} tokens: ${remedy}`;
  ensure(pairs.length > 0, "E_DATA", message);
  log(`${pairs.length} texts, ${prompts.length - pairs.length} without an end left out`);
  return pairs;
}

/** The batch size, or what few texts allow of it. @throws E_DATA when there are too few */
function fittingBatch({ batchSize, threads }: AdaptConfig, count: number): number {
  const fitting = Math.min(batchSize, Math.floor(count / threads) * threads);
  ensure(fitting > 0, "E_DATA", `${count} texts are too few for ${threads} threads; give more`);
  return fitting;
}

/** Given tokens alone; where states are sent again, roll-outs on them for most of the time. */
function defaultPhases({ nextToken }: ModelConfig, rows: number): Phases {
  const real: Phases[number]["parts"][number] = {
    kind: "real",
    rows: 1,
    ce: 1,
    align: 0,
    soft: 0,
    hidden: 0,
    passes: 0,
    probability: [1, 1],
  };
  if (nextToken === "lookup") return [{ share: 1, parts: [real] }];
  const rollout = { ...real, kind: "rollout" as const, rows: 0.8 };
  // Fewer rows cannot be split so.
  const mixed = rows < 3 ? [rollout] : [{ ...real, rows: 0.2 }, rollout];
  return [
    { share: 0.12, parts: [real] },
    { share: 0.88, parts: mixed },
  ];
}
