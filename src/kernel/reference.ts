// The slow, readable ring kernels: the meaning of every operation, which the fast ones must match
// bit for bit. Plain loops over bigint; ChaCha works on 32-bit words. Byte order is that of the
// platform, little-endian wherever JavaScript runs today.

import { ensure } from "../errors.ts";
import { chachaBlock } from "./chacha-reference.ts";
import { keyBytesOf } from "./function-key.ts";
import {
  evaluate,
  evaluateMany,
  generate,
  generateMany,
  referencePrgs,
} from "./function-reference.ts";
import { composedPiecewise } from "./piecewise.ts";
import {
  checkAttend,
  checkBits,
  checkChacha,
  checkKeystream,
  checkLoad,
  checkMatmul,
  checkPacked,
  checkSameLength,
  checkShift,
  checkSumRows,
} from "./ring-checks.ts";
import type { AttentionDims, KeystreamMatrix, RingKernels, RingMatrix } from "./ring-kernels.ts";

interface ReferenceMatrix extends RingMatrix {
  entries: Int16Array | BigUint64Array | undefined;
}

export function referenceRingKernels(): RingKernels {
  const kernels: RingKernels = {
    name: "reference",
    functionPrgs: referencePrgs,
    add(out, a, b) {
      checkSameLength("add", out, a, b);
      for (let i = 0; i < out.length; i++) out[i] = a[i] + b[i];
    },
    sub(out, a, b) {
      checkSameLength("sub", out, a, b);
      for (let i = 0; i < out.length; i++) out[i] = a[i] - b[i];
    },
    mul(out, a, b) {
      checkSameLength("mul", out, a, b);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asUintN(64, a[i] * b[i]);
    },
    scale(out, a, factor) {
      checkSameLength("scale", out, a);
      const f = BigInt.asUintN(64, factor);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asUintN(64, a[i] * f);
    },
    addScaled(out, a, factor) {
      checkSameLength("addScaled", out, a);
      const f = BigInt.asUintN(64, factor);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asUintN(64, out[i] + a[i] * f);
    },
    addConstant(out, a, constant) {
      checkSameLength("addConstant", out, a);
      const c = BigInt.asUintN(64, constant);
      for (let i = 0; i < out.length; i++) out[i] = a[i] + c;
    },
    shiftRight(out, a, bits) {
      checkSameLength("shiftRight", out, a);
      checkShift("shiftRight", bits);
      for (let i = 0; i < out.length; i++) out[i] = a[i] >> BigInt(bits);
    },
    shiftRightSigned(out, a, bits) {
      checkSameLength("shiftRightSigned", out, a);
      checkShift("shiftRightSigned", bits);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asIntN(64, a[i]) >> BigInt(bits);
    },
    lowBits(out, a, bits) {
      checkSameLength("lowBits", out, a);
      checkBits("lowBits", bits);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asUintN(bits, a[i]);
    },
    sumRows(out, a, width) {
      checkSumRows(out, a, width);
      for (let i = 0; i < out.length; i++) {
        let sum = 0n;
        for (let j = 0; j < width; j++) sum = BigInt.asUintN(64, sum + a[i * width + j]);
        out[i] = sum;
      }
    },
    pack,
    unpack,
    loadInt16(weights, rows, columns) {
      checkLoad("loadInt16", weights.length, rows, columns);
      return matrix("int16", weights.slice(), rows, columns);
    },
    loadRing(words, rows, columns) {
      checkLoad("loadRing", words.length, rows, columns);
      return matrix("ring", words.slice(), rows, columns);
    },
    matmul,
    matmulKeystream,
    attend,
    chacha12,
    dcfGenerate: (options) => generate("dcf", options),
    dcfGenerateMany: (options) => generateMany("dcf", options),
    dcfEvaluate: (options) => evaluate("dcf", options),
    dcfEvaluateMany: (options) => evaluateMany("dcf", options),
    dcfKeyBytes: (shape) => keyBytesOf("dcf", shape),
    dpfGenerate: (options) => generate("dpf", options),
    dpfGenerateMany: (options) => generateMany("dpf", options),
    dpfEvaluate: (options) => evaluate("dpf", options),
    dpfEvaluateMany: (options) => evaluateMany("dpf", options),
    dpfKeyBytes: (shape) => keyBytesOf("dpf", shape),
    piecewise: (options) => composedPiecewise(kernels, options),
    close() {},
  };
  return kernels;
}

