// chrF++ as sacrebleu 2 computes it: character 1- to 6-grams without blanks and word 1- and
// 2-grams, beta 2, case kept, no smoothing. Source: Popovic 2015 and 2017; sacrebleu 2.

import { commonNgrams, countNgrams } from "./ngrams.ts";
import { blankSeparated } from "./tokens-13a.ts";

const CHARACTER_ORDERS = 6;
const WORD_ORDERS = 2;
const RECALL_WEIGHT = 4; // beta squared
const PUNCTUATION = new Set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~");

/** Counts of one n-gram order that add up over a corpus. */
interface OrderCounts {
  readonly hypothesis: number;
  readonly reference: number;
  readonly common: number;
}

/** One entry an order: six of characters, two of words. */
export type ChrfCounts = readonly OrderCounts[];

type Ngrams = readonly ReadonlyMap<string, number>[];

/** The counts of a hypothesis against the reference that suits it best (of at least one). */
export function chrfCounts(hypothesis: string, references: readonly string[]): ChrfCounts {
  const own = ngramsOf(hypothesis);
  let best: ChrfCounts = [];
  let bestScore = -1;
  for (const reference of references) {
    const counts = ngramsOf(reference).map((other, i) => compared(own[i]!, other));
    const score = chrfScore(counts);
    if (score > bestScore) {
      best = counts;
      bestScore = score;
    }
  }
  return best;
}

/** chrF++ of counts, 0 to 100: of one item, or of a corpus after `addedChrf`. */
export function chrfScore(counts: ChrfCounts): number {
  let precision = 0;
  let recall = 0;
  let orders = 0;
  for (const { hypothesis, reference, common } of counts) {
    if (hypothesis === 0 || reference === 0) continue;
    precision += common / hypothesis;
    recall += common / reference;
    orders++;
  }
  if (precision + recall === 0) return 0;
  const product = ((1 + RECALL_WEIGHT) * precision * recall) / orders;
  return (100 * product) / (RECALL_WEIGHT * precision + recall);
}

/** chrF++ of a corpus, 0 to 100. */
export function corpusChrf(items: readonly ChrfCounts[]): number {
  const sum = (order: number, of: keyof OrderCounts) =>
    items.reduce((all, item) => all + item[order]![of], 0);
  const orders = Array.from({ length: CHARACTER_ORDERS + WORD_ORDERS }, (_, i) => ({
    hypothesis: sum(i, "hypothesis"),
    reference: sum(i, "reference"),
    common: sum(i, "common"),
  }));
  return chrfScore(orders);
}

function compared(own: ReadonlyMap<string, number>, other: ReadonlyMap<string, number>) {
  const total = (counts: ReadonlyMap<string, number>) =>
    [...counts.values()].reduce((all, count) => all + count, 0);
  return {
    // What a reference is too short for does not count against the hypothesis.
    hypothesis: other.size === 0 ? 0 : total(own),
    reference: total(other),
    common: commonNgrams(own, other),
  };
}

function ngramsOf(text: string): Ngrams {
  const words = blankSeparated(text);
  const characters = Array.from(words.join(""));
  const parted = words.flatMap(withoutPunctuation);
  const orders = (count: number, items: readonly string[]) =>
    Array.from({ length: count }, (_, i) => countNgrams(items, i + 1));
  return [...orders(CHARACTER_ORDERS, characters), ...orders(WORD_ORDERS, parted)];
}

/** One mark at a word's end, or else at its beginning, is a word of its own. */
function withoutPunctuation(word: string): string[] {
  const characters = Array.from(word);
  if (characters.length === 1) return [word];
  const last = characters.at(-1)!;
  if (PUNCTUATION.has(last)) return [word.slice(0, -1), last];
  const first = characters[0]!;
  return PUNCTUATION.has(first) ? [first, word.slice(1)] : [word];
}
