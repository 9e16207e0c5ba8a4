import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { fixtureFolder, readFixtures } from "../../test/metric-fixtures.ts";
import { itWithShared } from "../../test/shared.ts";
import { scoreItems, scoreOutputs } from "./corpus.ts";

const example = (input: string, ...refs: string[]) => ({ input, refs });

itWithShared(fixtureFolder, "all metrics agree with other implementations", (folder) => {
  const { pairs, corpora } = readFixtures(folder);
  for (const { refs, values } of corpora) {
    const examples = refs.map((list) => ({ input: "", refs: list }));
    const score = scoreOutputs(
      examples,
      pairs.map(({ hyp }) => ({ text: hyp })),
    );
    const expected = {
      chrfpp: values["sacrebleu_chrf++"].score,
      bleu: values.sacrebleu_bleu.score,
      nist: values.e2e_pymteval_nist.nist5,
      rougeL: values.rouge_score_nostem_rougeL_f1_mean,
      meteor: values.nltk_meteor_exact_stem_tok13a_lower_mean,
    };
    for (const name of ["chrfpp", "bleu", "nist", "rougeL", "meteor"] as const) {
      expect(Math.abs(score[name] / expected[name] - 1), name).toBeLessThan(1e-10);
    }
    expect(Object.keys(score).slice(0, 5)).toEqual(Object.keys(expected));
  }
});

describe("scoreItems", () => {
  const examples = [example("name[A B]", "A B is here."), example("x", "c d", "e")];

  it("gives each item its own scores", () => {
    const outputs = [
      { text: "A B is here.", stopped: "end" },
      { text: "f", stopped: "length" },
    ];
    const { corpus, items } = scoreItems(examples, outputs);
    expect(items[0]).toMatchObject({ rougeL: 1, nameCovered: true });
    expect(items[0].bleu).toBeCloseTo(100, 10);
    expect(items[0].chrfpp).toBeCloseTo(100, 10);
    expect(items[1]).toEqual({
      ...{ chrfpp: 0, bleu: 0, nist: 0, rougeL: 0, meteor: 0, nameCovered: undefined },
    });
    expect(corpus).toMatchObject({ count: 2, rougeL: 0.5, nameCoverage: 1, endReached: 0.5 });
    expect(corpus.meteor).toBe(items[0].meteor / 2);
  });

  it("knows nothing of ends that are not told, and of names that are not given", () => {
    const outputs = [{ text: "a", stopped: "end" }, { text: "c d" }];
    expect(scoreOutputs(examples, outputs)).toMatchObject({
      nameCoverage: 0,
      endReached: undefined,
    });
    expect(scoreOutputs([examples[1]], [outputs[1]]).nameCoverage).toBe(1);
  });

  it("refuses what cannot be compared", () => {
    const { message } = errorOf("E_DATA", () => scoreOutputs(examples, [{ text: "a" }]));
    expect(message).toMatch(/1 outputs stand against 2 examples; give one for each/);
    errorOf("E_DATA", () => scoreOutputs([], []));
    const bare = errorOf("E_DATA", () => scoreOutputs([example("x")], [{ text: "a" }]));
    expect(bare.message).toMatch(/example 1 has no reference; give at least one/);
  });
});
