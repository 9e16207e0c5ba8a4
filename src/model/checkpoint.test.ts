import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import { tinyConfig, tinyTokenizerJson } from "../../test/tiny-model.ts";
import { checkWeights } from "./check-weights.ts";
import { loadModel, type Model, saveModel, type WeightShapes } from "./checkpoint.ts";
import { initialWeights } from "./initial.ts";
import type { WeightTensor } from "./safetensors.ts";
import { Tokenizer } from "./tokenizer.ts";

const weightShapes: WeightShapes = (config) =>
  new Map([
    ["embedding", [config.vocabSize, config.hiddenSize]],
    ["bias", [config.hiddenSize]],
  ]);

function tinyModel(): Model {
  const config = tinyConfig({ weightFracBits: { embedding: 4 } });
  const weights = new Map<string, WeightTensor>();
  for (const [name, shape] of weightShapes(config)) {
    const length = shape.reduce((product, size) => product * size, 1);
    weights.set(name, { shape, data: Float32Array.from({ length }, (_, i) => (i % 33) / 16) });
  }
  const tokenizer = new Tokenizer({ tokenizer: tinyTokenizerJson(), config: { model_max: 1 } });
  return { config, weights, tokenizer };
}

let root: string;
let dir: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "mergen-checkpoint-"));
  dir = join(root, "parent", "model");
});
afterEach(() => rm(root, { recursive: true, force: true }));

const load = () => loadModel(dir, { weightShapes });

describe("a model folder", () => {
  it.each([{ int16: false }, { int16: true }])("comes back as written, %o", async (options) => {
    const model = tinyModel();
    await saveModel(dir, model, options);
    const read = await load();
    expect(read.config).toEqual(model.config);
    expect(read.weights.get("embedding")).toEqual(model.weights.get("embedding"));
    expect(read.weights.get("bias")).toEqual(model.weights.get("bias"));
    expect(read.tokenizer.files).toEqual(model.tokenizer.files);
    expect(await readdir(join(dir, ".."))).toEqual(["model"]);
  });

  it("is checked against the decoder by default", async () => {
    const config = tinyConfig();
    const weights = initialWeights(config, 1);
    await saveModel(dir, { ...tinyModel(), config, weights });
    expect((await loadModel(dir)).weights).toEqual(weights);
    const [first] = weights.keys();
    weights.delete(first);
    await saveModel(dir, { ...tinyModel(), config, weights });
    const error = await rejectionOf("E_MODEL", () => loadModel(dir));
    expect(error.message).toContain(`model.safetensors: tensor "${first}": is missing`);
  });

  it("takes the place of an older one and keeps other files", async () => {
    await saveModel(dir, tinyModel());
    await writeFile(join(dir, "README.md"), "made by hand");
    const model = tinyModel();
    model.weights.get("bias")!.data[0] = 7;
    await saveModel(dir, {
      ...model,
      tokenizer: new Tokenizer({ tokenizer: tinyTokenizerJson() }),
    });
    expect((await load()).weights.get("bias")!.data[0]).toBe(7);
    const files = ["README.md", "config.json", "model.safetensors", "tokenizer.json"];
    expect(await readdir(dir)).toEqual(files);
    expect(await readdir(join(dir, ".."))).toEqual(["model"]);
  });

  it("is written nowhere when a part of it is wrong", async () => {
    await saveModel(dir, tinyModel());
    const model = tinyModel();
    model.weights.get("embedding")!.data[0] = 1e9;
    await rejectionOf("E_RANGE", () => saveModel(dir, model, { int16: true }));
    const config = tinyConfig({ headCount: 3 });
    await rejectionOf("E_MODEL", () => saveModel(dir, { ...model, config }));
    expect((await load()).weights.get("embedding")!.data[0]).toBe(0);
    expect(await readdir(join(dir, ".."))).toEqual(["model"]);
  });

  it("removes what a crash between the renames left", async () => {
    await saveModel(dir, tinyModel());
    await rename(dir, join(dir, "..", ".model.old"));
    expect((await rejectionOf("E_MODEL", load)).message).toMatch(/rename .*\.model\.old back/);
    await saveModel(dir, tinyModel());
    expect(await readdir(join(dir, ".."))).toEqual(["model"]);
  });

  it("does not replace a folder of something else", async () => {
    await mkdir(dir, { recursive: true });
    await saveModel(dir, tinyModel());
    const other = join(root, "letters");
    await mkdir(other);
    await writeFile(join(other, "letter.txt"), "dear");
    const error = await rejectionOf("E_MODEL", () => saveModel(other, tinyModel()));
    expect(error.message).toMatch(/not a model folder/);
    expect(await readdir(other)).toEqual(["letter.txt"]);
    await rejectionOf("E_MODEL", () => saveModel(join(other, "letter.txt"), tinyModel()));
  });
});

describe("a folder that is wrong", () => {
  beforeEach(() => saveModel(dir, tinyModel()));

  const damages: [name: string, file: string, content: string | undefined, message: RegExp][] = [
    ["no config", "config.json", undefined, /config\.json: cannot be read: ENOENT/],
    ["a config that is not JSON", "config.json", "{", /config\.json: is not JSON/],
    ["no weights", "model.safetensors", undefined, /model\.safetensors: cannot be read/],
    ["empty weights", "model.safetensors", "", /model\.safetensors: is shorter/],
    ["no tokenizer", "tokenizer.json", undefined, /tokenizer\.json: cannot be read/],
    ["a tokenizer config that is not JSON", "tokenizer_config.json", "no", /is not JSON/],
  ];
  it.each(damages)("names the file: %s", async (_, name, content, message) => {
    await rm(join(dir, name));
    if (content !== undefined) await writeFile(join(dir, name), content);
    const error = await rejectionOf("E_MODEL", load);
    expect(error.message.startsWith(dir)).toBe(true);
    expect(error.message).toMatch(message);
  });

  it("names a tokenizer of another model", async () => {
    const config = JSON.parse(await readFile(join(dir, "config.json"), "utf8"));
    await writeFile(join(dir, "config.json"), JSON.stringify({ ...config, vocabSize: 1000 }));
    const error = await rejectionOf("E_TOKENIZER", load);
    expect(error.message).toMatch(/has 263 tokens.*vocabSize is 1000/);
  });

  it("reads without tokenizer_config.json", async () => {
    await rm(join(dir, "tokenizer_config.json"));
    expect((await load()).tokenizer.encode("the")).toEqual([258]);
  });
});

describe("checkWeights", () => {
  const shapes = new Map([["a", [2]]]);
  const a = { shape: [2], data: Float32Array.of(1, 2) };
  const check = async (weights: [string, WeightTensor][]) =>
    checkWeights(new Map(weights), shapes, "w");

  it("accepts what fits", () => check([["a", a]]));

  const wrong: [name: string, weights: [string, WeightTensor][], message: RegExp][] = [
    ["missing", [], /^w: tensor "a": is missing/],
    [
      "too many",
      [
        ["a", a],
        ["b", a],
      ],
      /^w: tensor "b": is unknown/,
    ],
    ["mis-shaped", [["a", { ...a, shape: [1, 2] }]], /"a": has shape \[1,2\].*asks for \[2\]/],
    ["not finite", [["a", { ...a, data: Float32Array.of(1, NaN) }]], /"a".*not finite/],
  ];
  it.each(wrong)("names a tensor that is %s", async (_, weights, message) => {
    const error = await rejectionOf("E_MODEL", () => check(weights));
    expect(error.message).toMatch(message);
  });
});
