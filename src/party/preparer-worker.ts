// The thread of preparer-node.ts: gets seeds, gives prepared bundles.

import { setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { loadRingKernels } from "../kernel/load-node.ts";
import { inlinePreparer, type PreparerSetup } from "./preparer.ts";
import type { PreparerAnswer } from "./preparer-node.ts";

/** Lower than the online part, which C waits for. On Linux this is a thread's own. */
const PRIORITY = 10;

if (process.platform === "linux") setPriority(0, PRIORITY);
const preparer = inlinePreparer(workerData as PreparerSetup, await loadRingKernels());
parentPort?.on("message", async (seed: Uint8Array) => {
  let answer: PreparerAnswer;
  try {
    answer = { bundle: await preparer.prepare(seed) };
  } catch (error) {
    const { code = "E_INTERNAL", message } = error as { code?: string; message: string };
    answer = { error: { code, message } };
  }
  seed.fill(0);
  parentPort?.postMessage(answer);
});
