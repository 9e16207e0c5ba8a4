// An alarm that rings within microseconds of its time where a core is free; setTimeout knows whole
// milliseconds only. Node only. A thread sleeps until shortly before the time and wakes this one;
// the rest, tens of microseconds, is spent in turns of the event loop, which go on serving sockets.
// How early it has to be woken depends on the machine and is learnt as it goes.
//
// One alarm costs about 100 us of processor time. Rejected: turns of the event loop from the last
// whole millisecond on, which burn a core whenever something is under way.

import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { MergenError } from "../errors.ts";

/** What the thread works on; see alarm-worker.ts. */
export interface AlarmWorkerData {
  readonly control: Int32Array;
  readonly wakeMs: Float64Array;
  /** performance.now() of the starting thread at zero of the system's monotonic clock. */
  readonly originMs: number;
}

/** Where the lead starts, and its bounds: where cores are scarce, more would only burn more. */
const leadMs = { first: 0.1, least: 0.03, most: 0.25 };
/** How long before its time the alarm should be woken. */
const aimMs = 0.02;
/** Woken too late moves the lead up by this, in time down by a fifth: so one in six is late. */
const stepMs = 0.005;

/** Readings of both clocks, of which the quickest counts. */
const readings = 10;

/**
 * Milliseconds between performance.now() and the clock that all threads share. The first reading in
 * a thread takes a millisecond or two, in which code is loaded; right is one that takes no time.
 */
export function monotonicOriginMs(): number {
  const sharedMs = () => Number(process.hrtime.bigint()) / 1e6;
  let best = { tookMs: Number.POSITIVE_INFINITY, originMs: 0 };
  for (let i = 0; i < readings; i++) {
    const beforeMs = sharedMs();
    const ownMs = performance.now();
    const tookMs = sharedMs() - beforeMs;
    if (tookMs < best.tookMs) best = { tookMs, originMs: beforeMs + tookMs / 2 - ownMs };
  }
  return best.originMs;
}

/** Rings once for each time set; times are those of performance.now(). */
export class Alarm {
  private readonly worker: Worker;
  private readonly data: AlarmWorkerData;
  private readonly ring: () => void;
  private dueMs = Number.POSITIVE_INFINITY;
  private lead = leadMs.first;
  private isTurning = false;

  private constructor(worker: Worker, data: AlarmWorkerData, ring: () => void) {
    this.worker = worker;
    this.data = data;
    this.ring = ring;
    worker.on("message", () => this.wake());
    worker.unref();
  }

  /** @throws E_INTERNAL when the thread does not start */
  static async start(ring: () => void): Promise<Alarm> {
    const control = new Int32Array(new SharedArrayBuffer(4));
    const wakeMs = new Float64Array(new SharedArrayBuffer(8)).fill(Number.POSITIVE_INFINITY);
    const data: AlarmWorkerData = { control, wakeMs, originMs: monotonicOriginMs() };
    const file = import.meta.url.endsWith(".ts") ? "./alarm-worker.ts" : "./alarm-worker.js";
    const restoreSlack = setTimerSlack("1000");
    const worker = new Worker(new URL(file, import.meta.url), { workerData: data, execArgv: [] });
    restoreSlack();
    try {
      await once(worker, "message");
    } catch (cause) {
      void worker.terminate();
      throw new MergenError("E_INTERNAL", "the alarm's thread does not start", { cause });
    }
    return new Alarm(worker, data, ring);
  }

  /** Sets the time in place of the one set before. Infinity: never. It does not ring within. */
  set(dueMs: number): void {
    if (dueMs === this.dueMs) return;
    this.dueMs = dueMs;
    if (this.isTurning) return;
    if (dueMs - performance.now() > this.lead) {
      this.sleep();
    } else {
      this.isTurning = true;
      setImmediate(() => this.turn());
    }
  }

  close(): Promise<unknown> {
    this.dueMs = Number.POSITIVE_INFINITY;
    return this.worker.terminate();
  }

  private sleep(): void {
    const { control, wakeMs } = this.data;
    wakeMs[0] = this.dueMs - this.lead;
    Atomics.add(control, 0, 1);
    Atomics.notify(control, 0);
  }

  private wake(): void {
    if (this.isTurning || this.dueMs === Number.POSITIVE_INFINITY) return;
    const earlyMs = this.dueMs - performance.now();
    if (earlyMs > this.lead) {
      this.sleep(); // woken for a time that has been replaced
    } else {
      const lead = this.lead + (earlyMs < aimMs ? stepMs : -stepMs / 5);
      this.lead = Math.min(leadMs.most, Math.max(leadMs.least, lead));
      this.turn();
    }
  }

  /** Goes round the event loop until it is time. */
  private turn(): void {
    this.isTurning = true;
    const leftMs = this.dueMs - performance.now();
    if (leftMs > this.lead) {
      this.isTurning = false;
      this.sleep();
    } else if (leftMs > 0) {
      setImmediate(() => this.turn());
    } else {
      this.isTurning = false;
      this.dueMs = Number.POSITIVE_INFINITY;
      this.ring();
    }
  }
}

/**
 * How late the system may wake this thread, and those it starts, to save power, in nanoseconds:
 * 50,000 on Linux unless told otherwise. Halves the time spent waiting awake. Gives the way back.
 */
function setTimerSlack(nanoseconds: string): () => void {
  const file = "/proc/self/timerslack_ns";
  try {
    const before = readFileSync(file);
    writeFileSync(file, nanoseconds);
    return () => writeFileSync(file, before);
  } catch {
    return () => {}; // not Linux, or not allowed
  }
}
