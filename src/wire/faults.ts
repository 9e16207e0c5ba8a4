// A network that misbehaves on purpose, for tests. It sits between the two ends of a memory pair
// and does one planned thing to one frame. TCP does most of these never, programs and proxies do.
//
// The usual loop (SQLite's): run a session with a fault at frame 0, 1, 2, ... until a run ends in
// which the fault did not fire; every run must end in the right answer or in a named error.

import { ensure } from "../errors.ts";
import type { Clock } from "./clock.ts";
import { type MemoryPairOptions, type MemoryTransport, memoryPair } from "./memory.ts";
import type { Transport } from "./transport.ts";

/**
 * What happens to the frame:
 * - cut        it is lost and the connection breaks: both sides see E_PEER_GONE
 * - delay      it and all that follow in its direction come later, in order
 * - duplicate  it comes twice
 * - corrupt    one bit of it is flipped
 * - drop       it is lost, those after it are not
 * - reorder    the next frame overtakes it; if none is sent in time, it is only late
 */
export type Fault = "cut" | "delay" | "duplicate" | "corrupt" | "drop" | "reorder";

export const allFaults: readonly Fault[] = [
  "cut",
  "delay",
  "duplicate",
  "corrupt",
  "drop",
  "reorder",
];

/** From the first transport of the pair to the second, or back. */
export type Direction = "aToB" | "bToA";

export interface FaultPlan {
  readonly fault: Fault;
  readonly direction: Direction;
  /** Which frame of that direction, from 0; control frames count. */
  readonly atFrame: number;
  /** How late a frame is (delay), or how long it waits to be overtaken (reorder). Default 1000. */
  readonly delayMs?: number;
}

export interface FaultyPairOptions extends MemoryPairOptions {
  readonly clock: Clock;
  readonly plan: FaultPlan;
  /** Chooses the bit that `corrupt` flips. Default 0. */
  readonly seed?: number;
}

export interface FaultyPair {
  readonly transports: readonly [Transport, Transport];
  /** Whether the fault has happened. */
  readonly fired: () => boolean;
  /** Frames sent so far in each direction, also those that were lost. */
  readonly frames: () => Readonly<Record<Direction, number>>;
}

/**
 * A connected pair with one fault. Same options, same fault: the bit that `corrupt` flips depends
 * on seed, plan and frame length only.
 */
export function faultyPair(options: FaultyPairOptions): FaultyPair {
  const { plan, clock, seed = 0 } = options;
  ensure(Number.isInteger(plan.atFrame) && plan.atFrame >= 0, "E_RANGE", "atFrame is not a count");
  const [innerA, innerB] = memoryPair(options);
  const shared = { plan, clock, random: seededRandom(seed ^ plan.atFrame) };
  const a = new FaultyEnd(innerA, { ...shared, direction: "aToB" });
  const b = new FaultyEnd(innerB, { ...shared, direction: "bToA" });
  return {
    transports: [a, b],
    fired: () => a.fired || b.fired,
    frames: () => ({ aToB: a.frameCount, bToA: b.frameCount }),
  };
}

/** A plan drawn from a seed: any fault, either direction, a frame below frameLimit. */
export function randomFaultPlan(seed: number, frameLimit: number): FaultPlan {
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  return {
    fault: allFaults[below(allFaults.length)],
    direction: below(2) === 0 ? "aToB" : "bToA",
    atFrame: below(frameLimit),
    delayMs: 1 + below(120_000),
  };
}

/** Numbers in [0, 1) from a 32-bit seed (mulberry32); for test cases, never for secrets. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface FaultyEndOptions {
  readonly plan: FaultPlan;
  readonly clock: Clock;
  readonly random: () => number;
  readonly direction: Direction;
}

class FaultyEnd implements Transport {
  fired = false;
  frameCount = 0;
  private readonly inner: MemoryTransport;
  private readonly options: FaultyEndOptions;
  private tail: Promise<void> = Promise.resolve(); // everything sent before, in order
  private releaseHeld: (() => Promise<void>) | undefined; // the frame waiting to be overtaken

  constructor(inner: MemoryTransport, options: FaultyEndOptions) {
    this.inner = inner;
    this.options = options;
  }

  send(bytes: Uint8Array): Promise<void> {
    const { plan, direction } = this.options;
    const isTarget = direction === plan.direction && this.frameCount === plan.atFrame;
    this.frameCount++;
    if (isTarget) this.fired = true;
    const sent = this.tail.then(() => (isTarget ? this.misbehave(bytes) : this.pass(bytes)));
    this.tail = sent.catch(() => {});
    return sent;
  }

  onFrame(handler: (bytes: Uint8Array) => void): void {
    this.inner.onFrame(handler);
  }

  onClose(handler: Parameters<Transport["onClose"]>[0]): void {
    this.inner.onClose(handler);
  }

  pause(): void {
    this.inner.pause();
  }

  resume(): void {
    this.inner.resume();
  }

  async close(): Promise<void> {
    await this.tail;
    await this.releaseHeld?.().catch(() => {}); // the connection may be gone
    await this.inner.close();
  }

  private async pass(bytes: Uint8Array): Promise<void> {
    await this.inner.send(bytes);
    await this.releaseHeld?.();
  }

  private async misbehave(bytes: Uint8Array): Promise<void> {
    const { fault } = this.options.plan;
    switch (fault) {
      case "cut":
        return this.inner.cut();
      case "delay":
        await this.wait();
        return this.inner.send(bytes);
      case "duplicate":
        await this.inner.send(new Uint8Array(bytes));
        return this.inner.send(bytes);
      case "corrupt":
        return this.inner.send(this.flipBit(bytes));
      case "drop":
        return;
      case "reorder":
        return this.hold(bytes);
      default:
        fault satisfies never;
    }
  }

  private wait(): Promise<void> {
    const { clock, plan } = this.options;
    return new Promise((resolve) => clock.setTimeout(resolve, plan.delayMs ?? 1000));
  }

  private hold(bytes: Uint8Array): void {
    this.releaseHeld = async () => {
      this.releaseHeld = undefined;
      await this.inner.send(bytes);
    };
    const release = () => this.releaseHeld?.().catch(() => {}); // the connection may be gone
    this.wait().then(release);
  }

  private flipBit(bytes: Uint8Array): Uint8Array {
    const out = new Uint8Array(bytes);
    const bit = Math.floor(this.options.random() * out.length * 8);
    out[bit >> 3] ^= 1 << (bit & 7);
    return out;
  }
}
