// Bundles as files, for bundles larger than memory. Taking one renames it (and syncs the folder)
// before it is read, so a process killed in between finds a used bundle, never a second use.
// Bundles do not outlive their session: what a killed process left is deleted at the next start.

import { randomUUID } from "node:crypto";
import {
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
} from "node:fs/promises";
import { join } from "node:path";
import { ensure, MergenError } from "../errors.ts";
import type { BundleStore } from "./store.ts";

const KEPT = ".bundle";
const USED = ".used";
const PARTIAL = ".partial";
/** A link to the number of the process that uses the folder: made whole or not at all. */
const OWNER = "owner.pid";
/** The disk, a quota or the limit of a file's size is exhausted. */
const full = ["ENOSPC", "EDQUOT", "EFBIG"];

/**
 * Opens a folder for bundles and clears what earlier processes left there.
 * @throws E_STORE when the folder cannot be made or read
 */
export async function fileStore(dir: string): Promise<BundleStore> {
  await attempt(dir, async () => {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await claim(dir);
    const left = await readdir(dir);
    const ours = left.filter((name) => [KEPT, USED, PARTIAL].some((end) => name.endsWith(end)));
    await Promise.all(ours.map((name) => rm(join(dir, name))));
  });
  const path = (key: string) => join(dir, fileName(key));
  return {
    put: (key, bytes) =>
      attempt(dir, async () => {
        const partial = join(dir, randomUUID() + PARTIAL);
        try {
          await writeSynced(partial, bytes);
          const there = await stat(path(key) + KEPT).catch(() => undefined);
          ensure(!there, "E_CORRELATION", "a bundle was sent twice");
          await rename(partial, path(key) + KEPT);
        } catch (error) {
          await rm(partial, { force: true });
          throw error;
        }
      }),
    take: (key) =>
      attempt(dir, async () => {
        const used = path(key) + USED;
        await rename(path(key) + KEPT, used).catch((error) => {
          const missing = error.code === "ENOENT";
          ensure(!missing, "E_CORRELATION", "a bundle is missing or was used before");
          throw error;
        });
        await syncFolder(dir);
        const bytes = await readFile(used);
        await rm(used);
        return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      }),
    drop: (prefix) =>
      attempt(dir, async () => {
        const names = await readdir(dir);
        const start = fileName(prefix);
        await Promise.all(
          names
            .filter((name) => name.startsWith(start))
            .map((name) => rm(join(dir, name), { force: true })),
        );
      }),
  };
}

/**
 * Marks the folder as this process's own, since opening it clears it.
 * @throws E_STORE when another living process has it
 */
async function claim(dir: string): Promise<void> {
  const path = join(dir, OWNER);
  const owner = Number(await readlink(path).catch(() => "0"));
  const taken = owner !== process.pid && isAlive(owner);
  ensure(
    !taken,
    "E_STORE",
    `bundle folder ${dir}: process ${owner} uses it: choose another folder`,
  );
  await rm(path, { force: true });
  await symlink(String(process.pid), path);
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Keys are session ids in hexadecimal, slashes and words. */
function fileName(key: string): string {
  ensure(/^[a-z0-9/]+$/.test(key), "E_INTERNAL", "a bundle key has unexpected characters");
  return key.replaceAll("/", "-");
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function attempt<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof MergenError) throw error;
    const code = (error as { code?: string }).code ?? "unknown error";
    const what = full.includes(code)
      ? `the disk is full (${code}): free space or choose another folder`
      : `${code}: choose another folder`;
    throw new MergenError("E_STORE", `bundle folder ${dir}: ${what}`, { cause: error });
  }
}
