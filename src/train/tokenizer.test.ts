import { describe, expect, it } from "vitest";
import { Tokenizer } from "../model/tokenizer.ts";
import { normaliseText, piecePattern, splitPieces, trainTokenizer } from "./tokenizer.ts";

const texts = new Map(
  [
    "The Vaults is a pub near Café Adriatic.",
    "The Vaults is a pub near The Mill, it is cheap.",
    "The Mill is a pub near the river.",
    "There is a pub near the river: The Mill.",
  ].map((text) => [normaliseText(text), 5]),
);
const options = {
  vocabSize: 320,
  wordMerges: 50,
  minCount: 5,
  maxBlanks: 3,
  isolated: ["The Vaults", "The Mill"],
};

describe("the tokenizer's trainer", () => {
  const tokenizer = new Tokenizer({ tokenizer: trainTokenizer(texts, options) });

  it("makes a file that loads and brings every text back, without the blanks at its ends", () => {
    for (const text of [...texts.keys(), " Zürich \u{1f600} (new)", " no such words!"]) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.trim());
    }
    expect(tokenizer.size).toBeLessThanOrEqual(320);
    expect([tokenizer.isSpecial(0), tokenizer.isSpecial(2), tokenizer.isSpecial(3)]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it("merges across blanks, but not beyond the limit, nor into isolated phrases", () => {
    const tokens = (text: string) => tokenizer.encode(text).map((id) => tokenizer.decode([id]));
    const pieces = tokens(" The Vaults is a pub near the river.");
    expect(pieces[0]).toBe("The Vaults");
    expect(pieces.some((piece) => piece.trim().includes(" is a"))).toBe(false);
    expect(pieces.slice(1).some((piece) => piece.trim().includes(" "))).toBe(true);
    for (let id = 3; id < tokenizer.size; id++) {
      expect(tokenizer.decode([id]).split(" ").length - 1).toBeLessThanOrEqual(3);
    }
  });

  it("splits as the library does: longest phrase first, whole words only", () => {
    const pattern = new RegExp(piecePattern(["Mill", "Mill Lane", "a.b"]), "gu");
    expect(splitPieces(" to Mill Lane, Mills a.b", pattern)).toEqual([
      " to",
      " Mill Lane",
      ",",
      " Mills",
      " a.b",
    ]);
    expect(splitPieces(" axb", pattern)).toEqual([" axb"]);
  });

  it("is deterministic and refuses a vocabulary below the bytes", () => {
    expect(trainTokenizer(texts, options)).toEqual(trainTokenizer(texts, options));
    expect(() => trainTokenizer(texts, { ...options, vocabSize: 100 })).toThrow("vocabSize");
  });
});
