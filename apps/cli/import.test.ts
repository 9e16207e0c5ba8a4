// `mergen import`, and Hugging Face folders in the place of model folders.

import { mkdir, readdir, truncate, unlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectError, jsonLines, mergen, type TestFolder, testFolder } from "../../test/cli.ts";
import {
  gpt2Config,
  gpt2Tensors,
  llamaConfig,
  llamaTensors,
  writeHfFolder,
} from "../../test/hf-models.ts";
import { sharedStories } from "../../test/stories.ts";

let folder: TestFolder;
let gpt2: string;
let llama: string;
beforeAll(async () => {
  folder = await testFolder();
  const separate = true;
  gpt2 = folder.path("gpt2");
  await writeHfFolder(gpt2, { config: gpt2Config, tensors: gpt2Tensors(), separate });
  llama = folder.path("llama");
  await writeHfFolder(llama, { config: llamaConfig, tensors: llamaTensors() });
});
afterAll(() => folder.dispose());

interface Run {
  readonly text: string;
  readonly tokens: number[];
}

const float = async (model: string, input: string, count: number) => {
  const args = ["--mode", "float", "--input", input, "--max-tokens", `${count}`, "--greedy"];
  return jsonLines<Run>(await mergen(["run", "--model", model, ...args, "--json"]))[0]!;
};

describe("mergen import", () => {
  it.each(["gpt2", "llama"])("writes a folder that says what the %s folder says", async (kind) => {
    const from = kind === "gpt2" ? gpt2 : llama;
    const out = folder.path(`${kind}-out`);
    const args = ["import", kind, from, "--out", out, "--json"];
    const [made] = jsonLines<{ out: string; parameters: number; weightBytes: number }>(
      await mergen(args),
    );
    expect(made).toMatchObject({ out, recipe: "vanilla" });
    expect(made!.weightBytes).toBeLessThan(2.5 * made!.parameters + 8192);
    expect(await readdir(out)).toContain("config.json");
    const [own, imported] = await Promise.all([
      float(from, "the pub", 8),
      float(out, "the pub", 8),
    ]);
    expect(imported.tokens).toEqual(own.tokens);
    expect(own.tokens.length).toBeGreaterThan(0);
  });

  it("writes floats where asked, and refuses them nothing but the other modes", async () => {
    const out = folder.path("floats");
    const args = ["import", "gpt2", gpt2, "--out", out, "--float32", "--json"];
    const [made] = jsonLines<{ parameters: number; weightBytes: number }>(await mergen(args));
    expect(made!.weightBytes).toBeGreaterThan(4 * made!.parameters);
    expect((await float(out, "the pub", 4)).tokens).toHaveLength(4);
  });

  sharedStories(
    "runs stories260K as it was published",
    async ({ weights, tokenizer }, published) => {
      const out = folder.path("stories");
      const made = await mergen(["import", "llama2c", weights, tokenizer, "--out", out]);
      expect(made.stdout).toMatch(/stories: 0\.3 million weights/);
      const { text, tokens } = await float(out, "Once upon a time", 256);
      expect(`Once upon a time${text}`.slice(0, published.length)).toBe(published);
      expect(tokens).toHaveLength(256);
    },
  );

  it("leaves nothing behind when a file is wrong, and other folders alone", async () => {
    const before = await readdir(folder.path("."));
    const bad = folder.path("bad");
    await writeHfFolder(bad, { config: gpt2Config, tensors: gpt2Tensors() });
    await truncate(join(bad, "model.safetensors"), 5000);
    const out = ["--out", folder.path("none")];
    const cut = await mergen(["import", "gpt2", bad, ...out]);
    expectError(cut, "E_MODEL", /model\.safetensors.*copy the file anew/);
    await unlink(join(bad, "model.safetensors"));
    expectError(await mergen(["import", "gpt2", bad, ...out]), "E_MODEL", /is missing; download/);
    const other = await mergen(["import", "llama", gpt2, ...out]);
    expectError(other, "E_MODEL", /model_type is gpt2, not llama/);
    const file = join(gpt2, "vocab.json");
    const wrong = await mergen(["import", "llama2c", file, file, ...out]);
    expectError(wrong, "E_MODEL", /vocab\.json: is no model of llama2\.c/);
    const nowhere = await mergen(["import", "gpt2", folder.path("nowhere"), ...out]);
    expectError(nowhere, "E_MODEL", /nowhere.*ENOENT/);
    expect((await readdir(folder.path("."))).sort()).toEqual([...before, "bad"].sort());
    const full = folder.path("full");
    await mkdir(join(full, "mine"), { recursive: true });
    const refused = await mergen(["import", "gpt2", gpt2, "--out", full]);
    expectError(refused, "E_MODEL", /full: is not a model folder/);
  });

  it("says how it is used", async () => {
    expectError(await mergen(["import", "gpt2", gpt2]), "E_USAGE", /--out/);
    expectError(await mergen(["import", "llama2c", gpt2, "--out", "x"]), "E_USAGE", /tokenizer/);
  });
});
