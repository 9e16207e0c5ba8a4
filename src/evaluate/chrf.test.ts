import { describe, expect, it } from "vitest";
import { expectSame, fixtureFolder, readFixtures } from "../../test/metric-fixtures.ts";
import { itWithShared } from "../../test/shared.ts";
import { chrfCounts, chrfScore, corpusChrf } from "./chrf.ts";

describe("against sacrebleu", () => {
  itWithShared(fixtureFolder, "the corpus", (folder) => {
    const { pairs, corpora } = readFixtures(folder);
    for (const { refs, values } of corpora) {
      const { score } = values["sacrebleu_chrf++"] as { score: number };
      expectSame(corpusChrf(pairs.map(({ hyp }, i) => chrfCounts(hyp, refs[i]))), score);
    }
  });

  itWithShared(fixtureFolder, "every pair", (folder) => {
    const { pairs, values } = readFixtures(folder);
    for (const [i, { hyp, refs }] of pairs.entries()) {
      const expected = values.per_pair_multi_ref["sacrebleu_sentence_chrf++"][i];
      expectSame(chrfScore(chrfCounts(hyp, refs)), expected);
    }
  });
});

describe("by hand", () => {
  it("means precision and recall over the orders that both have", () => {
    // Characters: 1-grams 1 of 2 and 1 of 2, 2-grams 0 of 1. Words: 0 of 1.
    const precision = (1 / 2 + 0 + 0) / 3;
    expectSame(chrfScore(chrfCounts("ab", ["ac"])), 100 * precision);
  });

  it("weighs recall four times", () => {
    // 1-grams: all of the text's one, one of the reference's two; the reference alone has 2-grams.
    // Words: none of one.
    const [precision, recall] = [1 / 2, 1 / 4];
    const expected = (100 * 5 * precision * recall) / (4 * precision + recall);
    expectSame(chrfScore(chrfCounts("a", ["ab"])), expected);
  });

  it("takes one mark off a word's end, or else off its beginning", () => {
    const words = (text: string, reference: string) => chrfCounts(text, [reference])[6];
    expect(words("(hi)", "(hi )")).toEqual({ hypothesis: 2, reference: 3, common: 1 });
    expect(words("(hi", "( hi")).toEqual({ hypothesis: 2, reference: 2, common: 2 });
    expect(words("hi!!", "hi! !")).toEqual({ hypothesis: 2, reference: 3, common: 1 });
    expect(words("!", "!")).toEqual({ hypothesis: 1, reference: 1, common: 1 });
  });

  it("counts characters, not UTF-16 units, and no blanks", () => {
    expect(chrfCounts("𝒳 𝒴", ["𝒳𝒴"])[0]).toEqual({ hypothesis: 2, reference: 2, common: 2 });
  });

  it("takes the best reference, and 0 without a common piece", () => {
    expectSame(chrfScore(chrfCounts("same text", ["other", "same text"])), 100);
    expect(chrfScore(chrfCounts("", ["a"]))).toBe(0);
    expect(chrfScore(chrfCounts("a", [""]))).toBe(0);
  });
});
