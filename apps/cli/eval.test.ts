// mergen eval: what it prints, what it writes, and what it says of files that do not fit.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectError, jsonLines, mergen, type TestFolder, testFolder } from "../../test/cli.ts";
import { fixtureFolder, readFixtures } from "../../test/metric-fixtures.ts";
import { itWithShared } from "../../test/shared.ts";

type Scores = Record<string, number>;

let folder: TestFolder;
let model: string;
let data: string;
let outputs: string;

const jsonl = (values: readonly object[]) =>
  values.map((value) => `${JSON.stringify(value)}\n`).join("");

beforeAll(async () => {
  folder = await testFolder();
  model = await folder.model("model", { bucket: 8, maxTokens: 12 });
  data = await folder.file(
    "data.jsonl",
    jsonl([
      { input: "name[A B], food[French]", refs: ["A B has French food.", "French food at A B"] },
      { input: "name[C D], area[riverside]", ref: "C D is by the river." },
    ]),
  );
  const texts = [
    { text: "A B has French food.", stopped: "end" },
    { text: "A B is nice.", stopped: "end" },
  ];
  outputs = await folder.file("outputs.jsonl", jsonl(texts));
});

afterAll(() => folder.dispose());

const evaluate = (...args: string[]) => mergen(["eval", "--data", data, ...args]);

describe.concurrent("scores", () => {
  itWithShared(fixtureFolder, "are those of other implementations", async (path) => {
    const { pairs, values } = readFixtures(path);
    const refs = await folder.file("refs.jsonl", jsonl(pairs.map(({ refs }) => ({ refs }))));
    const texts = await folder.file("texts.jsonl", jsonl(pairs.map(({ hyp }) => ({ text: hyp }))));
    const [score] = jsonLines<Scores>(
      await mergen(["eval", "--data", refs, "--outputs", texts, "--json"]),
    );
    const expected = values.corpus_multi_ref;
    const near = (name: string, value: number, tolerance = 1e-4) =>
      expect(Math.abs(score[name] / value - 1), name).toBeLessThan(tolerance);
    near("chrfpp", expected["sacrebleu_chrf++"].score);
    near("bleu", expected.sacrebleu_bleu.score);
    near("nist", expected.e2e_pymteval_nist.nist5, 1e-3);
    near("rougeL", expected.rouge_score_nostem_rougeL_f1_mean);
    near("meteor", expected.nltk_meteor_exact_stem_tok13a_lower_mean);
    expect(score.count).toBe(200);
  });

  it("come for each item and with slots", async () => {
    const items = folder.path("items.jsonl");
    const args = ["--outputs", outputs, "--task", "e2e", "--per-item", items, "--json"];
    const [score] = jsonLines<Scores & { slots: object }>(await evaluate(...args));
    expect(score).toMatchObject({
      count: 2,
      nameCoverage: 0.5,
      endReached: 1,
      slotErrorRate: 0.75,
    });
    expect(score.slots).toEqual({ missing: 2, invented: 1, total: 4 });
    const lines = (await readFile(items, "utf8")).trimEnd().split("\n");
    const read = lines.map((line) => JSON.parse(line));
    expect(read.map(({ line, nameCovered }) => [line, nameCovered])).toEqual([
      [1, true],
      [2, false],
    ]);
    expect(read[0].rougeL).toBe(1);
    expect(read[1].slots).toEqual({
      total: 2,
      missing: ["name=C D", "area=riverside"],
      invented: ["name=A B"],
    });
  });

  it("come as a table for people", async () => {
    const { stdout, status } = await evaluate("--outputs", outputs, "--limit", "1");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^examples +1\n(?:.*\n)*BLEU +100\.0000\n(?:.*\n)*ROUGE-L +1\.0000$/m);
    expect(stdout).not.toContain("perplexity");
  });

  it("come of a model's own texts, with its perplexity", async () => {
    const prompts = await folder.file("prompts.jsonl", jsonl([{ input: "pub", ref: "the pub" }]));
    const args = ["eval", "--data", prompts, "--model", model, "--mode", "float", "--json"];
    const [score] = jsonLines<Scores>(
      await mergen([...args, "--max-tokens", "3", "--perplexity", model]),
    );
    expect(score.count).toBe(1);
    expect(score.perplexity).toBeGreaterThan(1);
  });

  itWithShared("data/e2e", "of the shipped model stay what they were", async (path) => {
    const dev = join(path, "dev.jsonl.gz");
    const args = ["eval", "--data", dev, "--limit", "20", "--mode", "float", "--json"];
    const [score] = jsonLines<Scores>(await mergen(args));
    expect(score.rougeL).toBeCloseTo(0.7868, 4);
    expect(score).toMatchObject({ nameCoverage: 1, endReached: 1 });
  });
});

