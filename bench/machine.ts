// On what and of which source figures were taken.

import { execFileSync } from "node:child_process";
import { arch, cpus, release, totalmem, type } from "node:os";
import { findAddon } from "../src/kernel/addon.ts";

export interface Machine {
  /** Model of the processor and number of cores: results of one kind may be compared. */
  readonly kind: string;
  /** Those of the native addon that it has, best first; none without the addon. */
  readonly instructionSets: readonly string[];
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
  /** Commit of this package, "-" outside a repository; "+" where files have been changed. */
  readonly commit: string;
}

export function thisMachine(): Machine {
  const cores = cpus();
  return {
    kind: `${cores[0]?.model.trim() ?? arch()}, ${cores.length} cores`,
    instructionSets: Object.keys(findAddon().addon ?? {}),
    memoryBytes: totalmem(),
    system: `${type()} ${release()} ${arch()}`,
    node: process.version,
    commit: commit(),
  };
}

function commit(): string {
  const git = (...args: string[]) =>
    execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return git("rev-parse", "--short", "HEAD") + (changed ? "+" : "");
  } catch {
    return "-";
  }
}
