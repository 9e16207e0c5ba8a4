// Every table against plain Math functions: at both ends of its argument's domain, around every
// knot, and in between, within the error that it states.

import { describe, expect, it } from "vitest";
import { plainGelu, plainSilu } from "../../test/plain-functions.ts";
import { type Dither, inTheClear, type PiecewiseTable, topOf } from "../gate/piecewise.ts";
import {
  activationTable,
  expTable,
  RECIPROCAL_BITS,
  reciprocalTable,
  reluTable,
} from "./tables.ts";

/** Arguments y, as integers: the ends, each knot and both its neighbours, and between knots. */
function argumentsOf(table: PiecewiseTable, between = 40): bigint[] {
  const { knots, least } = table;
  const top = topOf(table);
  const out = new Set<bigint>([0n, 1n, top - 1n, top]);
  for (const [k, knot] of knots.entries()) {
    const length = (knots[k + 1] ?? top + 1n) - knot;
    const before = knot - (2n << BigInt(table.blockBits));
    for (const v of [before, before + 1n, before + 2n]) if (v >= 0n && v <= top) out.add(v);
    for (const v of [knot - 1n, knot, knot + 1n]) if (v >= 0n && v <= top) out.add(v);
    for (let i = 1; i < between; i++) {
      const v = knot + (length * BigInt(i)) / BigInt(between);
      if (v <= top) out.add(v);
    }
  }
  return [...out].map((v) => v + least);
}

/** Dither that lets a coarse table's pieces part at a knot, as far below it as can be, between. */
function dithersOf({ blockBits }: PiecewiseTable): Dither[] {
  const block = 1n << BigInt(blockBits);
  const some = [...new Set([0n, 1n, block / 2n, block - 1n])].filter((word) => word < block);
  return some.flatMap((r1) => some.map((rho) => ({ r1, rho })));
}

/** Values of a table at an argument, for dither of all kinds. */
const valuesAt = (table: PiecewiseTable, y: bigint) =>
  dithersOf(table).map((dither) => inTheClear(table, y - table.least, dither));

/** The worst error of a table, in units of the allowed one. */
function worst(
  table: PiecewiseTable,
  fracBits: number,
  { of, allowed }: { of: (x: number) => number; allowed: (x: number) => number },
) {
  let [most, where] = [0, 0];
  for (const y of argumentsOf(table)) {
    const x = Number(y) * 2 ** -fracBits;
    for (const word of valuesAt(table, y)) {
      const value = Number(word) * 2 ** -table.fracBits;
      // Coefficients are integers of the value's last place.
      const error = Math.abs(value - of(x)) / (allowed(x) + 2 ** -table.fracBits);
      if (error > most) [most, where] = [error, x];
    }
  }
  return { most, where };
}

/** Bits after the point of operands as the planner has them, and of the activation's argument. */
const precisions = [12, 13, 15] as const;

