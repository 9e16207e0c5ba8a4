// Loads the ring kernels in Node: WebAssembly SIMD from build/ring.wasm at the package root.

import { readFile } from "node:fs/promises";
import { MergenError } from "../errors.ts";
import type { BatchedRingKernels } from "./function-key.ts";
import { loadWasmRingKernels } from "./wasm.ts";

/** The package root seen from src/kernel and from dist/src/kernel. */
const candidates = ["../../build/ring.wasm", "../../../build/ring.wasm"];

/** @throws E_KERNEL when the kernels have not been built. */
export async function loadRingKernels(): Promise<BatchedRingKernels> {
  return loadWasmRingKernels(await readRingWasm());
}

async function readRingWasm(): Promise<Uint8Array<ArrayBuffer>> {
  let failure: unknown;
  for (const candidate of candidates) {
    try {
      return await readFile(new URL(candidate, import.meta.url));
    } catch (error) {
      failure = error;
    }
  }
  const message = "build/ring.wasm is missing: run `npm run build:wasm`";
  throw new MergenError("E_KERNEL", message, { cause: failure });
}
