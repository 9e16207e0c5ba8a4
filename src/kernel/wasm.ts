// Ring kernels in WebAssembly SIMD (assembly/*.ts), in Node and in browsers. Operands are copied
// into the module's memory and results out, in chunks that fit the caches; a view that already
// lies in that memory is used where it is. Matrices stay in that memory until freed.

import { MergenError } from "../errors.ts";
import { asBatch, checkKey, keyBytesOf } from "./function-key.ts";
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
import type {
  AttentionDims,
  EvaluateManyOptions,
  EvaluateOptions,
  FunctionShape,
  GenerateManyOptions,
  GenerateOptions,
  KeystreamMatrix,
  PiecewiseOptions,
  RingKernels,
  RingMatrix,
} from "./ring-kernels.ts";
import { type Call, cut, type RingExports, type Runner, runInTurn } from "./wasm-exports.ts";
import { loadMatrix } from "./wasm-matrix.ts";
import { WasmMemory } from "./wasm-memory.ts";
import { piecewise } from "./wasm-piecewise.ts";
import { attend, matmul, matmulKeystream } from "./wasm-product.ts";
import { evaluateMany, generateMany, wasmPrgs } from "./wasm-tree.ts";

/** Words of an elementwise chunk: three of them stay in a first-level cache. */
const chunkWords = 1 << 10;
/** Words that rows are summed up from at a time. */
const sumWords = 1 << 14;
/** As in assembly/chacha.ts: five blocks. */
const groupBytes = 320;
/** Bytes of keystream made before they are copied out, and those that a thread is called for. */
const streamBytes = 400 * groupBytes;
/** Scratch from the start on: enough for elementwise chunks and products of common sizes. */
const firstScratchBytes = 1 << 20;

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

type UnaryLoop<Value> = (out: number, a: number, value: Value, count: number) => void;
type BinaryLoop = (out: number, a: number, b: number, count: number) => void;

