import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import {
  attention,
  dot,
  gelu,
  layerNorm,
  linear,
  type Matrix,
  plus,
  type Tensors,
} from "../../test/naive-transformer.ts";
import {
  bertConfig,
  bertShapes,
  bertTokenizerJson,
  bertWords,
  byteTokenizerJson,
  naive,
  randomTensors,
  writeFolder,
} from "../../test/pretrained-model.ts";
import { hasTorch, torchScores } from "../../test/torch.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { floatReference } from "../kernel/float-reference.ts";
import type { Weights } from "../model/safetensors.ts";
import { BertScorer, type MatchScore } from "./bert-score.ts";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mergen-bert-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** The same tensors under a file's names. */
function renamed(weights: Weights, name: (name: string) => string): Weights {
  return new Map([...weights].map(([key, value]) => [name(key), value]));
}

/** Hidden states of a layer, not normalised. */
function hidden(
  w: Tensors,
  ids: readonly number[],
  { first, eps, layer }: { first: number; eps: number; layer: number },
): Matrix {
  const words = ids.map((id) => w["embeddings.word_embeddings.weight"][id]);
  const places = ids.map((_, i) => w["embeddings.position_embeddings.weight"][first + i]);
  const types = ids.map(() => w["embeddings.token_type_embeddings.weight"][0]);
  let x = layerNorm(w, "embeddings.LayerNorm", plus(words, places, types), eps);
  for (let i = 0; i < layer; i++) {
    const name = `encoder.layer.${i}`;
    const self = `${name}.attention.self`;
    const names = [
      `${self}.query`,
      `${self}.key`,
      `${self}.value`,
      `${name}.attention.output.dense`,
    ] as const;
    const mixed = attention(w, names, { x, source: x, heads: 2, sees: () => true });
    const middle = layerNorm(w, `${name}.attention.output.LayerNorm`, plus(x, mixed), eps);
    const outer = linear(
      w,
      `${name}.output.dense`,
      gelu(linear(w, `${name}.intermediate.dense`, middle)),
    );
    x = layerNorm(w, `${name}.output.LayerNorm`, plus(middle, outer), eps);
  }
  return x;
}

