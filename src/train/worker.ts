// A training thread: answers the trainer's requests one by one.

import { parentPort, workerData } from "node:worker_threads";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { Shard, type ShardRequest, type SharedRun } from "./shard.ts";

const { run, index } = workerData as { run: SharedRun; index: number };
const shard = new Shard(run, index, await loadFloatKernels());
parentPort!.on("message", (request: ShardRequest) => {
  parentPort!.postMessage(shard.answer(request));
});
