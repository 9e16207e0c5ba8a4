// Pairs of texts and references with the values that other implementations give: the folder
// `data/metric-fixtures` in `shared`, whose README defines each value.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";

export interface Pair {
  readonly hyp: string;
  readonly refs: readonly string[];
}

/** Those of the corpus values that are looked at. */
export interface CorpusValues {
  readonly "sacrebleu_chrf++": { readonly score: number };
  readonly sacrebleu_bleu: {
    readonly score: number;
    readonly counts: readonly number[];
    readonly totals: readonly number[];
    readonly sys_len: number;
    readonly ref_len: number;
  };
  readonly e2e_pymteval_nist: { readonly nist5: number };
  readonly e2e_pymteval_only_hyps_of_5_or_more_tokens: { readonly nist5: number };
  readonly rouge_score_nostem_rougeL_f1_mean: number;
  readonly nltk_meteor_exact_tok13a_lower_mean: number;
  readonly nltk_meteor_exact_stem_tok13a_lower_mean: number;
  readonly "nltk_meteor_exact_stem_wordnet3.0_tok13a_lower_mean": number;
}

interface FixtureValues {
  readonly corpus_multi_ref: CorpusValues;
  readonly corpus_first_ref_only: CorpusValues;
  readonly per_pair_multi_ref: Readonly<Record<string, readonly number[]>>;
  readonly ids_of_hyps_with_fewer_than_5_tokens: readonly number[];
}

export interface MetricFixtures {
  readonly pairs: readonly Pair[];
  readonly values: FixtureValues;
  /** All references, and the first alone, with the corpus values of each. */
  readonly corpora: readonly { refs: readonly (readonly string[])[]; values: CorpusValues }[];
}

export const fixtureFolder = "data/metric-fixtures";

export function readFixtures(folder: string): MetricFixtures {
  const lines = readFileSync(join(folder, "pairs.jsonl"), "utf8").trimEnd().split("\n");
  const pairs: Pair[] = lines.map((line) => JSON.parse(line));
  const values: FixtureValues = JSON.parse(readFileSync(join(folder, "values.json"), "utf8"));
  expect(pairs.length).toBe(200);
  return {
    pairs,
    values,
    corpora: [
      { refs: pairs.map(({ refs }) => refs), values: values.corpus_multi_ref },
      { refs: pairs.map(({ refs }) => refs.slice(0, 1)), values: values.corpus_first_ref_only },
    ],
  };
}

/** Equal but for the order of additions: the values are given to 17 digits. */
export function expectSame(value: number, expected: number): void {
  expect(Math.abs(value - expected)).toBeLessThanOrEqual(1e-11 * Math.max(1, Math.abs(expected)));
}
