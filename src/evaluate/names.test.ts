import { describe, expect, it } from "vitest";
import { nameCoverage, nameOf } from "./names.ts";

describe("nameOf", () => {
  const known: [input: string, name: string | undefined][] = [
    ["name[The Vaults], eatType[pub]", "The Vaults"],
    ["eatType[pub], name[Zizzi]", "Zizzi"],
    ["eatType[pub],name[ a, b[c] ]", "a, b[c]"],
    ["near[x, name[y]]", undefined],
    ["nickname[x]", undefined],
    ["name[open", undefined],
    ["name[]", undefined],
    ["free text", undefined],
  ];
  it.each(known)("of %s", (input, name) => {
    expect(nameOf(input)).toBe(name);
  });
});

describe("nameCoverage", () => {
  it("counts outputs that hold the name letter by letter", () => {
    const input = "name[The Vaults], eatType[pub]";
    const pairs = [
      { input, output: "The Vaults is a pub." },
      { input, output: "The vaults is a pub." },
      { input, output: "A pub." },
      { input: "dog run", output: "A dog runs." },
      { input: "name[Zizzi]", output: "Zizzi." },
    ];
    expect(nameCoverage(pairs)).toEqual({ covered: 2, counted: 4, share: 0.5 });
  });

  it("is 0 of 0 without names", () => {
    expect(nameCoverage([])).toEqual({ covered: 0, counted: 0, share: 0 });
  });
});
