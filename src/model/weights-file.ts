// Reads a safetensors file tensor by tensor, each straight into its own memory: a model of any size
// loads with one tensor more than itself in memory.

import { type FileHandle, open } from "node:fs/promises";
import { MergenError } from "../errors.ts";
import {
  type SafetensorsOptions,
  safetensorsEntries,
  safetensorsStart,
  shiftColumns,
  tensorOf,
  type Weights,
} from "./safetensors.ts";

/** Bytes of one read: what the system takes at a time has a limit of 2 GiB. */
const READ_BYTES = 1 << 28;

/**
 * The tensors of a safetensors file as 32-bit floats.
 * @throws E_MODEL naming the file and the tensor that is wrong; what the system says when it cannot
 *         be read
 */
export async function readWeights(path: string, options: SafetensorsOptions): Promise<Weights> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const first = await readBytes(file, { begin: 0, end: Math.min(8, size) }, path);
    const begin = safetensorsStart(first, size, path);
    const header = await readBytes(file, { begin: 0, end: begin }, path);
    const entries = safetensorsEntries(header, path, { fileBytes: size, ignore: options.ignore });
    const weights: Weights = new Map();
    for (const entry of entries) {
      const bytes = await readBytes(file, entry, path);
      weights.set(entry.name, tensorOf(entry, bytes.buffer, path, options));
    }
    shiftColumns(weights, path);
    return weights;
  } finally {
    await file.close();
  }
}

async function readBytes(
  file: FileHandle,
  { begin, end }: { begin: number; end: number },
  path: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - begin);
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(READ_BYTES, bytes.length - at);
    const { bytesRead } = await file.read(bytes, at, length, begin + at);
    if (bytesRead === 0) {
      throw new MergenError("E_MODEL", `${path}: became shorter while it was read; try again`);
    }
    at += bytesRead;
  }
  return bytes;
}
