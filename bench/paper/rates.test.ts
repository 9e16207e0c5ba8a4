// Rates from made-up measurements whose rates are known.

import { describe, expect, it } from "vitest";
import { type Part, parts, type Task } from "../../src/index.ts";
import type { Moments } from "./gate-times.ts";
import { computeSeconds, lineFit, lineSeconds, ratesOf, unknownTasks } from "./rates.ts";
import type { Counted, Measurement, Rates, Run } from "./result.ts";
import { isStall } from "./stall.ts";

const momentsOf = (points: readonly (readonly [w: number, s: number])[]): Moments =>
  points.reduce(
    (sum, [w, s]) => ({
      n: sum.n + 1,
      w: sum.w + w,
      s: sum.s + s,
      ww: sum.ww + w * w,
      ws: sum.ws + w * s,
    }),
    { n: 0, w: 0, s: 0, ww: 0, ws: 0 },
  );

describe("a line through gates' times", () => {
  it("finds the time of a gate and of a unit of work", () => {
    const { gate, unit } = lineFit(momentsOf([1, 5, 9, 40].map((w) => [w, 3 + 0.5 * w])));
    expect(gate).toBeCloseTo(3, 9);
    expect(unit).toBeCloseTo(0.5, 9);
  });

  it("has no negative part", () => {
    expect(
      lineFit(
        momentsOf([
          [10, 1],
          [20, 4],
        ]),
      ),
    ).toEqual({ gate: 0, unit: 5 / 30 });
    const falling = momentsOf([
      [10, 4],
      [20, 2],
    ]);
    expect(lineFit(falling)).toEqual({ gate: 3, unit: 0 });
  });

  it("takes the time of equal gates to grow with their work", () => {
    const equal = momentsOf([
      [8, 2],
      [8, 4],
    ]);
    expect(lineFit(equal)).toEqual({ gate: 0, unit: 6 / 16 });
    expect(lineFit(momentsOf([]))).toEqual({ gate: 0, unit: 0 });
  });
});

it("a late tick is a stall where the process did not compute", () => {
  expect(isStall(5000, 100)).toBe(true);
  expect(isStall(5000, 4900)).toBe(false);
  expect(isStall(300, 0)).toBe(false);
});

describe("rates of measurements", () => {
  const nothing = Object.fromEntries(parts.map((part) => [part, 0])) as Record<Part, number>;
  const run = (multiplyAdds: number, bytes: number): Run => {
    const all: Counted = {
      seconds: 10 + 5 * 0.25,
      roundTrips: 5,
      onlineBytes: 0,
      compute: { ...nothing, linear: 7, norm: 3 },
      tasks: [],
    };
    const seconds = 2e-3 * multiplyAdds + 3e-3 * bytes;
    return {
      ...{ promptTokens: 4, tokens: 3, all, steps: all, marks: [], stalledSeconds: 0 },
      offline: { seconds, bytes, multiplyAdds },
    };
  };
  const measurement: Measurement = {
    ...{ id: "a", method: "merge", model: { shape: "tiny" }, network: "loopback" },
    ...{ kind: "sample", length: 8, positions: 8, busyCores: 0 },
    runs: [run(1000, 10), run(500, 2000), run(10, 100)],
    moments: { client: {}, server: { quad: momentsOf([[4, 8]]) } },
  };

  it("find what offline work and a round trip take", () => {
    const { offline, roundTrip, server } = ratesOf([measurement]);
    expect(offline.multiplyAdd).toBeCloseTo(2e-3, 9);
    expect(offline.byte).toBeCloseTo(3e-3, 9);
    expect(roundTrip.loopback).toBeCloseTo(0.25, 9);
    expect(roundTrip.wan).toBeUndefined();
    expect(server.quad).toEqual({ gate: 0, unit: 2 });
  });

  it("give seconds of other work, at both parties", () => {
    const rates: Rates = {
      client: { quad: { gate: 1, unit: 2 } },
      server: { quad: { gate: 10, unit: 20 }, "product, one row": { gate: 100, unit: 200 } },
      roundTrip: {},
      offline: { multiplyAdd: 0, byte: 0 },
    };
    const tasks: Task[] = [
      { part: "activation", task: "quad", gates: 2, work: 3 },
      { part: "linear", task: "product, rows", gates: 1, work: 1 },
      { part: "norm", task: "spline", gates: 1, work: 1 },
    ];
    const seconds = computeSeconds(rates, tasks);
    expect(seconds).toEqual({ ...nothing, activation: 2 * 11 + 3 * 22, linear: 300 });
    expect(unknownTasks(rates, tasks)).toEqual(["spline"]);
  });
});

it("a line takes its delays and its rate", () => {
  expect(lineSeconds("wan", { roundTrips: 3, onlineBytes: 1e6 })).toBeCloseTo(0.24 + 0.08, 12);
  expect(lineSeconds("loopback", { roundTrips: 3, onlineBytes: 1e6 })).toBe(0);
});
