// Runs the command line as processes of its own, a few at a time, and waits for what they say.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { ErrorCode } from "../src/errors.ts";
import { saveModel } from "../src/model/checkpoint.ts";
import type { ModelConfig } from "../src/model/config.ts";
import type { LocalModel } from "../src/party/local.ts";
import { type MergedOptions, mergedModel } from "./merged-model.ts";

export const launcher = fileURLToPath(new URL("../bin/mergen.js", import.meta.url));
/** Compiled sources are kept between processes: half of a start's time. */
const compileCache = join(tmpdir(), "node-compile-cache");
const MAX_PROCESSES = 3;
const LIMIT_MS = 40_000;

export interface Finished {
  /** As a shell shows it: 130 after a SIGINT. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

export interface StartOptions {
  /** Bytes for standard input; nothing by default. */
  readonly stdin?: string | Uint8Array;
  readonly env?: Record<string, string>;
  /** A process group of its own, to signal as a terminal does. */
  readonly group?: boolean;
  /** A shell line that runs "$@", as `ulimit -f 0; exec "$@"`. */
  readonly shell?: string;
}

/** A process that has been started; its output is kept. */
export class Running {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  stdout = "";
  stderr = "";
  readonly #grouped: boolean;
  readonly #listeners = new Set<() => void>();

  constructor(args: readonly string[], options: StartOptions = {}) {
    const started = performance.now();
    const { stdin = "", env = {}, group = false, shell } = options;
    const command = [process.execPath, launcher, ...args];
    const [file, ...rest] = shell ? ["bash", "-c", shell, "bash", ...command] : command;
    this.#grouped = group;
    this.child = spawn(file!, rest, {
      detached: group,
      env: { ...withoutTokens(process.env), NODE_COMPILE_CACHE: compileCache, ...env },
    });
    this.child.stdin!.on("error", () => {}).end(stdin);
    this.child.stdout!.on("data", (chunk) => this.#take("stdout", chunk));
    this.child.stderr!.on("data", (chunk) => this.#take("stderr", chunk));
    const timer = setTimeout(() => this.signal("SIGKILL"), LIMIT_MS);
    this.finished = new Promise((resolve) => {
      this.child.once("close", (code, signal) => {
        const status = code ?? 128 + constants.signals[signal!];
        clearTimeout(timer);
        const { stdout, stderr } = this;
        resolve({ status, stdout, stderr, ms: performance.now() - started });
        this.#told();
      });
    });
  }

  signal(name: NodeJS.Signals): void {
    if (!this.#grouped) this.child.kill(name);
    else if (this.groupLives()) process.kill(-this.child.pid!, name);
  }

  /** Whether any process of its group is left. */
  groupLives(): boolean {
    try {
      return process.kill(-this.child.pid!, 0);
    } catch {
      return false;
    }
  }

  /** Waits until the condition holds of the output; throws when the process ends before. */
  async until(condition: (self: Running) => boolean): Promise<void> {
    while (!condition(this)) {
      const { exitCode, signalCode } = this.child;
      if (exitCode !== null || signalCode !== null) throw new Error(`it ended:\n${this.stderr}`);
      await new Promise<void>((resolve) => this.#listeners.add(resolve));
    }
  }

  #take(stream: "stdout" | "stderr", chunk: Buffer): void {
    this[stream] += chunk.toString();
    this.#told();
  }

  #told(): void {
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}

function withoutTokens({ MERGEN_TOKEN, MERGEN_DEALER_TOKEN, ...env }: NodeJS.ProcessEnv) {
  return env;
}

let running = 0;
const waiting: (() => void)[] = [];

/** Runs a command to its end; a few run at one time, the others wait. */
export async function mergen(
  args: readonly string[],
  options: StartOptions = {},
): Promise<Finished> {
  if (running >= MAX_PROCESSES) await new Promise<void>((resolve) => waiting.push(resolve));
  running++;
  try {
    return await new Running(args, options).finished;
  } finally {
    running--;
    waiting.shift()?.();
  }
}

/** Expects a named error: its status, nothing on standard output, and what the message must say. */
export function expectError(
  { status, stdout, stderr }: Finished,
  code: ErrorCode,
  says: RegExp,
): void {
  expect(stderr).toMatch(new RegExp(`^${code}: `, "m"));
  expect(stderr).toMatch(says);
  expect(stdout).toBe("");
  const expected = code === "E_USAGE" ? 2 : code === "E_INTERRUPTED" ? 130 : 1;
  expect(status).toBe(expected);
}

export function jsonLines<T>({ stdout }: Finished): T[] {
  const lines = stdout.split("\n");
  expect(lines.pop()).toBe("");
  const values = lines.map((line) => JSON.parse(line) as T);
  expect(lines, "compact").toEqual(values.map((value) => JSON.stringify(value)));
  return values;
}

/** A listener (dealer or server) that says where it listens. */
export async function listening(
  args: readonly string[],
  options: StartOptions = {},
): Promise<Running & { url: string }> {
  const process = new Running([...args, "--port", "0", "--json"], options);
  await process.until(({ stdout }) => stdout.includes("\n"));
  const { url } = JSON.parse(process.stdout);
  return Object.assign(process, { url: url as string });
}

/** A folder for one test file, removed by `dispose`. */
export async function testFolder() {
  const root = await mkdtemp(join(tmpdir(), "mergen-test-"));
  return {
    path: (name: string) => join(root, name),
    async file(name: string, content: string | Uint8Array): Promise<string> {
      await writeFile(join(root, name), content);
      return join(root, name);
    },
    /** Saves a small model whose prompts are free text, or as the changed config says. */
    async model(
      name: string,
      options: MergedOptions = {},
      change?: (config: ModelConfig) => Partial<ModelConfig>,
    ): Promise<string> {
      const model: LocalModel = mergedModel(options);
      const config = { ...model.config, ...change?.(model.config) };
      await saveModel(join(root, name), { ...model, config }, { int16: true });
      return join(root, name);
    },
    dispose: () => rm(root, { recursive: true, force: true }),
  };
}

export type TestFolder = Awaited<ReturnType<typeof testFolder>>;

/** Prompts of two slots, in all 12 positions: for models with a bucket of 12. */
export const twoSlots: ModelConfig["prompt"] = {
  kind: "slots",
  slots: [
    { name: "name", width: 6 },
    { name: "area", width: 5 },
  ],
};
