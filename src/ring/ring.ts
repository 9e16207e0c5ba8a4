// Arithmetic modulo 2^bits on vectors of words. The engine runs at 64 bits, where every call goes
// straight to the kernels; tests run the same gates on rings of 2 to 8 bits, where they can
// enumerate all randomness. A word is always stored reduced.

import { ensure } from "../errors.ts";
import type { AttentionDims, RingKernels, RingMatrix } from "../kernel/ring-kernels.ts";
import { trim } from "./pack.ts";

export type { AttentionDims };
export type Words = BigUint64Array;

export class Ring {
  /** Word width l: the ring is Z_2^l. */
  readonly bits: number;
  readonly kernels: RingKernels;
  readonly #mask: bigint;

  constructor(kernels: RingKernels, bits = 64) {
    ensure(bits >= 2 && bits <= 64, "E_RANGE", `a ring of ${bits} bits is not supported`);
    this.kernels = kernels;
    this.bits = bits;
    this.#mask = (1n << BigInt(bits)) - 1n;
  }

  /** Bytes that one word takes on the wire and in a bundle. */
  get wordBytes(): number {
    return Math.ceil(this.bits / 8);
  }

  /** The residue of any integer. */
  residue(value: bigint): bigint {
    return value & this.#mask;
  }

  /** The representative in [-2^(bits-1), 2^(bits-1)). */
  signed(word: bigint): bigint {
    return BigInt.asIntN(this.bits, word);
  }

  /** Reduces in place words that are right modulo 2^64. */
  reduce(words: Words): Words {
    return trim(words, this.bits);
  }

  add(a: Words, b: Words): Words {
    const out = new BigUint64Array(a.length);
    this.kernels.add(out, a, b);
    return this.reduce(out);
  }

  sub(a: Words, b: Words): Words {
    const out = new BigUint64Array(a.length);
    this.kernels.sub(out, a, b);
    return this.reduce(out);
  }

  mul(a: Words, b: Words): Words {
    const out = new BigUint64Array(a.length);
    this.kernels.mul(out, a, b);
    return this.reduce(out);
  }

  negate(a: Words): Words {
    return this.scale(a, -1n);
  }

  scale(a: Words, factor: bigint): Words {
    const out = new BigUint64Array(a.length);
    this.kernels.scale(out, a, BigInt.asUintN(64, factor));
    return this.reduce(out);
  }

  /** a + b * factor. */
  addScaled(a: Words, b: Words, factor: bigint): Words {
    const out = a.slice();
    this.kernels.addScaled(out, b, BigInt.asUintN(64, factor));
    return this.reduce(out);
  }

  addConstant(a: Words, constant: bigint): Words {
    const out = new BigUint64Array(a.length);
    this.kernels.addConstant(out, a, BigInt.asUintN(64, constant));
    return this.reduce(out);
  }

  /** Adds `row` [columns] to every row of a [n, columns]. */
  addRow(a: Words, row: Words): Words {
    return this.add(a, this.repeat(row, a.length / row.length));
  }

  /** `times` copies of a vector, one after the other. */
  repeat(row: Words, times: number): Words {
    const out = new BigUint64Array(row.length * times);
    for (let i = 0; i < times; i++) out.set(row, i * row.length);
    return out;
  }

  /** Each word `times` times: [n] -> [n * times]. */
  spread(column: Words, times: number): Words {
    const out = new BigUint64Array(column.length * times);
    for (let i = 0; i < column.length; i++) out.fill(column[i]!, i * times, (i + 1) * times);
    return out;
  }

  /** Logical shift right. */
  shiftRight(a: Words, bits: number): Words {
    const out = new BigUint64Array(a.length);
    this.kernels.shiftRight(out, a, bits);
    return out;
  }

  /** Arithmetic shift right of the signed representatives. */
  shiftRightSigned(a: Words, bits: number): Words {
    const out = new BigUint64Array(a.length);
    if (this.bits === 64) {
      this.kernels.shiftRightSigned(out, a, bits);
      return out;
    }
    for (let i = 0; i < a.length; i++) out[i] = this.residue(this.signed(a[i]!) >> BigInt(bits));
    return out;
  }

  /** Keeps the low `bits` bits of each word. */
  lowBits(a: Words, bits: number): Words {
    return trim(a.slice(), bits);
  }

  /** [n, width] -> [n]. */
  sumRows(a: Words, width: number): Words {
    const out = new BigUint64Array(a.length / width);
    this.kernels.sumRows(out, a, width);
    return this.reduce(out);
  }

  /** x [m, rows] times matrix [rows, columns] -> [m, columns]. */
  matmul(x: Words, matrix: RingMatrix): Words {
    const out = new BigUint64Array((x.length / matrix.rows) * matrix.columns);
    this.kernels.matmul(out, x, matrix);
    return this.reduce(out);
  }

  /** Constant attention on words: x [s, columns] -> [s - start, columns]; see RingKernels. */
  attend(x: Words, weights: Words, dims: AttentionDims): Words {
    const out = new BigUint64Array(x.length - dims.start * dims.columns);
    this.kernels.attend(out, x, weights, dims);
    return this.reduce(out);
  }
}
