// BLEU as sacrebleu 2 computes it with its defaults: 13a words, case kept, 4-grams, exponential
// smoothing, the reference nearest in length. Source: Papineni et al. 2002; Post 2018; the
// smoothing is mteval-v13a's (Chen and Cherry 2014, method 3).

import { commonNgrams, countNgrams, mostOf } from "./ngrams.ts";
import { tokens13a } from "./tokens-13a.ts";

const ORDERS = 4;

/** Counts that add up over a corpus. */
export interface BleuCounts {
  /** Words of the hypothesis. */
  readonly length: number;
  /** Words of the reference nearest in length, the shorter one of two. */
  readonly referenceLength: number;
  /** n-grams that a reference has too, n = 1 to 4. */
  readonly matches: readonly number[];
  /** n-grams of the hypothesis. */
  readonly totals: readonly number[];
}

/** The counts of one hypothesis against all its references (at least one). */
export function bleuCounts(hypothesis: string, references: readonly string[]): BleuCounts {
  const words = tokens13a(hypothesis);
  const others = references.map(tokens13a);
  const matches: number[] = [];
  const totals: number[] = [];
  for (let n = 1; n <= ORDERS; n++) {
    const limits = mostOf(others.map((other) => countNgrams(other, n)));
    matches.push(commonNgrams(countNgrams(words, n), limits));
    totals.push(Math.max(0, words.length - n + 1));
  }
  const distance = (length: number) => Math.abs(length - words.length);
  const referenceLength = others
    .map(({ length }) => length)
    .reduce((best, next) => {
      const nearer = distance(next) - distance(best);
      return nearer < 0 || (nearer === 0 && next < best) ? next : best;
    });
  return { length: words.length, referenceLength, matches, totals };
}

/** BLEU of a corpus from the counts of its items, 0 to 100. */
export function corpusBleu(items: readonly BleuCounts[]): number {
  return score(added(items), false);
}

/**
 * BLEU of one item, 0 to 100. Orders of which the hypothesis is too short to have any n-gram are
 * left out (sacrebleu's effective order).
 */
export function sentenceBleu(item: BleuCounts): number {
  return score(item, true);
}

function added(items: readonly BleuCounts[]): BleuCounts {
  const sum = (of: (item: BleuCounts) => number) => items.reduce((all, item) => all + of(item), 0);
  const perOrder = (of: (item: BleuCounts) => readonly number[]) =>
    Array.from({ length: ORDERS }, (_, i) => sum((item) => of(item)[i]!));
  return {
    length: sum((item) => item.length),
    referenceLength: sum((item) => item.referenceLength),
    matches: perOrder((item) => item.matches),
    totals: perOrder((item) => item.totals),
  };
}

function score({ length, referenceLength, matches, totals }: BleuCounts, effective: boolean) {
  if (matches.every((count) => count === 0)) return 0;
  const brevity = length < referenceLength ? Math.exp(1 - referenceLength / length) : 1;
  const orders = effective ? totals.filter((total) => total > 0).length : ORDERS;
  let halved = 1;
  let logarithms = 0;
  for (let i = 0; i < orders; i++) {
    const total = totals[i]!;
    if (total === 0) return 0;
    const count = matches[i]!;
    // Each order without a match counts as half a match of the last such one.
    if (count === 0) halved *= 2;
    logarithms += Math.log((count === 0 ? 1 / halved : count) / total);
  }
  return 100 * brevity * Math.exp(logarithms / orders);
}
