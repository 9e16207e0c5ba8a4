import { mkdtemp, readFile, rm, truncate, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import {
  gpt2Config,
  gpt2Logits,
  gpt2Tensors,
  type HfFolder,
  type HfTensors,
  llamaConfig,
  llamaLogits,
  llamaTensors,
  tensorFile,
  writeHfFolder,
} from "../../test/hf-models.ts";
import { itWithShared } from "../../test/shared.ts";
import { tinyTokenizerJson, tinyTokens } from "../../test/tiny-model.ts";
import type { ErrorCode } from "../errors.ts";
import { Graph } from "../graph/graph.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { runFloat } from "../run/float.ts";
import { loadConfig, loadModel, loadTokenizer, type Model, saveModel } from "./checkpoint.ts";
import { decoder, embed, head } from "./decoder.ts";
import { importHuggingFace } from "./import.ts";
import { encodePrompt } from "./prompt.ts";

let root: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "mergen-hf-"));
});
afterAll(() => rm(root, { recursive: true }));

const gpt2: HfFolder = { config: gpt2Config, tensors: gpt2Tensors() };
const llama: HfFolder = { config: llamaConfig, tensors: llamaTensors() };
const write = (folder: HfFolder) => writeHfFolder(join(root, `${count++}`), folder);

const rejection = (code: ErrorCode, made: Promise<unknown>) => rejectionOf(code, () => made);

const ids = [5, 261, 0, 17, 17, 256, 200];

function logitsOf({ config, weights }: Model): number[][] {
  const graph = new Graph();
  const x = embed(graph, config, graph.ids("ids", [ids.length]));
  graph.output("logits", head(graph, config, decoder(graph, config, { x, start: 0 }).hidden));
  const given = new Map([...weights].map(([name, { data }]) => [name, data]));
  const inputs = new Map([["ids", Int32Array.from(ids)]]);
  const logits = runFloat(graph, { weights: given, inputs, kernels: floatReference }).get(
    "logits",
  )!;
  const v = config.vocabSize;
  return ids.map((_, row) => [...logits.subarray(row * v, (row + 1) * v)]);
}

function greatestDifference(a: number[][], b: number[][]): number {
  const differences = a.flatMap((row, i) => row.map((value, j) => Math.abs(value - b[i]![j]!)));
  expect(differences).toHaveLength(b.length * b[0]!.length);
  return Math.max(...differences);
}

/** Of float32 against doubles, logits of magnitude 1 to 5. */
const ROUNDING = 2e-5;

