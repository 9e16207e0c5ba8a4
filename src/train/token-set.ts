// Prompts and outputs as token ids in flat shared arrays, and as JSON Lines on disk.

import { open, readFile, rename } from "node:fs/promises";
import { ensure, MergenError } from "../errors.ts";

export interface TokenPair {
  readonly prompt: readonly number[];
  /** The end token included. */
  readonly output: readonly number[];
}

/** Every prompt has `promptLength` ids; outputs are padded with `end` up to `outputLength`. */
export interface TokenSet {
  readonly count: number;
  readonly promptLength: number;
  readonly outputLength: number;
  readonly prompts: Int32Array;
  readonly outputs: Int32Array;
  /** Length of each output, its end token included. */
  readonly lengths: Int32Array;
}

function sharedInts(length: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * Math.max(1, length)), 0, length);
}

/** Pairs whose output is longer than `outputLength` are left out. */
export function tokenSet(
  pairs: readonly TokenPair[],
  { outputLength, end }: { outputLength: number; end: number },
): TokenSet {
  const kept = pairs.filter(({ output }) => output.length <= outputLength);
  ensure(kept.length > 0, "E_DATA", `no output has at most ${outputLength} tokens`);
  const promptLength = kept[0].prompt.length;
  const count = kept.length;
  const prompts = sharedInts(count * promptLength);
  const outputs = sharedInts(count * outputLength).fill(end);
  const lengths = sharedInts(count);
  for (const [index, { prompt, output }] of kept.entries()) {
    ensure(prompt.length === promptLength, "E_DATA", "prompts have different lengths");
    prompts.set(prompt, index * promptLength);
    outputs.set(output, index * outputLength);
    lengths[index] = output.length;
  }
  return { count, promptLength, outputLength, prompts, outputs, lengths };
}

/** Writes one pair a line, aside and then renamed. */
export async function saveTokenPairs(path: string, pairs: readonly TokenPair[]): Promise<void> {
  const lines = pairs.map(({ prompt, output }) => JSON.stringify({ prompt, output }));
  const file = await open(`${path}.part`, "w");
  try {
    await file.writeFile(`${lines.join("\n")}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.part`, path);
}

/**
 * The pairs of a file, at least one; ids are below `vocabSize` where one is given.
 * @throws E_DATA naming file and line
 */
export async function loadTokenPairs(
  path: string,
  { vocabSize = Number.POSITIVE_INFINITY }: { vocabSize?: number } = {},
): Promise<TokenPair[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new MergenError("E_DATA", `${path}: cannot be read`, { cause });
  }
  const pairs = text.split("\n").flatMap((line, index) => {
    if (line === "") return [];
    const origin = `${path}:${index + 1}`;
    const pair = parsePair(line, origin);
    const strange = [...pair.prompt, ...pair.output].find((id) => id >= vocabSize);
    const message = `${origin}: the tokenizer has no token ${strange}, it has ${vocabSize}`;
    ensure(strange === undefined, "E_DATA", message);
    return [pair];
  });
  ensure(pairs.length > 0, "E_DATA", `${path}: holds no pairs; run the distil stage`);
  return pairs;
}

function parsePair(line: string, origin: string): TokenPair {
  let pair: unknown;
  try {
    pair = JSON.parse(line);
  } catch {
    pair = undefined;
  }
  const { prompt, output } = (pair ?? {}) as Record<string, unknown>;
  ensure(isIds(prompt) && isIds(output), "E_DATA", `${origin}: is not a pair of lists of ids`);
  return { prompt, output };
}

function isIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((id) => Number.isInteger(id) && id >= 0);
}
