// NIST-5 as the e2e-metrics tool computes it (its pymteval.py): 13a words in lower case, the
// information of an n-gram from all references of the corpus, the mean length of the references.
// Source: Doddington 2002; Novikova et al. 2017. Two of that tool's ways are kept, since its figure
// is what papers compare with: an empty text is one empty word, and a hypothesis of L words takes
// L - n + 1 off the number of n-grams even where that is negative.

import { clipped, countNgrams, mostOf } from "./ngrams.ts";
import { lowerTokens13a } from "./tokens-13a.ts";

const ORDERS = 5;
/** Makes the length penalty 1/2 at two thirds of the references' length. */
const BETA = -Math.log(0.5) / Math.log(1.5) ** 2;

interface Item {
  /** n-grams of the hypothesis that a reference has too, with how often, n = 1 to 5. */
  readonly matches: readonly (readonly [key: string, times: number])[][];
  readonly length: number;
  readonly referenceLength: number;
}

export interface NistScores {
  readonly corpus: number;
  /** Each item on its own, with the corpus's information. */
  readonly items: readonly number[];
}

/** NIST-5 of hypotheses, each with its references (at least one), and of each of them. */
export function nist(
  hypotheses: readonly string[],
  references: readonly (readonly string[])[],
): NistScores {
  /** How often each n-gram stands in all references; of length 0: all their words. */
  const occurrences = new Map<string, number>([["", 0]]);
  const items = hypotheses.map((hypothesis, i) => {
    const others = references[i]!.map(wordsOf);
    for (const other of others) {
      occurrences.set("", occurrences.get("")! + other.length);
      for (let n = 1; n <= ORDERS; n++) {
        for (const [key, count] of countNgrams(other, n)) {
          const place = placeOf(key);
          occurrences.set(place, (occurrences.get(place) ?? 0) + count);
        }
      }
    }
    return itemOf(wordsOf(hypothesis), others);
  });
  const information = (key: string) => {
    const before = key.includes(" ") ? placeOf(key.slice(0, key.lastIndexOf(" "))) : "";
    return Math.log2(occurrences.get(before)! / occurrences.get(placeOf(key))!);
  };
  return {
    corpus: scoreOf(items, information),
    items: items.map((item) => scoreOf([item], information)),
  };
}

/** Keeps the empty word of an empty text apart from the n-gram of no words. */
function placeOf(key: string): string {
  return `.${key}`;
}

function wordsOf(text: string): string[] {
  const words = lowerTokens13a(text);
  return words.length === 0 ? [""] : words;
}

function itemOf(words: readonly string[], others: readonly (readonly string[])[]): Item {
  const matches = [];
  for (let n = 1; n <= ORDERS; n++) {
    const limits = mostOf(others.map((other) => countNgrams(other, n)));
    matches.push([...clipped(countNgrams(words, n), limits)]);
  }
  const referenceLength = others.reduce((sum, { length }) => sum + length, 0) / others.length;
  return { matches, length: words.length, referenceLength };
}

function scoreOf(items: readonly Item[], information: (key: string) => number): number {
  let score = 0;
  for (let n = 1; n <= ORDERS; n++) {
    let matched = 0;
    let total = 0;
    let atLeastZero = 0;
    for (const { matches, length } of items) {
      for (const [key, times] of matches[n - 1]!) matched += information(key) * times;
      total += length - n + 1;
      atLeastZero += Math.max(0, length - n + 1);
    }
    // The tool divides by what is negative or zero here; nothing can be compared with that.
    const divisor = total > 0 ? total : atLeastZero;
    if (divisor > 0) score += matched / divisor;
  }
  const length = items.reduce((sum, item) => sum + item.length, 0);
  const referenceLength = items.reduce((sum, item) => sum + item.referenceLength, 0);
  return score * lengthPenalty(length / referenceLength);
}

function lengthPenalty(ratio: number): number {
  return ratio >= 1 ? 1 : Math.exp(-BETA * Math.log(ratio) ** 2);
}
