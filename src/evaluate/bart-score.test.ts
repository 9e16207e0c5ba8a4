import { mkdtemp, rm, writeFile } from "node:fs/promises";
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
  softmax,
  type Tensors,
} from "../../test/naive-transformer.ts";
import {
  bartConfig,
  bartShapes,
  byteTokenizerJson,
  naive,
  randomTensors,
  writeFolder,
} from "../../test/pretrained-model.ts";
import { hasTorch, torchScores } from "../../test/torch.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { floatReference } from "../kernel/float-reference.ts";
import type { Weights } from "../model/safetensors.ts";
import { BartScorer } from "./bart-score.ts";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mergen-bart-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const weights = randomTensors(bartShapes(), 3);
const [begin, end] = [261, 262];
const [the, pub] = [258, 259];
/** "the pub", "a pub!" with <s> and </s>; ids of other characters are their bytes. */
const source = [begin, the, 32, pub, end];
const target = [begin, 97, 32, pub, 33, end];
const sourceText = "the pub";
const targetText = "a pub!";

function side(
  w: Tensors,
  name: "encoder" | "decoder",
  ids: readonly number[],
  encoded?: Matrix,
): Matrix {
  const words = ids.map((id) => w["shared.weight"][id].map((value) => value * Math.sqrt(8)));
  const places = ids.map((_, i) => w[`${name}.embed_positions.weight`][i + 2]);
  let x = layerNorm(w, `${name}.layernorm_embedding`, plus(words, places), 1e-5);
  for (let i = 0; i < 2; i++) {
    const layer = `${name}.layers.${i}`;
    const attend = (kind: string, from: Matrix, sees: (a: number, b: number) => boolean) => {
      const part = (letter: string) => `${layer}.${kind}.${letter}`;
      const names = [part("q_proj"), part("k_proj"), part("v_proj"), part("out_proj")] as const;
      const heads = encoded ? 4 : 2;
      const mixed = attention(w, names, { x, source: from, heads, sees });
      return layerNorm(w, `${layer}.${kind}_layer_norm`, plus(x, mixed), 1e-5);
    };
    x = attend("self_attn", x, (a, b) => !encoded || b <= a);
    if (encoded) x = attend("encoder_attn", encoded, () => true);
    const wide = linear(w, `${layer}.fc2`, gelu(linear(w, `${layer}.fc1`, x)));
    x = layerNorm(w, `${layer}.final_layer_norm`, plus(x, wide), 1e-5);
  }
  return x;
}

function logLikelihood(w: Tensors, from: readonly number[], to: readonly number[]): number {
  const encoded = side(w, "encoder", from);
  const rows = side(w, "decoder", [end, ...to.slice(0, -1)], encoded);
  const values = rows.map((row, i) => {
    const logits = w["shared.weight"].map(
      (word, id) => dot(row, word) + w.final_logits_bias[0][id],
    );
    return Math.log(softmax(logits)[to[i]]);
  });
  return values.reduce((a, b) => a + b) / values.length;
}

const folderOf = (name: string, changed: Weights = weights, config: object = bartConfig()) =>
  writeFolder(join(dir, name), { config, tokenizer: byteTokenizerJson(), weights: changed });

