import { describe, expect, it } from "vitest";
import { Graph, type Tensor } from "../graph/graph.ts";
import type { AttentionForm } from "../graph/ops.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { expForms, geluPieces, siluPieces } from "../recipe/approximations.ts";
import { runFloat } from "./float.ts";
import { valueAt } from "./piecewise.ts";

const [heads, rows, columns] = [2, 3, 5];
const scores = Float32Array.from(
  { length: heads * rows * columns },
  (_, i) => 4 * Math.sin(12.9898 * (i + 1)),
);

/** What a function of scores [2, 3, 5] gives. */
function result(build: (x: Tensor) => Tensor): Float32Array {
  const graph = new Graph();
  graph.output("y", build(graph.input("x", [heads, rows, columns])));
  const inputs = new Map([["x", scores]]);
  return runFloat(graph, { inputs, weights: new Map(), kernels: floatReference }).get("y")!;
}

/** The same, written down row by row from the scores that a row sees. */
function expected(weights: (seen: number[]) => number[]): number[] {
  return Array.from({ length: heads * rows }, (_, row) => {
    const seen = columns - rows + (row % rows) + 1;
    const made = weights([...scores.subarray(row * columns, row * columns + seen)]);
    return [...made, ...new Array(columns - seen).fill(0)];
  }).flat();
}

const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
const shares = (values: number[]) => values.map((value) => value / sum(values));

const cases: [string, AttentionForm, (seen: number[]) => number[]][] = [
  ["2quad", { kind: "2quad", shift: 5 }, (x) => shares(x.map((v) => (v + 5) ** 2))],
  [
    "2relu",
    { kind: "2relu", eps: 0.1 },
    (x) => shares(x.map((v) => Math.max(v, 0) + 0.1 / x.length)),
  ],
  [
    "power",
    { kind: "power", exponent: 4, eps: 0.5 },
    (x) => x.map((v) => v ** 4 / (sum(x.map((w) => w ** 4)) + 0.5)),
  ],
  [
    "softmax, limit",
    { kind: "softmax", exp: expForms.puma },
    (x) => shares(x.map((v) => (1 + (v - Math.max(...x)) / 32) ** 32)),
  ],
];

describe("attention weights", () => {
  it.each(cases)("%s: only columns that a row sees, by the formula", (_name, form, formula) => {
    const got = result((x) => x.attentionWeights(form));
    for (const [i, value] of expected(formula).entries()) {
      expect(Math.abs(got[i]! - value)).toBeLessThan(1e-6);
    }
  });

  it("sum to 1 but for the power form's eps", () => {
    for (const [name, form] of cases) {
      const total = sum([...result((x) => x.attentionWeights(form))]) / (heads * rows);
      if (name === "power") expect(total).toBeLessThan(1);
      else expect(total).toBeCloseTo(1, 5);
    }
  });

  it.each(["puma", "bolt", "east"] as const)("softmax with %s's exp is near the exact", (name) => {
    const exact = result((x) => x.causalSoftmax());
    const got = result((x) => x.attentionWeights({ kind: "softmax", exp: expForms[name] }));
    // An error of exp counts in the numerator and in the sum, which is at least 1.
    const bound = 2 * (name === "east" ? 1e-3 : 9e-3);
    for (const [i, value] of exact.entries()) expect(Math.abs(got[i]! - value)).toBeLessThan(bound);
    expect([...got]).not.toEqual([...exact]);
  });

  it("2relu of scores that are all negative is even", () => {
    const form = { kind: "2relu", eps: 1e-3 } as const;
    const got = result((x) => x.quad([-1, 0, -1]).attentionWeights(form));
    for (const [i, value] of expected((x) => x.map(() => 1 / x.length)).entries()) {
      expect(got[i]).toBeCloseTo(value, 6);
    }
  });

  it("THE-X's sums and factors", () => {
    const cubes = result((x) => x.causalCubes());
    const whole = expected((x) => {
      const total = sum(x.map((v) => Math.max(v / 2 + 1, 0) ** 3));
      return x.map((v) => v * total);
    });
    const got = result((x) => x.causalScale(x.causalCubes()));
    expect(cubes).toHaveLength(heads * rows);
    for (const [i, value] of whole.entries()) {
      expect(Math.abs(got[i]! - value)).toBeLessThan(1e-4 * Math.max(1, Math.abs(value)));
    }
  });

  it("refuses an odd exponent, fewer columns than rows, and pieces without their edges", () => {
    const power = (exponent: number) => ({ kind: "power", exponent, eps: 0.1 }) as const;
    expect(() => result((x) => x.attentionWeights(power(3)))).toThrow("not even");
    expect(() => result((x) => x.piecewise({ edges: [0], pieces: [[0]] }))).toThrow("edges");
    expect(() => result((x) => x.piecewise({ edges: [1, 0], pieces: [[0], [1], [2]] }))).toThrow();
    expect(() => result((x) => x.sliceRows(0, 2).causalScale(x.causalCubes()))).toThrow("fit");
    const graph = new Graph();
    const tall = graph.input("x", [3, 2]);
    expect(() => tall.attentionWeights(power(2))).toThrow("attentionWeights");
    expect(() => tall.causalCubes()).toThrow("causalCubes");
  });
});

/** The error function by its series: good to 1e-12 for |x| <= 4. */
function erf(x: number): number {
  let [term, total] = [x, x];
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    total += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}

const gelu = (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2));

describe("approximations", () => {
  const grid = (low: number, high: number) =>
    Array.from({ length: 4001 }, (_, i) => low + ((high - low) * i) / 4000);
  const worst = (errors: number[]) => Math.max(...errors.map(Math.abs));

  // As published: PUMA's is furthest off below its edge at 3, BOLT's at its edges.
  it.each([
    ["puma", 0.02],
    ["bolt", 0.0115],
    ["east", 1e-3],
  ] as const)("GELU of %s is within %f", (name, bound) => {
    const error = worst(grid(-5, 5).map((x) => valueAt(geluPieces[name], x) - gelu(x)));
    expect(error).toBeLessThan(bound);
    expect(error).toBeGreaterThan(bound / 4);
    expect(valueAt(geluPieces[name], -60)).toBe(0);
    expect(valueAt(geluPieces[name], 60)).toBe(60);
  });

  it("SiLU of puma is within 0.073, just above 4", () => {
    const pieces = siluPieces.puma!;
    const silu = (x: number) => x / (1 + Math.exp(-x));
    const error = worst(grid(-10, 10).map((x) => valueAt(pieces, x) - silu(x)));
    expect(error).toBeLessThan(0.073);
    expect(error).toBeGreaterThan(0.07);
  });

  it("East's exp is within 1e-3 and never negative", () => {
    const form = expForms.east;
    if (form.kind !== "piecewise") throw new Error("not by parts");
    const values = grid(-20, 0).map((z) => [z, valueAt(form, z)] as const);
    expect(worst(values.map(([z, value]) => value - Math.exp(z)))).toBeLessThan(1e-3);
    expect(values.every(([, value]) => value >= 0)).toBe(true);
  });
});
