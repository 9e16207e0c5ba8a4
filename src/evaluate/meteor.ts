// METEOR as nltk 3.8 computes it: alpha 0.9, beta 3, gamma 0.5; words match exactly, then by stem,
// then, where synonyms are given, by synonym. Source: Lavie and Agarwal 2007; nltk
// translate/meteor_score.py. This is not METEOR 1.5, which has function words, paraphrases and
// other parameters.
//
// The alignment is nltk's, not the one with the fewest crossings that the paper asks for: at each
// stage the hypothesis's words are taken from the last to the first, and each takes the last word
// of the reference that is left and matches. Synonyms are those of the stem, as there.

import { porterStem } from "./porter.ts";
import { lowerTokens13a } from "./tokens-13a.ts";

const ALPHA = 0.9;
const BETA = 3;
const GAMMA = 0.5;

/** Other words for a word, itself not among them or among them. */
export type Synonyms = (word: string) => ReadonlySet<string>;

export interface MeteorOptions {
  /** Default: no stage of synonyms. */
  readonly synonyms?: Synonyms | undefined;
  /** Default: Porter's in nltk's mode. */
  readonly stem?: (word: string) => string;
}

interface Word {
  readonly index: number;
  readonly text: string;
}

type Match = readonly [hypothesis: number, reference: number];

/** METEOR of a text against the best of its references, 0 to 1. */
export function meteor(
  hypothesis: string,
  references: readonly string[],
  options: MeteorOptions = {},
): number {
  const words = lowerTokens13a(hypothesis);
  return references.reduce((best, reference) => {
    return Math.max(best, meteorOfWords(words, lowerTokens13a(reference), options));
  }, 0);
}

/** METEOR of words in lower case against one reference's, 0 to 1. */
export function meteorOfWords(
  hypothesis: readonly string[],
  reference: readonly string[],
  { synonyms, stem = porterStem }: MeteorOptions = {},
): number {
  const matches = align(hypothesis, reference, { stem, synonyms });
  if (matches.length === 0) return 0;
  const precision = matches.length / hypothesis.length;
  const recall = matches.length / reference.length;
  const mean = (precision * recall) / (ALPHA * precision + (1 - ALPHA) * recall);
  const fragmentation = chunks(matches) / matches.length;
  return (1 - GAMMA * fragmentation ** BETA) * mean;
}

function align(
  hypothesis: readonly string[],
  reference: readonly string[],
  { stem, synonyms }: { stem: (word: string) => string; synonyms: Synonyms | undefined },
): Match[] {
  const numbered = (words: readonly string[]) => words.map((text, index) => ({ index, text }));
  const stemmed = (words: readonly Word[]) =>
    words.map(({ index, text }) => ({ index, text: stem(text) }));
  let left = numbered(hypothesis);
  let right = numbered(reference);
  const matches = take(left, right, same);
  left = stemmed(left);
  right = stemmed(right);
  matches.push(...take(left, right, same));
  if (synonyms) {
    const related = (a: string) => {
      const others = synonyms(a);
      return (b: string) => a === b || others.has(b);
    };
    matches.push(...take(left, right, related));
  }
  return matches.sort(([a], [b]) => a - b);
}

function same(a: string): (b: string) => boolean {
  return (b) => a === b;
}

/** Takes out of both lists the words that match. */
function take(left: Word[], right: Word[], matching: (a: string) => (b: string) => boolean) {
  const matches: Match[] = [];
  for (let i = left.length - 1; i >= 0; i--) {
    const { index, text } = left[i];
    const fits = matching(text);
    const j = right.findLastIndex((word) => fits(word.text));
    if (j < 0) continue;
    matches.push([index, right[j].index]);
    left.splice(i, 1);
    right.splice(j, 1);
  }
  return matches;
}

/** Runs of matches that are neighbours in both texts. */
function chunks(matches: readonly Match[]): number {
  const breaks = matches.filter(([a, b], i) => {
    const [before, beforeB] = matches[i - 1] ?? [];
    return i > 0 && (before !== a - 1 || beforeB !== b - 1);
  });
  return breaks.length + 1;
}
