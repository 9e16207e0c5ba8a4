import { describe, expect, it } from "vitest";
import { fineEnd, SPLINE_ERROR } from "../../test/compare.ts";
import { errorOf } from "../../test/errors.ts";
import type { SplineTable } from "../gate/spline.ts";
import { Random } from "../model/random.ts";
import { NORM_EXCESS, type NormScales, normScales, openingBits, STATE_BITS } from "./format.ts";

/**
 * Relative error of the table where the variance was seen: half a chord's, of 16 an octave. The
 * rounding of its slope, half a unit times half a segment, comes on top.
 */
const TABLE_ERROR = 9.3e-5;

interface Case {
  readonly columns: number;
  readonly eps: number;
  readonly proven: number;
  readonly calibrated: readonly [number, number];
}

const cases: Case[] = [
  { columns: 8, eps: 1e-5, proven: 4000, calibrated: [0.2, 3] },
  { columns: 24, eps: 1e-5, proven: 4000, calibrated: [0.2, 3] },
  { columns: 64, eps: 0, proven: 1e6, calibrated: [0.5, 2] },
  { columns: 768, eps: 1e-5, proven: 1e9, calibrated: [0.05, 400] },
  { columns: 48, eps: 0.1, proven: 50, calibrated: [0.01, 49] },
  { columns: 3, eps: 1e-3, proven: 2, calibrated: [0.9, 1.1] },
];

function valueAt({ knots, c0, c1 }: SplineTable, v: bigint): number {
  const k = knots.findLastIndex((knot) => knot <= v);
  return Number(c0[k]! + c1[k]! * v);
}

/** sqrt(d) / sqrt(V + eps kappa^2 d), at the scale of the spline's values, V in units of v. */
function exactly({ columns, eps }: Case, scales: NormScales, v: number): number {
  const { kappa, operandBits, table } = scales;
  const argument = v * 2 ** (table.shift - 2 * operandBits) + eps * kappa * kappa * columns;
  return Math.sqrt(columns / argument) * 2 ** table.fracBits;
}

