import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring, type Words } from "./ring.ts";

const kernels = referenceRingKernels();
const ring = fc.integer({ min: 2, max: 64 }).map((bits) => new Ring(kernels, bits));
const factor = fc.bigInt({ min: -(1n << 70n), max: 1n << 70n });

/** A ring and two vectors of its words. */
const operands = ring.chain((on) => {
  const word = fc.oneof(
    fc.bigInt({ min: 0n, max: on.residue(-1n) }),
    fc.constantFrom(0n, 1n, on.residue(-1n), 1n << BigInt(on.bits - 1)),
  );
  const pair = fc.array(fc.tuple(word, word), { minLength: 1, maxLength: 8 });
  return pair.map((pairs) => ({
    ring: on,
    a: BigUint64Array.from(pairs, ([left]) => left),
    b: BigUint64Array.from(pairs, ([, right]) => right),
  }));
});

/** Every result must be the integer one, reduced. */
function same(on: Ring, got: Words, wanted: readonly bigint[]): void {
  expect([...got]).toEqual(wanted.map((value) => on.residue(value)));
}

describe("ring", () => {
  test("elementwise arithmetic is that of the integers, modulo 2^bits", () => {
    fc.assert(
      fc.property(operands, factor, ({ ring: on, a, b }, by) => {
        const each = (body: (x: bigint, y: bigint) => bigint) =>
          [...a].map((x, i) => body(x, b[i]!));
        same(
          on,
          on.add(a, b),
          each((x, y) => x + y),
        );
        same(
          on,
          on.sub(a, b),
          each((x, y) => x - y),
        );
        same(
          on,
          on.mul(a, b),
          each((x, y) => x * y),
        );
        same(
          on,
          on.negate(a),
          each((x) => -x),
        );
        same(
          on,
          on.scale(a, by),
          each((x) => x * by),
        );
        same(
          on,
          on.addScaled(a, b, by),
          each((x, y) => x + y * by),
        );
        same(
          on,
          on.addConstant(a, by),
          each((x) => x + by),
        );
        const sum = [...a].reduce((total, x) => total + x, 0n);
        same(on, on.sumRows(a, a.length), [sum]);
      }),
      { numRuns: 200 },
    );
  });

  test("shifts and low bits, logical and of signed representatives", () => {
    fc.assert(
      fc.property(operands, fc.nat(), ({ ring: on, a }, by) => {
        const shift = by % on.bits;
        same(
          on,
          on.shiftRight(a, shift),
          [...a].map((x) => x >> BigInt(shift)),
        );
        same(
          on,
          on.shiftRightSigned(a, shift),
          [...a].map((x) => on.signed(x) >> BigInt(shift)),
        );
        same(
          on,
          on.lowBits(a, shift),
          [...a].map((x) => BigInt.asUintN(shift, x)),
        );
      }),
      { numRuns: 100 },
    );
  });

  test("signed representatives lie in [-2^(bits-1), 2^(bits-1))", () => {
    const on = new Ring(kernels, 5);
    expect(on.signed(15n)).toBe(15n);
    expect(on.signed(16n)).toBe(-16n);
    expect(on.signed(31n)).toBe(-1n);
    expect(on.residue(-1n)).toBe(31n);
    expect(on.wordBytes).toBe(1);
    expect(new Ring(kernels, 33).wordBytes).toBe(5);
  });

  test("rows and columns", () => {
    const on = new Ring(kernels, 8);
    const row = BigUint64Array.of(1n, 255n);
    expect(on.repeat(row, 2)).toEqual(BigUint64Array.of(1n, 255n, 1n, 255n));
    expect(on.spread(row, 2)).toEqual(BigUint64Array.of(1n, 1n, 255n, 255n));
    expect(on.addRow(on.repeat(row, 2), row)).toEqual(BigUint64Array.of(2n, 254n, 2n, 254n));
    expect(on.sumRows(on.spread(row, 3), 3)).toEqual(BigUint64Array.of(3n, 253n));
  });

  test("matrix products and constant attention are the sums that they stand for", () => {
    fc.assert(
      fc.property(ring, fc.nat(), (on, seed) => {
        const value = (i: number) => on.residue(BigInt(i + seed) * 0x9e3779b97f4a7c15n);
        const x = BigUint64Array.from({ length: 6 }, (_, i) => value(i));
        const w = BigUint64Array.from({ length: 18 }, (_, i) => value(i + 100));
        const product = on.matmul(x, kernels.loadRing(w.slice(0, 6), 3, 2));
        const entry = (i: number, j: number) =>
          [0, 1, 2].reduce((sum, k) => sum + x[3 * i + k]! * w[2 * k + j]!, 0n);
        same(on, product, [entry(0, 0), entry(0, 1), entry(1, 0), entry(1, 1)]);
        // Two heads of one column, three positions, the last row new; later positions unused.
        const dims = { heads: 2, positions: 3, start: 1, columns: 2 };
        const mixed = (head: number) =>
          w[head * 9 + 3]! * x[head]! + w[head * 9 + 4]! * x[2 + head]!;
        same(on, on.attend(x.subarray(0, 4), w, dims), [mixed(0), mixed(1)]);
      }),
      { numRuns: 60 },
    );
  });

  test("widths outside 2 to 64 are refused", () => {
    errorOf("E_RANGE", () => new Ring(kernels, 1));
    errorOf("E_RANGE", () => new Ring(kernels, 65));
  });
});
