// Reading a model's files: what fails is an error that names the file and what to do.

import { existsSync } from "node:fs";
import { type FileHandle, readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ensure, MergenError } from "../errors.ts";

/** Where a replaced folder stands while the new one takes its place. */
export function oldFolder(target: string): string {
  return join(dirname(target), `.${basename(target)}.old`);
}

/** All bytes of a file. @throws E_MODEL naming it */
export function readPart(path: string): Promise<Uint8Array> {
  return orUnreadable(path, () => readFile(path));
}

/** What `read` gives; what the system says against it becomes an E_MODEL naming the file. */
export async function orUnreadable<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof MergenError) throw cause;
    const message = `${path}: cannot be read: ${describe(cause)}`;
    const old = oldFolder(resolve(dirname(path)));
    const remedy = existsSync(old) ? `rename ${old} back` : "give a model folder that is there";
    throw new MergenError("E_MODEL", `${message}; ${remedy}`, { cause });
  }
}

/** Bytes of one read: what the system takes at a time has a limit of 2 GiB. */
const READ_BYTES = 1 << 28;

/** Bytes begin..end-1 of an open file. @throws E_MODEL naming it where it ends before */
export async function readRange(
  file: FileHandle,
  { begin, end }: { readonly begin: number; readonly end: number },
  path: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - begin);
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(READ_BYTES, bytes.length - at);
    const { bytesRead } = await file.read(bytes, at, length, begin + at);
    ensure(bytesRead > 0, "E_MODEL", `${path}: became shorter while it was read; try again`);
    at += bytesRead;
  }
  return bytes;
}

/** A parsed JSON file; undefined where it may be missing and is. @throws E_MODEL naming it */
export async function readJson(path: string, { optional = false } = {}): Promise<unknown> {
  let bytes: Uint8Array;
  try {
    bytes = await readPart(path);
  } catch (error) {
    const { code } = (error as Error).cause as NodeJS.ErrnoException;
    if (optional && code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    // The parser's own message would quote the file.
    throw new MergenError("E_MODEL", `${path}: is not JSON in UTF-8; copy the file anew`);
  }
}

/** The system's short name of what went wrong. */
export function describe(cause: unknown): string {
  return (cause as NodeJS.ErrnoException).code ?? "unknown reason";
}
