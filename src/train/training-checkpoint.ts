// The whole state of a training run in one safetensors file: weights, moments and the number of
// steps done. Random numbers and data order follow from seed and step, so nothing else is needed.

import { open, readFile, rename } from "node:fs/promises";
import { ensure, MergenError } from "../errors.ts";
import { parseSafetensors, type Weights, writeSafetensors } from "../model/safetensors.ts";
import type { AdamState } from "./optimizer.ts";
import type { Layout } from "./parameters.ts";
import { views } from "./parameters.ts";

const PARTS = ["weights", "moment1", "moment2"] as const;
const STEP = "step";

/** Writes aside, makes it durable and renames: a kill at any time leaves a whole file. */
export async function saveTraining(
  path: string,
  layout: Layout,
  state: AdamState & { step: number },
): Promise<void> {
  const tensors: Weights = new Map([[STEP, { shape: [1], data: Float32Array.of(state.step) }]]);
  for (const part of PARTS) {
    const byName = views(layout, state[part]);
    for (const { name, shape } of layout.parameters) {
      tensors.set(`${part}/${name}`, { shape: [...shape], data: byName.get(name)! });
    }
  }
  const file = await open(`${path}.part`, "w");
  try {
    await file.writeFile(writeSafetensors(tensors));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.part`, path);
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
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new MergenError("E_TRAIN", `${path}: cannot be read`, { cause: error });
  }
  const tensors = parseSafetensors(bytes, path);
  for (const part of PARTS) {
    const byName = views(layout, state[part]);
    for (const { name, shape } of layout.parameters) {
      const tensor = tensors.get(`${part}/${name}`);
      const fits = tensor !== undefined && String(tensor.shape) === String(shape);
      ensure(fits, "E_TRAIN", `${path}: ${name} does not fit the model; begin in another folder`);
      byName.get(name)!.set(tensor.data);
    }
  }
  const step = tensors.get(STEP)?.data[0];
  ensure(step !== undefined, "E_TRAIN", `${path}: holds no number of steps`);
  return step;
}
