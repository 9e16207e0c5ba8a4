// Runs one training stage: node src/train/main.ts CONFIG [key=value ...]

import { readFile } from "node:fs/promises";
import { MergenError } from "../errors.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { parseTrainConfig } from "./config.ts";
import { runStage } from "./stages.ts";

async function main([path, ...overrides]: readonly string[]): Promise<void> {
  if (path === undefined) throw new MergenError("E_USAGE", "usage: CONFIG [key=value ...]");
  const config = parseTrainConfig(await readJson(path), { overrides, origin: path });
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  process.once("SIGTERM", () => stop.abort());
  const log = (line: string) => process.stderr.write(`${line}\n`);
  await runStage(config, { kernels: await loadFloatKernels(), log, signal: stop.signal });
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new MergenError("E_CONFIG", `${path}: cannot be read as JSON`, { cause });
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof MergenError)) throw error;
  process.stderr.write(`${error.code}: ${error.message}\n`);
  process.exitCode = 1;
}
