import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { errorOf, rejectionOf } from "../../test/errors.ts";
import { type HfTensors, llamaLogits, llamaSizes, llamaTensors } from "../../test/hf-models.ts";
import { sharedStories } from "../../test/stories.ts";
import { tinyVocabSize } from "../../test/tiny-model.ts";
import { Graph } from "../graph/graph.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { floatBench } from "../party/local.ts";
import { logitError } from "../party/logit-error.ts";
import { servable } from "../party/servable.ts";
import { runFloat } from "../run/float.ts";
import { loadModel, type Model, saveModel } from "./checkpoint.ts";
import { decoder, embed, head } from "./decoder.ts";
import { importLlama2c } from "./import.ts";
import { llama2cModel } from "./import-llama2c.ts";
import { encodePrompt } from "./prompt.ts";

const { d, heads, kvHeads, layers, inner } = llamaSizes;
const positions = 32;

/** A checkpoint's tensors in llama2.c's order, rotary halves interleaved. */
function weightsFile(tensors: HfTensors, { tied = false } = {}): Uint8Array {
  const numbers: number[] = [];
  const put = (name: string) => numbers.push(...tensors.get(name)!.values);
  const each = (name: string) => {
    for (let i = 0; i < layers; i++) put(`model.layers.${i}.${name}.weight`);
  };
  const paired = (name: string) => {
    const width = d / heads;
    for (let i = 0; i < layers; i++) {
      const { shape, values } = tensors.get(`model.layers.${i}.self_attn.${name}.weight`)!;
      for (let row = 0; row < shape[0]!; row++) {
        const [at, from] = [row % width, row - (row % width)];
        const source = from + (at >> 1) + (at & 1 ? width / 2 : 0);
        numbers.push(...values.slice(source * d, (source + 1) * d));
      }
    }
  };
  put("model.embed_tokens.weight");
  each("input_layernorm");
  paired("q_proj");
  paired("k_proj");
  each("self_attn.v_proj");
  each("self_attn.o_proj");
  each("post_attention_layernorm");
  each("mlp.gate_proj");
  each("mlp.down_proj");
  each("mlp.up_proj");
  put("model.norm.weight");
  numbers.push(...new Array((positions * d) / heads).fill(7));
  if (!tied) put("lm_head.weight");
  const sizes = [
    d,
    inner,
    layers,
    heads,
    kvHeads,
    tied ? tinyVocabSize : -tinyVocabSize,
    positions,
  ];
  return joined([
    new Uint8Array(Int32Array.from(sizes).buffer),
    new Uint8Array(Float32Array.from(numbers).buffer),
  ]);
}

const byteNames = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
);
const pieces = ["<unk>", "\n<s>\n", "\n</s>\n", ...byteNames, " ", "a", " a", "aa"];

