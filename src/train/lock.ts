// One process at a time writes into a folder of training. The lock is a file beside the folder, as
// folders of models are replaced whole. It names the process that holds it: a process that was
// killed leaves its lock behind, and the next one takes that over.

import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ensure, MergenError } from "../errors.ts";
import { describe } from "../model/files.ts";

/** What a lock file holds. */
interface Holder {
  readonly process: number;
  /** When that process began, where the system tells; another process may get its id later. */
  readonly began?: string;
}

/** Who creates a lock has written its line this much later. */
const WRITTEN_MS = 200;
/** Others may take over the same lock at the same time; only one of them comes through. */
const ATTEMPTS = 3;

/** Locks of this process. */
const held = new Set<string>();

/**
 * Does the work while no other process has this folder; no work within it may ask for it again.
 * Where no lock can be written, that is told and the work is done without.
 * @throws E_BUSY naming the folder and the process that has it, and what the work throws
 */
export async function withLock<T>(
  folder: string,
  log: (line: string) => void,
  work: () => Promise<T>,
): Promise<T> {
  const path = `${resolve(folder)}.lock`;
  ensure(!held.has(path), "E_BUSY", `${folder}: this process trains into it already`);
  held.add(path);
  const release = () => removeOwn(path);
  try {
    await acquire(path, { folder, log });
    process.once("exit", release);
    return await work();
  } finally {
    process.off("exit", release);
    release();
    held.delete(path);
  }
}

async function acquire(
  path: string,
  { folder, log }: { folder: string; log: (line: string) => void },
): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      if (create(path)) return;
    } catch (error) {
      log(`${folder}: no lock against other processes: ${describe(error)}`);
      return;
    }
    const line = await settled(path);
    if (line === undefined) continue;
    const holder = holderOf(line);
    if (holder && runs(holder)) throw busy(folder, path, holder);
    if (takeAway(path, line)) {
      log(`${folder}: takes over from process ${holder?.process ?? "?"}, which has gone`);
    }
  }
  throw new MergenError("E_BUSY", `${folder}: other processes begin there; try again`);
}

/** Writes a lock; false where there is one. */
function create(path: string): boolean {
  mkdirSync(dirname(path), { recursive: true });
  try {
    writeFileSync(path, lineOf(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function busy(folder: string, path: string, holder: Holder): MergenError {
  const remedy = `wait for it, change out, or, if that is no training, remove ${path}`;
  return new MergenError(
    "E_BUSY",
    `${folder}: process ${holder.process} trains into it: ${remedy}`,
  );
}

/** What a lock says, once it is written; undefined where it has gone. */
async function settled(path: string): Promise<string | undefined> {
  const line = read(path);
  if (line === undefined || holderOf(line)) return line;
  await delay(WRITTEN_MS);
  return read(path);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function holderOf(line: string): Holder | undefined {
  try {
    const holder: Holder = JSON.parse(line);
    return Number.isSafeInteger(holder.process) && holder.process > 0 ? holder : undefined;
  } catch {
    return undefined;
  }
}

function lineOf(pid: number): string {
  return `${JSON.stringify({ process: pid, began: beganAt(pid) })}\n`;
}

/** Whether the process that holds a lock is still there. */
function runs(holder: Holder): boolean {
  // Locks of this process that it knows of were told before.
  if (holder.process === process.pid) return false;
  try {
    process.kill(holder.process, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const began = beganAt(holder.process);
  return began === undefined || holder.began === undefined || began === holder.began;
}

/** Clock ticks from the start of the system to that of a process, and which start that was. */
function beganAt(pid: number): string | undefined {
  const stat = read(`/proc/${pid}/stat`);
  const boot = read("/proc/sys/kernel/random/boot_id")?.trim();
  // The name, in brackets, may hold blanks; the state behind it is the third field.
  const ticks = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  return ticks === undefined ? undefined : `${boot} ${ticks}`;
}

/**
 * Takes a left lock out of the way; whether it was still that one. Another process may have done
 * the same in the meantime and hold the lock now: it gets it back.
 */
function takeAway(path: string, line: string): boolean {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return false;
  }
  const same = read(aside) === line;
  try {
    if (!same) linkSync(aside, path);
  } catch {
    // A third one has begun; the other finds out that the lock is not its own when it ends.
  }
  rmSync(aside, { force: true });
  return same;
}

/** Removes a lock that this process has written. */
function removeOwn(path: string): void {
  if (read(path) === lineOf(process.pid)) rmSync(path, { force: true });
}
