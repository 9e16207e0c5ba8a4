// Does one server serve several clients at once as fast as one? Every client is a thread of its
// own; all prepare their bundles, then start together.

import { once } from "node:events";
import { Worker } from "node:worker_threads";

export interface SessionsOptions {
  readonly server: { readonly url: string; readonly token: string };
  readonly dealer: { readonly url: string; readonly token: string };
  readonly prompt: string;
  readonly tokens: number;
  readonly clients: number;
}

/** What a thread is told, and what it answers. */
export type ClientTask = Omit<SessionsOptions, "clients">;
export type ClientAnswer = { readonly event: "ready" } | { readonly event: "done" };

export interface SessionsReport {
  readonly clients: number;
  /** From the common start to the last client's end. */
  readonly seconds: number;
  /** Tokens of all clients together. */
  readonly tokensPerSecond: number;
}

/** Runs all clients once; what any of them throws is thrown. */
export async function measureSessions(options: SessionsOptions): Promise<SessionsReport> {
  const { clients, ...task } = options;
  const file = import.meta.url.endsWith(".ts") ? "./session-worker.ts" : "./session-worker.js";
  const workers = Array.from({ length: clients }, () => {
    const workerData: ClientTask = task;
    return new Worker(new URL(file, import.meta.url), { workerData, execArgv: [] });
  });
  try {
    await Promise.all(workers.map((worker) => answer(worker, "ready")));
    const started = performance.now();
    const done = workers.map((worker) => answer(worker, "done"));
    for (const worker of workers) worker.postMessage("go");
    await Promise.all(done);
    const seconds = (performance.now() - started) / 1000;
    return { clients, seconds, tokensPerSecond: (clients * options.tokens) / seconds };
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

async function answer(worker: Worker, wanted: ClientAnswer["event"]): Promise<void> {
  const failed = once(worker, "error").then(([error]) => Promise.reject(error));
  const [message] = (await Promise.race([once(worker, "message"), failed])) as [ClientAnswer];
  if (message.event !== wanted) throw new Error(`a client said ${message.event}, not ${wanted}`);
}
