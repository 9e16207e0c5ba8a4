// The stages from data to a model folder: tokenizer, teacher, distil, student, adapt, export,
// evaluate.
// Each reads and writes folders that its configuration names, and logs through what it is given.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ensure } from "../errors.ts";
import { type Example, loadExamples } from "../evaluate/data.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { loadModel, loadTokenizer, saveModel } from "../model/checkpoint.ts";
import { type ModelConfig, type PromptLayout, promptPositions } from "../model/config.ts";
import { weightShapes } from "../model/decoder.ts";
import { encodePrompt, parseSlots } from "../model/prompt.ts";
import { Random } from "../model/random.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import type { LocalModel } from "../party/local.ts";
import { syntheticActs } from "./act-inputs.ts";
import { adaptStage } from "./adapt.ts";
import { calibrate } from "./calibrate.ts";
import type { StageConfig, TrainConfig } from "./config.ts";
import { foldAttention, foldNorms, roundToGrid } from "./export.ts";
import { withLock } from "./lock.ts";
import { modelConfig } from "./model-shape.ts";
import { slotValues, syntheticInputs } from "./prompts.ts";
import { type Score, Scorer, scoreLine } from "./score.ts";
import { studentConfig, studentWeights, withParts } from "./student-model.ts";
import { runStudy } from "./study.ts";
import { teacherOutputs } from "./teacher-outputs.ts";
import { loadTokenPairs, saveTokenPairs, type TokenPair, tokenSet } from "./token-set.ts";
import { normaliseText, trainTokenizer } from "./tokenizer.ts";
import {
  type StageContext,
  type StageResult,
  type TrainGiven,
  textIds,
  trainModel,
} from "./train-stage.ts";

/**
 * Runs the stage that the configuration names.
 * @throws E_BUSY when another process runs one with the same `out`, and what the stage throws
 */
export async function runStage(config: TrainConfig, context: StageContext): Promise<StageResult> {
  if (!("out" in config)) return unlockedStage(config, context);
  return withLock(config.out, context.log, () => unlockedStage(config, context));
}

async function unlockedStage(config: TrainConfig, context: StageContext): Promise<StageResult> {
  switch (config.stage) {
    case "tokenizer":
      return tokenizerStage(config, context);
    case "teacher":
      return teacherStage(config, context);
    case "distil":
      return distilStage(config, context);
    case "student":
      return studentStage(config, context);
    case "adapt":
      return adaptStage(config, context);
    case "export":
      return exportStage(config, context);
    case "evaluate":
      return Object.fromEntries(await evaluateStage(config, context));
    case "study":
      return runStudy(config, (stage) => runStage(stage, context), context);
    default:
      return config satisfies never;
  }
}

function dataFile(dir: string, split: "train" | "dev" | "test"): string {
  return join(dir, `${split}.jsonl.gz`);
}

/** Writes `tokenizer.json`, trained on the references of the training set. */
export async function tokenizerStage(
  config: StageConfig<"tokenizer">,
  { log }: StageContext,
): Promise<StageResult> {
  const examples = await loadExamples(dataFile(config.data, "train"));
  const isText = config.inputs === "text";
  const layout = slotNames(isText ? [] : examples);
  const inputs = new Set(examples.map(({ input }) => input));
  const values = slotValues(isText ? [] : inputs, layout);
  const texts = new Map<string, number>();
  const count = (text: string, times: number) => {
    const normal = normaliseText(text);
    texts.set(normal, (texts.get(normal) ?? 0) + times);
  };
  for (const { refs } of examples) for (const ref of refs) count(ref, 1);
  if (isText) for (const input of inputs) count(input, 1);
  for (const list of values.values()) for (const value of list) count(value, config.valueCount);
  const isolated = config.isolatedSlots.flatMap((name) => values.get(name) ?? []);
  for (const name of config.lowerCaseSlots) {
    isolated.push(...(values.get(name) ?? []).map((value) => value.toLowerCase()));
  }
  const json = trainTokenizer(texts, { ...config, isolated });
  const tokenizer = new Tokenizer({ tokenizer: json });
  await mkdir(config.out, { recursive: true });
  await writeFile(join(config.out, "tokenizer.json"), JSON.stringify(json));
  const sample = examples.slice(0, 2000);
  const tokens = sample.map(({ refs }) => tokenizer.encode(normaliseText(refs[0])).length);
  const mean = tokens.reduce((sum, n) => sum + n, 0) / sample.length;
  log(`tokenizer of ${tokenizer.size} tokens, ${mean.toFixed(2)} tokens a reference`);
  return { size: tokenizer.size, meanTokens: mean };
}

