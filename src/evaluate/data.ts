// Reads data sets: JSON Lines, plain or gzip, with an input and one or several references a line.
// Streams, so that a limit spares the rest of a file and a corrupt one costs no memory.

import { createReadStream } from "node:fs";
import { pipeline, type Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { z } from "zod";
import { MergenError } from "../errors.ts";

export interface Example {
  readonly input: string;
  /** At least one. */
  readonly refs: readonly string[];
}

export interface ReadOptions {
  /** Examples to read at most; what follows is not looked at. */
  readonly limit?: number | undefined;
}

const LINE_LIMIT_BYTES = 1 << 20;

const single = z.object({ input: z.string(), ref: z.string(), refs: z.undefined().optional() });
const several = z.object({
  input: z.string(),
  refs: z.array(z.string()).min(1),
  ref: z.undefined().optional(),
});

/**
 * The examples of a .jsonl or .jsonl.gz file one by one; blank lines are passed over.
 * @throws E_DATA naming file and line when the file is missing, corrupt or empty, or a line is
 * not UTF-8, not JSON, too long or without input and references
 */
export async function* readExamples(
  path: string,
  { limit = Infinity }: ReadOptions = {},
): AsyncGenerator<Example> {
  if (!(limit === Infinity || (Number.isInteger(limit) && limit > 0))) {
    throw new MergenError("E_USAGE", "the limit of examples is not a positive integer");
  }
  let count = 0;
  let line = 0;
  for await (const bytes of readLines(path)) {
    line++;
    const example = parseLine(bytes, `${path}:${line}`);
    if (example === undefined) continue;
    yield example;
    if (++count >= limit) return;
  }
  if (count === 0) throw new MergenError("E_DATA", `${path}: holds no example; give another file`);
}

/** All examples of a file, or the first `limit`. @throws E_DATA as readExamples */
export async function loadExamples(path: string, options: ReadOptions = {}): Promise<Example[]> {
  const examples: Example[] = [];
  for await (const example of readExamples(path, options)) examples.push(example);
  return examples;
}

/** Undefined for a blank line. No message quotes the line: it may be somebody's prompt. */
function parseLine(bytes: Uint8Array, origin: string): Example | undefined {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new MergenError("E_DATA", `${origin}: is not UTF-8; convert the file`);
  }
  if (text.trim() === "") return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new MergenError("E_DATA", `${origin}: is not JSON; mend or remove the line`);
  }
  const one = single.safeParse(json);
  if (one.success) return { input: one.data.input, refs: [one.data.ref] };
  const many = several.safeParse(json);
  if (many.success) return { input: many.data.input, refs: many.data.refs };
  const message = `${origin}: lacks a text "input" with either a text "ref" or a list "refs"`;
  throw new MergenError("E_DATA", `${message}; mend or remove the line`);
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
