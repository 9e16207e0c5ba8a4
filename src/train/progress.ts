// What the log says of a run: sums of the steps' reports between two of its lines.

import type { StepReport } from "./task.ts";

/** Means over the steps since the last line of the log. */
export interface ProgressPoint {
  /** Steps done. */
  readonly step: number;
  readonly loss: number;
  /** Parts of the loss by name, unweighted, over the steps that had them. */
  readonly parts: Readonly<Record<string, number>>;
  /** 2-norm of the gradient. */
  readonly norm: number;
  /** Learning rate of the last step. */
  readonly rate: number;
  /** Positions computed. */
  readonly tokensPerSecond: number;
  /** Multiply-adds of matrix products count twice. */
  readonly gigaflopsPerSecond: number;
  readonly secondsPerStep: number;
}

export class Progress {
  #count = 0;
  /** Sums, and of how many steps: a phase has parts that another one has not. */
  #parts = new Map<string, { sum: number; steps: number }>();
  #loss = 0;
  #norm = 0;
  #tokens = 0;
  #multiplyAdds = 0;
  #since = performance.now();

  add(reports: readonly StepReport[], norm: number): void {
    this.#count++;
    this.#norm += norm;
    for (const { loss, parts, tokens, multiplyAdds } of reports) {
      this.#loss += loss / reports.length;
      this.#tokens += tokens;
      this.#multiplyAdds += multiplyAdds;
      for (const [name, value] of Object.entries(parts)) {
        const known = this.#parts.get(name) ?? { sum: 0, steps: 0 };
        known.sum += value / reports.length;
        known.steps += 1 / reports.length;
        this.#parts.set(name, known);
      }
    }
  }

  at(step: number, rate: number): ProgressPoint {
    const seconds = (performance.now() - this.#since) / 1000;
    const n = this.#count;
    return {
      step,
      loss: this.#loss / n,
      parts: Object.fromEntries(
        [...this.#parts].map(([name, { sum, steps }]) => [name, sum / steps]),
      ),
      norm: this.#norm / n,
      rate,
      tokensPerSecond: this.#tokens / seconds,
      gigaflopsPerSecond: (2 * this.#multiplyAdds) / seconds / 1e9,
      secondsPerStep: seconds / n,
    };
  }

  restart(): void {
    this.#count = 0;
    this.#parts.clear();
    this.#loss = 0;
    this.#norm = 0;
    this.#tokens = 0;
    this.#multiplyAdds = 0;
    this.#since = performance.now();
  }
}

export function progressLine(point: ProgressPoint, steps: number): string {
  const parts = Object.entries(point.parts).map(([name, value]) => `${name} ${value.toFixed(3)}`);
  const left = (steps - point.step) * point.secondsPerStep;
  return (
    `step ${point.step}/${steps}: loss ${point.loss.toFixed(4)} (${parts.join(", ")}), ` +
    `norm ${point.norm.toFixed(2)}, rate ${point.rate.toExponential(2)}, ` +
    `${point.tokensPerSecond.toFixed(0)} tokens/s, ` +
    `${point.gigaflopsPerSecond.toFixed(0)} GFLOP/s, ${(left / 60).toFixed(1)} min left`
  );
}
