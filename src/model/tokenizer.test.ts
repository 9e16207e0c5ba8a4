import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { Tokenizer as Reference } from "tokenizers";
import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { itWithShared } from "../../test/shared.ts";
import { tinyConfig, tinyTokenizerJson, tinyTokens, tinyVocabSize } from "../../test/tiny-model.ts";
import { MergenError } from "../errors.ts";
import { checkTokenizer, TextStream, Tokenizer } from "./tokenizer.ts";

const tiny = new Tokenizer({ tokenizer: tinyTokenizerJson() });
const text = fc.string({ unit: "binary" });

describe("encoding", () => {
  it("merges as the file says", () => {
    expect(tiny.encode("the pub")).toEqual([258, 32, 259]);
  });

  it("gives back every text", () => {
    fc.assert(fc.property(text, (value) => tiny.decode(tiny.encode(value)) === value));
  });

  it("takes special tokens in a text as plain text", () => {
    const ids = tiny.encode("a<end> <pad>b");
    expect(ids.some((id) => tiny.isSpecial(id))).toBe(false);
    expect(tiny.decode(ids)).toBe("a<end> <pad>b");
  });

  it("keeps an own token that is not special", () => {
    const json = tinyTokenizerJson();
    json.added_tokens.push({ ...json.added_tokens[0], id: 263, content: "London", special: false });
    const tokenizer = new Tokenizer({ tokenizer: json });
    expect(tokenizer.encode("the London")).toEqual([258, 32, 263]);
    expect(tokenizer.decode([258, 32, 263])).toBe("the London");
  });

  it("does not let characters vanish", () => {
    const json = tinyTokenizerJson();
    const vocab: Record<string, number> = json.model.vocab;
    delete vocab.x;
    const tokenizer = new Tokenizer({ tokenizer: json });
    const error = errorOf("E_TOKENIZER", () => tokenizer.encode("secret x"));
    expect(error.message).not.toContain("secret");
    errorOf("E_TOKENIZER", () => tiny.encode("half \ud800 pair"));
  });

  it("reads other kinds of model", () => {
    const common = { ...tinyTokenizerJson(), pre_tokenizer: { type: "Metaspace" }, decoder: null };
    common.added_tokens = [{ ...common.added_tokens[0], content: "</s>", id: 0 }];
    const vocab = [
      ["</s>", 0],
      ["<unk>", 0],
      ["▁", -1],
      ["▁</s>", -1],
      ["ab", -2],
      ["a", -3],
    ];
    const unigram = { type: "Unigram", vocab, unk_id: 1 };
    const tokenizer = new Tokenizer({ tokenizer: { ...common, model: unigram } });
    expect(tokenizer.encode("aba")).toEqual([2, 4, 5]);
    expect(tokenizer.encode("a</s>")).not.toContain(0);
    expect(tokenizer.isSpecial(0)).toBe(true);
  });
});

describe("decoding", () => {
  it("leaves out special tokens and ids beyond the vocabulary", () => {
    const { pad, begin, end } = tinyTokens;
    expect(tiny.decode([pad, begin, 258, end, 5000])).toBe("the");
    expect(tiny.decode([end])).toBe("");
    expect(tiny.decode([])).toBe("");
  });

  it("never emits half a character", () => {
    const stream = new TextStream(tiny);
    const pieces = tiny.encode("é😀!").map((id) => stream.push(id));
    expect(pieces).toEqual(["", "é", "", "", "", "😀", "!"]);
    expect(stream.end()).toBe("");
  });

  it("emits what decode gives for the whole, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(tinyVocabSize)), (ids) => {
        const stream = new TextStream(tiny);
        const pieces = ids.map((id) => stream.push(id));
        expect(pieces.some((piece) => piece.endsWith("\ufffd"))).toBe(false);
        expect(pieces.join("") + stream.end()).toBe(tiny.decode(ids));
        expect(stream.end()).toBe("");
      }),
    );
  });
});

describe("checkTokenizer", () => {
  const { vocabSize, tokens } = tinyConfig();

  it("allows a padded vocabulary", () => {
    checkTokenizer(tiny, tinyConfig());
    checkTokenizer(tiny, tinyConfig({ vocabSize: vocabSize + 127 }));
  });

  it("names what does not fit", () => {
    const check = (changes: object) => () => checkTokenizer(tiny, tinyConfig(changes));
    expect(errorOf("E_TOKENIZER", check({ vocabSize: 262 })).message).toMatch(/263 tokens.*262/);
    errorOf("E_TOKENIZER", check({ vocabSize: vocabSize + 128 }));
    const plain = check({ tokens: { ...tokens, pad: 65 } });
    expect(errorOf("E_TOKENIZER", plain).message).toMatch(/tokens\.pad/);
  });
});

