// The data of a study: files of training pairs as one, without pairs that are also cases of the
// development or test set; and where prompts are plain text, inputs cut to the model's bucket.

import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { ensure } from "../errors.ts";
import { type Example, loadExamples } from "../evaluate/data.ts";
import { replaceFile } from "./study-step.ts";

const splits = ["dev", "test"] as const;

/**
 * Writes train, dev and test to `out`. A training reference goes where input and reference both
 * stand in dev or test.
 * @throws E_DATA naming file and line
 */
export async function gatherData(
  { data, trainFiles }: { data: string; trainFiles: readonly string[] },
  out: string,
): Promise<{ train: number; leftOut: number; dev: number; test: number }> {
  const known = new Set<string>();
  const counts = { dev: 0, test: 0 };
  for (const split of splits) {
    const examples = await loadExamples(join(data, `${split}.jsonl.gz`));
    for (const { input, refs } of examples) for (const ref of refs) known.add(pairKey(input, ref));
    counts[split] = examples.length;
    writeExamples(join(out, `${split}.jsonl.gz`), examples);
  }
  const kept: Example[] = [];
  let leftOut = 0;
  for (const file of trainFiles) {
    for (const { input, refs } of await loadExamples(join(data, file))) {
      const own = refs.filter((ref) => !known.has(pairKey(input, ref)));
      leftOut += refs.length - own.length;
      if (own.length > 0) kept.push({ input, refs: own });
    }
  }
  ensure(kept.length > 0, "E_DATA", `${data}: all training pairs are cases of dev or test`);
  writeExamples(join(out, "train.jsonl.gz"), kept);
  return { train: kept.reduce((sum, { refs }) => sum + refs.length, 0), leftOut, ...counts };
}

function pairKey(input: string, ref: string): string {
  return JSON.stringify([input, ref]);
}

/** How many inputs of each split were cut. */
export type CutCounts = Readonly<Record<"train" | "dev" | "test", number>>;

/**
 * Writes the same splits with inputs of at most `most` tokens: longer ones lose words from the
 * left.
 * @throws E_DATA naming the example whose last word alone is longer
 */
export async function cutData(
  from: string,
  out: string,
  { most, count }: { most: number; count: (text: string) => number },
): Promise<CutCounts> {
  const counts = { train: 0, dev: 0, test: 0 };
  for (const split of ["train", "dev", "test"] as const) {
    const path = join(from, `${split}.jsonl.gz`);
    const examples = await loadExamples(path);
    const cut = examples.map(({ input, refs }, index) => {
      const text = cutLeft(input, { most, count });
      const message = `${path}: example ${index + 1}: its last word has over ${most} tokens`;
      ensure(text !== undefined, "E_DATA", message);
      if (text !== input) counts[split]++;
      return { input: text, refs };
    });
    writeExamples(join(out, `${split}.jsonl.gz`), cut);
  }
  return counts;
}

/** The longest end of a text, in whole words, of at most so many tokens; undefined without one. */
export function cutLeft(
  text: string,
  { most, count }: { most: number; count: (text: string) => number },
): string | undefined {
  if (count(text) <= most) return text;
  const words = text.split(" ");
  let [least, greatest] = [0, words.length];
  // The first `greatest` words are enough to drop, the first `least` are not.
  while (greatest - least > 1) {
    const middle = (least + greatest) >> 1;
    if (count(words.slice(middle).join(" ")) <= most) greatest = middle;
    else least = middle;
  }
  return greatest < words.length ? words.slice(greatest).join(" ") : undefined;
}

function writeExamples(path: string, examples: readonly Example[]): void {
  const lines = examples.map(({ input, refs }) => JSON.stringify({ input, refs }));
  replaceFile(path, gzipSync(`${lines.join("\n")}\n`));
}
