// The thread of an alarm: sleeps, wakes the other one, sleeps on; started by alarm.ts.

import { parentPort, workerData } from "node:worker_threads";
import { type AlarmWorkerData, monotonicOriginMs } from "./alarm.ts";

const { control, wakeMs, originMs } = workerData as AlarmWorkerData;
/** From this thread's performance.now() to the other's. */
const shiftMs = monotonicOriginMs() - originMs;
parentPort?.postMessage("ready");

let seen = 0;
for (;;) {
  // Another time set between the two reads ends the wait at once, or is read already.
  const generation = Atomics.load(control, 0);
  const leftMs =
    generation === seen ? Number.POSITIVE_INFINITY : wakeMs[0] - performance.now() - shiftMs;
  const woken = leftMs > 0 ? Atomics.wait(control, 0, generation, leftMs) : "timed-out";
  if (woken !== "timed-out") continue;
  seen = generation;
  parentPort?.postMessage("wake");
}
