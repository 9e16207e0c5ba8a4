import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { errorOf } from "../test/errors.ts";
import { compareResults, type Figure, type Results, readResults } from "./compare.ts";

const folder = mkdtempSync(join(tmpdir(), "mergen-compare-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const results = (figures: Partial<Figure>[], machine = "one"): Results => ({
  machine,
  figures: figures.map((figure) => ({ name: "x", value: 1, better: "less", ...figure })),
});

/** What becomes of one figure. */
function verdict(before: Partial<Figure>, after: Partial<Figure>, tolerance?: number) {
  return compareResults(results([before]), results([after]), tolerance)[0]!.verdict;
}

describe("compareResults", () => {
  it("calls worse what grew and should be small, and what shrank and should be large", () => {
    expect(verdict({ value: 10 }, { value: 12 })).toBe("worse");
    expect(verdict({ value: 10 }, { value: 8 })).toBe("better");
    expect(verdict({ value: 10, better: "more" }, { value: 8, better: "more" })).toBe("worse");
    expect(verdict({ value: 10, better: "more" }, { value: 12, better: "more" })).toBe("better");
    expect(verdict({ value: 10, better: undefined }, { value: 30, better: undefined })).toBe("");
  });

  it("lets pass what is within the tolerance", () => {
    expect(verdict({ value: 10 }, { value: 10.9 })).toBe("");
    expect(verdict({ value: 10 }, { value: 10.9 }, 0.05)).toBe("worse");
    expect(verdict({ value: 10 }, { value: 9.2 })).toBe("");
  });

  it("does not trust medians whose samples overlap", () => {
    const before = { value: 10, low: 9, high: 11.5 };
    expect(verdict(before, { value: 12, low: 11, high: 13 })).toBe("");
    expect(verdict(before, { value: 12, low: 11.6, high: 13 })).toBe("worse");
    // One sample has no spread that could be looked at.
    expect(verdict(before, { value: 12 })).toBe("worse");
  });

  it("compares machines by ratios, where there are some", () => {
    const before = results([{ value: 10, ratio: 2 }, { name: "y" }], "one");
    const after = results(
      [
        { value: 30, ratio: 2.1 },
        { name: "y", value: 3 },
      ],
      "other",
    );
    expect(compareResults(before, after)).toEqual([
      { name: "x (ratio)", before: 2, after: 2.1, change: 1.05, verdict: "" },
      { name: "y", before: 1, after: 3, change: 3, verdict: "worse" },
    ]);
  });

  it("leaves out what only one file has, and figures of 0", () => {
    const before = results([{ name: "x" }, { name: "y", value: 0 }]);
    const after = results([{ name: "z" }, { name: "y", value: 1 }]);
    expect(compareResults(before, after)).toEqual([]);
  });
});

const machine = { kind: "a processor, 2 cores", memoryBytes: 1e9 };
const step = (onlineSeconds: number, more = {}) => ({
  shape: "gpt2",
  tokens: 64,
  perToken: { onlineSeconds, onlineBytes: 585_000 },
  plaintextSecondsPerToken: 0.02,
  machine,
  ...more,
});

describe("JSON lines", () => {
  it("are compared where their names are the same, and a regression is told", () => {
    const sessions = { shape: "gpt2", alone: { clients: 1, tokensPerSecond: 30 }, machine };
    const before = `${JSON.stringify(step(0.03))}\n${JSON.stringify(sessions)}\n`;
    const slower = { ...sessions, alone: { clients: 1, tokensPerSecond: 20 } };
    const after = `${JSON.stringify(step(0.04))}\n\n${JSON.stringify(slower)}`;
    const found = compareResults(
      readResults(file("a.jsonl", before)),
      readResults(file("b.jsonl", after)),
    );
    expect(found.map(({ name, verdict }) => [name, verdict])).toEqual([
      ["gpt2 64: perToken.onlineSeconds", "worse"],
      ["gpt2 64: perToken.onlineBytes", ""],
      ["gpt2 64: plaintextSecondsPerToken", ""],
      ["gpt2: alone.tokensPerSecond", "worse"],
    ]);
  });

  it("know the ratio to the same in the clear", () => {
    const { figures } = readResults(file("c.jsonl", step(0.03)));
    expect(figures[0]).toMatchObject({ name: "gpt2 64: perToken.onlineSeconds", ratio: 1.5 });
  });

  it("of other shapes have nothing in common", () => {
    const [a, b] = [file("d.jsonl", step(1)), file("e.jsonl", step(1, { shape: "tiny" }))];
    expect(compareResults(readResults(a), readResults(b))).toEqual([]);
  });

  it("are refused with the line", () => {
    const path = file("f.jsonl", `${JSON.stringify(step(1))}\n{"shape": 1}\n`);
    expect(errorOf("E_DATA", () => readResults(path)).message).toMatch(/line 2: not a result/);
    errorOf("E_DATA", () => readResults(file("empty", "\n")));
    errorOf("E_DATA", () => readResults(join(folder, "missing")));
  });
});

describe("results of bench run", () => {
  const row = { name: "add", unit: "G/s", better: "more", n: 5, median: 4, low: 3.9, high: 4.1 };
  const reference = { name: "limit", value: 8, ratio: 0.5 };
  const run = (rows: unknown[], format = "mergen-bench-1") => ({
    format,
    machine,
    groups: [{ name: "kernels", question: "?", seconds: 1, rows }],
  });

  it("give a figure for each row, on one line or many", () => {
    const value = run([
      { ...row, reference },
      { ...row, name: "once", n: 1 },
    ]);
    const expected = {
      machine: machine.kind,
      figures: [
        { name: "kernels: add", value: 4, better: "more", low: 3.9, high: 4.1, ratio: 0.5 },
        { name: "kernels: once", value: 4, better: "more" },
      ],
    };
    expect(readResults(file("g.json", value))).toEqual(expected);
    expect(readResults(file("h.json", JSON.stringify(value, null, 1)))).toEqual(expected);
  });

  it("of another format are refused", () => {
    errorOf("E_VERSION", () => readResults(file("i.json", run([row], "mergen-bench-9"))));
    errorOf("E_DATA", () => readResults(file("j.json", "{\n")));
  });
});
