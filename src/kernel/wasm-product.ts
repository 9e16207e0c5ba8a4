// Products in WebAssembly: lays out operands and scratch for the calls of assembly/int16.ts,
// product.ts, keystream.ts and attend.ts, and cuts big jobs into calls for several threads.

import type { AttentionDims, KeystreamMatrix, RingMatrix } from "./ring-kernels.ts";
import { type Call, cut, type RingExports, type Runner } from "./wasm-exports.ts";
import { startOf } from "./wasm-matrix.ts";
import type { WasmMemory } from "./wasm-memory.ts";

/** Words of x and out that a product holds in scratch at a time. */
const productWords = 1 << 21;
/**
 * Multiply-adds that a thread is called for: some 60 us of work, since waking a parked thread was
 * measured at 10 (idle machine) to 40 us (busy one). A job of fewer than twice as many stays with
 * the caller; so do all elementwise operations, which memory bounds.
 */
const leastMultiplyAdds = 1 << 18;
/** Multiply-adds that take as long as a word of keystream. */
const keystreamMultiplyAdds = 16;
/** As in assembly/keystream.ts: whole tiles keep to the keystream's blocks. */
const tilePanels = 40;

export interface ProductEngine {
  readonly wasm: RingExports;
  readonly memory: WasmMemory;
  readonly runner: Runner;
}

interface ProductShape {
  rows: number;
  columns: number;
  m: number;
  panels: number;
}

/** out [m, columns] = x [m, rows] times a matrix. */
export function matmul(
  out: BigUint64Array,
  x: BigUint64Array,
  { matrix, m }: { matrix: RingMatrix; m: number },
  engine: ProductEngine,
): void {
  const { rows, columns, kind } = matrix;
  const panels = startOf(matrix, engine.memory);
  const product = kind === "int16" ? productInt16 : productRing;
  const step = Math.max(1, Math.floor(productWords / (3 * rows + columns)));
  for (let row = 0; row < m; row += step) {
    const count = Math.min(step, m - row);
    const to = out.subarray(row * columns, (row + count) * columns);
    const from = x.subarray(row * rows, (row + count) * rows);
    product(to, from, { rows, columns, m: count, panels }, engine);
  }
}

function productInt16(
  out: BigUint64Array,
  x: BigUint64Array,
  { rows, columns, m, panels }: ProductShape,
  { wasm, memory, runner }: ProductEngine,
): void {
  const limbRowBytes = wasm.limbRowBytes(rows);
  const scratch = memory.scratch(64 + 8 * (x.length + out.length) + m * limbRowBytes, out, x);
  const to = memory.addressOf(out) ?? scratch + 64;
  const from = memory.bring(x, scratch + 64 + 8 * out.length);
  const limbs = scratch + 64 + 8 * (x.length + out.length);
  for (let i = 0; i < m; i++) wasm.splitLimbs(limbs + i * limbRowBytes, from + 8 * i * rows, rows);
  const least = leastMultiplyAdds / (8 * m * rows);
  const calls = cut(Math.ceil(columns / 8), least, runner).map(([first, end]): Call => {
    const args = [to, limbs, panels, m, rows, columns, first, end, scratch];
    return { name: "productInt16", args };
  });
  runner.run(calls);
  memory.take(out, to);
}

function productRing(
  out: BigUint64Array,
  x: BigUint64Array,
  { rows, columns, m, panels }: ProductShape,
  { memory, runner }: ProductEngine,
): void {
  const panelCount = Math.ceil(columns / 4);
  const stride = 4 * panelCount;
  const scratch = memory.scratch(8 * (x.length + m * stride), out, x);
  const to = (stride === columns ? memory.addressOf(out) : undefined) ?? scratch;
  const from = memory.bring(x, scratch + 8 * m * stride);
  const calls = cut(panelCount, leastMultiplyAdds / (4 * m * rows), runner).map(
    ([first, end]): Call => ({
      name: "productRing",
      args: [to, from, panels, m, rows, stride, first, end],
    }),
  );
  runner.run(calls);
  takeRows(out, { from: to, columns, stride }, memory);
}

/** Fills out [m, columns] with the data at `from`, rows `stride` words apart. */
function takeRows(
  out: BigUint64Array,
  { from, columns, stride }: { from: number; columns: number; stride: number },
  memory: WasmMemory,
): void {
  if (stride === columns) {
    memory.take(out, from);
    return;
  }
  for (let i = 0; i * columns < out.length; i++) {
    memory.take(out.subarray(i * columns, (i + 1) * columns), from + 8 * i * stride);
  }
}