describe.concurrent("refused", () => {
  const refusals: [
    string,
    () => Promise<string[]>,
    code: "E_DATA" | "E_MODEL" | "E_PROMPT" | "E_USAGE",
    RegExp,
  ][] = [
    [
      "other numbers of lines",
      async () => ["--outputs", await folder.file("one.jsonl", '{"text":"a"}\n')],
      "E_DATA",
      /one\.jsonl: holds 1 outputs, but .*data\.jsonl has 2 examples.*; give one line for each/,
    ],
    [
      "outputs without any",
      async () => ["--outputs", await folder.file("empty.jsonl", "")],
      "E_DATA",
      /empty\.jsonl: holds no output; give another file/,
    ],
    [
      "inputs of another task",
      async () => ["--outputs", outputs, "--task", "multiwoz"],
      "E_DATA",
      /data\.jsonl:1: the input is not written as Domain-Act.*; check --task/,
    ],
    [
      "a folder that is no model",
      async () => ["--outputs", outputs, "--bert-score", folder.path("none")],
      "E_MODEL",
      /none.config\.json: cannot be read: ENOENT; give a Hugging Face model folder/,
    ],
    [
      "one of our models as BART",
      async () => ["--outputs", outputs, "--bart-score", model],
      "E_MODEL",
      /config\.json: model_type: .*; give the folder of a BART model/,
    ],
    [
      "a folder without WordNet",
      async () => ["--outputs", outputs, "--wordnet", model],
      "E_DATA",
      /index\.\w+: cannot be read: ENOENT; give the folder of WordNet/,
    ],
    [
      "a layer without a model",
      async () => ["--outputs", outputs, "--bert-score-layer", "3"],
      "E_USAGE",
      /--bert-score-layer goes with --bert-score/,
    ],
    [
      "a file that cannot be written",
      async () => ["--outputs", outputs, "--per-item", folder.path("none/items.jsonl")],
      "E_USAGE",
      /items\.jsonl: cannot be written: ENOENT; choose another file/,
    ],
    [
      "a file that is read from, too",
      async () => ["--outputs", outputs, "--per-item", outputs],
      "E_USAGE",
      /is read from, too; choose another file/,
    ],
    [
      "a disk that is full",
      async () => ["--outputs", outputs, "--per-item", "/dev/full"],
      "E_USAGE",
      /--per-item \/dev\/full: cannot be written: ENOSPC; choose another file/,
    ],
    [
      "a prompt that the model does not take, by its line",
      async () => {
        const inputs = ["pub", "x".repeat(5000)];
        const rows = inputs.map((input) => ({ input, ref: "a" }));
        return ["--data", await folder.file("q.jsonl", jsonl(rows)), "--model", model];
      },
      "E_PROMPT",
      /q\.jsonl:2: /,
    ],
    [
      "a text that is too long for the model, by its line",
      async () => {
        const prompts = await folder.file("p.jsonl", jsonl([{ input: "pub", ref: "a" }]));
        const long = await folder.file("long.jsonl", jsonl([{ text: "x".repeat(99) }]));
        return ["--data", prompts, "--outputs", long, "--perplexity", model];
      },
      "E_DATA",
      /p\.jsonl:1: the text has 101 tokens, the model has room for \d+; shorten it/,
    ],
  ];
  it.each(refusals)("%s", async (_, args, code, says) => {
    const given = [...(await args()), "--json"];
    const usual = given.includes("--data") ? [] : ["--data", data];
    expectError(await mergen(["eval", ...usual, ...given]), code, says);
  });
});
