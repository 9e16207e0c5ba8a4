import { expect, it } from "vitest";
import { plainValue, plainWords, Searched } from "./plain-words.ts";

it.each([
  ["It's a Café.", "its a cafe ."],
  ["isn\u2019t kid-friendly!", "is not kid friendly ."],
  ["Hobson 's House", "hobsons house"],
  ["£20-25, or £ 30", "£20 25 or £30"],
  ["five out of five", "5 out of 5"],
  ["twenty-five or twelve", "25 or 12"],
  ["at 12:32 for 10.10 pounds.", "at 12:32 for 10.10 pounds ."],
  ["Time: 5. No.", "time 5 . no ."],
  ["", ""],
])("%j is %j", (text, words) => {
  expect(plainWords(text).trim()).toBe(words);
});

it("keeps one blank at either end", () => {
  expect(plainWords(" a, b ")).toBe(" a b ");
});

it("drops the dots of a value", () => {
  expect(plainValue("St. John's")).toBe("st johns");
});

it("finds whole words only, and takes them everywhere", () => {
  const searched = new Searched("The mill, the mill and a windmill.");
  expect(searched.has("wind")).toBe(false);
  expect(searched.has("")).toBe(false);
  expect(searched.take("the mill")).toBe(true);
  expect(searched.has("mill")).toBe(false);
  expect(searched.take("the mill")).toBe(false);
  expect(searched.rest).toBe(" _ _ and a windmill . ");
});
