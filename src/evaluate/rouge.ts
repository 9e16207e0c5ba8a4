// ROUGE-L as the rouge_score package computes it without stemming: F1 of the longest common
// subsequence of lower-case words. Source: Lin 2004, §3; google-research rouge/rouge_scorer.py.

import { MergenError } from "../errors.ts";

/** Lower-case runs of a-z and 0-9; everything else parts words. */
export function rougeWords(text: string): string[] {
  return text.toLowerCase().match(/[a-z0-9]+/g) ?? [];
}

/**
 * F1 of a hypothesis against the best of its references, 0 to 1.
 * @throws E_DATA when there is no reference
 */
export function rougeL(hypothesis: string, references: readonly string[]): number {
  if (references.length === 0) {
    throw new MergenError("E_DATA", "ROUGE-L: a hypothesis has no reference; give at least one");
  }
  const numbers = new Map<string, number>();
  const words = numbered(rougeWords(hypothesis), numbers);
  return references.reduce((best, reference) => {
    return Math.max(best, f1(words, numbered(rougeWords(reference), numbers)));
  }, 0);
}

/**
 * Mean of rougeL over a corpus.
 * @throws E_DATA when it is empty or the lists differ in length
 */
export function corpusRougeL(
  hypotheses: readonly string[],
  references: readonly (readonly string[])[],
): number {
  if (hypotheses.length === 0 || hypotheses.length !== references.length) {
    const message = `${hypotheses.length} hypotheses, ${references.length} lists of references`;
    throw new MergenError("E_DATA", `ROUGE-L: ${message}; give one list for each`);
  }
  let sum = 0;
  hypotheses.forEach((hypothesis, i) => {
    sum += rougeL(hypothesis, references[i]);
  });
  return sum / hypotheses.length;
}

function f1(hypothesis: Uint32Array, reference: Uint32Array): number {
  const common = commonLength(hypothesis, reference);
  if (common === 0) return 0;
  const precision = common / hypothesis.length;
  const recall = common / reference.length;
  return (2 * precision * recall) / (precision + recall);
}

/** Length of the longest common subsequence, one row of the table at a time. */
export function commonLength(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const row = new Uint32Array(b.length + 1);
  for (let i = 0; i < a.length; i++) {
    let diagonal = 0; // row[j] of the line above
    for (let j = 0; j < b.length; j++) {
      const above = row[j + 1];
      row[j + 1] = a[i] === b[j] ? diagonal + 1 : Math.max(above, row[j]);
      diagonal = above;
    }
  }
  return row[b.length];
}

/** Numbers for words, so that the table compares integers. */
function numbered(words: readonly string[], numbers: Map<string, number>): Uint32Array {
  return Uint32Array.from(words, (word) => {
    const number = numbers.get(word) ?? numbers.size;
    numbers.set(word, number);
    return number;
  });
}
