import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { fixtureFolder, readFixtures } from "../../test/metric-fixtures.ts";
import { itWithShared } from "../../test/shared.ts";
import { blankSeparated, lowerTokens13a, tokens13a } from "./tokens-13a.ts";

itWithShared(fixtureFolder, "parts all texts as sacrebleu does", (folder) => {
  const { pairs } = readFixtures(folder);
  const lines = readFileSync(join(folder, "tokens_13a_lower.jsonl"), "utf8").trimEnd().split("\n");
  const expected = lines.map((line) => JSON.parse(line));
  expect(expected.length).toBe(pairs.length);
  for (const [i, { hyp, refs }] of pairs.entries()) {
    expect(lowerTokens13a(hyp)).toEqual(expected[i].hyp);
    expect(refs.map(lowerTokens13a)).toEqual(expected[i].refs);
  }
});

it.each<[text: string, words: string[]]>([
  ["", []],
  [" \t\n ", []],
  ["It's £20-25, or 3.50.", ["It's", "£20", "-", "25", ",", "or", "3.50", "."]],
  ["a-b 1,000 x,y .5 5.", ["a-b", "1,000", "x", ",", "y", ".", "5", "5", "."]],
  ["(A&amp;B) &quot;c&quot; &lt;", ["(", "A", "&", "B", ")", '"', "c", '"', "<"]],
  ["over-\nlap\nnext <skipped>end", ["overlap", "next", "end"]],
  ["a\u00a0b\u2003c\u0085d\u001ce\ufefff", ["a", "b", "c", "d", "e\ufefff"]],
  ["𝒳,Ä", ["𝒳", ",", "Ä"]],
])("words of %j", (text, words) => {
  expect(tokens13a(text)).toEqual(words);
});

it("keeps marks within words that blanks part", () => {
  expect(blankSeparated(" a,b  c. ")).toEqual(["a,b", "c."]);
});
