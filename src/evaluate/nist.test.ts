import { describe, expect, it } from "vitest";
import { expectSame, fixtureFolder, readFixtures } from "../../test/metric-fixtures.ts";
import { itWithShared } from "../../test/shared.ts";
import { nist } from "./nist.ts";

describe("against e2e-metrics", () => {
  itWithShared(fixtureFolder, "the corpus, its quirk with short texts among it", (folder) => {
    const { pairs, corpora } = readFixtures(folder);
    const texts = pairs.map(({ hyp }) => hyp);
    for (const { refs, values } of corpora) {
      const { nist5 } = values.e2e_pymteval_nist;
      expectSame(nist(texts, refs).corpus, nist5);
    }
  });

  itWithShared(fixtureFolder, "the texts of five or more words", (folder) => {
    const { pairs, corpora, values } = readFixtures(folder);
    const short = new Set(values.ids_of_hyps_with_fewer_than_5_tokens);
    const long = [...pairs.keys()].filter((i) => !short.has(i));
    expect(long.length).toBe(185);
    const texts = long.map((i) => pairs[i].hyp);
    for (const { refs, values: expected } of corpora) {
      const { nist5 } = expected.e2e_pymteval_only_hyps_of_5_or_more_tokens;
      const subset = nist(
        texts,
        long.map((i) => refs[i]),
      );
      expectSame(subset.corpus, nist5);
    }
  });
});

describe("by hand", () => {
  it("adds the information of matches up, by order", () => {
    // Words of all references: 8, a stands 4 times, b 2 times; "a b" 2 times after 4 a.
    const references = [["a b c d"], ["a b a a"]];
    const { corpus, items } = nist(["a b", "x"], references);
    // Item 1: information of a 1, of b 2, of "a b" 1.
    const penalty = (ratio: number) =>
      Math.exp((Math.log(0.5) * Math.log(ratio) ** 2) / Math.log(1.5) ** 2);
    expectSame(items[0], ((1 + 2) / 2 + 1 / 1) * penalty(2 / 4));
    expect(items[1]).toBe(0);
    // Together three words; 2-grams: 1 of the first, 0 of the second. For 3- to 5-grams there are
    // no matches.
    expectSame(corpus, ((1 + 2) / 3 + 1 / 1) * penalty(3 / 8));
  });

  it("takes the mean length of the references and no penalty above it", () => {
    const [one] = nist(["a b"], [["a b", "a b c d"]]).items;
    // Words 6, a and b twice each, "a b" 2 times after 2 a: information 0.
    const information = Math.log2(6 / 2);
    expectSame(
      one,
      information * Math.exp((Math.log(0.5) * Math.log(2 / 3) ** 2) / Math.log(1.5) ** 2),
    );
    expectSame(nist(["a b c d"], [["a b c"]]).corpus, (3 * Math.log2(3)) / 4);
  });

  it("ignores case and is finite for empty texts", () => {
    expect(nist(["A B"], [["a b"]]).corpus).toBe(nist(["a b"], [["a b"]]).corpus);
    for (const text of ["", "a"]) {
      for (const reference of ["", "a b c d e f"]) {
        const { corpus } = nist([text], [[reference]]);
        expect(corpus).toBeGreaterThanOrEqual(0);
        expect(corpus).toBeLessThan(10);
      }
    }
  });
});
