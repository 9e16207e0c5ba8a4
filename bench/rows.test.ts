import { describe, expect, it } from "vitest";
import { errorOf } from "../test/errors.ts";
import { lineThrough } from "./groups/scaling.ts";
import { markdown } from "./markdown.ts";
import { makeRow, median, quantile, summary } from "./rows.ts";
import { RESULT_FORMAT } from "./runner.ts";
import { timeCalls } from "./timing.ts";

describe("samples", () => {
  it("have quantiles between them", () => {
    expect(quantile([4, 1, 3, 2], 0)).toBe(1);
    expect(quantile([4, 1, 3, 2], 1)).toBe(4);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(summary([5, 1, 2, 3, 4])).toEqual({ n: 5, median: 3, low: 2, high: 4 });
    expect(summary([7])).toEqual({ n: 1, median: 7, low: 7, high: 7 });
    errorOf("E_INTERNAL", () => median([]));
  });

  it("make a row, with its ratio to what it is held against", () => {
    const row = makeRow({
      name: "x",
      unit: "ms",
      better: "less",
      samples: [1, 3],
      reference: { name: "in the clear", value: 4 },
    });
    expect(row.reference).toEqual({ name: "in the clear", value: 4, ratio: 0.5 });
    expect(row).not.toHaveProperty("modelled");
  });

  it("are five at the least, and count single calls", () => {
    let calls = 0;
    const samples = timeCalls(() => void calls++, 1);
    expect(samples.length).toBeGreaterThanOrEqual(5);
    expect(calls).toBeGreaterThan(samples.length);
    expect(Math.min(...samples)).toBeGreaterThan(0);
  });
});

describe("a line through points", () => {
  it("goes through two, fits three, and through 0 with one", () => {
    const two = [
      [1, 10],
      [3, 14],
    ] as const;
    expect(lineThrough(two, 5)).toBeCloseTo(18, 9);
    const three = [
      [0, 0],
      [1, 3],
      [2, 3],
    ] as const;
    expect(lineThrough(three, 4)).toBeCloseTo(6.5, 9); // slope 1.5 through (1, 2)
    expect(lineThrough([[2, 8]], 3)).toBe(12);
  });
});

describe("Markdown", () => {
  it("says for each row n, median and spread, and which was modelled", () => {
    const unit = { unit: "ms", better: "less" } as const;
    const reference = { name: "limit", value: 4 };
    const text = markdown({
      format: RESULT_FORMAT,
      machine: {
        kind: "a processor, 2 cores",
        instructionSets: ["avx2", "portable"],
        memoryBytes: 2 ** 34,
        system: "Linux",
        node: "v24",
        commit: "0",
      },
      kernels: { ring: "native, avx2", float: "wasm", checksum: "TypeScript" },
      quick: true,
      remark: "shared",
      startedAt: "2026-01-01T00:00:00.000Z",
      load: [0.5, 1],
      groups: [
        {
          name: "some",
          question: "what it is",
          seconds: 1,
          rows: [
            makeRow({ name: "a", samples: [1, 2, 3], reference, ...unit }),
            makeRow({ name: "b", samples: [12345.678], modelled: true, ...unit }),
          ],
        },
      ],
    });
    expect(text).toContain("| a | 2 | 1.5 | 2.5 | 3 | ms | 0.5 | limit, 4 |");
    expect(text).toContain("| b | 12346 | 12346 | 12346 | modelled | ms |  |  |");
    expect(text).toContain("## some\n\nWhat it is.\n");
    expect(text).toContain("| processor | a processor, 2 cores |");
    expect(text).toContain("| remark | shared |");
  });
});
