// Reads data sets, JSON Lines with an input and one or several references a line, and outputs to
// score against them, with a text a line.

import { z } from "zod";
import { ensure, MergenError } from "../errors.ts";
import { readJsonLines } from "./lines.ts";

export interface Example {
  readonly input: string;
  /** At least one. */
  readonly refs: readonly string[];
}

export interface ReadOptions {
  /** Examples to read at most; what follows is not looked at. */
  readonly limit?: number | undefined;
  /** A line may lack its input, which is then empty: for texts that are only compared. */
  readonly inputOptional?: boolean | undefined;
}

/** An output to score, as `mergen run --json` prints it. */
export interface Output {
  readonly text: string;
  /** `end` where the text reached the end token. */
  readonly stopped?: string | undefined;
}

/** With the line of its file, from 1. */
export interface Numbered<T> {
  readonly item: T;
  readonly line: number;
}

const single = z.object({ input: z.string(), ref: z.string(), refs: z.undefined().optional() });
const several = z.object({
  input: z.string(),
  refs: z.array(z.string()).min(1),
  ref: z.undefined().optional(),
});
const outputLine = z.object({ text: z.string(), stopped: z.unknown().optional() });

/**
 * The examples of a .jsonl or .jsonl.gz file one by one; blank lines are passed over.
 * @throws E_DATA naming file and line when the file is missing, corrupt or empty, or a line is
 * not UTF-8, not JSON, too long or without input and references
 */
export async function* readExamples(
  path: string,
  options: ReadOptions = {},
): AsyncGenerator<Example> {
  for await (const { item } of numberedExamples(path, options)) yield item;
}

/** All examples of a file, or the first `limit`. @throws E_DATA as readExamples */
export async function loadExamples(path: string, options: ReadOptions = {}): Promise<Example[]> {
  const examples: Example[] = [];
  for await (const example of readExamples(path, options)) examples.push(example);
  return examples;
}

/** The same with the number of each line. @throws E_DATA as readExamples */
export async function* numberedExamples(
  path: string,
  { limit = Infinity, inputOptional = false }: ReadOptions = {},
): AsyncGenerator<Numbered<Example>> {
  if (!(limit === Infinity || (Number.isInteger(limit) && limit > 0))) {
    throw new MergenError("E_USAGE", "the limit of examples is not a positive integer");
  }
  let count = 0;
  for await (const { value, line } of readJsonLines(path)) {
    const item = exampleOf(value, inputOptional);
    if (!item) {
      const input = inputOptional ? "" : `a text "input" with `;
      const lacks = `lacks ${input}either a text "ref" or a list "refs" of texts`;
      throw new MergenError("E_DATA", `${path}:${line}: ${lacks}; mend or remove the line`);
    }
    yield { item, line };
    if (++count >= limit) return;
  }
  if (count === 0) throw new MergenError("E_DATA", `${path}: holds no example; give another file`);
}

/**
 * The outputs of a .jsonl or .jsonl.gz file, or the first `limit`.
 * @throws E_DATA naming file and line when the file is missing, corrupt or empty, or a line is
 * not UTF-8, not JSON, too long or without a text
 */
export async function loadOutputs(
  path: string,
  { limit = Infinity }: { limit?: number | undefined } = {},
): Promise<Output[]> {
  const outputs: Output[] = [];
  for await (const { value, line } of readJsonLines(path)) {
    if (outputs.length >= limit) break;
    const parsed = outputLine.safeParse(value);
    const message = `${path}:${line}: no field \`text\` that is a text; mend or remove the line`;
    ensure(parsed.success, "E_DATA", message);
    const { text, stopped } = parsed.data;
    outputs.push(typeof stopped === "string" ? { text, stopped } : { text });
  }
  ensure(outputs.length > 0, "E_DATA", `${path}: holds no output; give another file`);
  return outputs;
}

function exampleOf(value: unknown, inputOptional: boolean): Example | undefined {
  const without = inputOptional && typeof value === "object" && value !== null;
  const json = without ? { input: "", ...value } : value;
  const one = single.safeParse(json);
  if (one.success) return { input: one.data.input, refs: [one.data.ref] };
  const many = several.safeParse(json);
  return many.success ? { input: many.data.input, refs: many.data.refs } : undefined;
}
