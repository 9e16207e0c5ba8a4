import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { packedBytes } from "./pack.ts";
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
  });

  test("packed words are a dense string of bits and come back, whatever lies above them", () => {
    fc.assert(
      fc.property(operands, fc.nat(), fc.nat({ max: 9 }), ({ ring: on, a }, by, at) => {
        const bits = 1 + (by % 64);
        const before = a.slice();
        const bytes = on.pack(a, bits);
        expect(a).toEqual(before);
        expect(bytes.length).toBe(packedBytes(a.length, bits));
        const low = a.map((x) => BigInt.asUintN(bits, x));
        const whole = low.reduceRight((sum, x) => (sum << BigInt(bits)) | x, 0n);
        const read = bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
        expect(read).toBe(whole);
        // As a part of a message, at any address.
        const message = new Uint8Array(bytes.length + at + 3).fill(255);
        message.set(bytes, at);
        expect(on.unpack(message.subarray(at, at + bytes.length), a.length, bits)).toEqual(low);
      }),
      { numRuns: 300 },
    );
  });

  test("bytes of another length, or with a bit to spare set, are E_FRAME", () => {
    const on = new Ring(kernels);
    for (let bits = 1; bits <= 64; bits++) {
      for (const count of [1, 3, 6, 8]) {
        const bytes = on.pack(new BigUint64Array(count).fill(on.residue(-1n)), bits);
        expect(on.unpack(bytes, count, bits)[count - 1]).toBe((1n << BigInt(bits)) - 1n);
        errorOf("E_FRAME", () => on.unpack(bytes.subarray(1), count, bits));
        errorOf("E_FRAME", () => on.unpack(Uint8Array.of(...bytes, 0), count, bits));
        const spare = 8 * bytes.length - count * bits;
        for (let bit = 8 - spare; bit < 8; bit++) {
          const dirty = bytes.slice();
          dirty[dirty.length - 1] = (1 << bit) | 1;
          errorOf("E_FRAME", () => on.unpack(dirty, count, bits));
        }
      }
    }
    expect(on.unpack(new Uint8Array(0), 0, 17)).toHaveLength(0);
    errorOf("E_FRAME", () => on.unpack(new Uint8Array(1), 0, 17));
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
        // The same matrix as the keystream that it is, and turned.
        const key = Uint8Array.from({ length: 32 }, (_, i) => i + seed);
        const stream = { rows: 3, columns: 2, key, nonce: new Uint8Array(12), transposed: false };
        const made = new BigUint64Array(6);
        kernels.chacha12(new Uint8Array(made.buffer), key, stream.nonce, 0);
        expect(on.matmul(x, stream)).toEqual(on.matmul(x, kernels.loadRing(made, 3, 2)));
        const turned = made.map((_, i) => made[(i % 3) * 2 + Math.floor(i / 3)]!);
        const back = on.matmul(x, { ...stream, transposed: true });
        expect(back).toEqual(on.matmul(x, kernels.loadRing(turned, 2, 3)));
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
