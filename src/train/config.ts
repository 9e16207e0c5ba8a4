// Configuration of a training stage: a JSON file with defaults for everything but the model,
// `key=value` overrides with dotted keys, unknown keys an error. Paths are relative to the working
// folder.

import { z } from "zod";
import { ensure, MergenError } from "../errors.ts";
import { slotTasks } from "../evaluate/slot-error.ts";
import { hybridSchema } from "../model/config.ts";
import { presetNames } from "../recipe/presets.ts";
import { modelShape } from "./model-shape.ts";

const positive = z.int().positive();
const share = z.number().min(0).max(1);

const common = {
  /** Folder with train.jsonl.gz and dev.jsonl.gz. */
  data: z.string().default("../shared/data/e2e"),
  /** Folder of this stage's results. */
  out: z.string(),
  seed: z.int().nonnegative().default(1),
};

const optimiser = {
  steps: positive,
  /** Texts of a step, or of each of its `accumulate` parts. */
  batchSize: positive.default(128),
  /** Parts of a step whose gradients are added up before the weights change. */
  accumulate: positive.default(1),
  /** Lengths that outputs are padded to; longer ones are left out. */
  buckets: z.array(positive).min(1),
  rate: z.number().positive().default(2e-3),
  warmupSteps: z.int().nonnegative().default(200),
  finalShare: share.default(0.02),
  weightDecay: z.number().nonnegative().default(0.01),
  betas: z.tuple([share, share]).default([0.9, 0.98]),
  eps: z.number().positive().default(1e-8),
  clip: z.number().positive().default(1),
  threads: positive.default(2),
  checkpointEvery: positive.default(250),
  logEvery: positive.default(50),
  evaluateEvery: positive.default(500),
  /** Development inputs used while training. */
  evaluateCount: positive.default(200),
  /** Whose weights are the result: the last step's, or of the best score on those inputs. */
  keep: z.enum(["best", "last"]).default("last"),
};

const tokenizer = z.strictObject({
  stage: z.literal("tokenizer"),
  ...common,
  vocabSize: positive.default(1500),
  wordMerges: z.int().nonnegative().default(700),
  minCount: positive.default(20),
  maxBlanks: positive.default(4),
  /** Slots whose values are pieces of their own wherever they stand. */
  isolatedSlots: z.array(z.string()).default(["name", "near"]),
  /** Slots whose values in lower case are such pieces, too. */
  lowerCaseSlots: z.array(z.string()).default([]),
  /** How often each slot value counts beside the texts. */
  valueCount: z.int().nonnegative().default(50),
  /** text: inputs have no slots, and count as texts. */
  inputs: z.enum(["slots", "text"]).default("slots"),
});

const teacher = z.strictObject({
  stage: z.literal("teacher"),
  ...common,
  ...optimiser,
  /** Folder with tokenizer.json. */
  tokenizer: z.string(),
  model: modelShape,
  smoothing: share.default(0),
  dropout: share.default(0),
});

const distil = z.strictObject({
  stage: z.literal("distil"),
  ...common,
  /** Model folder of the teacher. */
  teacher: z.string(),
  /** Made-up inputs beside those of the training set. */
  syntheticCount: z.int().nonnegative().default(7000),
  /** What they are made of: slots of the model's layout, or dialogue acts (evaluate/acts.ts). */
  syntheticFrom: z.enum(["slots", "acts"]).default("slots"),
  /** Inputs of the training set at most, drawn by the seed. */
  count: positive.optional(),
  batchSize: positive.default(256),
});

const studentPart = z.strictObject({
  kind: z.enum(["real", "resent", "rollout", "own"]),
  rows: z.number().positive().default(1),
  ce: z.number().nonnegative().default(1),
  align: z.number().nonnegative().default(0),
  soft: z.number().nonnegative().default(0),
  hidden: z.number().nonnegative().default(0),
  passes: z.int().nonnegative().default(1),
  probability: z.tuple([share, share]).default([1, 1]),
});

/** A method of src/recipe/presets.ts. */
const recipe = z.enum(presetNames);

const phases = z
  .array(z.strictObject({ share: z.number().positive(), parts: z.array(studentPart).min(1) }))
  .min(1);

