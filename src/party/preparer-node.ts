// C's offline work in a thread of its own, in Node: it then runs ahead while C is online. It has a
// lower priority than the rest of the process and does not keep it alive.

import { Worker } from "node:worker_threads";
import { ensure, MergenError } from "../errors.ts";
import type { PreparedBundle, Preparer, PreparerSetup } from "./preparer.ts";

/** What the thread answers: a bundle, or why there is none. */
export type PreparerAnswer =
  | { readonly bundle: PreparedBundle }
  | { readonly error: { readonly code: string; readonly message: string } };

interface Waiting {
  readonly resolve: (bundle: PreparedBundle) => void;
  readonly reject: (reason: unknown) => void;
}

/** Starts a thread for one generation. Its failures reject the bundle that is asked for. */
export function threadPreparer(setup: PreparerSetup): Preparer {
  const file = import.meta.url.endsWith(".ts") ? "./preparer-worker.ts" : "./preparer-worker.js";
  const { bundles, tensors } = setup.plan;
  const workerData: PreparerSetup = { plan: { bundles, tensors }, maskSeed: setup.maskSeed };
  // The process's own options (--input-type, say) may not suit a file.
  const worker = new Worker(new URL(file, import.meta.url), { workerData, execArgv: [] });
  worker.unref();
  let waiting: Waiting | undefined;
  let failure: MergenError | undefined;
  const settle = (finish: (of: Waiting) => void) => {
    worker.unref();
    const of = waiting;
    waiting = undefined;
    if (of) finish(of);
  };
  const fail = (cause: unknown) => {
    failure = new MergenError("E_INTERNAL", "the thread that prepares bundles died", { cause });
    settle(({ reject }) => reject(failure));
  };
  worker.on("message", (answer: PreparerAnswer) =>
    settle(({ resolve, reject }) => {
      if ("bundle" in answer) resolve(answer.bundle);
      else reject(new MergenError("E_INTERNAL", answer.error.message));
    }),
  );
  worker.on("error", fail);
  worker.on("exit", fail);
  return {
    background: true,
    prepare(seed) {
      ensure(!waiting, "E_INTERNAL", "bundles are prepared one at a time");
      if (failure) return Promise.reject(failure);
      // Not by withResolvers, which Node 20 does not have.
      const prepared = new Promise<PreparedBundle>((resolve, reject) => {
        waiting = { resolve, reject };
      });
      worker.ref();
      worker.postMessage(seed);
      return prepared;
    },
    close: () => void worker.terminate(),
  };
}
