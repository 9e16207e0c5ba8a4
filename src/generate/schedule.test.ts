import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { bundles, type ScheduleOptions, type Segment, schedule } from "./schedule.ts";

/** A schedule in short: P prompt, 3 or 3c a step, [0,3) a head; | between bundles. */
function brief(options: ScheduleOptions): string {
  const short = (segment: Segment): string => {
    switch (segment.kind) {
      case "prompt":
        return "P";
      case "step":
        return `${segment.index}${segment.source === "client" ? "c" : ""}`;
      case "head":
        return `[${segment.states})`;
      default:
        return segment satisfies never;
    }
  };
  const groups = bundles(schedule(options), options.chunk);
  return groups.map((group) => group.map(short).join(" ")).join(" | ");
}

describe("known schedules", () => {
  const known: [maxTokens: number, chunk: number, anchor: number, expected: string][] = [
    [1, 4, 0, "P [0,1)"],
    [3, 4, 0, "P 1 2 [0,3)"],
    [4, 2, 0, "P 1 [0,2) 2 | 3 [2,4)"],
    [5, 2, 0, "P 1 [0,2) 2 | 3 [2,4) 4 | [4,5)"],
    [3, 1, 0, "P [0,1) 1 | [1,2) 2 | [2,3)"],
    [4, 2, 1, "P [0,1) 1c [1,2) 2c | [2,3) 3c [3,4)"],
    [6, 8, 2, "P 1 [0,2) 2c 3 [2,4) 4c 5 [4,6)"],
    [8, 4, 2, "P 1 [0,2) 2c 3 [2,4) 4c | 5 [4,6) 6c 7 [6,8)"],
    [8, 2, 3, "P 1 [0,2) 2 | [2,3) 3c 4 [3,5) 5 | [5,6) 6c 7 [6,8)"],
  ];
  it.each(known)("%d tokens, chunk %d, anchor %d", (maxTokens, chunk, anchor, expected) => {
    expect(brief({ promptPositions: 7, maxTokens, chunk, anchor })).toBe(expected);
  });

  it("gives every segment in full", () => {
    const options = { promptPositions: 5, maxTokens: 3, chunk: 2, anchor: 2 };
    expect(schedule(options)).toEqual([
      { id: 0, kind: "prompt", rows: 5, start: 0 },
      { id: 1, kind: "step", index: 1, source: "resend", start: 5 },
      { id: 2, kind: "head", states: [0, 2] },
      { id: 3, kind: "step", index: 2, source: "client", start: 6 },
      { id: 4, kind: "head", states: [2, 3] },
    ]);
  });
});

describe("schedules that look tokens up", () => {
  it("have a head before every step, which feeds it, and the last feeds none", () => {
    for (const chunk of [1, 2, 7]) {
      const options = {
        promptPositions: 5,
        maxTokens: 3,
        chunk,
        anchor: 0,
        next: "lookup",
      } as const;
      expect(schedule(options)).toEqual([
        { id: 0, kind: "prompt", rows: 5, start: 0 },
        { id: 1, kind: "head", states: [0, 1], feeds: true },
        { id: 2, kind: "step", index: 1, source: "lookup", start: 5 },
        { id: 3, kind: "head", states: [1, 2], feeds: true },
        { id: 4, kind: "step", index: 2, source: "lookup", start: 6 },
        { id: 5, kind: "head", states: [2, 3] },
      ]);
    }
  });
});