function pack(out: Uint8Array, words: BigUint64Array, bits: number): void {
  checkPacked("pack", out, words, bits);
  let [held, heldBits, at] = [0n, 0, 0];
  for (const word of words) {
    held |= BigInt.asUintN(bits, word) << BigInt(heldBits);
    for (heldBits += bits; heldBits >= 8; heldBits -= 8) {
      out[at++] = Number(held & 255n);
      held >>= 8n;
    }
  }
  if (heldBits > 0) out[at] = Number(held);
}

function unpack(out: BigUint64Array, bytes: Uint8Array, bits: number): void {
  checkPacked("unpack", bytes, out, bits);
  let [held, heldBits, at] = [0n, 0, 0];
  for (let i = 0; i < out.length; i++) {
    for (; heldBits < bits; heldBits += 8) held |= BigInt(bytes[at++]) << BigInt(heldBits);
    out[i] = BigInt.asUintN(bits, held);
    held >>= BigInt(bits);
    heldBits -= bits;
  }
}

function matrix(
  kind: "int16" | "ring",
  entries: Int16Array | BigUint64Array,
  rows: number,
  columns: number,
): ReferenceMatrix {
  return {
    rows,
    columns,
    kind,
    entries,
    free() {
      this.entries = undefined;
    },
  };
}

function matmul(out: BigUint64Array, x: BigUint64Array, weights: RingMatrix): void {
  const m = checkMatmul(out, x, weights);
  const { entries, rows, columns } = weights as ReferenceMatrix;
  ensure(entries !== undefined, "E_KERNEL", "matmul: the matrix was freed or is another kernel's");
  out.fill(0n);
  for (let i = 0; i < m; i++) {
    for (let k = 0; k < rows; k++) {
      const factor = x[i * rows + k];
      for (let j = 0; j < columns; j++) {
        const product = BigInt.asUintN(64, factor * BigInt(entries[k * columns + j]));
        out[i * columns + j] += product;
      }
    }
  }
}

function matmulKeystream(out: BigUint64Array, x: BigUint64Array, matrix: KeystreamMatrix): void {
  const m = checkKeystream(out, x, matrix);
  const { rows, columns, transposed, key, nonce } = matrix;
  const words = new BigUint64Array(rows * columns);
  chacha12(new Uint8Array(words.buffer), key, nonce, 0);
  const [inner, outer] = transposed ? [columns, rows] : [rows, columns];
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < outer; j++) {
      let sum = 0n;
      for (let k = 0; k < inner; k++) {
        sum += x[i * inner + k] * words[transposed ? j * columns + k : k * columns + j];
      }
      out[i * outer + j] = BigInt.asUintN(64, sum);
    }
  }
}

function attend(
  out: BigUint64Array,
  x: BigUint64Array,
  weights: BigUint64Array | Int16Array,
  dims: AttentionDims,
): void {
  const rows = checkAttend(out, x, weights, dims);
  const { heads, positions, start, columns } = dims;
  const held = dims.held ?? { from: 0, count: positions };
  const width = columns / heads;
  out.fill(0n);
  for (let row = start; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const head = Math.floor(column / width);
      const weightRow = (head * held.count + row - held.from) * positions;
      let sum = 0n;
      for (let j = 0; j <= row; j++) {
        sum += BigInt(weights[weightRow + j]) * x[j * columns + column];
      }
      out[(row - start) * columns + column] = BigInt.asUintN(64, sum);
    }
  }
}

// ChaCha12

/** "expand 32-byte k". */
const longKeyConstants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

function chacha12(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, counter: number): void {
  checkChacha(out, key, nonce, counter);
  const input = new Uint32Array(16);
  input.set(longKeyConstants, 0);
  input.set(toWords(key), 4);
  input.set(toWords(nonce), 13);
  for (let offset = 0; offset < out.length; offset += 64) {
    input[12] = counter + offset / 64;
    const bytes = new Uint8Array(chachaBlock(input).buffer);
    out.set(bytes.subarray(0, out.length - offset), offset);
  }
}

function toWords(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.slice().buffer);
}
