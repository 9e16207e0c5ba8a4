// Arithmetic modulo 2^bits on vectors of words. The engine runs at 64 bits, where every call goes
// straight to the kernels; tests run the same gates on rings of 2 to 8 bits, where they can
// enumerate all randomness. A word is always stored reduced.

import { ensure } from "../errors.ts";
import type {
  AttentionDims,
  KeystreamMatrix,
  RingKernels,
  RingMatrix,
} from "../kernel/ring-kernels.ts";
import { interleaveInto, spreadInto } from "../kernel/words.ts";
import { type Memory, ownMemory } from "./memory.ts";
import { packedBytes } from "./pack.ts";

export type { AttentionDims };
export type Words = BigUint64Array;
/** A stored matrix whose column j counts 2^shift_j times: int16 entries of a wider range. */
export interface ShiftedMatrix {
  readonly matrix: RingMatrix;
  readonly rows: number;
  readonly columns: number;
  /** 2^shift_j for each column j. */
  readonly factors: Words;
}

/** A matrix that is stored, or one that a keystream is. */
export type AnyMatrix = RingMatrix | KeystreamMatrix | ShiftedMatrix;

export class Ring {
  /** Word width l: the ring is Z_2^l. */
  readonly bits: number;
  readonly kernels: RingKernels;
  /** Where results are put. */
  readonly memory: Memory;
  readonly #mask: bigint;

  constructor(kernels: RingKernels, bits = 64, memory: Memory = ownMemory) {
    ensure(bits >= 2 && bits <= 64, "E_RANGE", `a ring of ${bits} bits is not supported`);
    this.kernels = kernels;
    this.bits = bits;
    this.memory = memory;
    this.#mask = (1n << BigInt(bits)) - 1n;
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
    if (this.bits < 64) this.kernels.lowBits(words, words, this.bits);
    return words;
  }

  /** Words with arbitrary content. */
  words(count: number): Words {
    return this.memory.words(count);
  }

  zeros(count: number): Words {
    return this.memory.words(count).fill(0n);
  }

  copy(a: Words): Words {
    const out = this.memory.words(a.length);
    out.set(a);
    return out;
  }

  add(a: Words, b: Words): Words {
    const out = this.memory.words(a.length);
    this.kernels.add(out, a, b);
    return this.reduce(out);
  }

  sub(a: Words, b: Words): Words {
    const out = this.memory.words(a.length);
    this.kernels.sub(out, a, b);
    return this.reduce(out);
  }

  mul(a: Words, b: Words): Words {
    const out = this.memory.words(a.length);
    this.kernels.mul(out, a, b);
    return this.reduce(out);
  }

  negate(a: Words): Words {
    return this.scale(a, -1n);
  }

  scale(a: Words, factor: bigint): Words {
    const out = this.memory.words(a.length);
    this.kernels.scale(out, a, BigInt.asUintN(64, factor));
    return this.reduce(out);
  }

  /** a + b * factor. */
  addScaled(a: Words, b: Words, factor: bigint): Words {
    const out = this.copy(a);
    this.kernels.addScaled(out, b, BigInt.asUintN(64, factor));
    return this.reduce(out);
  }

  addConstant(a: Words, constant: bigint): Words {
    const out = this.memory.words(a.length);
    this.kernels.addConstant(out, a, BigInt.asUintN(64, constant));
    return this.reduce(out);
  }

  /** Adds `row` [columns] to every row of a [n, columns]. */
  addRow(a: Words, row: Words): Words {
    return this.add(a, this.repeat(row, a.length / row.length));
  }

  /** `times` copies of a vector, one after the other. */
  repeat(row: Words, times: number): Words {
    const out = this.memory.words(row.length * times);
    for (let i = 0; i < times; i++) out.set(row, i * row.length);
    return out;
  }

  /** Each word `times` times: [n] -> [n * times]. */
  spread(column: Words, times: number): Words {
    const out = this.memory.words(column.length * times);
    spreadInto(out, column, times);
    return out;
  }

  /** Vectors [n] as the columns of [n, vectors]. */
  interleave(columns: readonly Words[]): Words {
    const out = this.memory.words(columns[0]!.length * columns.length);
    interleaveInto(out, columns);
    return out;
  }

  /** Logical shift right. */
  shiftRight(a: Words, bits: number): Words {
    const out = this.memory.words(a.length);
    this.kernels.shiftRight(out, a, bits);
    return out;
  }

  /** Arithmetic shift right of the signed representatives. */
  shiftRightSigned(a: Words, bits: number): Words {
    const out = this.memory.words(a.length);
    if (this.bits === 64) {
      this.kernels.shiftRightSigned(out, a, bits);
      return out;
    }
    for (let i = 0; i < a.length; i++) out[i] = this.residue(this.signed(a[i]!) >> BigInt(bits));
    return out;
  }

  /** The low `bits` bits of each word, as bytes; what lies above is dropped. */
  pack(words: Words, bits: number): Uint8Array {
    const out = this.memory.bytes(packedBytes(words.length, bits));
    this.kernels.pack(out, words, bits);
    return out;
  }

  /**
   * The inverse of pack.
   * @throws E_FRAME when the length is not that of `count` words, or a bit to spare is set
   */
  unpack(bytes: Uint8Array, count: number, bits: number): Words {
    const fits = bytes.length === packedBytes(count, bits);
    ensure(fits, "E_FRAME", `expected ${count} words of ${bits} bits`);
    const spare = bytes.length * 8 - count * bits;
    const clean = spare === 0 || bytes.at(-1)! >> (8 - spare) === 0;
    ensure(clean, "E_FRAME", "a vector's last byte has bits beyond its last word");
    const out = this.memory.words(count);
    this.kernels.unpack(out, bytes, bits);
    return out;
  }

  /** Keeps the low `bits` bits of each word. */
  lowBits(a: Words, bits: number): Words {
    if (bits === 0) return this.zeros(a.length);
    const out = this.memory.words(a.length);
    this.kernels.lowBits(out, a, bits);
    return out;
  }

  /** [n, width] -> [n]. */
  sumRows(a: Words, width: number): Words {
    const out = this.memory.words(a.length / width);
    this.kernels.sumRows(out, a, width);
    return this.reduce(out);
  }

  /** x [m, rows] times matrix [rows, columns] -> [m, columns]; or a transposed keystream. */
  matmul(x: Words, matrix: AnyMatrix): Words {
    const turned = "transposed" in matrix && matrix.transposed;
    const [inner, outer] = turned ? [matrix.columns, matrix.rows] : [matrix.rows, matrix.columns];
    const out = this.memory.words((x.length / inner) * outer);
    if ("transposed" in matrix) this.kernels.matmulKeystream(out, x, matrix);
    else if ("factors" in matrix) {
      this.kernels.matmul(out, x, matrix.matrix);
      this.kernels.mul(out, out, this.repeat(matrix.factors, out.length / outer));
    } else this.kernels.matmul(out, x, matrix);
    return this.reduce(out);
  }

  /** Constant attention on words: x [s, columns] -> [s - start, columns]; see RingKernels. */
  attend(x: Words, weights: Words | Int16Array, dims: AttentionDims): Words {
    const out = this.memory.words(x.length - dims.start * dims.columns);
    this.kernels.attend(out, x, weights, dims);
    return this.reduce(out);
  }
}
