// Time as an argument, so that tests can run on a virtual clock.

/** A source of time and timers; times are in milliseconds. */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  now(): number;
  setTimeout(run: () => void, delayMs: number): TimerHandle;
  clearTimeout(handle: TimerHandle): void;
}

/** What setTimeout gave; opaque. */
export type TimerHandle = unknown;

/** Longest delay that every platform's timers take, in milliseconds (24.8 days). */
export const maxTimeoutMs = 2 ** 31 - 1;

/** Real time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout: (run, delayMs) => setTimeout(run, delayMs),
  clearTimeout: (handle) => clearTimeout(handle as Parameters<typeof clearTimeout>[0]),
};