const studentOptions = {
  tailWeight: share.default(0.05),
  smoothing: share.default(0),
  noise: z.number().nonnegative().default(0),
  dropout: share.default(0),
  temperature: z.number().positive().default(2),
  hiddenLoss: z.enum(["squared", "cosine"]).default("cosine"),
  hiddenLayers: z
    .union([z.enum(["last", "all"]), z.array(z.int().nonnegative()).min(1)])
    .default("last"),
};

/**
 * What a merged student of an ordinary decoder takes of it; all else is fresh. Default: attention
 * and embedding, but nothing where `model` describes the student.
 */
const startFrom = z.array(z.enum(["attention", "embedding", "matrices"]));

const student = z.strictObject({
  stage: z.literal("student"),
  ...common,
  ...optimiser,
  /** File of prompts and outputs that the distil stage has written. */
  pairs: z.string(),
  tokenizer: z.string(),
  /** Model folder to begin with; else the teacher's weights where they fit, or fresh ones. */
  initial: z.string().optional(),
  /** The student; or the recipe that makes the teacher the student's. */
  model: modelShape.optional(),
  recipe: recipe.optional(),
  /** Model folder, for `recipe`, and for parts with `soft` or `hidden`. */
  teacher: z.string().optional(),
  startFrom: startFrom.optional(),
  /** In the place of the recipe's own norm: x scale + shift, without statistics. */
  norm: z.literal("affine").optional(),
  /** Layers of a merged student that also have attention by what rows hold. */
  hybrid: z.optional(hybridSchema),
  phases,
  ...studentOptions,
});

const adapt = z.strictObject({
  stage: z.literal("adapt"),
  ...common,
  ...optimiser,
  /** Model folder of the teacher. */
  teacher: z.string(),
  recipe,
  /** Examples, .jsonl or .jsonl.gz. */
  data: z.string(),
  /** What the student learns: the teacher's own texts, or the references. */
  targets: z.enum(["teacher", "references"]).default("teacher"),
  steps: positive.default(1000),
  batchSize: positive.default(32),
  /** Default: one, of the longest text's length. */
  buckets: z.array(positive).min(1).optional(),
  rate: z.number().positive().default(5e-4),
  warmupSteps: z.int().nonnegative().default(50),
  evaluateCount: positive.default(100),
  /** Default: given tokens alone, or also roll-outs where states are sent again. */
  phases: phases.optional(),
  startFrom: startFrom.optional(),
  /** Layers of a merged student that also have attention by what rows hold. */
  hybrid: z.optional(hybridSchema),
  ...studentOptions,
});

const exported = z.strictObject({
  stage: z.literal("export"),
  /** Inputs of the training set here calibrate the wires. */
  data: common.data,
  out: z.string(),
  /** Model folder to round. */
  model: z.string(),
  /** Most bits after the point of a weight. */
  maxFracBits: z.int().min(0).max(15).default(12),
  /** How many inputs are generated from for calibration. */
  calibrationCount: positive.default(500),
});

const evaluate = z.strictObject({
  stage: z.literal("evaluate"),
  data: common.data,
  model: z.string(),
  count: positive.default(547),
  batchSize: positive.default(64),
  nextToken: z.enum(["lookup", "resend"]).array().default(["resend", "lookup"]),
});

const stageKeys = z.record(z.string(), z.unknown());
const label = z.string().regex(/^[a-z0-9-]+$/, "is no name of small letters, digits and -");

/** A model that was trained elsewhere, with what its training took. */
const ready = z.strictObject({
  model: z.string(),
  steps: positive,
  batchSize: positive,
  seconds: positive,
  seed: z.int().nonnegative(),
});

/** One model of a study. */
const cell = z.strictObject({
  name: label,
  /** vanilla: the teacher itself. */
  recipe,
  /** Model folder to begin with, where it is not the task's teacher. */
  teacher: z.string().optional(),
  /** Name of a cell before it, to begin with its weights. */
  after: label.optional(),
  /** Keys of the stage `student` beside or in the place of those of all cells. */
  train: stageKeys.default({}),
  ready: ready.optional(),
  /** 0 sends states again, 1 the client's tokens. Default: the recipe's. */
  anchor: z.int().min(0).max(1).optional(),
  /** Plan with seen bounds where proven ones do not fit. */
  calibratedBounds: z.boolean().default(false),
  /** In the place of the study's. */
  secureCount: positive.optional(),
  /** What a reader must know of it. */
  note: z.string().optional(),
});

