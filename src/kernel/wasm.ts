// Ring kernels in WebAssembly SIMD (assembly/*.ts), in Node and in browsers. Operands are copied
// into the module's memory and results out, in chunks that fit the caches; a view that already
// lies in that memory is used where it is. Matrices stay in that memory until freed.

import { ensure, MergenError } from "../errors.ts";
import {
  type BatchedRingKernels,
  checkEvaluateMany,
  checkGenerate,
  checkKey,
  type EvaluateManyOptions,
  type EvaluateOptions,
  ensureInsideDomain,
  type FunctionKind,
  type GenerateOptions,
  keyLayout,
  purposes,
  seedBytes,
} from "./function-key.ts";
import {
  checkChacha,
  checkLoad,
  checkMatmul,
  checkSameLength,
  checkShift,
  checkSumRows,
} from "./ring-checks.ts";
import type { RingMatrix } from "./ring-kernels.ts";
import { WasmMemory } from "./wasm-memory.ts";

/** What assembly/ring.ts exports; addresses and counts are u32. */
interface RingExports {
  heapBase(): number;
  add(out: number, a: number, b: number, count: number): void;
  sub(out: number, a: number, b: number, count: number): void;
  mul(out: number, a: number, b: number, count: number): void;
  scale(out: number, a: number, factor: bigint, count: number): void;
  addScaled(out: number, a: number, old: number, factor: bigint, count: number): void;
  addConstant(out: number, a: number, constant: bigint, count: number): void;
  shiftRight(out: number, a: number, bits: number, count: number): void;
  shiftRightSigned(out: number, a: number, bits: number, count: number): void;
  sum(a: number, count: number): bigint;
  sumRows(out: number, a: number, width: number, rows: number): void;
  packInt16(
    out: number,
    source: number,
    firstRow: number,
    count: number,
    rows: number,
    columns: number,
  ): void;
  packRing: RingExports["packInt16"];
  splitLimbs(out: number, x: number, rows: number): void;
  productInt16(
    out: number,
    limbs: number,
    panels: number,
    m: number,
    rows: number,
    columns: number,
    firstPanel: number,
    endPanel: number,
    edge: number,
  ): void;
  productRing(
    out: number,
    x: number,
    panels: number,
    m: number,
    rows: number,
    stride: number,
    firstPanel: number,
    endPanel: number,
  ): void;
  chachaStream(out: number, groups: number, input: number, state: number): void;
  treeGenerate(
    key: number,
    random: number,
    payload: number,
    alpha: bigint,
    domainBits: number,
    words: number,
    isDcf: boolean,
    purpose: number,
    work: number,
  ): void;
  treeEvaluate(
    out: number,
    keys: number,
    keyCount: number,
    keyBytes: number,
    points: number,
    pointsPerKey: number,
    party: number,
    domainBits: number,
    words: number,
    isDcf: boolean,
    purpose: number,
    work: number,
  ): number;
}

/** Words of an elementwise chunk: three of them stay in a second-level cache. */
const chunkWords = 1 << 14;
/** Bytes of matrix entries copied in before they are packed. */
const loadBytes = 1 << 20;
/** Bytes of keystream made before they are copied out. */
const streamBytes = 1 << 17;
/** Words of x and out that a product holds in scratch at a time. */
const productWords = 1 << 21;
/** Tree evaluations that share scratch. */
const chunkPoints = 1 << 12;
/** Scratch from the start on: enough for elementwise chunks and products of common sizes. */
const firstScratchBytes = 1 << 20;
/** Scratch at the head of `work` in assembly/tree.ts. */
const treeHeadBytes = 576;
/** "expand 32-byte k". */
const longKeyConstants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