describe("a gpt2 folder", () => {
  const expected = gpt2Logits(gpt2.tensors, ids);

  it.each(["F32", "F16", "BF16"] as const)("in %s gives its own logits", async (format) => {
    const model = await importHuggingFace(await write({ ...gpt2, format }), { float32: true });
    expect(greatestDifference(logitsOf(model), expected)).toBeLessThan(ROUNDING);
    const { norm, tiedHead, headBias, scaledQuery, weightFracBits } = model.config;
    expect([norm.scale, tiedHead, headBias, scaledQuery]).toEqual([false, false, true, true]);
    expect(weightFracBits).toBeUndefined();
  });

  it("may name its tensors without a prefix, hold its head again, and have parts", async () => {
    const bare = gpt2Tensors(1, "");
    bare.set("lm_head.weight", bare.get("wte.weight")!);
    const dir = await write({ ...gpt2, tensors: bare });
    const entries = [...bare];
    const parts = [entries.slice(0, 7), entries.slice(7)].map((list) => new Map(list));
    await unlink(join(dir, "model.safetensors"));
    const map: Record<string, string> = {};
    for (const [i, part] of parts.entries()) {
      await writeFile(join(dir, `part-${i}.safetensors`), tensorFile(part));
      for (const name of part.keys()) map[name] = `part-${i}.safetensors`;
    }
    const index = join(dir, "model.safetensors.index.json");
    await writeFile(index, JSON.stringify({ weight_map: map }));
    const model = await importHuggingFace(dir, { float32: true });
    expect(greatestDifference(logitsOf(model), expected)).toBeLessThan(ROUNDING);
    await writeFile(index, JSON.stringify({ weight_map: { a: "../a.safetensors" } }));
    const error = await rejection("E_MODEL", importHuggingFace(dir));
    expect(error.message).toMatch(/index\.json: has no weight_map/);
  });

  it("may scale its scores otherwise", async () => {
    const config = {
      ...gpt2Config,
      scale_attn_weights: false,
      scale_attn_by_inverse_layer_idx: true,
    };
    const model = await importHuggingFace(await write({ ...gpt2, config }), { float32: true });
    const other = gpt2Logits(gpt2.tensors, ids, (layer) => Math.sqrt(8) / (layer + 1));
    expect(greatestDifference(other, expected)).toBeGreaterThan(100 * ROUNDING);
    expect(greatestDifference(logitsOf(model), other)).toBeLessThan(ROUNDING);
  });

  it("is loaded as it is, on the int16 grid, and the same once saved", async () => {
    const dir = await write({ ...gpt2, separate: true });
    const model = await loadModel(dir);
    // Sixteen bits after the point: half a unit of 2^-16 in each of some hundred products.
    expect(greatestDifference(logitsOf(model), expected)).toBeLessThan(2e-3);
    expect(greatestDifference(logitsOf(model), expected)).toBeGreaterThan(ROUNDING / 100);
    const out = join(root, "saved");
    await saveModel(out, model, { int16: true });
    const again = await loadModel(out);
    expect(again.weights).toEqual(model.weights);
    expect(again.config).toEqual(model.config);
    expect(again.tokenizer.encode("the pub")).toEqual([258, 32, 259]);
    const { message } = await rejection("E_MODEL", loadConfig(dir));
    expect(message).toMatch(/mergen import gpt2/);
    expect(JSON.parse(await readFile(join(out, "config.json"), "utf8"))).not.toHaveProperty(
      "columnShifts",
    );
  });

  it("has the tokens of vocab.json and merges.txt", async () => {
    const { tokenizer, config } = await importHuggingFace(await write({ ...gpt2, separate: true }));
    const whole = await importHuggingFace(await write(gpt2));
    for (const text of ["the pub", " caf\u00e9 <end>", "\n\n"]) {
      expect(tokenizer.encode(text)).toEqual(whole.tokenizer.encode(text));
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
    expect(config.tokens).toEqual({ pad: 262, begin: 262, end: 262 });
    expect(tokenizer.isSpecial(262)).toBe(true);
    expect(encodePrompt("pub", config, tokenizer)).toEqual([259]);
  });
});

describe("a llama folder", () => {
  const expected = llamaLogits(llama.tensors, ids);

  it("gives its own logits, with shared keys and rotary halves", async () => {
    const model = await importHuggingFace(await write(llama), { float32: true });
    expect(greatestDifference(logitsOf(model), expected)).toBeLessThan(ROUNDING);
    expect(model.config).toMatchObject({
      block: "llama",
      kvHeadCount: 2,
      rope: { base: 500 },
      tokens: { pad: 262, begin: 261, end: 262 },
      prompt: { kind: "text", bucket: 1 },
    });
  });

  it("may have a tied head", async () => {
    const tensors: HfTensors = new Map(llama.tensors);
    tensors.set("lm_head.weight", tensors.get("model.embed_tokens.weight")!);
    const tied = llamaLogits(tensors, ids);
    tensors.delete("lm_head.weight");
    const config = { ...llamaConfig, tie_word_embeddings: true };
    const model = await importHuggingFace(await write({ config, tensors }), { float32: true });
    expect(greatestDifference(logitsOf(model), tied)).toBeLessThan(ROUNDING);
  });

  it("begins its prompts where its tokenizer says so", async () => {
    const begins = async (tokenizerConfig: object) => {
      const model = await importHuggingFace(await write({ ...llama, tokenizerConfig }));
      return encodePrompt("pub", model.config, model.tokenizer);
    };
    expect(await begins({ tokenizer_class: "LlamaTokenizer" })).toEqual([tinyTokens.begin, 259]);
    const refused = { tokenizer_class: "LlamaTokenizer", add_bos_token: false };
    expect(await begins(refused)).toEqual([259]);
    const dir = await write(llama);
    const post_processor = {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<begin>", type_id: 0 } }, { Sequence: { id: "A" } }],
      pair: [],
      special_tokens: { "<begin>": { id: "<begin>", ids: [261], tokens: ["<begin>"] } },
    };
    await writeFile(
      join(dir, "tokenizer.json"),
      JSON.stringify({ ...tinyTokenizerJson(), post_processor }),
    );
    expect((await importHuggingFace(dir)).config.prompt).toMatchObject({ begin: true });
  });
});

describe("a folder that cannot be imported", () => {
  const without = (tensors: HfTensors, name: string) => {
    const rest = new Map(tensors);
    rest.delete(name);
    return rest;
  };
  const shape = { shape: [3], values: [0, 0, 0] };
  const cases: [name: string, folder: HfFolder, message: RegExp][] = [
    [
      "a missing tensor",
      { ...gpt2, tensors: without(gpt2.tensors, "transformer.h.1.mlp.c_fc.bias") },
      /model\.safetensors: tensor "h\.1\.mlp\.c_fc\.bias": is missing/,
    ],
    [
      "a tensor of another shape",
      { ...gpt2, tensors: new Map([...gpt2.tensors, ["transformer.ln_f.weight", shape]]) },
      /"ln_f\.weight": has shape \[3\], config\.json asks for \[16\]/,
    ],
    [
      "one tensor more",
      {
        ...llama,
        tensors: new Map([...llama.tensors, ["model.layers.0.mlp.up_proj.bias", shape]]),
      },
      /up_proj\.bias": is unknown/,
    ],
    [
      "a value that is not finite",
      {
        ...gpt2,
        tensors: new Map([
          ...gpt2.tensors,
          ["transformer.ln_f.bias", { shape: [16], values: new Array(16).fill(Number.NaN) }],
        ]),
      },
      /not finite/,
    ],
    ["a bad size", { ...gpt2, config: { ...gpt2Config, n_head: 3 } }, /multiple of headCount/],
    ["no size", { ...gpt2, config: { ...gpt2Config, n_embd: null } }, /config\.json: n_embd: /],
    [
      "an activation that no op has",
      { ...gpt2, config: { ...gpt2Config, activation_function: "relu6" } },
      /activation_function/,
    ],
    [
      "stretched positions",
      { ...llama, config: { ...llamaConfig, rope_scaling: { rope_type: "llama3", factor: 8 } } },
      /rope_scaling\.rope_type/,
    ],
    ["biases", { ...llama, config: { ...llamaConfig, attention_bias: true } }, /attention_bias/],
    ["wide heads", { ...llama, config: { ...llamaConfig, head_dim: 8 } }, /head_dim/],
    [
      "no end token",
      { ...gpt2, config: { ...gpt2Config, eos_token_id: null, bos_token_id: null } },
      /eos_token_id is missing/,
    ],
  ];
  it.each(cases)("for %s", async (_name, folder, message) => {
    const error = await rejection("E_MODEL", loadModel(await write(folder)));
    expect(error.message).toMatch(message);
  });

  it("of another kind, or of a kind that nobody knows", async () => {
    const wrong = importHuggingFace(await write(gpt2), { kind: "llama" });
    expect((await rejection("E_MODEL", wrong)).message).toMatch(/is gpt2, not llama/);
    const unknown = loadModel(await write({ ...gpt2, config: { model_type: "bert" } }));
    const { message } = await rejection("E_MODEL", unknown);
    expect(message).toMatch(/model_type "bert" is none of mergen, gpt2, llama/);
  });

  it("for want of a file, or with half of one", async () => {
    const dir = await write({ ...gpt2, separate: true });
    await unlink(join(dir, "merges.txt"));
    expect((await rejection("E_MODEL", loadModel(dir))).message).toMatch(/merges\.txt.*ENOENT/);
    await writeFile(join(dir, "merges.txt"), "#version\na b c\n");
    const lines = await rejection("E_TOKENIZER", loadModel(dir));
    expect(lines.message).toMatch(/merges\.txt: line 2 is not two parts/);
    await writeFile(join(dir, "merges.txt"), "t h\n");
    await writeFile(join(dir, "vocab.json"), '{"a": -1}');
    const vocab = await rejection("E_TOKENIZER", loadModel(dir));
    expect(vocab.message).toMatch(/vocab\.json: is no map/);
    const other = await write(gpt2);
    await truncate(join(other, "model.safetensors"), 3000);
    const cut = await rejection("E_MODEL", loadModel(other));
    expect(cut.message).toMatch(/model\.safetensors: .*copy the file anew/);
    await unlink(join(other, "model.safetensors"));
    const none = await rejection("E_MODEL", loadModel(other));
    expect(none.message).toMatch(/model\.safetensors: is missing; download it/);
    await writeFile(join(other, "pytorch_model.bin"), "");
    const old = await rejection("E_MODEL", loadModel(other));
    expect(old.message).toMatch(/convert pytorch_model to safetensors/);
  });
});

describe("GPT-2's own vocabulary", () => {
  itWithShared("models/gpt2-bpe", "encodes as published", async (dir) => {
    const tokenizer = await loadTokenizer(dir);
    expect(tokenizer.size).toBe(50257);
    expect(tokenizer.specialId("<|endoftext|>")).toBe(50256);
    expect(tokenizer.encode("Hello world")).toEqual([15496, 995]);
    const text = "It's 12:30 \u2013 na\u00efve  caf\u00e9s\n\n don't!";
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });
});
