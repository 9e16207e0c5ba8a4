import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { itWithShared } from "../../test/shared.ts";
import { commonLength, corpusRougeL, rougeL, rougeWords } from "./rouge.ts";

interface Pair {
  hyp: string;
  refs: string[];
}

describe("against rouge_score", () => {
  const read = (folder: string) => {
    const lines = readFileSync(join(folder, "pairs.jsonl"), "utf8").trimEnd().split("\n");
    const pairs: Pair[] = lines.map((line) => JSON.parse(line));
    return { pairs, values: JSON.parse(readFileSync(join(folder, "values.json"), "utf8")) };
  };
  const hypotheses = (pairs: Pair[]) => pairs.map(({ hyp }) => hyp);
  // Given to 17 digits: what is left is the order of the additions.
  const digits = 12;

  itWithShared("data/metric-fixtures", "every pair", (folder) => {
    const { pairs, values } = read(folder);
    const expected: number[] = values.per_pair_multi_ref.rouge_score_nostem_rougeL_f1;
    expect(pairs.length).toBe(expected.length);
    pairs.forEach(({ hyp, refs }, i) => {
      expect(rougeL(hyp, refs)).toBeCloseTo(expected[i], digits);
    });
  });

  itWithShared("data/metric-fixtures", "the corpus", (folder) => {
    const { pairs, values } = read(folder);
    const name = "rouge_score_nostem_rougeL_f1_mean";
    const all = pairs.map(({ refs }) => refs);
    expect(corpusRougeL(hypotheses(pairs), all)).toBeCloseTo(values.corpus_multi_ref[name], digits);
    const first = all.map(([ref]) => [ref]);
    const expected = values.corpus_first_ref_only[name];
    expect(corpusRougeL(hypotheses(pairs), first)).toBeCloseTo(expected, digits);
  });
});

describe("rougeL", () => {
  it("parts words at everything but letters a to z and digits", () => {
    expect(rougeWords("The Café's £20-25!")).toEqual(["the", "caf", "s", "20", "25"]);
    expect(rougeWords(" ... ")).toEqual([]);
  });

  it("is 0 without common words and 1 for the same words", () => {
    expect(rougeL("", ["a"])).toBe(0);
    expect(rougeL("a", [""])).toBe(0);
    expect(rougeL("a b", ["c d", "A, B."])).toBe(1);
    expect(rougeL("a b c d", ["a c"])).toBeCloseTo(2 / 3, 14);
  });

  it("rejects what has no references", () => {
    errorOf("E_DATA", () => rougeL("a", []));
    errorOf("E_DATA", () => corpusRougeL([], []));
    errorOf("E_DATA", () => corpusRougeL(["a"], [["a"], ["b"]]));
  });
});

describe("commonLength", () => {
  /** By the recursive definition. */
  function slow(a: number[], b: number[]): number {
    if (a.length === 0 || b.length === 0) return 0;
    if (a[0] === b[0]) return 1 + slow(a.slice(1), b.slice(1));
    return Math.max(slow(a.slice(1), b), slow(a, b.slice(1)));
  }

  it("is the longest common subsequence", () => {
    const words = fc.array(fc.nat(3), { maxLength: 8 });
    fc.assert(fc.property(words, words, (a, b) => commonLength(a, b) === slow(a, b)));
  });
});