/** Every slot name that the inputs use. */
function slotNames(examples: readonly Example[]): Extract<PromptLayout, { kind: "slots" }> {
  const names = new Set<string>();
  for (const { input } of examples) {
    for (const match of input.matchAll(/(?:^|\],)\s*([^[\]]+)\[/g)) names.add(match[1]);
  }
  return { kind: "slots", slots: [...names].map((name) => ({ name, width: 1 })) };
}

/** Trains on the references; leaves a model folder `model` and a checkpoint beside it. */
export async function teacherStage(
  config: StageConfig<"teacher">,
  context: StageContext,
): Promise<StageResult> {
  const tokenizer = await loadTokenizer(config.tokenizer);
  const model = modelConfig(config.model, tokenizer.size);
  const examples = await loadExamples(dataFile(config.data, "train"));
  const prompts = new Map<string, number[]>();
  const pairs = examples.flatMap(({ input, refs }) => {
    const prompt = prompts.get(input) ?? encodePrompt(input, model, tokenizer);
    prompts.set(input, prompt);
    return refs.map((ref) => ({ prompt, output: textIds(ref, model, tokenizer) }));
  });
  return trainAndSave(config, { model, tokenizer, pairs }, context);
}

/** Trains on the teacher's outputs; leaves the same as the teacher stage. */
export async function studentStage(
  config: StageConfig<"student">,
  context: StageContext,
): Promise<StageResult> {
  const tokenizer = await loadTokenizer(config.tokenizer);
  const pairs = await loadTokenPairs(config.pairs, { vocabSize: tokenizer.size });
  const begun = await beginning(config, { pairs, vocabSize: tokenizer.size }, context);
  return trainAndSave(config, { ...begun, tokenizer, pairs }, context);
}

/** The student that `model` describes, or the teacher's of `recipe`, and weights to begin with. */
async function beginning(
  config: StageConfig<"student">,
  { pairs, vocabSize }: { pairs: readonly TokenPair[]; vocabSize: number },
  { kernels }: StageContext,
): Promise<Pick<TrainGiven, "model" | "initial" | "teacher">> {
  const given = config.initial && (await loadModel(config.initial, { weightShapes })).weights;
  const teacher = config.teacher === undefined ? undefined : await loadModel(config.teacher);
  const { recipe, buckets } = config;
  const promptLength = pairs[0]?.prompt.length ?? 0;
  const model =
    config.model || !teacher
      ? modelConfig(config.model!, vocabSize)
      : withParts(studentConfig(teacher.config, { recipe: recipe!, promptLength }), config);
  const begins = teacher && (recipe !== undefined || config.startFrom !== undefined);
  if (given || !begins) return { model, initial: given || undefined, teacher };
  const data = tokenSet(pairs, { outputLength: Math.max(...buckets), end: model.tokens.end });
  return { model, initial: studentWeights(teacher, model, { ...config, data, kernels }), teacher };
}

async function trainAndSave(
  config: StageConfig<"teacher"> | StageConfig<"student">,
  given: Omit<TrainGiven, "dev">,
  context: StageContext,
): Promise<StageResult> {
  const dev = await loadExamples(dataFile(config.data, "dev"), { limit: config.evaluateCount });
  await mkdir(config.out, { recursive: true });
  const { weights, weightsStep, step, loss } = await trainModel(config, { ...given, dev }, context);
  const folder = join(config.out, "model");
  await saveModel(folder, { config: given.model, weights, tokenizer: given.tokenizer });
  context.log(`${folder} holds the weights of step ${weightsStep}`);
  return { model: folder, step, weightsStep, loss };
}

/** Writes `pairs.jsonl`: the teacher's greedy outputs for training and made-up inputs. */
export async function distilStage(
  config: StageConfig<"distil">,
  { kernels, log }: StageContext,
): Promise<StageResult> {
  const loaded = await loadModel(config.teacher, { weightShapes });
  const { config: model, weights, tokenizer } = loaded;
  const { prompt: layout } = model;
  const inputs = await trainingInputs(config);
  const all = [...inputs, ...(await madeUp(config, inputs, loaded))].filter(
    (input) => layout.kind !== "slots" || parseSlots(input, layout).size > 0,
  );
  const prompts = all.map((input) => encodePrompt(input, model, tokenizer));
  log(`${inputs.length} inputs and ${all.length - inputs.length} made-up ones`);
  const teacher = { config: model, weights };
  const outputs = teacherOutputs(teacher, prompts, { kernels, log, batchSize: config.batchSize });
  const pairs = outputs.flatMap((output, index) =>
    output ? [{ prompt: prompts[index], output }] : [],
  );
  const { maxTokens } = model.generation;
  ensure(pairs.length > 0, "E_DATA", `the teacher ends no text within ${maxTokens} tokens`);
  await mkdir(config.out, { recursive: true });
  await saveTokenPairs(join(config.out, "pairs.jsonl"), pairs);
  log(`${pairs.length} outputs, ${all.length - pairs.length} without an end left out`);
  return { outputs: pairs.length, withoutEnd: all.length - pairs.length };
}

