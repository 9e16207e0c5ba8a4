import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import type { QualityResult } from "../../src/index.ts";
import { qualityPage, qualityTasks, taskResults } from "./page.ts";

const folder = mkdtempSync(join(tmpdir(), "mergen-quality-"));
afterAll(() => rmSync(folder, { recursive: true }));

it("docs/quality.md is what `npm run quality` makes", () => {
  const written = readFileSync(new URL("../../docs/quality.md", import.meta.url), "utf8");
  expect(qualityPage()).toBe(written);
});

const metrics = {
  chrfpp: 41.5,
  bleu: 12.25,
  nist: 3.5,
  rougeL: 0.375,
  meteor: 0.4375,
  endReached: 0.875,
  slotErrorRate: 0.0625,
};

const result: QualityResult = {
  format: "mergen-quality-1",
  task: "multiwoz",
  cell: "merge",
  recipe: "merge",
  command: "mergen train configs/multiwoz.json",
  machine: "a processor, 2 cores",
  commit: "abc1234",
  training: {
    from: "random weights",
    texts: "the teacher's texts",
    steps: 1234,
    batchSize: 64,
    seed: 7,
    seconds: 99.4,
  },
  model: "runs/m",
  anchor: 0,
  data: { files: ["a.gz"], train: 22507, leftOut: 220, distilled: 12000, withoutEnd: 3 },
  dev: { count: 500, rougeL: 0.3125 },
  test: { count: 2000, metrics },
  secure: {
    count: 100,
    seconds: 5,
    metrics: { ...metrics, rougeL: 0.36 },
    float: metrics,
    equal: 97,
    bounds: "proven",
  },
};

describe("a page of one result", () => {
  const base = pathToFileURL(`${folder}/`);
  const config = readFileSync(new URL("../../configs/multiwoz.json", import.meta.url), "utf8");
  mkdirSync(join(folder, "configs"));
  writeFileSync(join(folder, "configs", "multiwoz.json"), config);
  const results = join(folder, "bench", "results", "quality", "multiwoz");
  mkdirSync(results, { recursive: true });
  const file = join(results, "merge.json");

  it("has its figures, the paper's, and - for cells that were not run", () => {
    writeFileSync(file, JSON.stringify(result));
    const page = qualityPage([taskResults("multiwoz", base)]);
    expect(page).toContain("| merge | random weights | 1,234 | 64 | 7 | 99 | 0.3125 |");
    const shared = "12.25 | 3.500 | 0.3750 | 0.4375 | 41.50 | 0.0625 | 0.875 |";
    expect(page).toContain(`| merge | ${shared}`);
    expect(page).toContain(`| merge | float | ${shared}`);
    expect(page).toMatch(/\| merge \| secure \| .* 0\.3600 .* \| 97 of 100 \| proven \|/);
    expect(page).toContain("| merge-er | - | - | - | - | - | - |");
    expect(page).toContain("| MERGE | 3.74 | 0.3970 |");
  });

  it("a result that is none is named", () => {
    writeFileSync(file, JSON.stringify({ ...result, anchor: 5 }));
    expect(() => taskResults("multiwoz", base)).toThrow(/merge\.json: anchor/);
    writeFileSync(file, "{");
    expect(() => taskResults("multiwoz", base)).toThrow(/merge\.json: cannot be read as JSON/);
  });
});

it("every result is of its cell, and no file is without one", () => {
  for (const task of qualityTasks) {
    for (const [name, { cell, task: of, recipe }] of taskResults(task).cells) {
      expect([of, cell, recipe]).toEqual([
        task,
        name,
        taskResults(task).config.cells.find((each) => each.name === name)!.recipe,
      ]);
    }
  }
});
