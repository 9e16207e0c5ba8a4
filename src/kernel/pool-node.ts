// Starts the kernels' threads in Node. They do not keep the process alive.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { MergenError } from "../errors.ts";
import { createControl, Pool } from "./pool.ts";
import { type RingExports, type Runner, runInTurn } from "./wasm-exports.ts";

export interface PoolWorkerData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly control: Int32Array;
}

/**
 * A pool of `threads` threads, the caller's among them, over a shared memory.
 * @throws  E_KERNEL when a thread does not start
 */
export async function startPool(options: {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  wasm: RingExports;
  threads: number;
  eager?: boolean;
}): Promise<Runner> {
  const { module, memory, wasm, threads, eager = false } = options;
  if (threads === 1) return runInTurn(wasm);
  const control = createControl();
  const pool = new Pool(control, wasm, { workers: threads - 1, eager });
  const file = import.meta.url.endsWith(".ts") ? "./pool-worker.ts" : "./pool-worker.js";
  const workers = Array.from({ length: threads - 1 }, () => {
    const workerData: PoolWorkerData = { module, memory, control };
    // The process's own options (--input-type, say) may not suit a file.
    return new Worker(new URL(file, import.meta.url), { workerData, execArgv: [] });
  });
  try {
    await Promise.all(workers.map((worker) => once(worker, "message")));
  } catch (cause) {
    pool.close();
    for (const worker of workers) void worker.terminate();
    throw new MergenError("E_KERNEL", "a kernel thread does not start", { cause });
  }
  for (const worker of workers) {
    worker.on("error", () => pool.fail());
    worker.unref();
  }
  return pool;
}
