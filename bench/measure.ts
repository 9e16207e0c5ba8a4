// One generation, privately and in the clear, each by a client process of its own.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { type ErrorCode, type FloatTiming, MergenError } from "../src/index.ts";
import type { Address, MeasuredParties } from "./context.ts";
import type { ProcessReport } from "./profile.ts";
import type { StepReport } from "./step.ts";

export interface PrivateTask {
  readonly kind: "private";
  readonly server: Address;
  readonly dealer: Address;
  readonly prompt: string;
  readonly tokens: number;
  readonly warmUpTokens: number;
  readonly profile: boolean;
}

export interface PlainTask {
  readonly kind: "plain";
  readonly folder: string;
  readonly promptTokens: number;
  readonly tokens: number;
}

export type ClientTask = PrivateTask | PlainTask;

export type ClientAnswer =
  | { readonly event: "ready" }
  | { readonly event: "private"; readonly step: StepReport; readonly process: ProcessReport }
  | { readonly event: "plain"; readonly timing: FloatTiming; readonly process: ProcessReport }
  | { readonly event: "failed"; readonly code: ErrorCode; readonly message: string };

export interface GenerationSize {
  readonly promptTokens: number;
  readonly tokens: number;
  readonly warmUpTokens?: number;
  readonly profile?: boolean;
}

export interface PrivateMeasurement {
  readonly step: StepReport;
  readonly client: ProcessReport;
  /** Since the first online message. */
  readonly server: ProcessReport;
  readonly dealer: ProcessReport;
}

/** A token of models that were made to measure with. */
export const promptOf = (tokens: number): string => "a".repeat(tokens);

/** Measures a private generation. @throws what the client throws */
export async function measurePrivate(
  parties: MeasuredParties,
  { promptTokens, tokens, warmUpTokens = 4, profile = false }: GenerationSize,
): Promise<PrivateMeasurement> {
  const { server, dealer } = parties;
  const prompt = promptOf(promptTokens);
  const task = { kind: "private", server, dealer, prompt, tokens, warmUpTokens, profile } as const;
  return withClient(task, async (child) => {
    await answerOf(child, "ready");
    await parties.reset();
    const done = answerOf(child, "private");
    child.send("go");
    const { step, process } = await done;
    const [atServer, atDealer] = [await parties.report("server"), await parties.report("dealer")];
    return { step, client: process, server: atServer, dealer: atDealer };
  });
}

/** Measures the same in the clear. */
export async function measurePlain(
  folder: string,
  { promptTokens, tokens }: GenerationSize,
): Promise<{ timing: FloatTiming; process: ProcessReport }> {
  const task = { kind: "plain", folder, promptTokens, tokens } as const;
  return withClient(task, (child) => answerOf(child, "plain"));
}

async function withClient<T>(
  task: ClientTask,
  work: (child: ChildProcess) => Promise<T>,
): Promise<T> {
  const file = import.meta.url.endsWith(".ts") ? "./client-process.ts" : "./client-process.js";
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [], { execArgv: [] });
  child.send(task);
  try {
    return await work(child);
  } finally {
    child.kill();
  }
}

type Answer<Event> = Extract<ClientAnswer, { event: Event }>;

async function answerOf<Event extends ClientAnswer["event"]>(
  child: ChildProcess,
  event: Event,
): Promise<Answer<Event>> {
  const gone = once(child, "exit").then(([status]) => {
    throw new MergenError("E_INTERNAL", `the client process ended with status ${status}`);
  });
  const [answer] = (await Promise.race([once(child, "message"), gone])) as [ClientAnswer];
  gone.catch(() => {});
  if (answer.event === "failed") throw new MergenError(answer.code, answer.message);
  if (answer.event === event) return answer as Answer<Event>;
  throw new MergenError("E_INTERNAL", `a client said ${answer.event}, not ${event}`);
}
