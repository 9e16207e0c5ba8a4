// Reads a safetensors file tensor by tensor, each straight into its own memory: a model of any size
// loads with one tensor more than itself in memory.

import { open } from "node:fs/promises";
import { readRange } from "./files.ts";
import {
  type SafetensorsOptions,
  safetensorsEntries,
  safetensorsStart,
  shiftColumns,
  tensorOf,
  type Weights,
} from "./safetensors.ts";

/**
 * The tensors of a safetensors file as 32-bit floats.
 * @throws E_MODEL naming the file and the tensor that is wrong; what the system says when it cannot
 *         be read
 */
export async function readWeights(path: string, options: SafetensorsOptions): Promise<Weights> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const first = await readRange(file, { begin: 0, end: Math.min(8, size) }, path);
    const begin = safetensorsStart(first, size, path);
    const header = await readRange(file, { begin: 0, end: begin }, path);
    const entries = safetensorsEntries(header, path, { fileBytes: size, ignore: options.ignore });
    const weights: Weights = new Map();
    for (const entry of entries) {
      const bytes = await readRange(file, entry, path);
      weights.set(entry.name, tensorOf(entry, bytes.buffer, path, options));
    }
    shiftColumns(weights, path);
    return weights;
  } finally {
    await file.close();
  }
}
