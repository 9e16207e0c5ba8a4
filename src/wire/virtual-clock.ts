// A clock for tests: time passes only while nobody has anything left to do. Node only.

import { ensure } from "../errors.ts";
import type { Clock, TimerHandle } from "./clock.ts";

interface Timer {
  readonly id: number;
  readonly dueMs: number;
  readonly run: () => void;
}

/** Timers that one run may fire before it counts as stuck. */
const maxTimersPerRun = 1_000_000;

/**
 * Virtual time, from 0 ms. `await clock.run(promise)` plays a whole scenario:
 *
 * 1. let everybody run until nothing is left to do: one turn of the event loop empties the
 *    microtask queue, so every party that talks through promises is then blocked;
 * 2. if the promise has settled, stop;
 * 3. else set the time to the earliest timer, run that timer, go to 1.
 *
 * A timeout of an hour so costs nothing, and two runs of one scenario fire the same timers in the
 * same order (by due time, then by age). Work outside the promises of this process (files, worker
 * threads, sockets) looks like being blocked: wrap it in `clock.hold(promise)`, and time stands
 * still until it settles.
 */
export class VirtualClock implements Clock {
  private timeMs = 0;
  private nextId = 0;
  private readonly timers = new Map<number, Timer>();
  private held = 0;

  now(): number {
    return this.timeMs;
  }

  setTimeout(run: () => void, delayMs: number): TimerHandle {
    const id = this.nextId++;
    this.timers.set(id, { id, dueMs: this.timeMs + Math.max(0, delayMs), run });
    return id;
  }

  clearTimeout(handle: TimerHandle): void {
    this.timers.delete(handle as number);
  }

  /** Timers that are set and have not fired. */
  get pendingTimers(): number {
    return this.timers.size;
  }

  /** Stops time until work outside this process's promises has settled; gives its result. */
  async hold<T>(work: Promise<T>): Promise<T> {
    this.held++;
    try {
      return await work;
    } finally {
      this.held--;
    }
  }

  /** Resolves after this many virtual milliseconds. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.setTimeout(resolve, delayMs));
  }

  /**
   * Advances time until the promise settles, and gives its result.
   * @throws E_INTERNAL when the promise waits and no timer is set (a deadlock that no timeout
   *         would end), or after a million timers; else whatever the promise rejects with
   */
  async run<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    for (let fired = 0; ; fired++) {
      await this.idle();
      if (settled) return promise;
      ensure(fired < maxTimersPerRun, "E_INTERNAL", `no end after ${fired} timers`);
      ensure(
        this.timers.size > 0,
        "E_INTERNAL",
        "every party waits and no timer is set (outside work needs clock.hold)",
      );
      this.fireNext();
    }
  }

  private async idle(): Promise<void> {
    do await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.held > 0);
  }

  private fireNext(): void {
    let next: Timer | undefined;
    for (const timer of this.timers.values()) {
      if (next === undefined || timer.dueMs < next.dueMs) next = timer; // ties: oldest first
    }
    if (next === undefined) return;
    this.timers.delete(next.id);
    this.timeMs = Math.max(this.timeMs, next.dueMs);
    next.run();
  }
}
