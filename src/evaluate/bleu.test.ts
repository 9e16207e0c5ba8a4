import { describe, expect, it } from "vitest";
import { expectSame, fixtureFolder, readFixtures } from "../../test/metric-fixtures.ts";
import { itWithShared } from "../../test/shared.ts";
import { bleuCounts, corpusBleu, sentenceBleu } from "./bleu.ts";

describe("against sacrebleu", () => {
  itWithShared(fixtureFolder, "the corpus", (folder) => {
    const { pairs, corpora } = readFixtures(folder);
    for (const { refs, values } of corpora) {
      const { score, counts, totals, sys_len, ref_len } = values.sacrebleu_bleu;
      const items = pairs.map(({ hyp }, i) => bleuCounts(hyp, refs[i]));
      expectSame(corpusBleu(items), score);
      const sum = (numbers: readonly number[]) => numbers.reduce((all, number) => all + number, 0);
      expect(counts).toEqual([0, 1, 2, 3].map((n) => sum(items.map((item) => item.matches[n]))));
      expect(totals).toEqual([0, 1, 2, 3].map((n) => sum(items.map((item) => item.totals[n]))));
      expect(sum(items.map((item) => item.length))).toBe(sys_len);
      expect(sum(items.map((item) => item.referenceLength))).toBe(ref_len);
    }
  });

  itWithShared(fixtureFolder, "every pair", (folder) => {
    const { pairs, values } = readFixtures(folder);
    for (const [i, { hyp, refs }] of pairs.entries()) {
      const expected = values.per_pair_multi_ref.sacrebleu_sentence_bleu[i];
      expectSame(sentenceBleu(bleuCounts(hyp, refs)), expected);
    }
  });
});

describe("by hand", () => {
  it("takes the nearest length, the shorter one of two", () => {
    expect(bleuCounts("a b c", ["a b", "a b c d", "a"]).referenceLength).toBe(2);
    expect(bleuCounts("a b c", ["a b c d", "a"]).referenceLength).toBe(4);
  });

  it("counts a word as often as one reference has it", () => {
    const { matches, totals } = bleuCounts("the the the", ["the cat", "the the"]);
    expect(matches).toEqual([2, 1, 0, 0]);
    expect(totals).toEqual([3, 2, 1, 0]);
  });

  it("smooths orders without a match, and leaves out those of a short text alone", () => {
    // 1-grams 2 of 3, 2-grams none of 2, 3-grams none of 1.
    const item = bleuCounts("a b c", ["a x b"]);
    const expected = 100 * ((2 / 3) * (1 / 4) * (1 / 4)) ** (1 / 3);
    expectSame(sentenceBleu(item), expected);
    expect(corpusBleu([item])).toBe(0);
  });

  it("is 100 for the same and 0 for nothing in common", () => {
    expectSame(corpusBleu([bleuCounts("a b c d", ["a b c d"])]), 100);
    expect(sentenceBleu(bleuCounts("a", ["b"]))).toBe(0);
    expect(sentenceBleu(bleuCounts("", ["b"]))).toBe(0);
    expect(sentenceBleu(bleuCounts("b", [""]))).toBe(0);
  });
});
