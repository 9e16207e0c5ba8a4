// What a process's time goes to: the kernels by kind, checksums, sending, waiting for a peer. Only
// for benchmarks that ask for it: it wraps the kernels and the channels of a process, which without
// it are used as they are. Each call of a kernel then costs some 0.1 us more.

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { Channel, Crc32c, RingKernels } from "../src/index.ts";
import type { RingMatrix } from "../src/kernel/ring-kernels.ts";
import type { GateReport, GateTimes } from "./paper/gate-times.ts";

/** Milliseconds by what they went to; no time is in two entries. */
export type Times = Readonly<Record<string, number>>;

export interface ProcessReport {
  readonly maxRssBytes: number;
  readonly cpuSeconds: number;
  readonly times?: Times;
  readonly gates?: GateReport;
}

/** What a process may count. */
export interface Counting {
  readonly profile?: Profile | undefined;
  readonly gates?: GateTimes | undefined;
}

/** Waiting for the next message of a peer, with reading and decoding it. */
export const WAITING = "waiting for the peer";
const CHECKSUM = "checksums";
const SENDING = "sending";

export class Profile {
  #times = new Map<string, number>();
  /** Measured calls under way, one inside the other, and time of those inside the innermost. */
  #depth = 0;
  #innerMs = 0;
  #waiting = 0;
  /** Measured time that passed while a receive waited. */
  #busyMs = 0;

  reset(): void {
    this.#times = new Map();
  }

  times(): Times {
    return Object.fromEntries(this.#times);
  }

  #add(label: string, ms: number): void {
    this.#times.set(label, (this.#times.get(label) ?? 0) + ms);
  }

  /** Runs a call and counts its time without that of measured calls inside it. */
  #measure<T>(label: string, call: () => T): T {
    const outerMs = this.#innerMs;
    this.#innerMs = 0;
    this.#depth++;
    const started = performance.now();
    try {
      return call();
    } finally {
      const tookMs = performance.now() - started;
      this.#add(label, tookMs - this.#innerMs);
      this.#innerMs = outerMs + tookMs;
      this.#depth--;
      if (this.#depth === 0 && this.#waiting > 0) this.#busyMs += tookMs;
    }
  }

  /** Kernels that do the same and are counted by kind. */
  kernels(kernels: RingKernels): RingKernels {
    const wrapped: Record<string, unknown> = {};
    for (const name of namesOf(kernels)) {
      const value = kernels[name];
      if (typeof value !== "function" || name === "close") {
        wrapped[name] = typeof value === "function" ? value.bind(kernels) : value;
        continue;
      }
      const call = value as (...args: unknown[]) => unknown;
      wrapped[name] = (...args: unknown[]) =>
        this.#measure(labelOf(name, args), () => call.apply(kernels, args));
    }
    return wrapped as unknown as RingKernels;
  }

  checksum(crc32c: Crc32c): Crc32c {
    return (bytes, previous) => this.#measure(CHECKSUM, () => crc32c(bytes, previous));
  }

  /** Counts what a channel sends and waits for from now on. */
  watch(channel: Channel): Channel {
    const { receive, send, allocate } = channel;
    channel.send = (...args) => this.#measure(SENDING, () => send.apply(channel, args));
    channel.allocate = (...args) => {
      const draft = allocate.apply(channel, args);
      return { ...draft, send: () => this.#measure(SENDING, () => draft.send()) };
    };
    channel.receive = async (...args) => {
      const [started, busyMs] = [performance.now(), this.#busyMs];
      this.#waiting++;
      try {
        return await receive.apply(channel, args);
      } finally {
        this.#waiting--;
        this.#add(WAITING, performance.now() - started - (this.#busyMs - busyMs));
      }
    };
    return channel;
  }
}

function namesOf(kernels: RingKernels): (keyof RingKernels)[] {
  const names = new Set<string>(Object.keys(kernels));
  // Methods of a class lie on its prototype.
  const prototype = Object.getPrototypeOf(kernels) as object;
  if (prototype !== Object.prototype) {
    for (const name of Object.getOwnPropertyNames(prototype)) names.add(name);
    names.delete("constructor");
  }
  return [...names] as (keyof RingKernels)[];
}

/** What a call of a kernel is counted as. */
function labelOf(name: keyof RingKernels, args: readonly unknown[]): string {
  switch (name) {
    case "matmul":
      return `products with ${(args[2] as RingMatrix).kind} matrices`;
    case "matmulKeystream":
      return "products with keystream matrices";
    case "attend":
      return "constant attention";
    case "chacha12":
      return "keystream (ChaCha12)";
    case "pack":
    case "unpack":
      return "packed fields";
    case "loadInt16":
    case "loadRing":
      return "loading matrices";
    default:
      return /^d[cp]f/.test(name) ? "function keys" : "elementwise";
  }
}

export function processReport({ profile, gates }: Counting = {}): ProcessReport {
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  return {
    maxRssBytes: 1024 * maxRSS,
    cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
    ...(profile && { times: profile.times() }),
    ...(gates && { gates: gates.report() }),
  };
}

type Request = "report" | "reset";

/** Answers whoever started this process. */
export function answerRequests(counting: Counting = {}): void {
  process.on("message", (request: Request) => {
    if (request === "reset") {
      counting.profile?.reset();
      counting.gates?.reset();
    }
    process.send?.(processReport(counting));
  });
}

/** Asks a process that answers requests. */
export async function ask(child: ChildProcess, request: Request): Promise<ProcessReport> {
  const answer = once(child, "message");
  child.send(request);
  const [report] = await answer;
  return report as ProcessReport;
}
