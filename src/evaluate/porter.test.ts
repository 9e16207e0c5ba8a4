import { describe, expect, it } from "vitest";
import { porterStem } from "./porter.ts";

const stems = (text: string) => text.split(" ").map(porterStem).join(" ");

describe("porterStem", () => {
  it.each([
    ["plurals", "caresses ponies caress cats", "caress poni caress cat"],
    ["-ed", "agreed plastered bled conflated troubled", "agre plaster bled conflat troubl"],
    ["-ing", "motoring sing hopping falling hissing", "motor sing hop fall hiss"],
    ["short stems", "sized failing filing tanned", "size fail file tan"],
    ["-y", "happy enjoy try spy by", "happi enjoy tri spi by"],
    ["second step", "relational conditional rational", "relat condit ration"],
    ["long endings", "vietnamization operator callousness", "vietnam oper callous"],
    ["third step", "triplicate formative electrical goodness", "triplic form electr good"],
    ["fourth step", "revival adjustable replacement adoption", "reviv adjust replac adopt"],
    ["fifth step", "probate rate cease controlling rolling", "probat rate ceas control roll"],
  ])("%s", (_, words, expected) => {
    expect(stems(words)).toBe(expected);
  });

  it("deviates where nltk does", () => {
    expect(stems("sky skies dying news howe innings")).toBe("sky sky die news howe inning");
    expect(stems("dies died flies spied ties")).toBe("die die fli spi tie");
    expect(stems("geology theology hopefully totally")).toBe("geolog theolog hope total");
    expect(stems("use used using")).toBe("use use use");
  });

  it("leaves short words, numbers and marks alone", () => {
    expect(stems("is as , 01223 don't é")).toBe("is as , 01223 don't é");
    expect(porterStem("")).toBe("");
  });

  it("takes words of any length", () => {
    expect(porterStem(`${"y".repeat(100_000)}ing`).length).toBe(100_000);
  });
});
