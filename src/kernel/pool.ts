// A pool of threads that run the ring kernels over one shared WebAssembly memory. The protocol is
// generic: it needs Atomics and a control block; pool-node.ts starts the threads in Node.
//
// A job is a list of calls, written into the control block. Everybody, the caller first, claims
// calls one by one until none is left; so the caller never waits for a thread that has not begun,
// only for calls that are under way elsewhere. Whoever waits spins for at most spinMs and then
// parks with Atomics.wait: spinning alone costs 8 ms whenever the system gives the core to
// somebody else, parking and waking some 10 us.
//
// Control block, in int32, with a cache line for each entry that is written often:
//   0     job number, on which threads park
//   16    calls not yet claimed; at or below zero between jobs
//   32    calls done, on which the caller parks
//   48    1 once the pool is closed; then the number of calls
//   64    the calls: number of the export, count of arguments, arguments; result last
// The caller opens a job by storing the number of unclaimed calls last, and rewrites the calls only
// when all are done; so a claim, whenever it succeeds, finds its call whole, however late it comes.

import { ensure, MergenError } from "../errors.ts";
import { type Call, callNames, type RingExports, type Runner } from "./wasm-exports.ts";

export const maxThreads = 32;

/** How long anybody spins before it parks. */
const spinMs = 0.02;
/** A call takes a few milliseconds; a thread that needs this long has died. */
const limitMs = 60_000;

const jobAt = 0;
const leftAt = 16;
const doneAt = 32;
const closedAt = 48;
const totalAt = 49;
const callsAt = 64;
const callLength = 16;
const resultAt = callLength - 1;
const maxCalls = 256;
/** Result of a call that threw. */
const failed = -1;

export function createControl(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(4 * (callsAt + maxCalls * callLength)));
}

/** Whether this thread may park: not so in a browser's main thread, which has to go without. */
export function mayPark(): boolean {
  if (typeof SharedArrayBuffer === "undefined") return false;
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
    return true;
  } catch {
    return false;
  }
}

/** Spins for at most spinMs while the entry holds `value`; says whether it has changed. */
function spin(control: Int32Array, at: number, value: number): boolean {
  const end = performance.now() + spinMs;
  do {
    for (let i = 0; i < 32; i++) if (Atomics.load(control, at) !== value) return true;
  } while (performance.now() < end);
  return false;
}

/** Claims and runs calls until none is left. */
function runClaims(control: Int32Array, wasm: RingExports): void {
  for (;;) {
    const left = Atomics.sub(control, leftAt, 1);
    if (left <= 0) return;
    const at = callsAt + (left - 1) * callLength;
    const name = callNames[control[at]];
    const args = Array.from(control.subarray(at + 2, at + 2 + control[at + 1]));
    const total = control[totalAt];
    try {
      control[at + resultAt] = Number(wasm[name](...args) ?? 1);
    } catch {
      control[at + resultAt] = failed;
    }
    if (Atomics.add(control, doneAt, 1) + 1 === total) Atomics.notify(control, doneAt);
  }
}

/** A thread's life: runs calls until the pool is closed. */
export function serveCalls(control: Int32Array, wasm: RingExports): void {
  let job = 0;
  for (;;) {
    if (!spin(control, jobAt, job)) Atomics.wait(control, jobAt, job);
    if (Atomics.load(control, closedAt) === 1) return;
    job = Atomics.load(control, jobAt);
    runClaims(control, wasm);
  }
}

/** The caller's side. One thread calls it; it takes part in every job. */
export class Pool implements Runner {
  readonly eager: boolean;
  readonly #control: Int32Array;
  readonly #wasm: RingExports;
  #workers: number;
  #broken = false;

  /** `workers` threads are about to serve, or serve, this control block. */
  constructor(
    control: Int32Array,
    wasm: RingExports,
    { workers, eager }: { workers: number; eager: boolean },
  ) {
    ensure(workers < maxThreads, "E_KERNEL", `a pool has at most ${maxThreads} threads`);
    this.eager = eager;
    this.#control = control;
    this.#wasm = wasm;
    this.#workers = workers;
  }

  /** The caller counts as one. */
  get threads(): number {
    return this.#workers + 1;
  }

  /** @throws E_KERNEL when a call fails or a thread does not come to an end */
  run(calls: readonly Call[]): boolean {
    ensure(!this.#broken, "E_KERNEL", "a kernel thread has died");
    if (calls.length === 1) return this.#wasm[calls[0].name](...calls[0].args) !== 0;
    const control = this.#control;
    ensure(calls.length <= maxCalls, "E_INTERNAL", "a job of too many calls");
    calls.forEach(({ name, args }, i) => {
      const at = callsAt + i * callLength;
      control[at] = callNames.indexOf(name);
      control[at + 1] = args.length;
      control.set(args, at + 2);
    });
    control[totalAt] = calls.length;
    Atomics.store(control, doneAt, 0);
    Atomics.store(control, leftAt, calls.length);
    Atomics.add(control, jobAt, 1);
    Atomics.notify(control, jobAt, Math.min(this.#workers, calls.length - 1));
    runClaims(control, this.#wasm);
    this.#awaitDone(calls.length);
    let good = true;
    for (let i = 0; i < calls.length; i++) {
      const result = control[callsAt + i * callLength + resultAt];
      ensure(result !== failed, "E_KERNEL", `the kernel ${calls[i].name} failed`);
      if (result === 0) good = false;
    }
    return good;
  }

  #awaitDone(total: number): void {
    const control = this.#control;
    const end = performance.now() + limitMs;
    for (;;) {
      const done = Atomics.load(control, doneAt);
      if (done === total) return;
      if (spin(control, doneAt, done)) continue;
      if (Atomics.wait(control, doneAt, done, limitMs) !== "timed-out") continue;
      if (performance.now() < end) continue;
      this.fail();
      throw new MergenError("E_KERNEL", `a kernel thread did not end within ${limitMs} ms`);
    }
  }

  /** Marks the pool as unusable: a thread has died and may have left a call undone. */
  fail(): void {
    this.#broken = true;
  }

  close(): void {
    this.#workers = 0;
    Atomics.store(this.#control, closedAt, 1);
    Atomics.add(this.#control, jobAt, 1);
    Atomics.notify(this.#control, jobAt);
  }
}
