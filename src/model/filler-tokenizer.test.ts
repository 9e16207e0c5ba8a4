import { Tokenizer as Reference } from "tokenizers";
import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { FILLER_END, fillerTokenizerJson } from "./filler-tokenizer.ts";
import { Tokenizer } from "./tokenizer.ts";

const texts = [
  "aaaa",
  "kalo mire tasu bano",
  "Private text, generated: 1 + 1 = 2?",
  "zażółć gęślą jaźń \u{1f600}\n\n  two  blanks",
];

describe("a tokenizer of made-up words", () => {
  it.each([257, 258, 300, 1500, 10456, 10457, 20556, 50257])("has exactly %i tokens", (size) => {
    const tokenizer = new Tokenizer({ tokenizer: fillerTokenizerJson(size) });
    expect(tokenizer.size).toBe(size);
    expect(tokenizer.specialId(FILLER_END)).toBe(size - 1);
    expect(tokenizer.firstSpecial()).toBe(size - 1);
    for (const text of texts) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it("writes vowels letter by letter, and its own words as one token each", () => {
    for (const size of [257, 320, 50257]) {
      const tokenizer = new Tokenizer({ tokenizer: fillerTokenizerJson(size) });
      for (const count of [1, 2, 4, 60]) {
        expect(tokenizer.encode("a".repeat(count))).toHaveLength(count);
      }
    }
    const tokenizer = new Tokenizer({ tokenizer: fillerTokenizerJson(50257) });
    expect(tokenizer.encode("kalo mire tasu bano")).toHaveLength(4);
    // Words of three syllables may be merged from the right, and then are two tokens.
    for (let id = 256; id < 20456; id += 97) {
      const text = tokenizer.decode([id]);
      expect(tokenizer.encode(text), text).toEqual([id]);
    }
  });

  it("means the same to the library that the format comes from", async () => {
    const json = fillerTokenizerJson(21000);
    const own = new Tokenizer({ tokenizer: json });
    const reference = Reference.fromString(JSON.stringify(json));
    for (const text of texts) {
      expect(own.encode(text)).toEqual((await reference.encode(text)).getIds());
    }
  });

  it("refuses sizes that it cannot have", () => {
    errorOf("E_CONFIG", () => fillerTokenizerJson(256));
    errorOf("E_CONFIG", () => fillerTokenizerJson(2_000_000));
  });
});
