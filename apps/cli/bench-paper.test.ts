// `mergen bench paper` on the smallest shape: that a study runs, goes on after it was killed, and
// that what is modelled sends what was measured. How fast anything is, no test says.

import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PaperResult } from "../../bench/paper/result.ts";
import { expectError, mergen, Running, type TestFolder, testFolder } from "../../test/cli.ts";

let folder: TestFolder;
let work: string[];
beforeAll(async () => {
  folder = await testFolder();
  work = ["--work", folder.path("models")];
});
afterAll(() => folder.dispose());

const rows = ["--methods", "vanilla", "merge"];
const small = ["--shapes", "tiny", "--lengths", "10", "--networks", "loopback", "--samples", "2"];

const study = (out: string, ...args: string[]) =>
  mergen(["bench", "paper", "--out", folder.path(out), ...args, ...work]);

async function resultOf(out: string): Promise<PaperResult> {
  return JSON.parse(await readFile(folder.path(`${out}/results.json`), "utf8"));
}

describe("a quick study", () => {
  it("runs two rows into a result, tables and plots", async () => {
    const run = await study("quick", "--quick", "--remark", "a test", ...rows, ...small);
    expect(run.status, run.stderr).toBe(0);
    expect(run.stderr).toMatch(/^MERGE, tiny, loopback, sample$/m);
    expect(run.stderr).toMatch(/MERGE: tokens [\d ]+; in the clear [\d ]+; 6 of 6 alike/);
    expect((await readdir(folder.path("quick"))).sort()).toEqual([
      "figure-lengths.svg",
      "figure-sizes.svg",
      "results.json",
      "table.md",
    ]);
    expect(await readFile(folder.path("quick/table.md"), "utf8")).toBe(run.stdout);
    const result = await resultOf("quick");
    expect(result).toMatchObject({ format: "mergen-paper-1", finished: true, remark: "a test" });
    expect(result.measurements.map(({ id }) => id)).toEqual([
      "merge/tiny/loopback/full/10",
      "merge/tiny/loopback/sample/10",
      "vanilla/tiny/loopback/full/10",
    ]);
    for (const { kind, runs, spoken } of result.measurements) {
      const prompts = new Set(runs.map(({ promptTokens }) => promptTokens));
      expect([...prompts]).toEqual(kind === "full" ? [4] : [4, 5]);
      expect(spoken?.tokens).toEqual(spoken?.floatTokens);
      for (const { marks } of runs) expect(marks.at(-1)!.seconds).toBeGreaterThan(0);
    }
    expect(result.cells.map(({ method, how }) => [method, how])).toEqual([
      ["vanilla", "run"],
      ["merge", "run"],
    ]);
    expect(result.agreements).toHaveLength(1);
  });

  it("is modelled with the bytes and round trips that were measured", async () => {
    const rates = ["--rates", folder.path("quick/results.json")];
    const run = await study("modelled", "--model-only", ...rates, ...rows, ...small);
    expect(run.status, run.stderr).toBe(0);
    const [measured, modelled] = [await resultOf("quick"), await resultOf("modelled")];
    expect(modelled.measurements).toEqual([]);
    expect(modelled.rates).toEqual(measured.rates);
    expect(modelled.cells.map(({ how }) => how)).toEqual(["modelled", "modelled"]);
    measured.cells.forEach((cell, i) => {
      const { seconds: _a, offlineSeconds: _b, ...bytes } = cell.total!;
      expect(modelled.cells[i]!.total).toMatchObject(bytes);
      for (const [part, { seconds: _c, ...of }] of Object.entries(cell.parts!)) {
        expect(modelled.cells[i]!.parts![part as "embed"]).toMatchObject(of);
      }
    });
  });

  it("lists methods without a secure form with the reason", async () => {
    const rates = ["--rates", folder.path("quick/results.json")];
    const methods = ["--methods", "merge", "the-x"];
    const run = await study("refused", "--model-only", ...rates, ...methods, ...small);
    expect(run.status, run.stderr).toBe(0);
    const { cells } = await resultOf("refused");
    const found = cells.find(({ method }) => method === "the-x")!;
    if (found.how !== "none") return; // it has one by now
    expect(found.reason).toMatch(/norms with scale and shift|no secure gate/);
    expect(run.stdout).toContain("| THE-X | no secure form yet |");
  });
});

describe("a study that was killed", () => {
  it("goes on where it ended", async () => {
    const out = folder.path("killed");
    const args = ["--quick", ...rows, ...small];
    const running = new Running(["bench", "paper", "--out", out, ...args, ...work]);
    for (let i = 0; i < 800 && !existsSync(`${out}/results.json`); i++) await delay(50);
    running.child.kill("SIGKILL");
    await running.finished;
    const before = await resultOf("killed");
    expect(before.finished).toBe(false);
    expect(before.measurements.length).toBeGreaterThan(0);
    expect(before.measurements.length).toBeLessThan(3);

    expectError(await study("killed", ...args), "E_USAGE", /add --resume/);
    const other = [...args, "--lengths", "9", "--resume"];
    expectError(await study("killed", ...other), "E_USAGE", /other options/);
    const rest = await study("killed", ...args, "--resume");
    expect(rest.status, rest.stderr).toBe(0);
    expect(rest.stderr).toMatch(/^\d of 3 measurements are there$/m);
    const after = await resultOf("killed");
    expect(after.finished).toBe(true);
    expect(after.measurements).toHaveLength(3);
    expect(after.measurements.slice(0, before.measurements.length)).toEqual(before.measurements);
  });
});

describe("a study whose time is over", () => {
  it("models what is left, and goes on, over two networks", async () => {
    const networks = ["--networks", "loopback", "lan"];
    const args = ["--quick", ...rows, "--shapes", "tiny", "--lengths", "10", ...networks];
    const first = await study("timed", ...args, "--minutes", "0");
    expect(first.status, first.stderr).toBe(0);
    expect(first.stderr).toContain("time is over: 6 measurements are left");
    const short = await resultOf("timed");
    expect(short).toMatchObject({ finished: false, measurements: [] });
    expect(short.cells.map(({ how }) => how)).toEqual(Array(4).fill("modelled"));
    expect(await readFile(folder.path("timed/table.md"), "utf8")).toContain("not finished");

    const rest = await study("timed", ...args, "--resume");
    expect(rest.status, rest.stderr).toBe(0);
    const whole = await resultOf("timed");
    expect(whole.finished).toBe(true);
    expect(whole.measurements).toHaveLength(6);
    expect(whole.cells.map(({ how }) => how)).toEqual(Array(4).fill("run"));
    expect(whole.agreements.map(({ network }) => network)).toEqual(["loopback", "lan"]);
  });
});

describe("wrong options", () => {
  it("are told what is wrong with them", async () => {
    expectError(await mergen(["bench", "paper"]), "E_USAGE", /--out/);
    expectError(await study("a", "--methods", "magic"), "E_USAGE", /Allowed choices are vanilla/);
    expectError(await study("a", "--lengths", "5"), "E_USAGE", /integer of at least 6/);
    expectError(await study("a", "--networks", "moon"), "E_USAGE", /loopback, lan, wan/);
    expectError(await study("a", "--quick", "--model-only"), "E_USAGE", /give one/);
    expectError(await study("a", "--rates", folder.path("none")), "E_DATA", /no result/);
    await writeFile(folder.path("old.json"), '{"format":"x","measurements":[],"cells":[]}');
    const old = await study("a", "--rates", folder.path("old.json"));
    expectError(old, "E_VERSION", /format x/);
    expect(existsSync(folder.path("a"))).toBe(false);
  });
});
