// The float32 kernels in WASM SIMD (assembly/float.ts). Operands are copied into the module's
// memory and the result out of it, which costs a few percent of a product at training sizes.
// Nothing of Node is imported: whoever has the bytes can use them, in a browser too.

import { ensure, MergenError } from "../errors.ts";
import {
  adamwFactors,
  checkElementwise,
  checkGemm,
  checkMixHeads,
  checkSoftmax,
  formNumber,
  gemmFlags,
} from "./float-check.ts";
import type {
  AdamwOptions,
  FloatKernels,
  GemmOptions,
  MixHeadsOptions,
  SoftmaxOptions,
} from "./float-kernels.ts";

interface Exports {
  memory: WebAssembly.Memory;
  heapBase(): number;
  scratchBytes(): number;
  gemm(
    m: number,
    n: number,
    k: number,
    a: number,
    b: number,
    out: number,
    flags: number,
    scratch: number,
  ): void;
  addRows(
    depth: number,
    columns: number,
    a: number,
    b: number,
    strideBytes: number,
    out: number,
    add: number,
  ): void;
  dotRows(count: number, k: number, a: number, b: number, out: number, add: number): void;
  gelu(form: number, count: number, x: number, out: number): void;
  geluGradient(form: number, count: number, x: number, dy: number, out: number): void;
  softmax(
    rows: number,
    columns: number,
    causalRows: number,
    firstRow: number,
    x: number,
    out: number,
    logSums: number,
  ): void;
  adamw(
    count: number,
    weights: number,
    gradients: number,
    firstMoment: number,
    secondMoment: number,
    beta1: number,
    beta2: number,
    stepSize: number,
    rootScale: number,
    epsilon: number,
    decay: number,
    gradientScale: number,
  ): void;
}

const pageBytes = 65536;
const maxBytes = 2 ** 32 - pageBytes;
/** Elementwise kernels work on pieces of this many elements, which stay in the caches. */
const pieceLength = 16384;
/** Products of up to this many rows wait for memory: the matrix is read in pieces, never packed. */
const fewRows = 4;
/** Elements of a matrix that are copied in at a time for such a product. */
const matrixPieceLength = 65536;

/**
 * Makes the kernels from the bytes of build/float.wasm or build/float-simd.wasm.
 * @throws  E_KERNEL when the engine does not take the module
 */
export async function createFloatWasm(bytes: Uint8Array<ArrayBuffer>): Promise<FloatKernels> {
  let exports: Exports;
  try {
    const { instance } = await WebAssembly.instantiate(bytes);
    exports = instance.exports as unknown as Exports;
  } catch (cause) {
    throw new MergenError("E_KERNEL", "the float WASM module does not load here", { cause });
  }
  return {
    name: "wasm",
    gemm: (options) => gemm(exports, options),
    mixHeads: (options) => mixHeads(exports, options),
    gelu({ form, x, out }) {
      const count = checkElementwise("gelu", { x, out });
      const run = (length: number, [xAt, outAt]: number[]) =>
        exports.gelu(formNumber(form), length, xAt, outAt);
      inPieces(exports, { count, read: [x], write: [out], run });
    },
    geluGradient({ form, x, dy, out }) {
      const count = checkElementwise("geluGradient", { x, dy, out });
      const run = (length: number, [xAt, dyAt, outAt]: number[]) =>
        exports.geluGradient(formNumber(form), length, xAt, dyAt, outAt);
      inPieces(exports, { count, read: [x, dy], write: [out], run });
    },
    softmax: (options) => softmax(exports, options),
    adamw: (options) => adamw(exports, options),
  };
}

function gemm(exports: Exports, options: GemmOptions): void {
  checkGemm(options);
  const { m, n, k, a, b, out, accumulate } = options;
  if (m === 0 || n === 0) return;
  if (k === 0) {
    if (!accumulate) out.fill(0);
    return;
  }
  if (m <= fewRows) {
    fewRowsGemm(exports, options);
    return;
  }
  const [aAt, bAt, outAt, scratchAt] = layOut(exports, [a.length, b.length, out.length], {
    scratchBytes: exports.scratchBytes(),
  });
  const heap = new Float32Array(exports.memory.buffer);
  heap.set(a, aAt / 4);
  heap.set(b, bAt / 4);
  if (accumulate) heap.set(out, outAt / 4);
  exports.gemm(m, n, k, aAt, bAt, outAt, gemmFlags(options), scratchAt);
  out.set(heap.subarray(outAt / 4, outAt / 4 + m * n));
}

/** A piece of b at a time is copied to where it stays in the caches, and used for all rows of a. */
function fewRowsGemm(exports: Exports, options: GemmOptions): void {
  const { m, n, k, a, b, out, transposeA, transposeB, accumulate } = options;
  const [lanes, width] = transposeB ? [n, k] : [k, n]; // b's rows and their length
  const pieceRows = Math.max(1, Math.floor(matrixPieceLength / width));
  const [aAt, bAt, outAt] = layOut(exports, [m * k, pieceRows * width, m * n]);
  const heap = new Float32Array(exports.memory.buffer);
  heap.set(a, aAt / 4);
  if (transposeA && m > 1) {
    for (let i = 0; i < m * k; i++) heap[aAt / 4 + (i % m) * k + Math.floor(i / m)] = a[i];
  }
  if (accumulate) heap.set(out, outAt / 4);
  for (let from = 0; from < lanes; from += pieceRows) {
    const count = Math.min(pieceRows, lanes - from);
    heap.set(b.subarray(from * width, (from + count) * width), bAt / 4);
    for (let row = 0; row < m; row++) {
      const rowAt = aAt + 4 * row * k;
      const toAt = outAt + 4 * row * n;
      if (transposeB) exports.dotRows(count, k, rowAt, bAt, toAt + 4 * from, accumulate ? 1 : 0);
      else {
        const add = accumulate || from > 0 ? 1 : 0;
        exports.addRows(count, n, rowAt + 4 * from, bAt, 4 * n, toAt, add);
      }
    }
  }
  out.set(heap.subarray(outAt / 4, outAt / 4 + m * n));
}

