// `mergen adapt`: a folder in, a folder out that `run` takes, and what it says of bad input.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectError, jsonLines, mergen, type TestFolder, testFolder } from "../../test/cli.ts";

let folder: TestFolder;
let teacher: string;
let data: string;
beforeAll(async () => {
  folder = await testFolder();
  teacher = folder.path("teacher");
  const shape = ["--shape", "tiny", "--recipe", "vanilla", "--positions", "24"];
  const made = await mergen(["init", ...shape, "--out", teacher]);
  expect(made.status).toBe(0);
  const lines = ["aaaa", "eiei", "oouu", "iaia"].map((input) =>
    JSON.stringify({ input, ref: "aeiou" }),
  );
  data = await folder.file("data.jsonl", lines.join("\n"));
});
afterAll(() => folder.dispose());

const adapt = (out: string, ...args: string[]) =>
  mergen(["adapt", "--teacher", teacher, "--data", data, "--out", out, ...args]);

describe("mergen adapt", () => {
  it.each(["puma", "merge"])("makes a %s student that float mode runs", async (recipe) => {
    const out = folder.path(recipe);
    const made = await adapt(
      out,
      ...["--recipe", recipe, "--targets", "references", "--steps", "4", "--json"],
      "logEvery=1",
    );
    expect(jsonLines<object>(made)[0]).toMatchObject({ model: out, recipe, step: 4 });
    expect(made.stderr).toMatch(/step 4\/4: loss \d/);
    expect((await readdir(out)).sort()).toEqual([
      "config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    const config = JSON.parse(await readFile(join(out, "config.json"), "utf8"));
    expect(config.recipe).toBe(recipe);
    const args = ["--mode", "float", "--input", "aaaa", "--max-tokens", "5", "--ignore-end"];
    const run = await mergen(["run", "--model", out, ...args, "--json"]);
    expect(jsonLines<{ tokens: number[] }>(run)[0]!.tokens).toHaveLength(5);
  });

  it("names what is wrong", async () => {
    const out = folder.path("none");
    const puma = ["--recipe", "puma", "--targets", "references"];
    expectError(await adapt(out, "--recipe", "grill"), "E_USAGE", /Allowed choices are vanilla/);
    expectError(await adapt(out, ...puma, "momentum=1"), "E_CONFIG", /mergen adapt.*momentum/);
    const wrong = await folder.file("wrong.jsonl", '{"input": "aaaa", "ref": "e"}\n{"input": 3}\n');
    expectError(await adapt(out, ...puma, "--data", wrong), "E_DATA", /wrong\.jsonl:2: lacks/);
    const wild = ["--rate", "1e38", "--steps", "9", "clip=1e38", "warmupSteps=0"];
    expectError(await adapt(out, ...puma, ...wild), "E_TRAIN", /at step \d+/);
    expectError(await mergen(["run", "--model", out, "--input", "aaaa"]), "E_MODEL", /none/);
  });
});
