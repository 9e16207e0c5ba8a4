// Ring kernels in WebAssembly SIMD (assembly/*.ts), in Node and in browsers. Operands are copied
// into the module's memory and results out, in chunks that fit the caches; a view that already
// lies in that memory is used where it is. Matrices stay in that memory until freed.

import { ensure, MergenError } from "../errors.ts";
import { asBatch, checkKey, keyBytesOf } from "./function-key.ts";
import { referenceRingKernels } from "./reference.ts";
import {
  checkAttend,
  checkChacha,
  checkLoad,
  checkMatmul,
  checkSameLength,
  checkShift,
  checkSumRows,
} from "./ring-checks.ts";
import type {
  AttentionDims,
  EvaluateManyOptions,
  EvaluateOptions,
  FunctionShape,
  GenerateManyOptions,
  GenerateOptions,
  KeystreamMatrix,
  RingKernels,
  RingMatrix,
} from "./ring-kernels.ts";
import { type Call, cut, type RingExports, type Runner, runInTurn } from "./wasm-exports.ts";
import { WasmMemory } from "./wasm-memory.ts";
import { evaluateMany, generateMany, wasmPrgs } from "./wasm-tree.ts";

/** Stands in for what the module does not do yet. */
const slow = referenceRingKernels();

/** Words of an elementwise chunk: three of them stay in a second-level cache. */
const chunkWords = 1 << 14;
/** Bytes of matrix entries copied in before they are packed. */
const loadBytes = 1 << 20;
/** Bytes of keystream made before they are copied out. */
const streamBytes = 1 << 17;
/** Words of x and out that a product holds in scratch at a time. */
const productWords = 1 << 21;
/** Scratch from the start on: enough for elementwise chunks and products of common sizes. */
const firstScratchBytes = 1 << 20;
/**
 * Multiply-adds and keystream bytes that a thread is called for: some 60 us of work each, since
 * waking a parked thread was measured at 10 (idle machine) to 40 us (busy one). A job of fewer than
 * twice as many stays with the caller; so do all elementwise operations, which memory bounds.
 */
const leastMultiplyAdds = 1 << 18;
const leastStreamBytes = 1 << 17;
/** "expand 32-byte k". */
const longKeyConstants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

/** What the kernels run on: the module's exports, its memory and, if any, its threads. */
export interface RingEngine {
  readonly wasm: RingExports;
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
}

/** @throws E_KERNEL when the bytes are no kernel module or the engine lacks SIMD. */
export async function loadWasmRingKernels(
  wasm: BufferSource | WebAssembly.Module,
): Promise<WasmRingKernels> {
  const engine = await startEngine(wasm, { shared: false });
  return new WasmRingKernels(engine, runInTurn(engine.wasm));
}

/**
 * Compiles a module: build/ring.wasm, or build/ring-threads.wasm for a shared memory.
 * @throws E_KERNEL
 */
export async function startEngine(
  wasm: BufferSource | WebAssembly.Module,
  { shared }: { shared: boolean },
): Promise<RingEngine> {
  try {
    const memory = new WebAssembly.Memory({ initial: 32, maximum: 65536, shared });
    const module = wasm instanceof WebAssembly.Module ? wasm : await WebAssembly.compile(wasm);
    const instance = await WebAssembly.instantiate(module, { env: { memory } });
    return { wasm: instance.exports as unknown as RingExports, memory, module };
  } catch (cause) {
    const message = "the ring kernels cannot be compiled: does this engine have WASM SIMD?";
    throw new MergenError("E_KERNEL", message, { cause });
  }
}

class WasmMatrix implements RingMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly kind: "int16" | "ring";
  readonly memory: WasmMemory;
  readonly bytes: number;
  /** Address of the panels; undefined once freed. */
  start: number | undefined;

  constructor(options: {
    rows: number;
    columns: number;
    kind: "int16" | "ring";
    memory: WasmMemory;
    bytes: number;
  }) {
    this.rows = options.rows;
    this.columns = options.columns;
    this.kind = options.kind;
    this.memory = options.memory;
    this.bytes = options.bytes;
    this.start = options.memory.allocate(options.bytes);
  }

  free(): void {
    if (this.start !== undefined) this.memory.release(this.start, this.bytes);
    this.start = undefined;
  }
}

type ChunkLoop = (out: number, a: number, b: number, count: number) => void;

export class WasmRingKernels implements RingKernels {
  readonly name = "wasm";
  readonly functionPrgs = wasmPrgs;
  readonly #wasm: RingExports;
  readonly #memory: WasmMemory;
  #runner: Runner;

  constructor({ wasm, memory }: RingEngine, runner: Runner) {
    this.#wasm = wasm;
    this.#runner = runner;
    this.#memory = new WasmMemory(memory, wasm.heapBase() >>> 0);
    this.#memory.scratch(firstScratchBytes);
  }

