// What a network does to the time of bytes, as arithmetic alone: a link of a given rate and delay.
// relay.ts applies it to real connections.

import { ensure } from "../errors.ts";

export interface LinkOptions {
  /** From leaving the sender to reaching the receiver, one way. At most a minute. */
  readonly delayMs: number;
  /** Infinity: bytes take no time to put on the link. */
  readonly bitsPerSecond: number;
}

/** The networks that two-party computation is usually measured on; `delayMs` is one way. */
export const networks = {
  loopback: { bitsPerSecond: Number.POSITIVE_INFINITY, delayMs: 0 },
  lan: { bitsPerSecond: 1e9, delayMs: 0.5 },
  wan: { bitsPerSecond: 100e6, delayMs: 40 },
} as const satisfies Record<string, LinkOptions>;

const maxDelayMs = 60_000;

/** When the last byte of a chunk has left the sender, and when it reaches the receiver. */
export interface Passage {
  readonly departMs: number;
  readonly arriveMs: number;
}

/**
 * One direction of a line. Chunks go one after the other: n bytes occupy the link for
 * 8 n / bitsPerSecond from when they are there and the link is free, and arrive delayMs after that.
 * While one chunk is on its way, later ones are sent.
 */
export class Link {
  private readonly options: LinkOptions;
  private freeMs = Number.NEGATIVE_INFINITY;

  /** @throws E_RANGE when the delay is not in 0 .. 60,000 ms or the rate not positive */
  constructor(options: LinkOptions) {
    const { delayMs, bitsPerSecond } = options;
    ensure(delayMs >= 0 && delayMs <= maxDelayMs, "E_RANGE", `a delay of ${delayMs} ms`);
    ensure(bitsPerSecond > 0, "E_RANGE", `a rate of ${bitsPerSecond} bit/s`);
    this.options = options;
  }

  /** Puts bytes on the link; calls come in the order of time. */
  carry(nowMs: number, byteLength: number): Passage {
    const { delayMs, bitsPerSecond } = this.options;
    const departMs = Math.max(nowMs, this.freeMs) + (8000 * byteLength) / bitsPerSecond;
    this.freeMs = departMs;
    return { departMs, arriveMs: departMs + delayMs };
  }

  /** Bytes that fill the link from end to end (bandwidth-delay product). */
  get capacityBytes(): number {
    const { delayMs, bitsPerSecond } = this.options;
    return delayMs === 0 ? 0 : (bitsPerSecond * delayMs) / 8000;
  }
}
