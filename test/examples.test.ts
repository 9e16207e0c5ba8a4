// Every example runs: on a small model, and as it stands on the shipped one.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { saveModel } from "../src/model/checkpoint.ts";
import { twoSlots } from "./cli.ts";
import { mergedModel } from "./merged-model.ts";
import { filesIn, root, textOf } from "./tidy.ts";

const LIMIT_MS = 30_000;
const examples = filesIn(["examples"], [".ts"]).sort();
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
/** A machine without openssl cannot make the certificate; continuous integration must have it. */
const lacksOpenssl = (path: string) =>
  path.includes("tls") && !hasOpenssl && process.env.CI !== "true";

/** What each must have said, after its text. */
const says: Record<string, RegExp[]> = {
  "01": [/^float: /m, /^fixed: /m, /tokens in .* s, stopped by (end|length)/],
  "02": [/^anchor 0, plan [0-9a-f]{8}$/m, /^anchor 1, /m, /round trips, \d+ bytes/],
  "03": [/^text: /m, /\d+ tokens, \d+ round trips/, /bytes received from the dealer/],
  "04": [/^server wss:/m, /^refused, E_AUTH\nrefused, E_AUTH$/m, /^text: /m],
  "05": [/"maxTokens":3\}: 3 tokens, stopped by length/, /^ {2}1: \d+ round trips/m],
};

let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mergen-examples-"));
  const model = mergedModel({ bucket: 12, maxTokens: 8, chunk: 4 });
  const config = { ...model.config, prompt: twoSlots };
  await saveModel(folder, { ...model, config }, { int16: true });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function runExample(path: string, args: string[]): string {
  const options = { cwd: root, encoding: "utf8", timeout: LIMIT_MS } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], options);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return stdout;
}

describe("the examples", () => {
  it("are numbered from 1 and listed in their README", () => {
    const numbers = examples.map((path) => path.slice("examples/".length, "examples/NN".length));
    expect(numbers).toEqual(Object.keys(says).sort());
    const readme = textOf("examples/README.md");
    expect(examples.filter((path) => !readme.includes(`](${path.split("/")[1]})`))).toEqual([]);
  });

  for (const path of examples) {
    const wanted = says[path.slice("examples/".length, "examples/NN".length)] ?? [];

    const needs = lacksOpenssl(path) ? " (needs openssl)" : "";
    const test = needs === "" ? it : it.skip;

    test(`${path} runs on a small model${needs}`, () => {
      const said = runExample(path, [folder, "name[pub], area[a b]"]);
      for (const pattern of wanted) expect(said).toMatch(pattern);
    });

    test(`${path} runs on the shipped model${needs}`, () => {
      const said = runExample(path, []);
      for (const pattern of wanted) expect(said).toMatch(pattern);
      if (!path.includes("/02-")) expect(said).toContain("The Eagle");
    });
  }
});