  /** The kernels' memory, for operands that are to stay in it. */
  get memory(): WasmMemory {
    return this.#memory;
  }

  add(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void {
    checkSameLength("add", out, a, b);
    this.#chunks(out, [a, b], this.#wasm.add);
  }

  sub(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void {
    checkSameLength("sub", out, a, b);
    this.#chunks(out, [a, b], this.#wasm.sub);
  }

  mul(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void {
    checkSameLength("mul", out, a, b);
    this.#chunks(out, [a, b], this.#wasm.mul);
  }

  scale(out: BigUint64Array, a: BigUint64Array, factor: bigint): void {
    checkSameLength("scale", out, a);
    this.#chunks(out, [a], (to, from, _, n) => this.#wasm.scale(to, from, factor, n));
  }

  addScaled(out: BigUint64Array, a: BigUint64Array, factor: bigint): void {
    checkSameLength("addScaled", out, a);
    this.#chunks(out, [a, out], (to, from, old, n) =>
      this.#wasm.addScaled(to, from, old, factor, n),
    );
  }

  addConstant(out: BigUint64Array, a: BigUint64Array, constant: bigint): void {
    checkSameLength("addConstant", out, a);
    this.#chunks(out, [a], (to, from, _, n) => this.#wasm.addConstant(to, from, constant, n));
  }

  shiftRight(out: BigUint64Array, a: BigUint64Array, bits: number): void {
    checkSameLength("shiftRight", out, a);
    checkShift("shiftRight", bits);
    this.#chunks(out, [a], (to, from, _, n) => this.#wasm.shiftRight(to, from, bits, n));
  }

  shiftRightSigned(out: BigUint64Array, a: BigUint64Array, bits: number): void {
    checkSameLength("shiftRightSigned", out, a);
    checkShift("shiftRightSigned", bits);
    this.#chunks(out, [a], (to, from, _, n) => this.#wasm.shiftRightSigned(to, from, bits, n));
  }

  lowBits(out: BigUint64Array, a: BigUint64Array, bits: number): void {
    slow.lowBits(out, a, bits);
  }

  pack(out: Uint8Array, words: BigUint64Array, bits: number): void {
    slow.pack(out, words, bits);
  }

  unpack(out: BigUint64Array, bytes: Uint8Array, bits: number): void {
    slow.unpack(out, bytes, bits);
  }

  matmulKeystream(out: BigUint64Array, x: BigUint64Array, matrix: KeystreamMatrix): void {
    slow.matmulKeystream(out, x, matrix);
  }

  sumRows(out: BigUint64Array, a: BigUint64Array, width: number): void {
    checkSumRows(out, a, width);
    const memory = this.#memory;
    if (width === 0) {
      out.fill(0n);
    } else if (width > chunkWords) {
      for (let row = 0; row < out.length; row++) {
        out[row] = this.#longSum(a.subarray(row * width, (row + 1) * width));
      }
    } else {
      const step = Math.floor(chunkWords / width);
      const sums = memory.scratch(16 * chunkWords, out, a);
      for (let row = 0; row < out.length; row += step) {
        const rows = Math.min(step, out.length - row);
        const part = a.subarray(row * width, (row + rows) * width);
        const from = memory.bring(part, sums + 8 * chunkWords);
        this.#wasm.sumRows(sums, from, width, rows);
        memory.take(out.subarray(row, row + rows), sums);
      }
    }
  }

  #longSum(a: BigUint64Array): bigint {
    const scratch = this.#memory.scratch(8 * chunkWords, a);
    let total = 0n;
    for (let i = 0; i < a.length; i += chunkWords) {
      const part = a.subarray(i, i + chunkWords);
      total += this.#wasm.sum(this.#memory.bring(part, scratch), part.length);
    }
    return BigInt.asUintN(64, total);
  }

  /** Runs an elementwise loop chunk by chunk over one or two operands. */
  #chunks(out: BigUint64Array, operands: BigUint64Array[], loop: ChunkLoop): void {
    const memory = this.#memory;
    const bytes = 8 * Math.min(chunkWords, out.length);
    const scratch = memory.scratch(3 * bytes, out, ...operands);
    for (let i = 0; i < out.length; i += chunkWords) {
      const end = Math.min(i + chunkWords, out.length);
      const part = out.subarray(i, end);
      const [a, b] = operands.map((operand, index) =>
        memory.bring(operand.subarray(i, end), scratch + (index + 1) * bytes),
      );
      const to = memory.addressOf(out) === undefined ? scratch : part.byteOffset;
      loop(to, a, b ?? 0, end - i);
      memory.take(part, to);
    }
  }

