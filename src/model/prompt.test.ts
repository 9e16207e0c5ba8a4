import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { tinyConfig, tinyTokenizerJson, tinyTokens } from "../../test/tiny-model.ts";
import { promptPositions } from "./config.ts";
import { encodePrompt, promptText } from "./prompt.ts";
import { Tokenizer } from "./tokenizer.ts";

const tokenizer = new Tokenizer({ tokenizer: tinyTokenizerJson() });
const { pad, begin } = tinyTokens;
const pads = (count: number) => new Array<number>(count).fill(pad);
const byteIds = (text: string) => [...new TextEncoder().encode(text)];
const slots = tinyConfig();

describe("slots", () => {
  const encode = (text: string) => encodePrompt(text, slots, tokenizer);

  it("stand at their own positions in whatever order they are given", () => {
    const expected = [...byteIds("Zizzi"), ...pads(7), 259, ...pads(5), ...pads(4), begin];
    expect(encode("name[Zizzi], eatType[pub]")).toEqual(expected);
    expect(encode("  eatType[ pub ] ,name[Zizzi]\n")).toEqual(expected);
    expect(expected.length).toBe(promptPositions(slots.prompt));
  });

  it("may be filled to the last position and have blanks in their name", () => {
    const expected = [...pads(12), ...pads(6), ...byteIds("high"), begin];
    expect(encode("customer rating[high]")).toEqual(expected);
  });

  it("may hold commas and brackets that balance", () => {
    const ids = encode("name[a, b[c], d[]], eatType[x]");
    expect(ids.slice(0, 18)).toEqual([
      ...tokenizer.encode("a, b[c], d[]"),
      ...byteIds("x"),
      ...pads(5),
    ]);
  });

  it("take a prefix", () => {
    const config = tinyConfig({
      prompt: { kind: "slots", slots: [{ name: "n", width: 3 }], prefix: " " },
    });
    expect(encodePrompt("n[a]", config, tokenizer)).toEqual([32, 97, pad, begin]);
  });

  it("take special tokens as plain text", () => {
    const ids = encode("name[<end>]");
    expect(tokenizer.decode(ids)).toBe("<end>");
    expect(ids.slice(0, 5)).toEqual(byteIds("<end>"));
  });

  const secret = "Hush";
  const rejected: [name: string, text: string, message: RegExp][] = [
    ["nothing", "", /empty/],
    ["blanks", " \n ", /empty/],
    ["free text", `${secret} hush`, /slot 1 .*name\[value\]/],
    ["an unknown slot", `name[a], ${secret}[x]`, /slot 2 .*unknown.*name, eatType/],
    ["a slot twice", `name[${secret}], name[${secret}]`, /slot name stands twice/],
    ["an open bracket", `name[${secret}`, /slot name: its brackets/],
    ["a bracket too many", `name[${secret}]]`, /slot 2/],
    ["an inner bracket open", `name[${secret}[], eatType[pub]`, /slot name: its brackets/],
    ["a comma at the end", `name[${secret}],`, /slot 2/],
    ["two commas", `name[${secret}],, eatType[pub]`, /slot 2/],
    ["no comma", `name[${secret}] eatType[pub]`, /slot 2/],
    ["text between", `name[${secret}] x, eatType[pub]`, /slot 2/],
    ["an empty value", "name[ ]", /slot name is empty/],
    ["a long value", `eatType[${secret}Hush]`, /slot eatType takes at most 6 tokens/],
    ["a lone surrogate", `name[${secret}\udc00]`, /surrogate/],
  ];
  it.each(rejected)("reject %s", (_, text, message) => {
    const error = errorOf("E_PROMPT", () => encode(text));
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain(secret);
  });

  it("name the slot whose characters the tokenizer lacks", () => {
    const json = tinyTokenizerJson();
    const vocab: Record<string, number> = json.model.vocab;
    delete vocab.Q;
    const lacking = new Tokenizer({ tokenizer: json });
    const error = errorOf("E_PROMPT", () => encodePrompt("eatType[Q]", slots, lacking));
    expect(error.message).toMatch(/slot eatType has characters/);
  });

  it("do not take a special token for what the tokenizer does not know", () => {
    const json = tinyTokenizerJson();
    const vocab: Record<string, number> = json.model.vocab;
    delete vocab.Q;
    const model = { ...json.model, unk_token: "<end>", vocab: { ...vocab, "<end>": 262 } };
    const unknown = new Tokenizer({ tokenizer: { ...json, decoder: null, model } });
    expect(unknown.encode("Q")).toEqual([262]);
    errorOf("E_PROMPT", () => encodePrompt("eatType[Q]", slots, unknown));
  });

  it("give the layout's length or E_PROMPT for every text", () => {
    const piece = fc.constantFrom("name", "eatType", "[", "]", ",", " ", "x", "é", "\ud800");
    const text = fc.array(piece).map((list) => list.join(""));
    fc.assert(
      fc.property(fc.oneof(text, fc.string()), (value) => {
        try {
          const ids = encode(value);
          expect(ids.length).toBe(promptPositions(slots.prompt));
          expect(ids.at(-1)).toBe(begin);
        } catch (error) {
          expect(error).toMatchObject({ code: "E_PROMPT" });
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("free text", () => {
  const config = tinyConfig({ prompt: { kind: "text", bucket: 8 } });
  const encode = (text: string) => encodePrompt(text, config, tokenizer);

  it("takes a prefix", () => {
    const prefixed = tinyConfig({ prompt: { kind: "text", bucket: 8, prefix: " " } });
    expect(encodePrompt("ab", prefixed, tokenizer)).toEqual([...pads(5), ...byteIds(" ab")]);
  });

  it("is padded on the left to a multiple of the bucket", () => {
    expect(encode("abc")).toEqual([...pads(5), ...byteIds("abc")]);
    expect(encode("abcdefgh")).toEqual(byteIds("abcdefgh"));
    expect(encode("abcdefghi")).toEqual([...pads(7), ...byteIds("abcdefghi")]);
  });

  it("is padded on the right where the layout says so", () => {
    const right = { kind: "text", bucket: 4, begin: true, padding: "right" } as const;
    const config = tinyConfig({ prompt: right });
    expect(encodePrompt("ab", config, tokenizer)).toEqual([begin, ...byteIds("ab"), ...pads(1)]);
  });

  it("leaves room for the tokens to come", () => {
    // 40 positions for prompt and all generated tokens but the last.
    expect(encode("x".repeat(32)).length).toBe(32);
    const error = errorOf("E_PROMPT", () => encode("x".repeat(33)));
    expect(error.message).toMatch(/takes 40 positions, the model has 33/);
    // Where a number is asked for, the plan has the last word.
    const room = (length: number) =>
      encodePrompt("x".repeat(length), config, tokenizer, { maxTokens: 5 }).length;
    expect(room(40)).toBe(40);
    expect(errorOf("E_PROMPT", () => room(41)).message).toMatch(/takes 48 .*the model has 40/);
  });

  it("may have the begin token before it, and be empty then", () => {
    const config = tinyConfig({ prompt: { kind: "text", bucket: 4, begin: true } });
    const ids = (text: string) => encodePrompt(text, config, tokenizer);
    expect(ids("abc")).toEqual([begin, ...byteIds("abc")]);
    expect(ids("abcd")).toEqual([...pads(3), begin, ...byteIds("abcd")]);
    expect(ids("")).toEqual([...pads(3), begin]);
  });

  it("is not empty and well-formed", () => {
    errorOf("E_PROMPT", () => encode(""));
    errorOf("E_PROMPT", () => encode("\ud800"));
  });
});

describe("promptText", () => {
  it("reads UTF-8 and nothing else", () => {
    expect(promptText(new TextEncoder().encode("Café"))).toBe("Café");
    errorOf("E_PROMPT", () => promptText(Uint8Array.of(0x43, 0xe9)));
  });
});
