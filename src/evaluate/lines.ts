// Reads JSON Lines, plain or gzip. Streams, so that a limit spares the rest of a file and a corrupt
// one costs no memory. No message quotes a line: it may be somebody's prompt.

import { createReadStream } from "node:fs";
import { pipeline, type Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { MergenError } from "../errors.ts";

const LINE_LIMIT_BYTES = 1 << 20;

/** One line that is not blank. */
export interface JsonLine {
  readonly value: unknown;
  /** From 1. */
  readonly line: number;
}

/**
 * The values of a .jsonl or .jsonl.gz file one by one; blank lines are passed over.
 * @throws E_DATA naming file and line when the file is missing or corrupt, or a line is not UTF-8,
 *         not JSON or too long
 */
export async function* readJsonLines(path: string): AsyncGenerator<JsonLine> {
  let line = 0;
  for await (const bytes of readLines(path)) {
    line++;
    const text = decoded(bytes, `${path}:${line}`);
    if (text.trim() === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw new MergenError("E_DATA", `${path}:${line}: is not JSON; mend or remove the line`);
    }
    yield { value, line };
  }
}

function decoded(bytes: Uint8Array, origin: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new MergenError("E_DATA", `${origin}: is not UTF-8; convert the file`);
  }
}

/** The lines of a file as bytes, without their ends. */
async function* readLines(path: string): AsyncGenerator<Uint8Array> {
  let parts: Buffer[] = [];
  let held = 0;
  let line = 1;
  for await (const chunk of readChunks(path)) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      yield Buffer.concat([...parts, chunk.subarray(start, end)]);
      parts = [];
      held = 0;
      line++;
      start = end + 1;
    }
    parts.push(chunk.subarray(start));
    held += chunk.length - start;
    if (held > LINE_LIMIT_BYTES) {
      const message = `${path}:${line}: is longer than ${LINE_LIMIT_BYTES} bytes`;
      throw new MergenError("E_DATA", `${message}; split or remove the line`);
    }
  }
  if (held > 0) yield Buffer.concat(parts);
}

async function* readChunks(path: string): AsyncGenerator<Buffer> {
  const file = createReadStream(path);
  // The iteration below reports what goes wrong; pipeline closes both streams however it ends.
  const source: Readable = path.endsWith(".gz")
    ? pipeline(file, createGunzip(), () => undefined)
    : file;
  try {
    for await (const chunk of source) yield chunk as Buffer;
  } catch (cause) {
    const { code = "unknown reason" } = cause as NodeJS.ErrnoException;
    const message = code.startsWith("Z_")
      ? `${path}: is not a whole gzip file; fetch it again`
      : `${path}: cannot be read: ${code}; check the path`;
    throw new MergenError("E_DATA", message, { cause });
  }
}
