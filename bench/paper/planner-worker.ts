// The thread of planner.ts: gets what to plan, gives its costs.

import { parentPort } from "node:worker_threads";
import { MergenError } from "../../src/index.ts";
import { type CostAnswer, type CostTask, costsOfTask } from "./planner.ts";

parentPort!.on("message", async (task: CostTask) => {
  let answer: CostAnswer;
  try {
    answer = { costs: await costsOfTask(task) };
  } catch (error) {
    const code = error instanceof MergenError ? error.code : "E_INTERNAL";
    answer = { error: { code, message: (error as Error).message } };
  }
  parentPort!.postMessage(answer);
});
