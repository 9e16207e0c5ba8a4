// Loads the ring kernels in Node: WebAssembly SIMD from build/ at the package root.

import { readFile } from "node:fs/promises";
import { ensure, MergenError } from "../errors.ts";
import { maxThreads, mayPark } from "./pool.ts";
import { startPool } from "./pool-node.ts";
import type { RingKernels } from "./ring-kernels.ts";
import { loadWasmRingKernels, startEngine, WasmRingKernels } from "./wasm.ts";

/** The package root seen from src/kernel and from dist/src/kernel. */
const candidates = ["../../build/", "../../../build/"];

/**
 * The ring kernels on `threads` threads, the caller's among them; without the option as many as
 * the environment's MERGEN_THREADS says, or one. Threads take part in big jobs only and do not
 * keep the process alive.
 * @throws  E_USAGE when MERGEN_THREADS is no count, E_KERNEL when the kernels have not been built
 */
export async function loadRingKernels(options?: { threads?: number }): Promise<RingKernels> {
  const threads = options?.threads ?? threadsFromEnvironment();
  const fits = Number.isInteger(threads) && threads >= 1 && threads <= maxThreads;
  ensure(fits, "E_USAGE", `kernels run on 1 to ${maxThreads} threads, not on ${threads}`);
  if (threads === 1 || !mayPark()) return loadWasmRingKernels(await readBuilt("ring.wasm"));
  const engine = await startEngine(await readBuilt("ring-threads.wasm"), { shared: true });
  return new WasmRingKernels(engine, await startPool({ ...engine, threads }));
}

function threadsFromEnvironment(): number {
  const value = process.env.MERGEN_THREADS;
  return value === undefined || value === "" ? 1 : Number(value);
}

async function readBuilt(name: string): Promise<Uint8Array<ArrayBuffer>> {
  let failure: unknown;
  for (const candidate of candidates) {
    try {
      return await readFile(new URL(candidate + name, import.meta.url));
    } catch (error) {
      failure = error;
    }
  }
  const message = `build/${name} is missing: run \`npm run build:wasm\``;
  throw new MergenError("E_KERNEL", message, { cause: failure });
}