describe("a tokenizer.json that is wrong", () => {
  const changed: [name: string, change: (json: ReturnType<typeof tinyTokenizerJson>) => unknown][] =
    [
      ["no object", () => null],
      ["no model", (json) => ({ ...json, model: undefined })],
      [
        "another kind of model",
        (json) => ({ ...json, model: { ...json.model, type: "WordLevel" } }),
      ],
      ["a negative id", (json) => ({ ...json, model: { ...json.model, vocab: { a: -1 } } })],
      ["a huge id", (json) => ({ ...json, model: { ...json.model, vocab: { a: 4e9 } } })],
      ["a merge of three", (json) => ({ ...json, model: { ...json.model, merges: ["a b c"] } })],
      [
        "two texts of one id",
        (json) => ({ ...json, model: { ...json.model, vocab: { a: 1, b: 1 } } }),
      ],
      ["an unknown part", (json) => ({ ...json, normalizer: { type: "Nonsense" } })],
      [
        "an unknown pattern",
        (json) => ({
          ...json,
          normalizer: {
            type: "Sequence",
            normalizers: [{ type: "Replace", pattern: { Glob: "*" } }],
          },
        }),
      ],
      [
        "a bad pattern",
        (json) => ({
          ...json,
          pre_tokenizer: { type: "Split", pattern: { Regex: "(" } },
        }),
      ],
    ];
  it.each(changed)("is named: %s", (_, change) => {
    const make = () => new Tokenizer({ tokenizer: change(tinyTokenizerJson()) }, "some/file");
    expect(errorOf("E_TOKENIZER", make).message).toMatch(/^some\/file: /);
  });

  it("is answered with a tokenizer or E_TOKENIZER, whatever the mutation", () => {
    const source = JSON.stringify(tinyTokenizerJson());
    const edit = fc.tuple(fc.nat(source.length - 1), fc.constantFrom(...'{}[]",:0129-eanul\\'));
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
        const characters = [...source];
        for (const [at, character] of edits) characters[at] = character;
        let json: unknown;
        try {
          json = JSON.parse(characters.join(""));
        } catch {
          return;
        }
        expectNamed(json);
      }),
      { numRuns: 2000 },
    );
  });

  it("is answered likewise when parts are exchanged", () => {
    const paths = [
      "model",
      "normalizer",
      "pre_tokenizer",
      "post_processor",
      "decoder",
      "added_tokens",
    ];
    const types = ["Sequence", "ByteLevel", "Metaspace", "Split", "Replace", "TemplateProcessing"];
    const value = fc.oneof(
      fc.jsonValue(),
      fc.record({ type: fc.constantFrom(...types), pattern: fc.jsonValue() }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...paths), value, (path, part) => {
        expectNamed({ ...tinyTokenizerJson(), [path]: part });
      }),
      { numRuns: 1000 },
    );
  });

  function expectNamed(json: unknown): void {
    try {
      const tokenizer = new Tokenizer({ tokenizer: json });
      tokenizer.decode(tokenizer.encode("the pub é"));
    } catch (error) {
      if (!(error instanceof MergenError)) throw error;
      expect(error.code).toBe("E_TOKENIZER");
      expect(error.message).not.toContain("the pub");
    }
  }
});

describe("GPT-2's vocabulary", () => {
  const read = (folder: string) => {
    const vocab = JSON.parse(readFileSync(join(folder, "vocab.json"), "utf8"));
    const lines = readFileSync(join(folder, "merges.txt"), "utf8").split("\n");
    const merges = lines.slice(1).filter((line) => line !== "");
    const json = tinyTokenizerJson();
    const end = { ...json.added_tokens[0], id: 50256, content: "<|endoftext|>" };
    return { ...json, added_tokens: [end], model: { ...json.model, vocab, merges } };
  };

  itWithShared("models/gpt2-bpe", "gives the known ids", (folder) => {
    const tokenizer = new Tokenizer({ tokenizer: read(folder) });
    expect(tokenizer.size).toBe(50257);
    expect(tokenizer.encode("Hello world")).toEqual([15496, 995]);
    expect(tokenizer.encode("<|endoftext|>")).toEqual([27, 91, 437, 1659, 5239, 91, 29]);
    expect(tokenizer.specialId("<|endoftext|>")).toBe(50256);
  });

  itWithShared("models/gpt2-bpe", "gives the ids of the Rust library", async (folder) => {
    const json = read(folder);
    const tokenizer = new Tokenizer({ tokenizer: json });
    const reference = Reference.fromString(JSON.stringify({ ...json, added_tokens: [] }));
    // Blanks that the two libraries' patterns sort differently: U+0085, U+FEFF.
    const common = text.map((value) => value.replace(/[\u0085\ufeff]/g, " "));
    const words = fc
      .array(fc.constantFrom(" ", "the", "Café", "'s", "£20", "\n", "1", "n't"))
      .map((list) => list.join(""));
    await fc.assert(
      fc.asyncProperty(fc.oneof(common, words), async (value) => {
        const encoding = await reference.encode(value, null, { addSpecialTokens: false });
        expect(tokenizer.encode(value)).toEqual(encoding.getIds());
      }),
      { numRuns: 500 },
    );
  });
});
