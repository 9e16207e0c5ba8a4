// `mergen init`: folders that every mode takes, and folders that it leaves alone.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectError, jsonLines, mergen, type TestFolder, testFolder } from "../../test/cli.ts";

let folder: TestFolder;
beforeAll(async () => {
  folder = await testFolder();
});
afterAll(() => folder.dispose());

const init = (out: string, ...args: string[]) =>
  mergen(["init", "--shape", "tiny", "--positions", "24", "--out", out, "--json", ...args]);

interface Made {
  readonly parameters: number;
  readonly weightBytes: number;
}

describe("mergen init", () => {
  it("writes a model that runs in every mode, and is planned", async () => {
    const dir = folder.path("made");
    const [made] = jsonLines<Made>(await init(dir));
    expect((await readdir(dir)).sort()).toEqual([
      "config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    expect(made!.weightBytes).toBeGreaterThan(2 * made!.parameters);
    expect(made!.weightBytes).toBeLessThan(2 * made!.parameters + 4096);
    const asked = ["--model", dir, "--input", "aaaa", "--max-tokens", "6", "--ignore-end"];
    const runs = ["float", "fixed", "secure"].map((mode) =>
      mergen(["run", ...asked, "--mode", mode, "--json"]),
    );
    const tokens = (await Promise.all(runs)).map(
      (run) => jsonLines<{ tokens: number[] }>(run)[0]!.tokens,
    );
    expect(tokens[0]).toHaveLength(6);
    expect(tokens).toEqual([tokens[0], tokens[0], tokens[0]]);
    const plans = [asked.slice(2, 4), ["--prompt-positions", "4"]].map((prompt) =>
      mergen(["plan", "--model", dir, ...prompt, "--json"]),
    );
    const [one, other] = (await Promise.all(plans)).map(
      (run) => jsonLines<{ promptPositions: number; digest: string }>(run)[0]!,
    );
    expect(one!.promptPositions).toBe(4);
    expect(other!.digest).toBe(one!.digest);
  });

  it("writes the same bytes for a seed, as floats where asked, in another's tokens", async () => {
    const dirs = ["one", "two", "floats"].map((name) => folder.path(name));
    const [one, two, floats] = dirs as [string, string, string];
    await init(one, "--seed", "7");
    await init(two, "--seed", "7", "--tokenizer", one);
    const [made] = jsonLines<Made>(await init(floats, "--seed", "7", "--float32"));
    const bytes = (dir: string) => readFile(join(dir, "model.safetensors"));
    expect((await bytes(one)).equals(await bytes(two))).toBe(true);
    expect(made!.weightBytes).toBeGreaterThan(4 * made!.parameters);
    const run = (dir: string) =>
      mergen(["run", "--model", dir, "--mode", "fixed", "--input", "aaaa", "--json"]);
    const [first, second] = (await Promise.all([run(one), run(floats)])).map(
      (finished) => jsonLines<{ tokens: number[] }>(finished)[0]!.tokens,
    );
    expect(first).toEqual(second);
  });

  it("takes the place of a model, and of nothing else", async () => {
    const dir = folder.path("again");
    await init(dir, "--recipe", "vanilla");
    await init(dir);
    expect(JSON.parse(await readFile(join(dir, "config.json"), "utf8")).recipe).toBe("merge");
    const file = await folder.file("letter.txt", "dear");
    expectError(await init(file), "E_MODEL", /cannot be written: ENOTDIR/);
    const parent = join(dir, "..");
    expectError(await init(parent), "E_MODEL", /is not a model folder; choose another/);
  });

  it("makes a model of a recipe, and other recipes take its weights", async () => {
    const dir = folder.path("puma");
    await init(dir, "--recipe", "puma");
    expect(JSON.parse(await readFile(join(dir, "config.json"), "utf8"))).toMatchObject({
      recipe: "puma",
      attention: { kind: "softmax", exp: "puma" },
    });
    const args = ["run", "--model", dir, "--input", "aaaa", "--json"];
    const other = await mergen([...args, "--mode", "float", "--recipe", "mpcformer-2quad"]);
    expect(other.stderr).toMatch(/mpcformer-2quad in the place of puma.*only after adapting/);
    const own = await mergen([...args, "--mode", "float"]);
    expect(own.stderr).not.toContain("in the place of");
    expect(jsonLines<{ text: string }>(other)).not.toEqual(jsonLines<{ text: string }>(own));
    expectError(await mergen([...args, "--recipe", "merge"]), "E_CONFIG", /adapt a model to it/);
  });

  it("makes an ordinary decoder that is planned as it runs", async () => {
    const dir = folder.path("vanilla");
    await init(dir, "--recipe", "vanilla");
    const args = ["--model", dir, "--input", "aaaa", "--max-tokens", "3", "--ignore-end", "--json"];
    const [planned] = jsonLines<object>(await mergen(["plan", ...args]));
    const [ran] = jsonLines<{ online: object }>(await mergen(["run", "--mode", "secure", ...args]));
    const { seconds: _, ...online } = ran!.online as { seconds: number };
    expect(planned).toMatchObject({ recipe: "vanilla", online });
  });

  it("names what is wrong with its options", async () => {
    const out = folder.path("none");
    const twice = mergen(["init", "--shape", "gpt9", "--out", out, "--json"]);
    expectError(await twice, "E_USAGE", /Allowed choices are distilgpt2, gpt2/);
    expectError(await init(out, "--vocabulary", "100"), "E_CONFIG", /at least 257 tokens/);
    expectError(
      await init(out, "--recipe", "vanilla", "--norm", "affine"),
      "E_CONFIG",
      /its own norm/,
    );
    const bucket = await init(out, "--bucket", "600");
    expectError(bucket, "E_CONFIG", /bucket of 600 does not fit the model's \d+ positions/);
    const plan = ["plan", "--input", "aaaa", "--prompt-positions", "4", "--json"];
    expectError(await mergen(plan), "E_USAGE", /goes without --input/);
  });
});