function tokenizerFile(texts: readonly (string | Uint8Array)[] = pieces): Uint8Array {
  const parts: Uint8Array[] = [new Uint8Array(Int32Array.of(6).buffer)];
  for (const [id, text] of texts.entries()) {
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    const head = new DataView(new ArrayBuffer(8));
    // "aa" before " a".
    head.setFloat32(0, text === " a" ? -9 : id < 259 ? 0 : -id / 100, true);
    head.setInt32(4, bytes.length, true);
    parts.push(new Uint8Array(head.buffer), bytes);
  }
  return joined(parts);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const made = (weights: Uint8Array, tokenizer = tokenizerFile()): Model =>
  llama2cModel({ path: "w.bin", bytes: weights }, { path: "t.bin", bytes: tokenizer });

const ids = [5, 261, 0, 17, 17, 256, 200];

function logitsOf({ config, weights }: Model): number[] {
  const graph = new Graph();
  const x = embed(graph, config, graph.ids("ids", [ids.length]));
  graph.output("logits", head(graph, config, decoder(graph, config, { x, start: 0 }).hidden));
  const given = new Map([...weights].map(([name, { data }]) => [name, data]));
  const inputs = new Map([["ids", Int32Array.from(ids)]]);
  return [...runFloat(graph, { weights: given, inputs, kernels: floatReference }).get("logits")!];
}

describe("a file of llama2.c", () => {
  const tensors = llamaTensors(4);

  it.each([
    ["a head of its own", false],
    ["a tied head", true],
  ])("gives the logits of the same checkpoint, with %s", (_name, tied) => {
    const own = new Map(tensors);
    if (tied) own.set("lm_head.weight", own.get("model.embed_tokens.weight")!);
    const expected = llamaLogits(own, ids, 10000).flat();
    const logits = logitsOf(made(weightsFile(own, { tied })));
    expect(logits).toHaveLength(expected.length);
    const differences = logits.map((value, i) => Math.abs(value - expected[i]!));
    expect(Math.max(...differences)).toBeLessThan(2e-5);
  });

  it("has a tokenizer that merges by score and falls back to bytes", () => {
    const { tokenizer, config } = made(weightsFile(tensors));
    expect(tokenizer.encode("a")).toEqual([261]);
    expect(tokenizer.encode("aa")).toEqual([259, 262]);
    expect(tokenizer.encode("a a\n\u00e9")).toEqual([261, 261, 13, 0xc3 + 3, 0xa9 + 3]);
    expect(tokenizer.decode([261, 13, 0xc3 + 3, 0xa9 + 3])).toBe(" a\n\u00e9");
    expect(encodePrompt("a", config, tokenizer)).toEqual([1, 261]);
    expect(encodePrompt("", config, tokenizer)).toEqual([1]);
    // Spelt out, special tokens are text.
    expect(tokenizer.encode("<s>").some((id) => id < 3)).toBe(false);
  });

  it("is refused when it is cut, longer, of another version or no such file", () => {
    const file = weightsFile(tensors);
    const edited = (at: number, value: number) => {
      const copy = file.slice();
      new DataView(copy.buffer).setInt32(at, value, true);
      return copy;
    };
    const cases: [bytes: Uint8Array, message: RegExp][] = [
      [file.subarray(0, 20), /w\.bin: is shorter than a header/],
      [file.subarray(0, -4), /has \d+ bytes, its header asks for \d+; copy/],
      [joined([file, new Uint8Array(4)]), /has \d+ bytes/],
      [edited(0, 0x616b3432), /newer format.*--version 0/],
      [edited(4, 0), /bad size/],
      [edited(4, 1 << 30), /bad size/],
      [edited(12, 3), /heads in its header/],
      [edited(16, 3), /heads in its header/],
      [edited(40, 0x7fc00000), /tensor "embedding.weight": holds a value that is not finite/],
    ];
    for (const [bytes, message] of cases) {
      expect(errorOf("E_MODEL", () => made(bytes)).message).toMatch(message);
    }
  });

  it("is refused with a tokenizer that is not its own", () => {
    const file = weightsFile(tensors);
    const good = tokenizerFile();
    const cases: [bytes: Uint8Array, message: RegExp][] = [
      [good.subarray(0, 2), /t\.bin: ends after 0 of 263/],
      [good.subarray(0, -1), /token 262 ends beyond the file/],
      [tokenizerFile(pieces.slice(0, -1)), /ends after 262 of 263/],
      [tokenizerFile([...pieces, "b"]), /has more than the 263 tokens/],
      [tokenizerFile([...pieces.slice(0, -1), "a"]), /tokens 260 and 262 are the same/],
      [tokenizerFile([...pieces.slice(0, -1), Uint8Array.of(0xff)]), /token 262 is not UTF-8/],
      [tokenizerFile(pieces.map((text, i) => (i === 3 ? "x" : text))), /<0x00> to <0xFF>/],
      [good.map((byte, i) => (i === 7 ? 0x7f : i === 6 ? 0xc0 : byte)), /score that is not finite/],
    ];
    for (const [bytes, message] of cases) {
      expect(errorOf("E_TOKENIZER", () => made(file, bytes)).message).toMatch(message);
    }
  });
});

describe("stories260K", () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "mergen-llama2c-"));
  });
  afterAll(() => rm(root, { recursive: true }));

  for (const float32 of [true, false]) {
    const kind = float32 ? "float32" : "int16";
    sharedStories(`writes the published text from ${kind} weights`, async (files, published) => {
      const imported = await importLlama2c(files, { float32 });
      const dir = join(root, kind);
      await saveModel(dir, imported, { int16: !float32 });
      const bench = floatBench(await loadModel(dir), await loadFloatKernels());
      const prompt = "Once upon a time";
      const { text, tokens } = await bench({ prompt, maxTokens: 256 });
      expect((prompt + text).slice(0, published.length)).toBe(published);
      expect(tokens).toHaveLength(256);
      // Without a prompt the blank that begins a text is kept.
      const alone = await bench({ prompt: "", maxTokens: 256 });
      expect(alone.text).toBe(` ${published}`);
    });
  }

  sharedStories("has fixed logits right where its text hangs on them", async (files) => {
    const kernels = { ring: await loadRingKernels(), float: await loadFloatKernels() };
    const imported = await importLlama2c(files, { float32: false });
    const model = servable(imported, kernels.float);
    const prompt = encodePrompt("Once upon a time", model.config, model.tokenizer);
    const error = await logitError(model, kernels, { prompt, maxTokens: 190 });
    // Two tokens are 0.004 apart in the 182nd step.
    expect(error.narrowest.margin).toBeCloseTo(0.0042, 4);
    expect(error.narrowest.error).toBeLessThan(1e-3);
    expect(error.greatest).toBeLessThan(5e-3);
  });

  it("is named where it cannot be read", async () => {
    const there = join(root, "there");
    await writeFile(there, "");
    const files = { weights: join(root, "none"), tokenizer: there };
    const { message } = await rejectionOf("E_MODEL", () => importLlama2c(files));
    expect(message).toMatch(/none: cannot be read: ENOENT/);
  });
});
