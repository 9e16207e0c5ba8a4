// A model as a folder: config.json, model.safetensors, tokenizer.json and, where there is one,
// tokenizer_config.json. Reading checks that the parts fit each other; writing replaces the folder
// as a whole, so that no reader finds half of a new one.

import { randomUUID } from "node:crypto";
import { cp, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { MergenError } from "../errors.ts";
import { checkWeights } from "./check-weights.ts";
import { type ModelConfig, parseConfig } from "./config.ts";
import { weightShapes as decoderShapes } from "./decoder.ts";
import { describe, oldFolder, orUnreadable, readJson } from "./files.ts";
import { huggingFaceKind, huggingFaceKinds } from "./hf-config.ts";
import { bytePairTokenizerJson, hasPairFiles } from "./hf-tokenizer.ts";
import { importHuggingFace } from "./import.ts";
import { safetensorsParts, type Weights } from "./safetensors.ts";
import { checkTokenizer, Tokenizer } from "./tokenizer.ts";
import { readWeights } from "./weights-file.ts";

export interface Model {
  readonly config: ModelConfig;
  readonly weights: Weights;
  readonly tokenizer: Tokenizer;
}

/** Shapes of all weight tensors that a model of this config has, by name. */
export type WeightShapes = (config: ModelConfig) => ReadonlyMap<string, readonly number[]>;

const CONFIG = "config.json";
const WEIGHTS = "model.safetensors";
const TOKENIZER = "tokenizer.json";
const TOKENIZER_CONFIG = "tokenizer_config.json";
const ownFiles = [CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG];

/**
 * Reads a model folder and checks that weights and tokenizer fit the config. A Hugging Face folder
 * of a kind that can be imported is imported on the way, on the int16 grid. `weightShapes` is for
 * models that are not the decoder's.
 * @throws E_MODEL naming the file and the key or tensor, E_TOKENIZER when a tokenizer does not fit
 */
export async function loadModel(
  dir: string,
  { weightShapes = decoderShapes }: { weightShapes?: WeightShapes } = {},
): Promise<Model> {
  const configPath = join(dir, CONFIG);
  const json = await readJson(configPath);
  if (huggingFaceKind(json)) return importHuggingFace(dir);
  const config = parseOwn(json, configPath);
  const tokenizer = await loadTokenizer(dir);
  checkTokenizer(tokenizer, config, join(dir, TOKENIZER));
  const path = join(dir, WEIGHTS);
  const weights = await orUnreadable(path, () =>
    readWeights(path, { fracBits: config.weightFracBits }),
  );
  checkWeights(weights, weightShapes(config), path);
  return { config, weights, tokenizer };
}

/** Reads config.json alone: what a client or dealer needs of a model. @throws E_MODEL */
export async function loadConfig(dir: string): Promise<ModelConfig> {
  const path = join(dir, CONFIG);
  const json = await readJson(path);
  const kind = huggingFaceKind(json);
  if (kind) {
    const message = `${path}: is a Hugging Face model's, which has no public config yet`;
    const remedy = `make one with: mergen import ${kind} ${dir} --out DIR`;
    throw new MergenError("E_MODEL", `${message}; ${remedy}`);
  }
  return parseOwn(json, path);
}

/** @throws E_MODEL, with a list of the kinds that are known */
function parseOwn(json: unknown, path: string): ModelConfig {
  const type = (json as { model_type?: unknown } | null)?.model_type;
  if (typeof type === "string" && type !== "mergen") {
    const known = ["mergen", ...huggingFaceKinds].join(", ");
    const message = `${path}: model_type ${JSON.stringify(type.slice(0, 40))} is none of ${known}`;
    throw new MergenError("E_MODEL", `${message}; give another model`);
  }
  return parseConfig(json, path);
}

/**
 * Reads the tokenizer of a model folder alone, or of one with GPT-2's vocab.json and merges.txt.
 * @throws E_MODEL, E_TOKENIZER
 */
export async function loadTokenizer(dir: string): Promise<Tokenizer> {
  const path = join(dir, TOKENIZER);
  const tokenizer = (await hasPairFiles(dir))
    ? await bytePairTokenizerJson(dir)
    : await readJson(path);
  const config = await readJson(join(dir, TOKENIZER_CONFIG), { optional: true });
  return new Tokenizer({ tokenizer, config }, path);
}

/**
 * Writes a model folder: a new folder beside it is filled, made durable and renamed into its place.
 * Other files of a folder that is replaced are kept. A crash between the two renames leaves the
 * old folder beside it as `.<name>.old`, which the next save removes.
 * `int16` writes the tensors that have weightFracBits on their grid.
 * @throws E_MODEL when the folder is none of a model, or cannot be written
 */
export async function saveModel(
  dir: string,
  { config, weights, tokenizer }: Model,
  { int16 = false }: { int16?: boolean } = {},
): Promise<void> {
  const target = resolve(dir);
  const aside = join(dirname(target), `.${basename(target)}.${randomUUID()}`);
  const fracBits = int16 ? config.weightFracBits : undefined;
  const files: [string, Iterable<string | Uint8Array>][] = [
    [CONFIG, [toJson(parseConfig(config))]],
    [WEIGHTS, safetensorsParts(weights, { fracBits })],
    [TOKENIZER, [JSON.stringify(tokenizer.files.tokenizer)]],
  ];
  if (tokenizer.files.config !== undefined) {
    files.push([TOKENIZER_CONFIG, [toJson(tokenizer.files.config)]]);
  }
  try {
    const present = await listFolder(target);
    await mkdir(aside, { recursive: true });
    for (const [name, parts] of files) await writeDurably(join(aside, name), parts);
    for (const name of present ?? []) {
      if (!ownFiles.includes(name)) await cp(join(target, name), join(aside, name), copyAll);
    }
    await replaceFolder(aside, target, present !== undefined);
  } catch (cause) {
    await rm(aside, { recursive: true, force: true });
    notWritten(dir, cause);
  }
}

/**
 * Refuses a folder that a model would not be written to, before the work of making one.
 * @throws E_MODEL when the folder is there and is none of a model
 */
export async function checkModelFolder(dir: string): Promise<void> {
  await listFolder(resolve(dir)).catch((cause) => notWritten(dir, cause));
}

function notWritten(dir: string, cause: unknown): never {
  if (cause instanceof MergenError) throw cause;
  const message = `${dir}: the model cannot be written: ${describe(cause)}`;
  throw new MergenError("E_MODEL", message, { cause });
}

const copyAll = { recursive: true, preserveTimestamps: true } as const;

/** The names in a folder that may be replaced; undefined when there is none. */
async function listFolder(dir: string): Promise<string[] | undefined> {
  let names: string[];
  try {
    names = await readdir(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  if (names.length > 0 && !names.includes(CONFIG)) {
    throw new MergenError("E_MODEL", `${dir}: is not a model folder; choose another to write to`);
  }
  return names;
}

async function replaceFolder(aside: string, target: string, exists: boolean): Promise<void> {
  const old = oldFolder(target);
  if (exists) {
    await rm(old, { recursive: true, force: true });
    await rename(target, old);
  }
  try {
    await rename(aside, target);
  } catch (error) {
    if (exists) await rename(old, target);
    throw error;
  }
  await syncFolder(dirname(target));
  await rm(old, { recursive: true, force: true });
}

async function writeDurably(path: string, parts: Iterable<string | Uint8Array>): Promise<void> {
  const file = await open(path, "wx");
  try {
    for (const part of parts) await file.appendFile(part);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes renames durable; some systems cannot open a folder, and then there is nothing to do. */
async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, "r").catch(() => undefined);
  await folder?.sync().catch(() => undefined);
  await folder?.close();
}

function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
