import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { expectSame, fixtureFolder, readFixtures } from "../../test/metric-fixtures.ts";
import { hasShared, itWithShared, sharedFolder } from "../../test/shared.ts";
import { meteor, meteorOfWords } from "./meteor.ts";
import { loadWordnet } from "./wordnet.ts";

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const identity = (word: string) => word;

describe("against nltk", () => {
  itWithShared(fixtureFolder, "the corpus, with and without stems", (folder) => {
    const { pairs, corpora } = readFixtures(folder);
    for (const { refs, values } of corpora) {
      const of = (options: object) =>
        mean(pairs.map(({ hyp }, i) => meteor(hyp, refs[i], options)));
      expectSame(of({}), values.nltk_meteor_exact_stem_tok13a_lower_mean);
      expectSame(of({ stem: identity }), values.nltk_meteor_exact_tok13a_lower_mean);
    }
  });

  itWithShared(fixtureFolder, "every pair", (folder) => {
    const { pairs, values } = readFixtures(folder);
    for (const [i, { hyp, refs }] of pairs.entries()) {
      expectSame(
        meteor(hyp, refs),
        values.per_pair_multi_ref.nltk_meteor_exact_stem_tok13a_lower[i],
      );
    }
  });

  // The values are those of WordNet 3.0, as Debian's package wordnet-base has it.
  const wordnet = process.env.MERGEN_WORDNET ?? "/usr/share/wordnet";
  const there = existsSync(wordnet) && hasShared(fixtureFolder);
  it.skipIf(!there)("with synonyms (needs WordNet 3.0 and the fixtures)", async () => {
    const { pairs, values, corpora } = readFixtures(join(sharedFolder, fixtureFolder));
    const synonyms = await loadWordnet(wordnet);
    const name = "nltk_meteor_exact_stem_wordnet3.0_tok13a_lower";
    for (const [i, { hyp, refs }] of pairs.entries()) {
      expectSame(meteor(hyp, refs, { synonyms }), values.per_pair_multi_ref[name][i]);
    }
    for (const { refs, values: expected } of corpora) {
      const scores = pairs.map(({ hyp }, i) => meteor(hyp, refs[i], { synonyms }));
      expectSame(mean(scores), expected[`${name}_mean` as const]);
    }
  });
});

describe("by hand", () => {
  const words = (text: string) => text.split(" ");
  const score = (matches: number, chunks: number, lengths: [number, number]) => {
    const [precision, recall] = lengths.map((length) => matches / length);
    const f = (precision * recall) / (0.9 * precision + 0.1 * recall);
    return (1 - 0.5 * (chunks / matches) ** 3) * f;
  };

  it("counts runs of matches", () => {
    expectSame(meteorOfWords(words("a b c"), words("a b c")), score(3, 1, [3, 3]));
    expectSame(meteorOfWords(words("c a b x"), words("a b y c z")), score(3, 2, [4, 5]));
    expect(meteorOfWords(words("a"), words("b"))).toBe(0);
    expect(meteorOfWords([], words("b"))).toBe(0);
  });

  it("matches from the end, which is not always the fewest runs", () => {
    // The only "a" of the text takes the last one of the reference.
    expectSame(meteorOfWords(words("a b"), words("a b a")), score(2, 2, [2, 3]));
  });

  it("matches stems after words, and synonyms of stems after those", () => {
    expectSame(meteorOfWords(words("dogs run"), words("dog running")), score(2, 1, [2, 2]));
    const synonyms = (word: string) => new Set(word === "hound" ? ["dog"] : []);
    expectSame(meteorOfWords(words("hounds"), words("dogs"), { synonyms }), score(1, 1, [1, 1]));
    expect(meteorOfWords(words("dogs"), words("hounds"), { synonyms })).toBe(0);
  });

  it("takes the best reference and 13a words in lower case", () => {
    expectSame(meteor("It's GOOD.", ["bad", "it's good ."]), score(3, 1, [3, 3]));
  });
});