function matched(own: Matrix, other: Matrix): MatchScore {
  const cosine = (a: number[], b: number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const side = (rows: Matrix, others: Matrix) => {
    const best = rows.slice(1, -1).map((row) => Math.max(...others.map((to) => cosine(row, to))));
    return best.reduce((a, b) => a + b) / best.length;
  };
  const precision = side(own, other);
  const recall = side(other, own);
  return { precision, recall, f1: (2 * precision * recall) / (precision + recall) };
}

function expectNear(score: MatchScore, expected: MatchScore): void {
  for (const key of ["precision", "recall", "f1"] as const) {
    expect(Math.abs(score[key] - expected[key]), key).toBeLessThan(2e-5);
  }
}

const text = "The dogs run.";
const reference = "Cat runs . the";
/** With [CLS] and [SEP]. */
const bertIds = (words: string) => words.split(" ").map((word) => bertWords.indexOf(word));
const own = bertIds("[CLS] the dog ##s run . [SEP]");
const other = bertIds("[CLS] cat run ##s . the [SEP]");

async function bert(name: string) {
  const config = bertConfig("bert");
  const weights = randomTensors(bertShapes(config), 1);
  const folder = await writeFolder(join(dir, name), {
    config,
    tokenizer: bertTokenizerJson(),
    weights,
  });
  return { config, weights, folder };
}

describe("BERT", () => {
  it.each([0, 1, 2])("layer %i, against plain sums", async (layer) => {
    const { weights, folder } = await bert("bert");
    const w = naive(weights);
    const of = (ids: number[]) => hidden(w, ids, { first: 0, eps: 1e-12, layer });
    const expected = matched(of(own), of(other));
    for (const kernels of [floatReference, await loadFloatKernels()]) {
      const scorer = await BertScorer.load(folder, kernels, { layer });
      expectNear(scorer.score(text, [reference]), expected);
    }
  });

  it("takes all layers of a model that bert_score does not know", async () => {
    const { folder } = await bert("bert");
    const all = await BertScorer.load(folder, floatReference, { layer: 2 });
    const usual = await BertScorer.load(folder, floatReference);
    expect(usual.score(text, [reference])).toEqual(all.score(text, [reference]));
  });

  it("reads files with a prefix, old names of norms and integers", async () => {
    const { config, weights, folder } = await bert("bert");
    const old = (name: string) =>
      `bert.${name.replace(/Norm\.weight$/, "Norm.gamma").replace(/Norm\.bias$/, "Norm.beta")}`;
    const parts = {
      config,
      tokenizer: bertTokenizerJson(),
      weights: renamed(weights, old),
      integers: true,
    };
    const second = await writeFolder(join(dir, "old"), parts);
    const scores = [];
    for (const each of [folder, second]) {
      scores.push((await BertScorer.load(each, floatReference)).score(text, [reference]));
    }
    expect(scores[0]).toEqual(scores[1]);
  });

  it("takes the best of each over the references; 0 for a text without words", async () => {
    const { folder } = await bert("bert");
    const scorer = await BertScorer.load(folder, floatReference);
    const single = [reference, text, "cat"].map((one) => scorer.score(text, [one]));
    const best = scorer.score(text, [reference, text, "cat"]);
    expect(best.precision).toBe(Math.max(...single.map(({ precision }) => precision)));
    expect(best.recall).toBe(Math.max(...single.map(({ recall }) => recall)));
    expect(scorer.score(text, [text]).f1).toBeCloseTo(1, 5);
    expect(scorer.score("", [text])).toEqual({ precision: 0, recall: 0, f1: 0 });
    expect(scorer.score(text, [" "])).toEqual({ precision: 0, recall: 0, f1: 0 });
  });

  it("cuts a text to the model's positions", async () => {
    const { folder } = await bert("bert");
    const scorer = await BertScorer.load(folder, floatReference);
    const long = "dog ".repeat(50);
    expect(scorer.score(long, [text])).toEqual(scorer.score("dog ".repeat(10), [text]));
  });

  it.skipIf(!hasTorch)("against PyTorch's encoder layers (needs python3-torch)", async () => {
    const { folder } = await bert("torch");
    const [expected] = torchScores({ kind: "bert", folder, pairs: [[own, other]], first: 0 });
    const scorer = await BertScorer.load(folder, await loadFloatKernels());
    expectNear(scorer.score(text, [reference]), expected as MatchScore);
  });
});

describe("RoBERTa", () => {
  it("counts positions from behind its padding token, and words after a blank", async () => {
    const config = bertConfig("roberta");
    const weights = randomTensors(bertShapes(config), 2);
    const prefixed = renamed(weights, (name) => `roberta.${name}`);
    const parts = { config, tokenizer: byteTokenizerJson(), weights: prefixed };
    const scorer = await BertScorer.load(
      await writeFolder(join(dir, "roberta"), parts),
      floatReference,
    );
    const [the, pub] = [258, 259];
    const w = naive(weights);
    const of = (ids: number[]) => hidden(w, ids, { first: 2, eps: 1e-5, layer: 2 });
    // The ids of characters are their bytes.
    const [a, b] = [
      [261, 32, the, 262],
      [261, 32, pub, 262],
    ];
    expectNear(scorer.score("the", ["pub"]), matched(of(a), of(b)));
  });
});

describe("a folder that does not fit", () => {
  const load = (folder: string, layer?: number) => () =>
    BertScorer.load(folder, floatReference, { layer });
  const edit = async (path: string, change: (json: Record<string, unknown>) => void) => {
    const json = JSON.parse(await readFile(path, "utf8"));
    change(json);
    await writeFile(path, JSON.stringify(json));
  };

  it.each(["config.json", "tokenizer.json", "model.safetensors"])("lacks %s", async (name) => {
    const { folder } = await bert(`without-${name}`);
    await rm(join(folder, name));
    const { message } = await rejectionOf("E_MODEL", load(folder));
    expect(message).toContain(join(folder, name));
    expect(message).toMatch(/cannot be read: ENOENT; give a Hugging Face model folder/);
  });

  it.each<[key: string, value: unknown]>([
    ["model_type", "gpt2"],
    ["hidden_act", "relu"],
    ["position_embedding_type", "relative_key"],
    ["hidden_size", 0],
  ])("is of another architecture: %s", async (key, value) => {
    const { folder } = await bert("architecture");
    await edit(join(folder, "config.json"), (json) => (json[key] = value));
    const { message } = await rejectionOf("E_MODEL", load(folder));
    expect(message).toMatch(new RegExp(`config\\.json: ${key}: .*; give the folder of a BERT`));
  });

  it("has other tensors, heads, tokens or layers", async () => {
    const { folder, config, weights } = await bert("other");
    const write = (changes: object, change: (copy: Weights) => void = () => undefined) => {
      const copy = new Map(weights);
      change(copy);
      const parts = {
        config: { ...config, ...changes },
        tokenizer: bertTokenizerJson(),
        weights: copy,
      };
      return writeFolder(folder, parts);
    };
    const name = "encoder.layer.1.output.dense.weight";
    await write({}, (copy) => copy.delete(name));
    expect((await rejectionOf("E_MODEL", load(folder))).message).toMatch(
      /layer\.1.*is missing; take/,
    );
    await write({ intermediate_size: 13 });
    expect((await rejectionOf("E_MODEL", load(folder))).message).toMatch(
      /has shape \[12\].*asks for \[13\]/,
    );
    await write({ num_attention_heads: 3 });
    expect((await rejectionOf("E_MODEL", load(folder))).message).toMatch(
      /num_attention_heads does not/,
    );
    await write({ vocab_size: 9 });
    expect((await rejectionOf("E_TOKENIZER", load(folder))).message).toMatch(/10 tokens.*is 9/);
    await write({});
    expect((await rejectionOf("E_USAGE", load(folder, 3))).message).toMatch(
      /2 layers; take one of 0/,
    );
    await edit(join(folder, "tokenizer.json"), (json) => (json.added_tokens = []));
    expect((await rejectionOf("E_TOKENIZER", load(folder))).message).toMatch(
      /no special token \[CLS\]/,
    );
    await writeFile(join(folder, "model.safetensors"), "short");
    expect((await rejectionOf("E_MODEL", load(folder))).message).toMatch(
      /model\.safetensors: is shorter/,
    );
  });
});
