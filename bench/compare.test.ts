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
  return compareResults(results([before]), results([after]), tolerance).pairs[0]!.verdict;
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
    expect(compareResults(before, after).pairs).toEqual([
      { name: "x (ratio)", before: 2, after: 2.1, change: 1.05, verdict: "" },
      { name: "y", before: 1, after: 3, change: 3, verdict: "worse" },
    ]);
  });

  it("compares no ratios to different things", () => {
    const before = results([{ value: 10, ratio: 2, reference: "memory read" }], "one");
    const after = results([{ value: 30, ratio: 9, reference: "multiply-adds" }], "other");
    const [pair] = compareResults(before, after).pairs;
    expect(pair).toMatchObject({ name: "x", before: 10, after: 30 });
  });

  it("names what only one file has, and leaves out figures of 0", () => {
    const before = results([{ name: "x" }, { name: "y", value: 0 }]);
    const after = results([{ name: "z" }, { name: "y", value: 1 }]);
    const expected = { pairs: [], beforeAlone: ["x"], afterAlone: ["z"] };
    expect(compareResults(before, after)).toEqual(expected);
  });

  it("pairs only what is alike in all that tells it apart", () => {
    const before = results([{ of: "ms" }, { name: "y", of: "ms", value: 2 }]);
    const after = results([{ of: "us" }, { name: "y", of: "ms", value: 2 }]);
    const { pairs, beforeAlone, afterAlone } = compareResults(before, after);
    expect(pairs.map(({ name }) => name)).toEqual(["y"]);
    expect([beforeAlone, afterAlone]).toEqual([["x"], ["x"]]);
  });

  it("pairs figures that are alike in their order", () => {
    const before = results([{ value: 1 }, { value: 2 }]);
    const after = results([{ value: 10 }, { value: 20 }, { value: 30 }]);
    const { pairs, afterAlone } = compareResults(before, after);
    expect(pairs.map((pair) => [pair.before, pair.after])).toEqual([
      [1, 10],
      [2, 20],
    ]);
    expect(afterAlone).toEqual(["x"]);
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
    expect(found.pairs.map(({ name, verdict }) => [name, verdict])).toEqual([
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
    expect(compareResults(readResults(a), readResults(b)).pairs).toEqual([]);
  });

  it.each([
    { next: "client" },
    { model: "stories" },
    { promptTokens: 8 },
    { together: { clients: 8, tokensPerSecond: 3 } },
  ])("of other settings have nothing in common: %j", (more) => {
    const together = { clients: 4, tokensPerSecond: 3 };
    const a = file("k.jsonl", step(1, { together }));
    const b = file("l.jsonl", step(1, { together, ...more }));
    const { pairs, beforeAlone, afterAlone } = compareResults(readResults(a), readResults(b));
    expect([pairs.length, beforeAlone.length, afterAlone.length]).toEqual([0, 4, 4]);
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
        {
          ...{ name: "kernels: add", value: 4, better: "more", low: 3.9, high: 4.1, of: "G/s" },
          ...{ ratio: 0.5, reference: "limit" },
        },
        { name: "kernels: once", value: 4, better: "more", of: "G/s" },
      ],
    };
    expect(readResults(file("g.json", value))).toEqual(expected);
    expect(readResults(file("h.json", JSON.stringify(value, null, 1)))).toEqual(expected);
  });

  it("pair the rows of a flame where the model and the length are the same", () => {
    const flame = (shape: string, quick: boolean) => {
      const rows = [
        { ...row, name: `${shape}: online, a token, mean with the prompt of 4, counted` },
        { ...row, name: "client: sending" },
      ];
      const groups = [{ name: "flame", question: "?", seconds: 1, rows }];
      const value = { ...run([]), groups, quick };
      return readResults(file(`${shape}-${quick}.json`, value));
    };
    const gpt2 = flame("gpt2", true);
    expect(compareResults(gpt2, flame("gpt2", true)).pairs).toHaveLength(2);
    for (const other of [flame("tiny", true), flame("gpt2", false)]) {
      const { pairs, beforeAlone } = compareResults(gpt2, other);
      expect(pairs).toEqual([]);
      expect(beforeAlone[1]).toBe("flame, gpt2, quick: client: sending");
    }
  });

  it("of another format are refused", () => {
    errorOf("E_VERSION", () => readResults(file("i.json", run([row], "mergen-bench-9"))));
    errorOf("E_DATA", () => readResults(file("j.json", "{\n")));
  });
});
