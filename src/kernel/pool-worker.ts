// A thread of the pool in Node; started by pool-node.ts.

import { parentPort, workerData } from "node:worker_threads";
import { serveCalls } from "./pool.ts";
import type { PoolWorkerData } from "./pool-node.ts";
import type { RingExports } from "./wasm-exports.ts";

const { module, memory, control } = workerData as PoolWorkerData;
const { exports } = new WebAssembly.Instance(module, { env: { memory } });
parentPort?.postMessage("ready");
serveCalls(control, exports as unknown as RingExports);