function mixHeads(exports: Exports, options: MixHeadsOptions): void {
  checkMixHeads(options);
  const { heads, rows, columns, coefficients, x, out, accumulate } = options;
  if (!accumulate) out.fill(0);
  if (rows === 0 || columns === 0) return;
  const width = columns / heads;
  const pieceRows = Math.max(1, Math.floor(matrixPieceLength / columns));
  const sizes = [coefficients.length, pieceRows * columns, columns];
  const [coefficientsAt, xAt, outAt] = layOut(exports, sizes);
  const heap = new Float32Array(exports.memory.buffer);
  heap.set(coefficients, coefficientsAt / 4);
  heap.set(out, outAt / 4);
  for (let from = 0; from < rows; from += pieceRows) {
    const count = Math.min(pieceRows, rows - from);
    heap.set(x.subarray(from * columns, (from + count) * columns), xAt / 4);
    for (let head = 0; head < heads; head++) {
      const own = coefficientsAt + 4 * (head * rows + from);
      const shift = 4 * head * width;
      exports.addRows(count, width, own, xAt + shift, 4 * columns, outAt + shift, 1);
    }
  }
  out.set(heap.subarray(outAt / 4, outAt / 4 + columns));
}

function softmax(exports: Exports, options: SoftmaxOptions): void {
  checkSoftmax(options);
  const { rows, columns, causalRows = 0, x, out, logSums } = options;
  const pieceRows = Math.max(1, Math.floor(pieceLength / columns));
  const pieceSize = pieceRows * columns;
  const [xAt, outAt, sumsAt] = layOut(exports, [pieceSize, pieceSize, pieceRows]);
  const heap = new Float32Array(exports.memory.buffer);
  for (let row = 0; row < rows; row += pieceRows) {
    const count = Math.min(pieceRows, rows - row);
    heap.set(x.subarray(row * columns, (row + count) * columns), xAt / 4);
    exports.softmax(count, columns, causalRows, row, xAt, outAt, sumsAt);
    out.set(heap.subarray(outAt / 4, outAt / 4 + count * columns), row * columns);
    logSums?.set(heap.subarray(sumsAt / 4, sumsAt / 4 + count), row);
  }
}

function adamw(exports: Exports, options: AdamwOptions): void {
  const f = adamwFactors(options);
  const { weights, gradients, firstMoment, secondMoment } = options;
  const state = [weights, firstMoment, secondMoment];
  const run = (length: number, at: number[]) => {
    const [weightsAt, firstAt, secondAt, gradientsAt] = at;
    exports.adamw(
      length,
      weightsAt,
      gradientsAt,
      firstAt,
      secondAt,
      f.beta1,
      f.beta2,
      f.stepSize,
      f.rootScale,
      f.epsilon,
      f.decay,
      f.gradientScale,
    );
  };
  inPieces(exports, { count: weights.length, read: [...state, gradients], write: state, run });
}

/**
 * Runs an elementwise kernel piece by piece. `run` gets the piece's length and the addresses of the
 * arrays read, then of the arrays written; one that is both has one address.
 */
function inPieces(
  exports: Exports,
  work: {
    count: number;
    read: Float32Array[];
    write: Float32Array[];
    run: (length: number, at: number[]) => void;
  },
): void {
  const { count, read, write, run } = work;
  const arrays = [...new Set([...read, ...write])];
  const addresses = layOut(exports, Array(arrays.length).fill(Math.min(count, pieceLength)));
  const heap = new Float32Array(exports.memory.buffer);
  const addressOf = (array: Float32Array) => addresses[arrays.indexOf(array)];
  const at = [...read, ...write].map(addressOf);
  for (let from = 0; from < count; from += pieceLength) {
    const to = Math.min(count, from + pieceLength);
    for (const array of read) heap.set(array.subarray(from, to), addressOf(array) / 4);
    run(to - from, at);
    for (const array of write) {
      const start = addressOf(array) / 4;
      array.set(heap.subarray(start, start + to - from), from);
    }
  }
}

/**
 * Addresses for arrays of these lengths, each with a vector of slack behind it, then the address of
 * the scratch; grows the memory to hold them all.
 */
function layOut(
  exports: Exports,
  lengths: number[],
  { scratchBytes }: { scratchBytes: number } = { scratchBytes: 0 },
): number[] {
  const addresses = [exports.heapBase()];
  for (const length of lengths) {
    addresses.push(Math.ceil((addresses.at(-1)! + 4 * length + 16) / 64) * 64);
  }
  reserve(exports.memory, addresses.at(-1)! + scratchBytes);
  return addresses;
}

function reserve(memory: WebAssembly.Memory, bytes: number): void {
  const missing = bytes - memory.buffer.byteLength;
  if (missing <= 0) return;
  ensure(bytes <= maxBytes, "E_KERNEL", `${bytes} bytes do not fit into WASM memory`);
  try {
    memory.grow(Math.ceil(missing / pageBytes));
  } catch (cause) {
    throw new MergenError("E_KERNEL", `no memory for ${bytes} bytes of operands`, { cause });
  }
}