describe.each(precisions)("tables for operands of %i bits", (precision) => {
  const fracBits = precision - 2;
  const functions = [
    ["tanh", plainGelu.tanh],
    ["erf", plainGelu.erf],
    ["silu", plainSilu],
  ] as const;

  it.each(functions)("%s: over all of its argument's bits", (kind, of) => {
    for (const whole of [1, 3, 5, 9]) {
      const bits = fracBits + whole + 1;
      const magnitude = 2 ** whole - 2 ** -2;
      const value = { magnitude, fracBits: precision + 16 };
      const table = activationTable(kind, { fracBits, bits, precision }, value);
      const allowed = () => 2 ** -precision;
      const { most, where } = worst(table, fracBits, { of, allowed });
      expect(most, `at ${where} of ${bits} bits`).toBeLessThanOrEqual(1);
      expect(table.knots.length).toBeLessThan(400);
    }
  });

  it("ReLU: exactly", () => {
    const bits = fracBits + 5;
    const table = reluTable({ fracBits, bits }, precision + 4);
    for (const y of argumentsOf(table)) {
      const value = inTheClear(table, y - table.least);
      expect(value).toBe((y > 0n ? y : 0n) << BigInt(precision + 4 - fracBits));
    }
  });

  it("exp: from the least argument to 0, never negative, exactly 1 at 0", () => {
    for (const whole of [1, 4, 7, 12]) {
      const bits = precision + whole;
      const least = 2 ** -2 - 2 ** whole;
      const table = expTable({ fracBits: precision, bits, precision }, least, 32);
      expect(table.blockBits).toBeGreaterThan(4);
      const allowed = () => 2 ** -(precision + 1);
      const { most, where } = worst(table, precision, { of: Math.exp, allowed });
      expect(most, `at ${where} of ${bits} bits`).toBeLessThanOrEqual(1);
      const values = argumentsOf(table).flatMap((y) => valuesAt(table, y));
      expect(values.filter((value) => value < 0n)).toEqual([]);
      expect(new Set(valuesAt(table, 0n))).toEqual(new Set([1n << 32n]));
      expect(argumentsOf(table).every((y) => y <= 0n)).toBe(true);
    }
  });

  it("reciprocal: from 1 to the greatest sum, and no step below", () => {
    for (const greatest of [1.01, 2, 8.06, 129, 1032, 4100]) {
      const bits = 28 + Math.ceil(Math.log2(greatest)) + 1;
      const table = reciprocalTable({ fracBits: 28, bits, precision }, greatest);
      const of = (z: number) => 1 / z;
      const inside = {
        ...table,
        knots: table.knots.filter((k) => Number(k) <= greatest * 2 ** 28),
      };
      let most = 0;
      for (const y of [...argumentsOf(inside), 1n << 28n, BigInt(Math.floor(greatest * 2 ** 28))]) {
        const z = Number(y) * 2 ** -28;
        for (const word of valuesAt(table, y)) {
          const value = Number(word) * 2 ** -RECIPROCAL_BITS;
          expect(value).toBeLessThan(1.05); // what its opening is planned for
          expect(value).toBeGreaterThanOrEqual(0);
          if (z < 1 || z > greatest) continue;
          most = Math.max(most, Math.abs(value - of(z)) / (of(z) * 2 ** -(precision + 1)));
        }
      }
      expect(most, `greatest ${greatest}`).toBeLessThanOrEqual(1);
    }
  });
});

describe("a softmax of tables", () => {
  /** Weights of scores in units of 2^-precision, as the gates make them, and the real ones. */
  function softmax(scores: readonly number[], magnitude: number, precision: number) {
    const bits = precision + Math.ceil(Math.log2(2 * magnitude + 2 ** -2));
    const table = expTable({ fracBits: precision, bits, precision }, -2 * magnitude, 28);
    const y = scores.map((score) => BigInt(Math.round(score * 2 ** precision)));
    const greatest = y.reduce((a, b) => (a > b ? a : b));
    const weights = y.map((value) => inTheClear(table, value - greatest - table.least));
    const sum = weights.reduce((a, b) => a + b, 0n);
    const most = scores.length * (1 + 2 ** -7);
    const argument = { fracBits: 28, bits: 28 + Math.ceil(Math.log2(most)) + 1, precision };
    const factor = inTheClear(reciprocalTable(argument, most), sum);
    const got = weights.map((w) => Number(w) * Number(factor) * 2 ** -(28 + RECIPROCAL_BITS));
    const top = Math.max(...scores);
    const real = scores.map((score) => Math.exp(score - top));
    const total = real.reduce((a, b) => a + b, 0);
    return { sum: Number(sum) * 2 ** -28, most, got, wanted: real.map((value) => value / total) };
  }

  const rows: [string, number[], number][] = [
    ["one position", [3], 8],
    ["all scores equal, at the bound", new Array(512).fill(-8), 8],
    ["bound and minus bound in one row", [8, -8, 8, -8], 8.16],
    ["as far apart as can be", [100, -100], 102],
    ["one great score among 1023", [40, ...new Array(1023).fill(-40)], 41],
    ["1024 at the edge of what counts", [0, ...new Array(1023).fill(-9.3)], 16],
    ["sums near the greatest", new Array(1024).fill(0).map((_, i) => -(i % 3) / 4096), 4],
  ];

  it.each(rows)("%s", (_name, scores, magnitude) => {
    for (const precision of precisions) {
      const { sum, most, got, wanted } = softmax(scores, magnitude, precision);
      expect(sum).toBeGreaterThanOrEqual(1);
      expect(sum).toBeLessThan(most);
      // Each weight is off by its own error and its share of the sum's.
      const half = 2 ** -(precision + 1);
      const unit = 2 ** -precision; // scores are rounded to it
      const ofSum = scores.length * half + unit;
      got.forEach((value, i) => {
        const allowed = half + wanted[i]! * (ofSum + 2 * unit + half) + 2 ** -27;
        expect(Math.abs(value - wanted[i]!)).toBeLessThan(allowed);
      });
    }
  });
});