describe("every schedule of up to 12 tokens", () => {
  const numbers = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const all = numbers(1, 12).flatMap((maxTokens) =>
    numbers(1, 13).flatMap((chunk) =>
      numbers(0, 13).flatMap((anchor) =>
        [1, 6].map((promptPositions) => ({ promptPositions, maxTokens, chunk, anchor })),
      ),
    ),
  );

  it("begins with the prompt and numbers its segments from 0", () => {
    for (const options of all) {
      const segments = schedule(options);
      const rows = options.promptPositions;
      expect(segments[0]).toEqual({ id: 0, kind: "prompt", rows, start: 0 });
      segments.forEach(({ id }, i) => {
        expect(id).toBe(i);
      });
    }
  });

  it("has each step once, in order, at its position, from its source", () => {
    for (const options of all) {
      const { promptPositions, maxTokens, anchor } = options;
      const steps = schedule(options).filter((segment) => segment.kind === "step");
      expect(steps.map(({ index }) => index)).toEqual(numbers(1, maxTokens - 1));
      for (const { index, start, source } of steps) {
        expect(start).toBe(promptPositions + index - 1);
        expect(source === "client").toBe(anchor > 0 && index % anchor === 0);
      }
    }
  });

  it("has each state in one head, after it is computed and right before the next step", () => {
    for (const options of all) {
      let computed = 0;
      let covered = 0;
      let kind = "";
      for (const segment of schedule(options)) {
        if (segment.kind === "prompt") computed = 1;
        if (segment.kind === "step") {
          expect(segment.index).toBe(computed);
          if (segment.source === "client") expect(covered).toBe(segment.index);
          computed++;
        }
        if (segment.kind === "head") {
          expect(kind).not.toBe("head");
          expect(segment.states).toEqual([covered, computed]);
          expect(computed - covered).toBeLessThanOrEqual(options.chunk);
          covered = computed;
        }
        kind = segment.kind;
      }
      expect(covered).toBe(options.maxTokens);
    }
  });

  it("closes no head early", () => {
    for (const options of all) {
      for (const segment of schedule(options)) {
        if (segment.kind !== "head") continue;
        const [from, to] = segment.states;
        const beforeClient = options.anchor > 0 && to % options.anchor === 0;
        expect(to - from === options.chunk || beforeClient || to === options.maxTokens).toBe(true);
      }
    }
  });

  it("falls into bundles that end with the first step after `chunk` covered states", () => {
    for (const options of all) {
      const segments = schedule(options);
      const groups = bundles(segments, options.chunk);
      expect(groups.flat()).toEqual(segments);
      groups.forEach((group, i) => {
        expect(group.length).toBeGreaterThan(0);
        let covered = 0;
        group.forEach((segment, place) => {
          if (segment.kind === "head") covered += segment.states[1] - segment.states[0];
          const cut = segment.kind === "step" && covered >= options.chunk;
          const last = place === group.length - 1;
          if (last ? i < groups.length - 1 : true) expect(cut).toBe(last);
        });
        const steps = group.filter(({ kind }) => kind === "step").length;
        expect(steps).toBeLessThan(2 * options.chunk + 1);
      });
    }
  });
});

describe("large bundles", () => {
  it("are cut between steps, and a chunk ends where it did", () => {
    const options = { promptPositions: 1, maxTokens: 9, chunk: 4, anchor: 0 } as const;
    const segments = schedule(options);
    const ofSteps = (bytes: number) =>
      bundles(segments, options.chunk, ({ kind }) => (kind === "step" ? bytes : 0)).map((group) =>
        group.flatMap((segment) => (segment.kind === "step" ? segment.index : [])).join(" "),
      );
    expect(ofSteps(2 ** 20)).toEqual(["1 2 3 4", "5 6 7 8", ""]);
    // Two of these fit; a head goes with the step that carries its logits, the last one alone.
    expect(ofSteps(2 ** 26)).toEqual(["1 2", "3 4", "5 6", "7 8", ""]);
    expect(ofSteps(2 ** 28)).toEqual(["", "1", "2", "3 4", "5", "6", "7 8", ""]);
  });
});

describe("bad numbers", () => {
  const good = { promptPositions: 1, maxTokens: 1, chunk: 1, anchor: 0 };
  const wrong: [name: string, value: number][] = [
    ["promptPositions", 0],
    ["maxTokens", 0],
    ["maxTokens", 2 ** 21],
    ["chunk", 1.5],
    ["chunk", NaN],
    ["anchor", -1],
  ];
  it.each(wrong)("are rejected: %s %d", (name, value) => {
    const error = errorOf("E_USAGE", () => schedule({ ...good, [name]: value }));
    expect(error.message).toContain(name);
    if (name === "chunk") errorOf("E_USAGE", () => bundles([], value));
  });
});
