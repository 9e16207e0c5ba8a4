// Reads a Hugging Face model folder that the user has: config.json, model.safetensors and
// tokenizer.json. Only the tensors that are asked for are read.

import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { z } from "zod";
import { ensure, MergenError } from "../errors.ts";
import { readRange } from "../model/files.ts";
import {
  safetensorsEntries,
  safetensorsStart,
  tensorOf,
  type Weights,
} from "../model/safetensors.ts";
import { Tokenizer } from "../model/tokenizer.ts";

const FILES = "config.json, model.safetensors and tokenizer.json";

/**
 * config.json by a schema.
 * @throws E_MODEL when it is missing, or of another architecture than the schema's; `wanted` says
 *         which would do
 */
export async function readConfig<T extends z.ZodType>(
  dir: string,
  schema: T,
  wanted: string,
): Promise<z.infer<T>> {
  const path = join(dir, "config.json");
  const json = await readJson(path);
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const key = issue?.path.map(String).join(".") || "the whole";
  const message = `${path}: ${key}: ${issue?.message ?? "is not valid"}`;
  throw new MergenError("E_MODEL", `${message}; give the folder of ${wanted}`);
}

/** tokenizer.json of a folder. @throws E_MODEL, E_TOKENIZER */
export async function readTokenizer(dir: string): Promise<Tokenizer> {
  const path = join(dir, "tokenizer.json");
  const json = await readJson(path);
  return new Tokenizer({ tokenizer: withModelType(json) }, path);
}

/** Older files do not name the kind of their model: it shows in the keys. */
function withModelType(json: unknown): unknown {
  if (!isRecord(json) || !isRecord(json.model) || json.model.type !== undefined) return json;
  const { model } = json;
  const kind = "merges" in model ? "BPE" : Array.isArray(model.vocab) ? "Unigram" : "WordPiece";
  return { ...json, model: { type: kind, ...model } };
}

/**
 * Tensors of model.safetensors by name, as 32-bit floats; `rename` gives the name under which one
 * is kept, or undefined for one that is not needed.
 * @throws E_MODEL naming the file and what is wrong with it
 */
export async function readTensors(
  dir: string,
  rename: (name: string) => string | undefined,
): Promise<Weights> {
  const path = join(dir, "model.safetensors");
  const file = await orMissing(path, () => open(path));
  try {
    const { size } = await file.stat();
    const first = await readRange(file, { begin: 0, end: Math.min(8, size) }, path);
    const start = safetensorsStart(first, size, path);
    const header = await readRange(file, { begin: 0, end: start }, path);
    const floats = floatHeader(header);
    const shift = start - floats.length;
    const fileBytes = size - shift;
    const weights: Weights = new Map();
    for (const entry of safetensorsEntries(floats, path, { fileBytes })) {
      const name = rename(entry.name);
      if (name === undefined) continue;
      const { begin, end } = entry;
      const bytes = await readRange(file, { begin: begin + shift, end: end + shift }, path);
      weights.set(name, tensorOf(entry, bytes.buffer, path));
    }
    return weights;
  } finally {
    await file.close();
  }
}

/** Types that hold no weights, as lists of positions, with the bytes of one. */
const integerBytes: Readonly<Record<string, number>> = { I64: 8, I32: 4, U8: 1, BOOL: 1 };

/**
 * A file's header with its integers as floats of the same size, where they fit: our reader knows
 * floats alone, and nobody asks for the others.
 */
function floatHeader(header: Uint8Array): Uint8Array {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(header.subarray(8)));
  } catch {
    return header; // which the reader then says
  }
  if (!isRecord(json)) return header;
  let changed = false;
  for (const entry of Object.values(json)) {
    if (!isRecord(entry) || !Array.isArray(entry.shape)) continue;
    const width = integerBytes[String(entry.dtype)];
    const bytes = entry.shape.reduce((product, length) => product * length, width ?? Number.NaN);
    if (!(bytes % 2 === 0)) continue;
    entry.dtype = "F16";
    entry.shape = [bytes / 2];
    changed = true;
  }
  if (!changed) return header;
  const text = new TextEncoder().encode(JSON.stringify(json));
  const bytes = new Uint8Array(8 + text.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

/**
 * A tensor's data.
 * @throws E_MODEL when it is missing or of another shape
 */
export function tensor(
  weights: Weights,
  name: string,
  shape: readonly number[],
  origin: string,
): Float32Array {
  const found = weights.get(name);
  const what = `${origin}: tensor ${JSON.stringify(name)}`;
  const remedy = "take the weights that belong to config.json";
  ensure(found, "E_MODEL", `${what}: is missing; ${remedy}`);
  const same = String(found.shape) === String(shape);
  const shapes = `has shape [${found.shape}], config.json asks for [${shape}]`;
  ensure(same, "E_MODEL", `${what}: ${shapes}; ${remedy}`);
  return found.data;
}

/** The id of a special token. @throws E_TOKENIZER when the tokenizer lacks it */
export function specialToken(tokenizer: Tokenizer, content: string, dir: string): number {
  const id = tokenizer.specialId(content);
  const message = `${join(dir, "tokenizer.json")}: has no special token ${content}`;
  ensure(id !== undefined, "E_TOKENIZER", `${message}; use the file that the model came with`);
  return id;
}

/** @throws E_TOKENIZER when the tokenizer has ids that the model does not */
export function checkVocabulary(tokenizer: Tokenizer, vocabSize: number, dir: string): void {
  const sizes = `has ${tokenizer.size} tokens, config.json's vocab_size is ${vocabSize}`;
  const message = `${join(dir, "tokenizer.json")}: ${sizes}; use the file that the model came with`;
  ensure(tokenizer.size <= vocabSize, "E_TOKENIZER", message);
}

async function readJson(path: string): Promise<unknown> {
  const bytes = await orMissing(path, () => readFile(path));
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new MergenError("E_MODEL", `${path}: is not JSON in UTF-8; copy the file anew`);
  }
}

async function orMissing<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    const { code = "unknown reason" } = cause as NodeJS.ErrnoException;
    const message = `${path}: cannot be read: ${code}`;
    const remedy = `give a Hugging Face model folder with ${FILES}, weights in one file`;
    throw new MergenError("E_MODEL", `${message}; ${remedy}`, { cause });
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
