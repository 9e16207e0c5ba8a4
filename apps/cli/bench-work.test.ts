// Old models to measure with are removed from the usual folder, and from no other.

import { existsSync } from "node:fs";
import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { expectError, mergen, type TestFolder, testFolder } from "../../test/cli.ts";

let folder: TestFolder;
beforeAll(async () => {
  folder = await testFolder();
});
afterAll(() => folder.dispose());

/** A folder with a file that was last touched some days ago. */
async function old(work: string, name: string, { days = 0, file = "config.json" }): Promise<void> {
  const dir = join(work, name);
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, file), "{}");
  const then = new Date(Date.now() - days * 24 * 60 * 60 * 1000);
  await utimes(join(dir, file), then, then);
}

const fill = async (work: string) => {
  await old(work, "unused", { days: 8 });
  await old(work, "used", { days: 6 });
  await old(work, "no-model", { days: 30, file: "notes.txt" });
};
const left = async (work: string) => (await readdir(work)).filter((name) => !/^tiny/.test(name));
const bench = ["bench", "step", "--shape", "tiny", "--positions", "24", "--tokens", "2"];

it("a new model in the usual folder removes those that nobody uses, and says so", async () => {
  const env = { TMPDIR: folder.path("temporary") };
  const work = join(env.TMPDIR, "mergen-bench");
  await fill(work);
  const first = await mergen([...bench, "--warm-up", "0"], { env });
  expect(first.status).toBe(0);
  expect(first.stderr).toContain(`removed ${join(work, "unused")}: not used for 7 days`);
  expect(await left(work)).toEqual(["no-model", "used"]);
  // The next run makes no model, uses the old one, and removes nothing.
  await old(work, "unused", { days: 8 });
  const [made] = (await readdir(work)).filter((name) => /^tiny/.test(name));
  const config = join(work, made!, "config.json");
  await utimes(config, new Date(0), new Date(0));
  const again = await mergen([...bench, "--warm-up", "0"], { env });
  expect(again.stderr).not.toContain("removed");
  expect(existsSync(join(work, "unused"))).toBe(true);
  // It counts as used from then on.
  const other = await mergen([...bench, "--warm-up", "0", "--norm", "affine"], { env });
  expect(other.stderr).toContain(`removed ${join(work, "unused")}`);
  expect(existsSync(config)).toBe(true);
});

it.each(["named", "mergen-bench"])("a folder that is named keeps all: %s", async (name) => {
  const env = { TMPDIR: folder.path("other") };
  const work = join(env.TMPDIR, name);
  await fill(work);
  const run = await mergen([...bench, "--warm-up", "0", "--work", work], { env });
  expect(run.status).toBe(0);
  expect(run.stderr).not.toContain("removed");
  expect(await left(work)).toEqual(["no-model", "unused", "used"]);
});

it.each([
  ["step", ["--shape", "tiny"]],
  ["paper", ["--quick", "--shapes", "tiny"]],
])("bench %s: a file in the place of the folder is named", async (name, args) => {
  const work = await folder.file("file", "");
  const out = name === "paper" ? ["--out", folder.path("study")] : [];
  const run = await mergen(["bench", name, ...args, ...out, "--work", work]);
  expectError(run, "E_USAGE", /--work .*file: is no folder; name one/);
});
