// The whole state of a training run in one safetensors file: weights, moments and the number of
// steps done. Random numbers and data order follow from seed and step, so nothing else is needed.
// Beside it stand the weights with the best score.

import { open, readFile, rename, rm } from "node:fs/promises";
import { ensure, MergenError } from "../errors.ts";
import { describe } from "../model/files.ts";
import {
  parseSafetensors,
  type Weights,
  type WeightTensor,
  writeSafetensors,
} from "../model/safetensors.ts";
import type { AdamState } from "./optimizer.ts";
import { type Layout, toWeights, views } from "./parameters.ts";

const PARTS = ["weights", "moment1", "moment2"] as const;
const STEP = "step";
const SCORE = "score";

/** @throws E_TRAIN naming the file when it cannot be written; an older one stays as it was */
export async function saveTraining(
  path: string,
  layout: Layout,
  state: AdamState & { step: number },
): Promise<void> {
  const tensors: Weights = new Map([[STEP, scalar(state.step)]]);
  for (const part of PARTS) {
    const byName = views(layout, state[part]);
    for (const { name, shape } of layout.parameters) {
      tensors.set(`${part}/${name}`, { shape: [...shape], data: byName.get(name)! });
    }
  }
  await replaceFile(path, writeSafetensors(tensors));
}

/**
 * Reads a state into the vectors; the number of steps done, or undefined when there is no file.
 * @throws E_TRAIN when the file belongs to another model
 */
export async function loadTraining(
  path: string,
  layout: Layout,
  state: AdamState,
): Promise<number | undefined> {
  const tensors = await readTensors(path);
  if (!tensors) return undefined;
  for (const part of PARTS) {
    const byName = views(layout, state[part]);
    for (const parameter of layout.parameters) {
      const tensor = fitting(tensors.get(`${part}/${parameter.name}`), parameter, path);
      byName.get(parameter.name)!.set(tensor.data);
    }
  }
  const step = tensors.get(STEP)?.data[0];
  ensure(step !== undefined, "E_TRAIN", `${path}: holds no number of steps`);
  return step;
}

/** After which step weights had which score. */
export interface Best {
  readonly step: number;
  /** A single float, so that a file gives it back as it was. */
  readonly score: number;
}

/** @throws E_TRAIN naming the file when it cannot be written; an older one stays as it was */
export async function saveBest(
  path: string,
  layout: Layout,
  { weights, step, score }: Best & { weights: Float32Array },
): Promise<void> {
  const tensors = toWeights(layout, weights);
  tensors.set(STEP, scalar(step)).set(SCORE, scalar(score));
  await replaceFile(path, writeSafetensors(tensors));
}

/** What saveBest has written; undefined when there is no file. @throws E_TRAIN */
export async function loadBest(
  path: string,
  layout: Layout,
): Promise<(Best & { weights: Weights }) | undefined> {
  const tensors = await readTensors(path);
  if (!tensors) return undefined;
  const weights: Weights = new Map();
  for (const parameter of layout.parameters) {
    const { name } = parameter;
    weights.set(name, fitting(tensors.get(name), parameter, path));
  }
  const [step, score] = [STEP, SCORE].map((name) => tensors.get(name)?.data[0]);
  const whole = step !== undefined && score !== undefined;
  ensure(whole, "E_TRAIN", `${path}: holds no step and score; begin in another folder`);
  return { weights, step, score };
}

function scalar(value: number): WeightTensor {
  return { shape: [1], data: Float32Array.of(value) };
}

function fitting(
  tensor: WeightTensor | undefined,
  { name, shape }: { name: string; shape: readonly number[] },
  path: string,
): WeightTensor {
  const fits = tensor !== undefined && String(tensor.shape) === String(shape);
  ensure(fits, "E_TRAIN", `${path}: ${name} does not fit the model; begin in another folder`);
  return tensor;
}

/** All tensors of a file; undefined when there is none. */
async function readTensors(path: string): Promise<Weights | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new MergenError("E_TRAIN", `${path}: cannot be read`, { cause: error });
  }
  return parseSafetensors(bytes, path);
}

/**
 * Writes aside, makes it durable and renames: a kill or a full disk at any time leaves a whole
 * file.
 */
async function replaceFile(path: string, content: Uint8Array): Promise<void> {
  const aside = `${path}.part`;
  try {
    const file = await open(aside, "w");
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (cause) {
    await rm(aside, { force: true }).catch(() => undefined);
    const message = `${path}: cannot be written: ${describe(cause)}`;
    throw new MergenError("E_TRAIN", message, { cause });
  }
}