/** Arguments to try: around every knot, and some of every octave. */
function argumentsOf({ knots, domainBits }: SplineTable, seed: number): bigint[] {
  const random = new Random(seed);
  const last = (1n << BigInt(domainBits)) - 1n;
  const near = knots.flatMap((knot) => [knot - 1n, knot, knot + 1n]);
  const drawn = Array.from({ length: 4000 }, () =>
    BigInt(Math.floor(2 ** (random.uniform() * domainBits))),
  );
  const all = [...near, ...drawn, last].filter((v) => v >= 1n && v <= last);
  return [...new Set(all)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

describe.each(cases)("the table of 1 / deviation, %j", (given) => {
  const { columns, proven, calibrated } = given;
  const scales = normScales("layers.0.norm", columns, given.eps, { proven, calibrated });
  const { table } = scales;
  const first = table.knots[1]!;
  const end = BigInt(fineEnd(table));
  const points = argumentsOf(table, columns);

  it("is right to 1e-4, and the rounding of its slope, where the variance was seen", () => {
    for (const v of points.filter((point) => point >= first && point < end)) {
      const exact = exactly(given, scales, Number(v));
      const rounding = 1 + 0.5 * 0.5 * 0.045 * Number(v);
      const error = Math.abs(valueAt(table, v) - exact);
      expect(error, `v = ${v}`).toBeLessThan(TABLE_ERROR * exact + rounding);
      // With the truncation of the argument: what the gate as a whole is right to.
      const truncation = table.shift > 0 ? 0.5 / Number(v) : 0;
      expect(error / exact + truncation, `v = ${v}`).toBeLessThan(SPLINE_ERROR);
    }
  });

  it("covers the seen range and half as much on either side, at 12 bits or more", () => {
    const perVariance = scales.kappa ** 2 * columns * 2 ** (2 * scales.operandBits - table.shift);
    expect(Number(first)).toBeLessThanOrEqual((calibrated[0] / 1.5) * perVariance + 1);
    const high = Math.min(1.5 * calibrated[1], proven) * perVariance;
    expect(Number(end)).toBeGreaterThanOrEqual(high - 1);
  });

  it("is a staircase below the function beyond it, by a quarter of an octave and a unit", () => {
    const unit = 2 ** (table.fracBits - scales.factorBits);
    for (const v of points.filter((point) => point >= end)) {
      const exact = exactly(given, scales, Number(v));
      const value = valueAt(table, v);
      expect(value, `v = ${v}`).toBeLessThanOrEqual(exact);
      expect(value, `v = ${v}`).toBeGreaterThan(exact * 2 ** -0.25 * (1 - 1e-3) - unit);
      expect(value % unit).toBe(0);
    }
  });

  it("is constant below it, and never above the function there", () => {
    for (const v of points.filter((point) => point < first)) {
      expect(valueAt(table, v)).toBe(Number(table.c0[0]));
      expect(valueAt(table, v)).toBeLessThanOrEqual(exactly(given, scales, Number(v)) + 1);
    }
  });

  it("lets no row leave the norm longer than NORM_EXCESS sqrt(d)", () => {
    const unit = 2 ** -scales.factorBits;
    for (const v of points) {
      // The factor may be rounded up by a unit, and V be one unit of v above it.
      const value = valueAt(table, v);
      const whole = value % 2 ** (table.fracBits - scales.factorBits) === 0;
      const g = value / 2 ** table.fracBits + (whole ? 0 : unit);
      const length = Math.sqrt((Number(v) + 1) * 2 ** (table.shift - 2 * scales.operandBits)) * g;
      expect(length / Math.sqrt(columns), `v = ${v}`).toBeLessThanOrEqual(NORM_EXCESS);
    }
  });

  it("does not rise, but for what its error allows", () => {
    let least = Number.POSITIVE_INFINITY;
    for (const v of points) {
      const value = valueAt(table, v);
      expect(value, `v = ${v}`).toBeLessThanOrEqual(least * (1 + TABLE_ERROR));
      least = Math.min(least, value);
    }
  });

  it("has knots in order within its domain, which holds the proven bound", () => {
    const { knots, c0, c1, domainBits, shift } = table;
    expect([c0.length, c1.length]).toEqual([knots.length, knots.length]);
    expect(knots[0]).toBe(0n);
    for (let k = 1; k < knots.length; k++) expect(knots[k]! > knots[k - 1]!).toBe(true);
    expect(knots.at(-1)! < 1n << BigInt(domainBits)).toBe(true);
    const greatest = proven * scales.kappa ** 2 * columns * 2 ** (2 * scales.operandBits);
    expect(2 ** (domainBits + shift)).toBeGreaterThan(greatest);
    expect(Math.log2(greatest)).toBeLessThan(62);
  });

  it("gives operands whose product is at the state's scale", () => {
    expect(scales.operandBits + scales.factorBits).toBe(STATE_BITS);
    expect(scales.kappa).toBeGreaterThan(0.5);
    expect(scales.kappa * 2 ** scales.growth).toBe(columns);
  });
});

describe("bounds that do not fit", () => {
  it("a sum of squares that the ring cannot hold is E_PLAN naming the wire", () => {
    const variance = { proven: 1e16, calibrated: [0.5, 2] as const };
    const { message } = errorOf("E_PLAN", () => normScales("layers.7.norm", 768, 0, variance));
    expect(message).toContain("layers.7.norm");
  });

  it("a range so wide that the factor's unit is too coarse is E_PLAN naming the wire", () => {
    const variance = { proven: 1e11, calibrated: [1e8, 1e10] as const };
    const { message } = errorOf("E_PLAN", () => normScales("layers.3.norm", 192, 0, variance));
    expect(message).toContain("layers.3.norm");
  });

  it("a wire fits below 62 bits and not at 62", () => {
    openingBits("x", 50, 2 ** 12 - 1);
    for (const magnitude of [2 ** 12, 2 ** 40, Number.POSITIVE_INFINITY]) {
      const { message } = errorOf("E_PLAN", () => openingBits("layers.1.u", 50, magnitude));
      expect(message).toContain("layers.1.u");
    }
  });
});

describe("the width of an opening", () => {
  it("leaves |z| < 2^(bits - 2), with a little room for the bound's own rounding", () => {
    const random = new Random(6);
    for (let i = 0; i < 500; i++) {
      const fracBits = Math.floor(40 * random.uniform());
      const magnitude = 2 ** (20 * random.uniform() - 2);
      const bits = openingBits("x", fracBits, magnitude);
      const greatest = magnitude * 2 ** fracBits;
      expect(greatest * (1 + 2 ** -11)).toBeLessThan(2 ** (bits - 2));
      // And is no more than a bit too wide.
      expect(greatest).toBeGreaterThan(2 ** (bits - 3) * (1 - 2 ** -9));
    }
  });

  it("takes one bit more at a power of two, and never more than the ring has", () => {
    expect(openingBits("x", 10, 4 * (1 - 2 ** -8))).toBe(14);
    expect(openingBits("x", 10, 4)).toBe(15);
    expect(openingBits("x", 10, 4 * (1 - 2 ** -14))).toBe(15);
    expect(openingBits("x", 50, 2 ** 12 * (1 - 2 ** -40))).toBe(64);
    expect(openingBits("x", 50, 2 ** 12 * (1 - 2 ** -8))).toBe(64);
  });
});

describe.each([
  { columns: 8, proven: 4000, calibrated: [0.2, 3], bits: 12 },
  { columns: 64, proven: 1e6, calibrated: [1e-3, 40], bits: 15 },
  { columns: 768, proven: 1e8, calibrated: [0.05, 400], bits: 12 },
  { columns: 2, proven: 1.5, calibrated: [0.9, 1.1], bits: 13 },
] as const)("RMSNorm from the least to the greatest proven mean square, %j", (given) => {
  const { columns, proven, calibrated, bits } = given;
  const how = { centred: false, bits };
  const eps = 1e-5;
  const { table, operandBits, factorBits, kappa, growth } = normScales(
    "norm",
    columns,
    eps,
    { proven, calibrated },
    how,
  );
  const unit = 2 ** (-2 * operandBits); // of a sum of squares
  const points = argumentsOf(table, columns);
  const factorUnit = 2 ** (table.fracBits - factorBits);
  /** Whole units of the factor are not rounded when it is opened, others up by less than one. */
  const factor = (v: bigint) => Math.ceil(valueAt(table, v) / factorUnit) * 2 ** -factorBits;
  const normed = (v: bigint) => factor(v) * Math.sqrt(Number(v) * unit);

  it("is never longer than it is planned for", () => {
    expect([kappa, growth]).toEqual([1, 0]);
    for (const v of points) {
      expect(normed(v) / Math.sqrt(columns), `v = ${v}`).toBeLessThan(NORM_EXCESS);
      // Far beyond what was seen it may be less than a unit, and then 0.
      expect(valueAt(table, v), `v = ${v}`).toBeGreaterThanOrEqual(0);
    }
  });

  it("reaches the greatest proven mean square, and is right where it was seen", () => {
    const last = (1n << BigInt(table.domainBits)) - 1n;
    expect(Number(last) * unit).toBeGreaterThanOrEqual(0.999 * columns * proven);
    const [low, high] = calibrated.map((square) => (columns * square) / unit);
    for (const v of points.filter((point) => Number(point) > low! && Number(point) < high!)) {
      const exact = Math.sqrt(columns / (Number(v) * unit + columns * eps));
      const error = Math.abs(valueAt(table, v) / 2 ** table.fracBits / exact - 1);
      expect(error, `v = ${v}`).toBeLessThan(SPLINE_ERROR);
    }
  });

  it("beyond, is a staircase on or below the function, less than an octave of it", () => {
    for (const v of points.filter(
      (point) => Number(point) * unit > 1.6 * columns * calibrated[1],
    )) {
      const exact = Math.sqrt(columns / (Number(v) * unit + columns * eps));
      const value = valueAt(table, v) / 2 ** table.fracBits;
      expect(value, `v = ${v}`).toBeLessThanOrEqual(exact * (1 + SPLINE_ERROR));
      expect(value, `v = ${v}`).toBeGreaterThan(
        exact * (2 ** -0.25 - SPLINE_ERROR) - 2 ** -factorBits,
      );
    }
  });
});