  loadInt16(weights: Int16Array, rows: number, columns: number): RingMatrix {
    checkLoad("loadInt16", weights.length, rows, columns);
    const bytes = Math.ceil(rows / 2) * Math.ceil(columns / 8) * 32;
    const matrix = new WasmMatrix({ rows, columns, kind: "int16", memory: this.#memory, bytes });
    return this.#pack(matrix, weights, this.#wasm.packInt16);
  }

  loadRing(words: BigUint64Array, rows: number, columns: number): RingMatrix {
    checkLoad("loadRing", words.length, rows, columns);
    const bytes = rows * Math.ceil(columns / 4) * 32;
    const matrix = new WasmMatrix({ rows, columns, kind: "ring", memory: this.#memory, bytes });
    return this.#pack(matrix, words, this.#wasm.packRing);
  }

  /** Fills a new matrix, or frees it when that fails. */
  #pack(
    matrix: WasmMatrix,
    entries: Int16Array | BigUint64Array,
    pack: RingExports["packInt16"],
  ): WasmMatrix {
    const { rows, columns } = matrix;
    const rowBytes = columns * entries.BYTES_PER_ELEMENT;
    const step = 2 * Math.max(1, Math.floor(loadBytes / (2 * rowBytes))); // even: rows are paired
    try {
      const scratch = this.#memory.scratch(Math.min(step, rows) * rowBytes, entries);
      const whole = entries.length === rows * columns;
      ensure(whole, "E_KERNEL", "kernel memory grew and voided the resident entries of a matrix");
      for (let row = 0; row < rows; row += step) {
        const count = Math.min(step, rows - row);
        const part = entries.subarray(row * columns, (row + count) * columns);
        const from = this.#memory.bring(part, scratch);
        pack(startOf(matrix, this.#memory), from, row, count, rows, columns);
      }
    } catch (error) {
      matrix.free();
      throw error;
    }
    return matrix;
  }

  matmul(out: BigUint64Array, x: BigUint64Array, matrix: RingMatrix): void {
    const m = checkMatmul(out, x, matrix);
    const { rows, columns, kind } = matrix;
    const panels = startOf(matrix, this.#memory);
    const step = Math.max(1, Math.floor(productWords / (3 * rows + columns)));
    for (let row = 0; row < m; row += step) {
      const count = Math.min(step, m - row);
      const to = out.subarray(row * columns, (row + count) * columns);
      const from = x.subarray(row * rows, (row + count) * rows);
      if (kind === "int16") this.#productInt16(to, from, { rows, columns, m: count, panels });
      else this.#productRing(to, from, { rows, columns, m: count, panels });
    }
  }

  #productInt16(out: BigUint64Array, x: BigUint64Array, shape: ProductShape): void {
    const { rows, columns, m, panels } = shape;
    const memory = this.#memory;
    const limbRowBytes = Math.ceil(rows / 2) * 20;
    const scratch = memory.scratch(64 + 8 * (x.length + out.length) + m * limbRowBytes, out, x);
    const to = memory.addressOf(out) ?? scratch + 64;
    const from = memory.bring(x, scratch + 64 + 8 * out.length);
    const limbs = scratch + 64 + 8 * (x.length + out.length);
    for (let i = 0; i < m; i++) {
      this.#wasm.splitLimbs(limbs + i * limbRowBytes, from + 8 * i * rows, rows);
    }
    const least = leastMultiplyAdds / (8 * m * rows);
    const calls = cut(Math.ceil(columns / 8), least, this.#runner).map(([first, end]): Call => {
      const args = [to, limbs, panels, m, rows, columns, first, end, scratch];
      return { name: "productInt16", args };
    });
    this.#runner.run(calls);
    memory.take(out, to);
  }

  #productRing(out: BigUint64Array, x: BigUint64Array, shape: ProductShape): void {
    const { rows, columns, m, panels } = shape;
    const memory = this.#memory;
    const panelCount = Math.ceil(columns / 4);
    const stride = 4 * panelCount;
    const scratch = memory.scratch(8 * (x.length + m * stride), out, x);
    const to = (stride === columns ? memory.addressOf(out) : undefined) ?? scratch;
    const from = memory.bring(x, scratch + 8 * m * stride);
    const least = leastMultiplyAdds / (4 * m * rows);
    const calls = cut(panelCount, least, this.#runner).map(([first, end]): Call => {
      return { name: "productRing", args: [to, from, panels, m, rows, stride, first, end] };
    });
    this.#runner.run(calls);
    if (stride === columns) memory.take(out, to);
    else {
      for (let i = 0; i < m; i++) {
        memory.take(out.subarray(i * columns, (i + 1) * columns), to + 8 * i * stride);
      }
    }
  }

  attend(
    out: BigUint64Array,
    x: BigUint64Array,
    weights: BigUint64Array | Int16Array,
    dims: AttentionDims,
  ): void {
    if (weights instanceof Int16Array || dims.held) {
      slow.attend(out, x, weights, dims);
      return;
    }
    const rows = checkAttend(out, x, weights, dims);
    const { heads, positions, start, columns } = dims;
    const memory = this.#memory;
    const count = rows - start;
    if (count === 0) return;
    const width = columns / heads;
    const panelCount = Math.ceil(width / 4);
    const xAt = panelCount * 32 * (rows + count);
    const outAt = xAt + 8 * x.length + 32;
    const weightsAt = outAt + 8 * out.length;
    const bytes = weightsAt + 8 * count * positions;
    const scratch = memory.scratch(bytes, out, x, weights);
    const from = memory.bring(x, scratch + xAt);
    const to = memory.addressOf(out) ?? scratch + outAt;
    for (let head = 0; head < heads; head++) {
      const first = (head * positions + start) * positions;
      const part = weights.subarray(first, first + count * positions);
      this.#wasm.attend(
        to + 8 * head * width,
        from + 8 * head * width,
        8 * columns,
        memory.bring(part, scratch + weightsAt),
        positions,
        start,
        count,
        width,
        scratch,
      );
    }
    memory.take(out, to);
  }

  chacha12(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, counter: number): void {
    checkChacha(out, key, nonce, counter);
    const memory = this.#memory;
    const { threads } = this.#runner;
    const mostBytes = threads === 1 ? streamBytes : 2 * streamBytes * threads;
    const groups = Math.ceil(Math.min(mostBytes, out.length) / 256);
    const leastGroups = leastStreamBytes / 256;
    const stateBytes = 64 + 256;
    const statesBytes = cut(groups, leastGroups, this.#runner).length * stateBytes;
    const scratch = memory.scratch(statesBytes + 256 * groups, out, key, nonce);
    const stream = scratch + statesBytes;
    const input = new Uint8Array(64);
    input.set(new Uint8Array(Uint32Array.from(longKeyConstants).buffer));
    input.set(key, 16);
    input.set(nonce, 52);
    const counterView = new DataView(input.buffer);
    for (let offset = 0; offset < out.length; offset += mostBytes) {
      const part = out.subarray(offset, offset + mostBytes);
      const parts = cut(Math.ceil(part.length / 256), leastGroups, this.#runner);
      const calls = parts.map(([first, end], i): Call => {
        const at = scratch + i * stateBytes;
        counterView.setUint32(48, counter + offset / 64 + 4 * first, true);
        memory.put(input, at);
        return { name: "chachaStream", args: [stream + 256 * first, end - first, at, at + 64] };
      });
      this.#runner.run(calls);
      memory.take(part, stream);
    }
  }

  dcfGenerate(options: GenerateOptions): [Uint8Array, Uint8Array] {
    return this.dcfGenerateMany(asBatch("dcf", options));
  }

  dcfGenerateMany(options: GenerateManyOptions): [Uint8Array, Uint8Array] {
    return generateMany("dcf", options, { memory: this.#memory, runner: this.#runner });
  }

  dcfEvaluate({ key, ...options }: EvaluateOptions): void {
    checkKey("dcf", { key, ...options });
    this.dcfEvaluateMany({ ...options, keys: key });
  }

  dcfEvaluateMany(options: EvaluateManyOptions): void {
    evaluateMany("dcf", options, { memory: this.#memory, runner: this.#runner });
  }

  dcfKeyBytes(shape: FunctionShape): number {
    return keyBytesOf("dcf", shape);
  }

  dpfGenerate(options: GenerateOptions): [Uint8Array, Uint8Array] {
    return this.dpfGenerateMany(asBatch("dpf", options));
  }

  dpfGenerateMany(options: GenerateManyOptions): [Uint8Array, Uint8Array] {
    return generateMany("dpf", options, { memory: this.#memory, runner: this.#runner });
  }

  dpfEvaluate({ key, ...options }: EvaluateOptions): void {
    checkKey("dpf", { key, ...options });
    this.dpfEvaluateMany({ ...options, keys: key });
  }

  dpfEvaluateMany(options: EvaluateManyOptions): void {
    evaluateMany("dpf", options, { memory: this.#memory, runner: this.#runner });
  }

  dpfKeyBytes(shape: FunctionShape): number {
    return keyBytesOf("dpf", shape);
  }

  close(): void {
    this.#runner.close();
    this.#runner = runInTurn(this.#wasm);
  }
}

interface ProductShape {
  rows: number;
  columns: number;
  m: number;
  panels: number;
}

/** Address of a matrix's panels. */
function startOf(matrix: RingMatrix, memory: WasmMemory): number {
  const ours = matrix instanceof WasmMatrix && matrix.memory === memory;
  ensure(ours, "E_KERNEL", "matmul: the matrix was loaded by another kernel set");
  ensure(matrix.start !== undefined, "E_KERNEL", "matmul: the matrix was freed");
  return matrix.start;
}