export class WasmRingKernels implements RingKernels {
  readonly name = "wasm";
  readonly functionPrgs = wasmPrgs;
  readonly #wasm: RingExports;
  readonly #memory: WasmMemory;
  /** State words of the block that a keystream begins with. */
  readonly #block = new KeystreamBlock();
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
    this.#binary(out, a, b, this.#wasm.add);
  }

  sub(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void {
    checkSameLength("sub", out, a, b);
    this.#binary(out, a, b, this.#wasm.sub);
  }

  mul(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void {
    checkSameLength("mul", out, a, b);
    this.#binary(out, a, b, this.#wasm.mul);
  }

  scale(out: BigUint64Array, a: BigUint64Array, factor: bigint): void {
    checkSameLength("scale", out, a);
    this.#unary(out, a, factor, this.#wasm.scale);
  }

  addScaled(out: BigUint64Array, a: BigUint64Array, factor: bigint): void {
    checkSameLength("addScaled", out, a);
    this.#binary(out, a, out, (to, from, old, count) =>
      this.#wasm.addScaled(to, from, old, factor, count),
    );
  }

  addConstant(out: BigUint64Array, a: BigUint64Array, constant: bigint): void {
    checkSameLength("addConstant", out, a);
    this.#unary(out, a, constant, this.#wasm.addConstant);
  }

  shiftRight(out: BigUint64Array, a: BigUint64Array, bits: number): void {
    checkSameLength("shiftRight", out, a);
    checkShift("shiftRight", bits);
    this.#unary(out, a, bits, this.#wasm.shiftRight);
  }

  shiftRightSigned(out: BigUint64Array, a: BigUint64Array, bits: number): void {
    checkSameLength("shiftRightSigned", out, a);
    checkShift("shiftRightSigned", bits);
    this.#unary(out, a, bits, this.#wasm.shiftRightSigned);
  }

  lowBits(out: BigUint64Array, a: BigUint64Array, bits: number): void {
    checkSameLength("lowBits", out, a);
    checkBits("lowBits", bits);
    this.#unary(out, a, bits, this.#wasm.lowBits);
  }

  /** Runs an elementwise loop over one operand, chunk by chunk. */
  #unary<Value>(
    out: BigUint64Array,
    a: BigUint64Array,
    value: Value,
    loop: UnaryLoop<Value>,
  ): void {
    if (out.length > chunkWords) {
      for (let i = 0; i < out.length; i += chunkWords) {
        const end = i + chunkWords;
        this.#unary(out.subarray(i, end), a.subarray(i, end), value, loop);
      }
      return;
    }
    const memory = this.#memory;
    const bytes = 8 * out.length;
    const scratch = memory.scratch(2 * bytes, out, a);
    const to = memory.addressOf(out) ?? scratch;
    loop(to, memory.bring(a, scratch + bytes), value, out.length);
    memory.take(out, to);
  }

  /** Runs an elementwise loop over two operands, chunk by chunk. */
  #binary(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array, loop: BinaryLoop): void {
    if (out.length > chunkWords) {
      for (let i = 0; i < out.length; i += chunkWords) {
        const end = i + chunkWords;
        this.#binary(out.subarray(i, end), a.subarray(i, end), b.subarray(i, end), loop);
      }
      return;
    }
    const memory = this.#memory;
    const bytes = 8 * out.length;
    const scratch = memory.scratch(3 * bytes, out, a, b);
    const to = memory.addressOf(out) ?? scratch;
    const from = memory.bring(a, scratch + bytes);
    loop(to, from, memory.bring(b, scratch + 2 * bytes), out.length);
    memory.take(out, to);
  }

  sumRows(out: BigUint64Array, a: BigUint64Array, width: number): void {
    checkSumRows(out, a, width);
    const memory = this.#memory;
    if (width === 0) {
      out.fill(0n);
    } else if (width > sumWords) {
      for (let row = 0; row < out.length; row++) {
        out[row] = this.#longSum(a.subarray(row * width, (row + 1) * width));
      }
    } else {
      const step = Math.floor(sumWords / width);
      const sums = memory.scratch(16 * sumWords, out, a);
      for (let row = 0; row < out.length; row += step) {
        const rows = Math.min(step, out.length - row);
        const part = a.subarray(row * width, (row + rows) * width);
        const from = memory.bring(part, sums + 8 * sumWords);
        this.#wasm.sumRows(sums, from, width, rows);
        memory.take(out.subarray(row, row + rows), sums);
      }
    }
  }

  #longSum(a: BigUint64Array): bigint {
    const scratch = this.#memory.scratch(8 * sumWords, a);
    let total = 0n;
    for (let i = 0; i < a.length; i += sumWords) {
      const part = a.subarray(i, i + sumWords);
      total += this.#wasm.sum(this.#memory.bring(part, scratch), part.length);
    }
    return BigInt.asUintN(64, total);
  }

  pack(out: Uint8Array, words: BigUint64Array, bits: number): void {
    checkPacked("pack", out, words, bits);
    if (words.length > chunkWords) {
      const bytes = (chunkWords / 8) * bits;
      for (let i = 0; i * chunkWords < words.length; i++) {
        const part = words.subarray(i * chunkWords, (i + 1) * chunkWords);
        this.#packChunk(out.subarray(i * bytes, (i + 1) * bytes), part, bits);
      }
    } else {
      this.#packChunk(out, words, bits);
    }
  }

  #packChunk(out: Uint8Array, words: BigUint64Array, bits: number): void {
    const memory = this.#memory;
    const scratch = memory.scratch(16 + 8 * words.length + out.length, out, words);
    const from = memory.bring(words, scratch + 16);
    const to = memory.addressOf(out) ?? scratch + 16 + 8 * words.length;
    this.#wasm.pack(to, from, words.length, bits, scratch);
    memory.take(out, to);
  }

  unpack(out: BigUint64Array, bytes: Uint8Array, bits: number): void {
    checkPacked("unpack", bytes, out, bits);
    if (out.length > chunkWords) {
      const size = (chunkWords / 8) * bits;
      for (let i = 0; i * chunkWords < out.length; i++) {
        const part = bytes.subarray(i * size, (i + 1) * size);
        this.#unpackChunk(out.subarray(i * chunkWords, (i + 1) * chunkWords), part, bits);
      }
    } else {
      this.#unpackChunk(out, bytes, bits);
    }
  }

  #unpackChunk(out: BigUint64Array, bytes: Uint8Array, bits: number): void {
    const memory = this.#memory;
    const scratch = memory.scratch(16 + 8 * out.length + bytes.length, out, bytes);
    const from = memory.bring(bytes, scratch + 16 + 8 * out.length);
    const to = memory.addressOf(out) ?? scratch + 16;
    this.#wasm.unpack(to, from, out.length, bits, scratch);
    memory.take(out, to);
  }

  loadInt16(weights: Int16Array, rows: number, columns: number): RingMatrix {
    checkLoad("loadInt16", weights.length, rows, columns);
    return loadMatrix({ kind: "int16", entries: weights, rows, columns }, this.#engine);
  }

  loadRing(words: BigUint64Array, rows: number, columns: number): RingMatrix {
    checkLoad("loadRing", words.length, rows, columns);
    return loadMatrix({ kind: "ring", entries: words, rows, columns }, this.#engine);
  }

  matmul(out: BigUint64Array, x: BigUint64Array, matrix: RingMatrix): void {
    const m = checkMatmul(out, x, matrix);
    matmul(out, x, { matrix, m }, this.#engine);
  }

  matmulKeystream(out: BigUint64Array, x: BigUint64Array, matrix: KeystreamMatrix): void {
    const m = checkKeystream(out, x, matrix);
    const block = this.#block.of(matrix.key, matrix.nonce, 0);
    matmulKeystream(out, x, { matrix, m, block }, this.#engine);
  }

  attend(
    out: BigUint64Array,
    x: BigUint64Array,
    weights: BigUint64Array | Int16Array,
    dims: AttentionDims,
  ): void {
    const rows = checkAttend(out, x, weights, dims);
    attend(out, x, weights, { ...dims, rows }, this.#engine);
  }

  get #engine() {
    return { wasm: this.#wasm, memory: this.#memory, runner: this.#runner };
  }

  chacha12(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, counter: number): void {
    checkChacha(out, key, nonce, counter);
    const { threads } = this.#runner;
    const most = threads === 1 ? streamBytes : 2 * streamBytes * threads;
    if (out.length > most) {
      for (let offset = 0; offset < out.length; offset += most) {
        this.#stream(out.subarray(offset, offset + most), key, nonce, counter + offset / 64);
      }
    } else {
      this.#stream(out, key, nonce, counter);
    }
  }

  #stream(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, counter: number): void {
    const memory = this.#memory;
    const stateBytes = 64 + 256;
    const groups = Math.ceil(out.length / groupBytes);
    const parts = cut(groups, streamBytes / groupBytes, this.#runner);
    const bytes = parts.length * stateBytes + groups * groupBytes;
    const scratch = memory.scratch(bytes, out, key, nonce);
    const stream = scratch + parts.length * stateBytes;
    const calls = parts.map(([first, end], i): Call => {
      const at = scratch + i * stateBytes;
      memory.put(this.#block.of(key, nonce, counter + (first * groupBytes) / 64), at);
      const args = [stream + first * groupBytes, end - first, at, at + 64];
      return { name: "chachaStream", args };
    });
    this.#runner.run(calls);
    memory.take(out, stream);
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

  piecewise(options: PiecewiseOptions): void {
    piecewise(options, { memory: this.#memory, runner: this.#runner });
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

/** The 16 state words of a ChaCha12 block (RFC 8439): constants, key, counter, nonce. */
class KeystreamBlock {
  // "expand 32-byte k"
  readonly #words = Uint32Array.of(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, ...Array(12));
  readonly #bytes = new Uint8Array(this.#words.buffer);

  /** The same array every time. */
  of(key: Uint8Array, nonce: Uint8Array, counter: number): Uint8Array {
    this.#bytes.set(key, 16);
    this.#words[12] = counter;
    this.#bytes.set(nonce, 52);
    return this.#bytes;
  }
}