const study = z.strictObject({
  stage: z.literal("study"),
  task: label,
  /** Folder with dev.jsonl.gz, test.jsonl.gz and the files of `trainFiles`. */
  data: z.string(),
  trainFiles: z.array(z.string()).min(1).default(["train.jsonl.gz"]),
  out: z.string(),
  /** Folder of the cells' results; a file for each. */
  results: z.string(),
  seed: common.seed,
  /** Rules of the slot error rate. */
  slots: z.enum(slotTasks).optional(),
  /** First test cases that are also run in the secure mode. */
  secureCount: positive.default(100),
  devCount: positive.default(500),
  calibrationCount: positive.default(300),
  /** Names of the cells to run. Default: all. */
  only: z.array(z.string()).optional(),
  /** Keys of these stages; folders and data are the study's. */
  tokenizer: stageKeys,
  teacher: stageKeys,
  distil: stageKeys,
  /** Keys of the stage `student`, for all cells. */
  students: stageKeys,
  cells: z.array(cell).min(1),
  /** Told beside the task's results. */
  notes: z.array(z.string()).default([]),
});

const stages = z.discriminatedUnion("stage", [
  tokenizer,
  teacher,
  distil,
  student,
  adapt,
  exported,
  evaluate,
  study,
]);

export type TrainConfig = z.infer<typeof stages>;
export type StageConfig<S extends TrainConfig["stage"]> = Extract<TrainConfig, { stage: S }>;

/**
 * The configuration of a parsed file with its overrides, as `model.layerCount=4`.
 * @throws E_CONFIG naming the key
 */
export function parseTrainConfig(
  json: unknown,
  { overrides = [], origin = "config" }: { overrides?: readonly string[]; origin?: string } = {},
): TrainConfig {
  const raw = structuredClone(json);
  for (const override of overrides) applyOverride(raw, override);
  const result = stages.safeParse(raw);
  if (result.success) return checked(result.data, origin);
  const issue = result.error.issues[0];
  const where = issue?.path.map(String).join(".") || "the whole";
  const keys = issue?.code === "unrecognized_keys" ? ` (${issue.keys.join(", ")})` : "";
  throw new MergenError("E_CONFIG", `${origin}: ${where}: ${issue?.message ?? "is wrong"}${keys}`);
}

/**
 * Settings that hold stages at any depth, each with the defaults of keys that it was written
 * without. What is no stage, or none of today's, stays as it is.
 */
export function withDefaults(settings: unknown): unknown {
  if (!isObject(settings)) return settings;
  const { success, data } = stages.safeParse(settings);
  if (success) return data;
  return Object.fromEntries(Object.entries(settings).map(([key, of]) => [key, withDefaults(of)]));
}

function checked(config: TrainConfig, origin: string): TrainConfig {
  if (config.stage !== "student") return config;
  const { model, teacher, recipe, phases } = config;
  const fits = recipe === undefined ? model !== undefined : !model && teacher !== undefined;
  ensure(fits, "E_CONFIG", `${origin}: a student has either model, or teacher and recipe`);
  const needed = phases.findIndex(({ parts }) =>
    parts.some(({ soft, hidden }) => soft > 0 || hidden > 0),
  );
  const message = `phases.${needed}: soft and hidden need a teacher's folder, as teacher`;
  ensure(needed < 0 || teacher !== undefined, "E_CONFIG", `${origin}: ${message}`);
  return config;
}

function applyOverride(target: unknown, override: string): void {
  const at = override.indexOf("=");
  ensure(at > 0, "E_CONFIG", `${override}: is not of the form key=value`);
  const path = override.slice(0, at).split(".");
  const last = path.pop()!;
  let holder = target as Record<string, unknown>;
  for (const key of path) {
    const inner = isObject(holder) && Object.hasOwn(holder, key) ? holder[key] : undefined;
    ensure(isObject(inner), "E_CONFIG", `${override}: the configuration has no ${key}`);
    holder = inner;
  }
  holder[last] = parseValue(override.slice(at + 1));
}

/** JSON where it is that, else the text itself. */
function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