/** Different inputs of the training set, or some of them. */
async function trainingInputs({ data, count, seed }: StageConfig<"distil">): Promise<string[]> {
  const examples = await loadExamples(dataFile(data, "train"));
  const inputs = [...new Set(examples.map(({ input }) => input))];
  if (count === undefined || inputs.length <= count) return inputs;
  const order = new Random(seed, 5).shuffle(Int32Array.from(inputs.keys()));
  return [...order.subarray(0, count)].map((index) => inputs[index]!);
}

/** Inputs beside those of the training set, where they have parts to be recombined. */
async function madeUp(
  { data, syntheticCount: count, syntheticFrom, seed }: StageConfig<"distil">,
  inputs: readonly string[],
  { config, tokenizer }: LocalModel,
): Promise<string[]> {
  if (count === 0) return [];
  const known: string[] = [];
  for (const split of ["dev", "test"] as const) {
    const examples = await loadExamples(dataFile(data, split));
    known.push(...examples.map(({ input }) => input));
  }
  const layout = config.prompt;
  if (syntheticFrom === "acts") {
    ensure(layout.kind === "text", "E_CONFIG", "syntheticFrom=acts is for prompts of text");
    const made = syntheticActs(inputs, { known, count, seed });
    // All prompts of a file have one length.
    const { prefix = "", begin } = layout;
    const most = promptPositions(layout) - Number(begin === true);
    return made.filter((input) => tokenizer.encode(prefix + input).length <= most);
  }
  const message = "prompts without slots need syntheticCount=0, or syntheticFrom=acts";
  ensure(layout.kind === "slots", "E_CONFIG", message);
  return syntheticInputs(inputs, { layout, known, count, seed });
}

/** Writes the model on the int16 grid of the secure modes. */
export async function exportStage(
  config: StageConfig<"export">,
  { log, kernels }: StageContext,
): Promise<StageResult> {
  const model = await loadModel(config.model, { weightShapes });
  const { tokenizer } = model;
  const rounded = { ...roundToGrid(foldNorms(foldAttention(model)), config), tokenizer };
  const calibrated = await withBounds(rounded, config, kernels);
  await saveModel(config.out, { ...rounded, config: calibrated }, { int16: true });
  const bits = Object.values(rounded.config.weightFracBits ?? {});
  log(`${config.out}: ${bits.length} tensors, ${Math.min(...bits)}..${Math.max(...bits)} bits`);
  return { model: config.out, weightFracBits: rounded.config.weightFracBits };
}

/** The config with the bounds of its wires, for models that have a secure form. */
async function withBounds(
  model: LocalModel,
  config: StageConfig<"export">,
  kernels: FloatKernels,
): Promise<ModelConfig> {
  if (model.config.attention !== "constant") return model.config;
  const examples = await loadExamples(dataFile(config.data, "train"));
  const inputs = [...new Set(examples.map(({ input }) => input))];
  const calibrated = await calibrate(model, inputs.slice(0, config.calibrationCount), kernels);
  // No bound of a state that nothing normalises follows from weights once it is sent again.
  return model.config.norm.kind === "affine"
    ? { ...calibrated, calibratedBounds: true }
    : calibrated;
}

/** Scores a model folder on development inputs. */
export async function evaluateStage(
  config: StageConfig<"evaluate">,
  { kernels, log }: StageContext,
): Promise<Map<string, Score>> {
  const model = await loadModel(config.model, { weightShapes });
  const dev = await loadExamples(dataFile(config.data, "dev"), { limit: config.count });
  const scorer = new Scorer(model, dev, { kernels, batchSize: config.batchSize });
  const values = new Map([...model.weights].map(([name, { data }]) => [name, data]));
  const scores = new Map<string, Score>();
  for (const mode of config.nextToken) {
    const score = scorer.score(values, mode);
    scores.set(mode, score);
    log(scoreLine(mode, score));
    for (const index of [3, 100, 197]) {
      if (dev[index]) log(`  ${dev[index].input} -> ${score.texts[index]}`);
    }
  }
  return scores;
}
