// Costs of a study's cells, planned on all cores: some dozens of plans of up to a second each.

import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { MergenError, type ModelConfig } from "../../src/index.ts";
import { type Costs, costsOf, stretchedCosts } from "./costs.ts";
import type { Method } from "./methods.ts";
import type { ModelSize } from "./result.ts";

export interface CostTask {
  readonly config: ModelConfig;
  readonly method: Pick<Method, "next">;
  /** Of the text. */
  readonly length: number;
  /** Of another model, whose numbers the config lends. */
  readonly stretched?: { readonly size: ModelSize; readonly positions: number };
}

/** What a thread answers: costs, or why there are none. */
export type CostAnswer =
  | { readonly costs: Costs }
  | { readonly error: { readonly code: MergenError["code"]; readonly message: string } };

/** @throws E_PLAN when the recipe has no secure form */
export function costsOfTask({ config, method, length, stretched }: CostTask): Promise<Costs> {
  return stretched
    ? stretchedCosts(config, { method, length, ...stretched })
    : costsOf(config, method, length);
}

interface Waiting {
  readonly task: CostTask;
  readonly resolve: (costs: Costs) => void;
  readonly reject: (reason: unknown) => void;
}

/** As many threads as there are cores, started when they are needed. */
export class Planner {
  readonly #most = availableParallelism();
  /** What each thread works on. */
  readonly #threads = new Map<Worker, Waiting | undefined>();
  readonly #waiting: Waiting[] = [];

  costs(task: CostTask): Promise<Costs> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ task, resolve, reject });
      this.#next();
    });
  }

  async close(): Promise<void> {
    this.#waiting.length = 0;
    await Promise.all([...this.#threads.keys()].map((worker) => worker.terminate()));
  }

  #next(): void {
    if (this.#waiting.length === 0) return;
    const worker = this.#free();
    if (!worker) return;
    const waiting = this.#waiting.shift()!;
    this.#threads.set(worker, waiting);
    worker.postMessage(waiting.task);
  }

  #free(): Worker | undefined {
    for (const [worker, waiting] of this.#threads) if (!waiting) return worker;
    if (this.#threads.size === this.#most) return undefined;
    const file = import.meta.url.endsWith(".ts") ? "./planner-worker.ts" : "./planner-worker.js";
    const worker = new Worker(new URL(file, import.meta.url), { execArgv: [] });
    this.#threads.set(worker, undefined);
    worker.on("message", (answer: CostAnswer) => {
      const { resolve, reject } = this.#threads.get(worker)!;
      this.#threads.set(worker, undefined);
      if ("costs" in answer) resolve(answer.costs);
      else reject(new MergenError(answer.error.code, answer.error.message));
      this.#next();
    });
    const died = (cause: unknown) => {
      const waiting = this.#threads.get(worker);
      this.#threads.delete(worker);
      const message = "a thread that plans costs died";
      waiting?.reject(new MergenError("E_INTERNAL", message, { cause }));
      this.#next();
    };
    worker.on("error", died);
    worker.on("exit", died);
    return worker;
  }
}