/** out [m, outer] = x [m, inner] times a keystream matrix, whose first block has these words. */
export function matmulKeystream(
  out: BigUint64Array,
  x: BigUint64Array,
  { matrix, m, block }: { matrix: KeystreamMatrix; m: number; block: Uint8Array },
  engine: ProductEngine,
): void {
  const { rows, columns, transposed } = matrix;
  const [inner, outer] = transposed ? [columns, rows] : [rows, columns];
  const step = Math.max(1, Math.floor(productWords / (inner + outer)));
  for (let row = 0; row < m; row += step) {
    const count = Math.min(step, m - row);
    const to = out.subarray(row * outer, (row + count) * outer);
    const from = x.subarray(row * inner, (row + count) * inner);
    productKeystream(to, from, { inner, outer, transposed, m: count, block }, engine);
  }
}

interface KeystreamShape {
  inner: number;
  outer: number;
  transposed: boolean;
  m: number;
  block: Uint8Array;
}

function productKeystream(
  out: BigUint64Array,
  x: BigUint64Array,
  { inner, outer, transposed, m, block }: KeystreamShape,
  { wasm, memory, runner }: ProductEngine,
): void {
  const panelCount = Math.ceil(outer / 4);
  const stride = 4 * panelCount;
  const least = leastMultiplyAdds / (4 * tilePanels * inner * (m + keystreamMultiplyAdds));
  const parts = cut(Math.ceil(panelCount / tilePanels), least, runner);
  const workBytes = 64 * Math.ceil(wasm.keystreamWorkBytes() / 64);
  const outAt = 64 + parts.length * workBytes;
  const xAt = outAt + 8 * m * stride;
  const scratch = memory.scratch(xAt + 8 * x.length, out, x);
  memory.put(block, scratch);
  const to = (stride === outer ? memory.addressOf(out) : undefined) ?? scratch + outAt;
  const from = memory.bring(x, scratch + xAt);
  const [rows, columns] = transposed ? [outer, inner] : [inner, outer];
  const calls = parts.map(([first, end], i): Call => {
    const panels = [first * tilePanels, Math.min(end * tilePanels, panelCount)];
    const work = scratch + 64 + i * workBytes;
    const shape = [m, rows, columns, Number(transposed), stride];
    return { name: "productKeystream", args: [to, from, scratch, ...shape, ...panels, work] };
  });
  runner.run(calls);
  takeRows(out, { from: to, columns: outer, stride }, memory);
}

/** Constant attention: see RingKernels.attend; x has so many rows. */
export function attend(
  out: BigUint64Array,
  x: BigUint64Array,
  weights: BigUint64Array | Int16Array,
  dims: AttentionDims & { rows: number },
  { memory, runner }: ProductEngine,
): void {
  const { heads, positions, start, columns, rows } = dims;
  const held = dims.held ?? { from: 0, count: positions };
  const count = rows - start;
  if (count === 0) return;
  const entryBytes = weights.BYTES_PER_ELEMENT;
  const resident = memory.addressOf(weights);
  const usedBytes = count * positions * entryBytes;
  const [xAt, weightsAt] = [8 * out.length, 8 * (out.length + x.length)];
  const brought = resident === undefined ? heads * usedBytes : 0;
  const scratch = memory.scratch(weightsAt + brought, out, x, weights);
  const to = memory.addressOf(out) ?? scratch;
  const from = memory.bring(x, scratch + xAt);
  // Of weights that lie elsewhere, each head's rows that are used are brought.
  const firstEntry = (start - held.from) * positions;
  const headEntries = held.count * positions;
  for (let head = 0; resident === undefined && head < heads; head++) {
    const first = head * headEntries + firstEntry;
    const used = weights.subarray(first, first + count * positions);
    memory.put(used, scratch + weightsAt + head * usedBytes);
  }
  const lie =
    resident === undefined
      ? [scratch + weightsAt, usedBytes]
      : [resident + firstEntry * entryBytes, headEntries * entryBytes];
  const width = columns / heads;
  const least = leastMultiplyAdds / (width * count * (start + count / 2));
  const name = weights instanceof Int16Array ? "attendInt16" : "attendWords";
  const calls = cut(heads, least, runner).map(([first, end]): Call => {
    return { name, args: [to, from, columns, ...lie, positions, start, count, width, first, end] };
  });
  runner.run(calls);
  memory.take(out, to);
}
