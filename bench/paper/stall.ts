// Whether this process was held up: stopped, or kept from its core. Such a time says nothing of
// what was measured.

const TICK_MS = 100;
/** A tick that comes so late, while the process had little of its core, is a stall. */
const LATE_MS = 1000;
const LEAST_PART = 0.5;

/** Watches until it is closed. */
export class StallWatch {
  /** Seconds of stalls so far. */
  seconds = 0;
  readonly #timer: NodeJS.Timeout;
  #at = performance.now();
  #cpu = process.cpuUsage();

  constructor() {
    this.#timer = setInterval(() => this.#look(), TICK_MS);
  }

  /** Looks a last time; gives the seconds. */
  close(): number {
    clearInterval(this.#timer);
    this.#look();
    return this.seconds;
  }

  #look(): void {
    const tookMs = performance.now() - this.#at;
    const { user, system } = process.cpuUsage(this.#cpu);
    if (isStall(tookMs, (user + system) / 1000)) this.seconds += tookMs / 1000;
    this.#at = performance.now();
    this.#cpu = process.cpuUsage();
  }
}

/** Of a tick's time and what of it the process computed. */
export function isStall(tookMs: number, computedMs: number): boolean {
  return tookMs > LATE_MS && computedMs < LEAST_PART * tookMs;
}