describe("BARTScore", () => {
  it("is the mean log-probability, against plain sums", async () => {
    const w = naive(weights);
    const precision = logLikelihood(w, source, target);
    const recall = logLikelihood(w, target, source);
    const folder = await folderOf("plain");
    for (const kernels of [floatReference, await loadFloatKernels()]) {
      const scorer = await BartScorer.load(folder, kernels);
      expect(scorer.logLikelihood(sourceText, targetText)).toBeCloseTo(precision, 4);
      const score = scorer.score(targetText, [sourceText]);
      expect(score.precision).toBeCloseTo(precision, 4);
      expect(score.recall).toBeCloseTo(recall, 4);
      expect(score.f1).toBeCloseTo((precision + recall) / 2, 4);
    }
    expect(precision).not.toBeCloseTo(recall, 2);
  });

  it("takes the best of each over the references", async () => {
    const scorer = await BartScorer.load(await folderOf("best"), floatReference);
    const references = [sourceText, targetText, "x"];
    const single = references.map((one) => scorer.score(targetText, [one]));
    const best = scorer.score(targetText, references);
    expect(best.precision).toBe(Math.max(...single.map(({ precision }) => precision)));
    expect(best.f1).toBe(Math.max(...single.map(({ f1 }) => f1)));
  });

  it("reads files with a prefix and a head of its own", async () => {
    const prefixed: Weights = new Map(
      [...weights].map(([name, tensor]) => [
        name.startsWith("final") ? name : `model.${name}`,
        tensor,
      ]),
    );
    const plain = await BartScorer.load(await folderOf("one"), floatReference);
    const second = await BartScorer.load(await folderOf("two", prefixed), floatReference);
    const value = plain.logLikelihood(sourceText, targetText);
    expect(second.logLikelihood(sourceText, targetText)).toBe(value);
    const shape = [264, 8];
    const data = new Float32Array(264 * 8);
    prefixed.set("lm_head.weight", { shape, data });
    prefixed.delete("final_logits_bias");
    const flat = await BartScorer.load(await folderOf("three", prefixed), floatReference);
    expect(flat.logLikelihood(sourceText, targetText)).toBeCloseTo(-Math.log(264), 5);
  });

  it("takes empty and long texts", async () => {
    const scorer = await BartScorer.load(await folderOf("long"), floatReference);
    expect(scorer.logLikelihood("", "")).toBeLessThan(0);
    const long = scorer.logLikelihood(sourceText, "x".repeat(100));
    expect(long).toBe(scorer.logLikelihood(sourceText, "x".repeat(14)));
  });

  it.skipIf(!hasTorch)("against PyTorch's layers (needs python3-torch)", async () => {
    const folder = await folderOf("torch");
    const pairs = [
      [source, target],
      [target, source],
    ] as [number[], number[]][];
    const expected = torchScores({ kind: "bart", folder, pairs, first: 2 }) as number[];
    const scorer = await BartScorer.load(folder, await loadFloatKernels());
    expect(scorer.logLikelihood(sourceText, targetText)).toBeCloseTo(expected[0], 4);
    expect(scorer.logLikelihood(targetText, sourceText)).toBeCloseTo(expected[1], 4);
  });
});

describe("a folder that does not fit", () => {
  const load = (folder: string) => () => BartScorer.load(folder, floatReference);

  it.each<[key: string, value: unknown]>([
    ["model_type", "mbart"],
    ["activation_function", "relu"],
    ["normalize_before", true],
    ["add_final_layer_norm", true],
  ])("is of another architecture: %s", async (key, value) => {
    const folder = await folderOf("architecture", weights, { ...bartConfig(), [key]: value });
    const { message } = await rejectionOf("E_MODEL", load(folder));
    expect(message).toMatch(new RegExp(`config\\.json: ${key}: .*; give the folder of a BART`));
  });

  it("lacks a tensor or a file, or its heads do not fit", async () => {
    const fewer = new Map(weights);
    fewer.delete("decoder.layers.1.encoder_attn.k_proj.bias");
    const missing = await rejectionOf("E_MODEL", load(await folderOf("tensor", fewer)));
    expect(missing.message).toMatch(/encoder_attn\.k_proj\.bias": is missing; take the weights/);
    const heads = await folderOf("heads", weights, { ...bartConfig(), decoder_attention_heads: 3 });
    expect((await rejectionOf("E_MODEL", load(heads))).message).toMatch(
      /heads do not divide d_model/,
    );
    const folder = await folderOf("file");
    await rm(join(folder, "model.safetensors"));
    expect((await rejectionOf("E_MODEL", load(folder))).message).toMatch(
      /safetensors: cannot be read/,
    );
    await writeFile(join(folder, "config.json"), "{");
    expect((await rejectionOf("E_MODEL", load(folder))).message).toMatch(
      /config\.json: is not JSON/,
    );
  });
});