/** @throws E_KERNEL when the bytes are no kernel module or the engine lacks SIMD. */
export async function loadWasmRingKernels(
  wasm: BufferSource | WebAssembly.Module,
): Promise<WasmRingKernels> {
  const memory = new WebAssembly.Memory({ initial: 32, maximum: 65536 });
  try {
    const module = wasm instanceof WebAssembly.Module ? wasm : await WebAssembly.compile(wasm);
    const instance = await WebAssembly.instantiate(module, { env: { memory } });
    return new WasmRingKernels(instance.exports as unknown as RingExports, memory);
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

export class WasmRingKernels implements BatchedRingKernels {
  readonly name = "wasm";
  readonly #wasm: RingExports;
  readonly #memory: WasmMemory;

  constructor(wasm: RingExports, memory: WebAssembly.Memory) {
    this.#wasm = wasm;
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
    const end = Math.ceil(columns / 8);
    this.#wasm.productInt16(to, limbs, panels, m, rows, columns, 0, end, scratch);
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
    this.#wasm.productRing(to, from, panels, m, rows, stride, 0, panelCount);
    if (stride === columns) memory.take(out, to);
    else {
      for (let i = 0; i < m; i++) {
        memory.take(out.subarray(i * columns, (i + 1) * columns), to + 8 * i * stride);
      }
    }
  }

  chacha12(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, counter: number): void {
    checkChacha(out, key, nonce, counter);
    const groupBytes = Math.min(streamBytes, Math.ceil(out.length / 256) * 256);
    const scratch = this.#memory.scratch(64 + 256 + groupBytes, out, key, nonce);
    const input = new Uint8Array(64);
    input.set(new Uint8Array(Uint32Array.from(longKeyConstants).buffer));
    input.set(key, 16);
    input.set(nonce, 52);
    const counterView = new DataView(input.buffer);
    const stream = scratch + 64 + 256;
    for (let offset = 0; offset < out.length; offset += streamBytes) {
      const part = out.subarray(offset, offset + streamBytes);
      counterView.setUint32(48, counter + offset / 64, true);
      this.#memory.bring(input, scratch);
      this.#wasm.chachaStream(stream, Math.ceil(part.length / 256), scratch, scratch + 64);
      this.#memory.take(part, stream);
    }
  }

  dcfGenerate(options: GenerateOptions): [Uint8Array, Uint8Array] {
    return this.#generate("dcf", options);
  }

  dpfGenerate(options: GenerateOptions): [Uint8Array, Uint8Array] {
    return this.#generate("dpf", options);
  }

  dcfEvaluate({ key, ...options }: EvaluateOptions): void {
    checkKey("dcf", { key, ...options });
    this.#evaluate("dcf", { ...options, keys: key });
  }

  dpfEvaluate({ key, ...options }: EvaluateOptions): void {
    checkKey("dpf", { key, ...options });
    this.#evaluate("dpf", { ...options, keys: key });
  }

  dcfEvaluateMany(options: EvaluateManyOptions): void {
    this.#evaluate("dcf", options);
  }

  dpfEvaluateMany(options: EvaluateManyOptions): void {
    this.#evaluate("dpf", options);
  }

  dcfKeyBytes(options: { domainBits: number; words: number }): number {
    return keyLayout("dcf", options.domainBits, options.words).keyBytes;
  }

  dpfKeyBytes(options: { domainBits: number; words: number }): number {
    return keyLayout("dpf", options.domainBits, options.words).keyBytes;
  }

  #generate(kind: FunctionKind, options: GenerateOptions): [Uint8Array, Uint8Array] {
    const { words, keyBytes } = checkGenerate(kind, options);
    const { alpha, payload, random, domainBits } = options;
    const memory = this.#memory;
    const key = new Uint8Array(keyBytes);
    const room = Math.ceil(keyBytes / 16) * 16;
    const bytes = room + 32 + 8 * words + treeHeadBytes + 32 + 40 * words;
    const scratch = memory.scratch(bytes, payload, random);
    const randomAt = scratch + room;
    const payloadAt = randomAt + 32;
    memory.bring(key, scratch);
    this.#wasm.treeGenerate(
      scratch,
      memory.bring(random, randomAt),
      memory.bring(payload, payloadAt),
      alpha,
      domainBits,
      words,
      kind === "dcf",
      purposes[kind],
      payloadAt + 8 * words,
    );
    memory.take(key, scratch);
    const other = key.slice();
    key.set(random.subarray(0, seedBytes));
    other.set(random.subarray(seedBytes));
    return [key, other];
  }

  #evaluate(kind: FunctionKind, options: EvaluateManyOptions): void {
    const { layout, keyCount, pointsPerKey } = checkEvaluateMany(kind, options);
    if (options.points.length === 0) return;
    const { keyBytes, words } = layout;
    const keysAtOnce = Math.max(1, Math.floor(chunkPoints / pointsPerKey));
    const pointsAtOnce = Math.min(pointsPerKey, chunkPoints);
    for (let first = 0; first < keyCount; first += keysAtOnce) {
      const last = Math.min(first + keysAtOnce, keyCount);
      for (let from = 0; from < pointsPerKey; from += pointsAtOnce) {
        // Either several keys with all their points or one key with some of its points.
        const start = first * pointsPerKey + from;
        const end = (last - 1) * pointsPerKey + Math.min(from + pointsAtOnce, pointsPerKey);
        this.#evaluateChunk(kind, {
          ...options,
          keys: options.keys.subarray(first * keyBytes, last * keyBytes),
          points: options.points.subarray(start, end),
          out: options.out.subarray(start * words, end * words),
        });
      }
    }
  }

  #evaluateChunk(kind: FunctionKind, options: EvaluateManyOptions): void {
    const { layout, keyCount, pointsPerKey } = checkEvaluateMany(kind, options);
    const { party, keys, points, out, domainBits, words } = options;
    const memory = this.#memory;
    const keyRoom = Math.ceil(keys.length / 16) * 16;
    const workBytes = treeHeadBytes + points.length * (68 + 32 * words);
    const outBytes = 8 * out.length;
    const bytes = workBytes + 8 * points.length + outBytes + 16 + keyRoom;
    const scratch = memory.scratch(bytes, out, keys, points);
    const keysAt = scratch + Math.ceil(workBytes / 16) * 16;
    const pointsAt = keysAt + keyRoom;
    const to = memory.addressOf(out) ?? pointsAt + 8 * points.length;
    const inside = this.#wasm.treeEvaluate(
      to,
      memory.bring(keys, keysAt),
      keyCount,
      layout.keyBytes,
      memory.bring(points, pointsAt),
      pointsPerKey,
      party,
      domainBits,
      words,
      kind === "dcf",
      purposes[kind],
      scratch,
    );
    ensureInsideDomain(kind, inside !== 0, domainBits);
    memory.take(out, to);
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
