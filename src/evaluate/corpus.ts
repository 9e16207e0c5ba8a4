// Scores of outputs against references: each metric over the whole set and for each item.

import { ensure } from "../errors.ts";
import { bleuCounts, corpusBleu, sentenceBleu } from "./bleu.ts";
import { chrfCounts, chrfScore, corpusChrf } from "./chrf.ts";
import type { Example, Output } from "./data.ts";
import { type MeteorOptions, meteor } from "./meteor.ts";
import { nameCoverage, nameOf } from "./names.ts";
import { nist } from "./nist.ts";
import { rougeL } from "./rouge.ts";

/** The metrics of words and characters, under the names that the reports have. */
export interface TextScores {
  /** sacrebleu chrF++, 0 to 100. */
  readonly chrfpp: number;
  /** sacrebleu BLEU, 0 to 100; of an item, its sentence BLEU with effective order. */
  readonly bleu: number;
  /** e2e-metrics NIST-5; of an item, with the information of the whole set. */
  readonly nist: number;
  /** rouge_score F1 without stemming, best reference; of a set, the mean of its items. */
  readonly rougeL: number;
  /** nltk METEOR, best reference; of a set, the mean of its items. */
  readonly meteor: number;
}

export interface CorpusScore extends TextScores {
  readonly count: number;
  /** Share of the outputs that hold the name of their input; 1 where no input has a name. */
  readonly nameCoverage: number;
  /** Share of the outputs that reached the end token, where that is known. */
  readonly endReached: number | undefined;
}

export interface ItemScore extends TextScores {
  /** Whether the output holds the name of its input, where that has one. */
  readonly nameCovered: boolean | undefined;
}

/** One output per example, in order. @throws E_DATA when their numbers differ or there are none */
export function scoreOutputs(
  examples: readonly Example[],
  outputs: readonly Output[],
  options?: MeteorOptions,
): CorpusScore {
  return scoreItems(examples, outputs, options).corpus;
}

/** The same with the scores of each item. @throws E_DATA as scoreOutputs */
export function scoreItems(
  examples: readonly Example[],
  outputs: readonly Output[],
  options?: MeteorOptions,
): { corpus: CorpusScore; items: ItemScore[] } {
  const counts = `${outputs.length} outputs stand against ${examples.length} examples`;
  ensure(examples.length === outputs.length, "E_DATA", `${counts}; give one for each`);
  ensure(examples.length > 0, "E_DATA", "there is nothing to score; give examples and outputs");
  const bare = examples.findIndex(({ refs }) => refs.length === 0);
  ensure(bare < 0, "E_DATA", `example ${bare + 1} has no reference; give at least one`);
  const texts = outputs.map(({ text }) => text);
  const references = examples.map(({ refs }) => refs);
  const bleu = texts.map((text, i) => bleuCounts(text, references[i]));
  const chrf = texts.map((text, i) => chrfCounts(text, references[i]));
  const nistScores = nist(texts, references);
  const items = texts.map((text, i): ItemScore => {
    const name = nameOf(examples[i].input);
    return {
      chrfpp: chrfScore(chrf[i]),
      bleu: sentenceBleu(bleu[i]),
      nist: nistScores.items[i],
      rougeL: rougeL(text, references[i]),
      meteor: meteor(text, references[i], options),
      nameCovered: name === undefined ? undefined : text.includes(name),
    };
  });
  const names = nameCoverage(examples.map(({ input }, i) => ({ input, output: texts[i] })));
  const corpus = {
    chrfpp: corpusChrf(chrf),
    bleu: corpusBleu(bleu),
    nist: nistScores.corpus,
    rougeL: mean(items.map((item) => item.rougeL)),
    meteor: mean(items.map((item) => item.meteor)),
    count: examples.length,
    nameCoverage: names.counted === 0 ? 1 : names.share,
    endReached: endReached(outputs),
  };
  return { corpus, items };
}

function endReached(outputs: readonly Output[]): number | undefined {
  const stops = outputs.map(({ stopped }) => stopped);
  if (stops.includes(undefined)) return undefined;
  return stops.filter((stopped) => stopped === "end").length / stops.length;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
