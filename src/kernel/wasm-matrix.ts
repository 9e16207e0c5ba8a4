// Matrices in the memory of the WebAssembly kernels, in the layouts of assembly/int16.ts and
// assembly/product.ts.

import { ensure } from "../errors.ts";
import type { RingMatrix } from "./ring-kernels.ts";
import type { RingExports } from "./wasm-exports.ts";
import type { WasmMemory } from "./wasm-memory.ts";

/** As in assembly/int16.ts: 8 columns a panel, pairs of rows in six runs of 32 bytes a pair. */
const int16Streams = 6;
/** As in assembly/product.ts: 4 columns a panel, blocks of rows behind a head of 32 bytes. */
const ringBlockRows = 768;
/** Bytes of matrix entries copied in before they are packed. */
const loadBytes = 1 << 20;

interface Shape {
  readonly kind: "int16" | "ring";
  readonly rows: number;
  readonly columns: number;
}

/** Computed here, where nothing overflows. */
function bytesOf({ kind, rows, columns }: Shape): number {
  const pairs = Math.ceil(rows / 2);
  if (kind === "int16") {
    return Math.ceil(columns / 8) * 32 * int16Streams * Math.ceil(pairs / int16Streams);
  }
  return Math.ceil(columns / 4) * 32 * (2 * pairs + Math.ceil(rows / ringBlockRows));
}

class WasmMatrix implements RingMatrix {
  readonly kind: "int16" | "ring";
  readonly rows: number;
  readonly columns: number;
  readonly memory: WasmMemory;
  readonly #bytes: number;
  /** Address of the panels; undefined once freed. */
  #start: number | undefined;

  constructor(shape: Shape, memory: WasmMemory) {
    this.kind = shape.kind;
    this.rows = shape.rows;
    this.columns = shape.columns;
    this.memory = memory;
    this.#bytes = bytesOf(shape);
    this.#start = memory.allocate(this.#bytes);
  }

  get start(): number | undefined {
    return this.#start;
  }

  free(): void {
    if (this.#start !== undefined) this.memory.release(this.#start, this.#bytes);
    this.#start = undefined;
  }
}

/** Packs entries, row by row, into a new matrix. */
export function loadMatrix(
  given: Shape & { readonly entries: Int16Array | BigUint64Array },
  { wasm, memory }: { wasm: RingExports; memory: WasmMemory },
): RingMatrix {
  const { entries, kind, rows, columns } = given;
  const matrix = new WasmMatrix(given, memory);
  const pack = kind === "int16" ? wasm.packInt16 : wasm.packRing;
  const rowBytes = columns * entries.BYTES_PER_ELEMENT;
  const step = 2 * Math.max(1, Math.floor(loadBytes / (2 * rowBytes))); // even: rows are paired
  try {
    const scratch = memory.scratch(Math.min(step, rows) * rowBytes, entries);
    const whole = entries.length === rows * columns;
    ensure(whole, "E_KERNEL", "kernel memory grew and voided the resident entries of a matrix");
    for (let row = 0; row < rows; row += step) {
      const count = Math.min(step, rows - row);
      const part = entries.subarray(row * columns, (row + count) * columns);
      pack(startOf(matrix, memory), memory.bring(part, scratch), row, count, rows, columns);
    }
  } catch (error) {
    matrix.free();
    throw error;
  }
  return matrix;
}

/** Address of a matrix's panels. */
export function startOf(matrix: RingMatrix, memory: WasmMemory): number {
  const ours = matrix instanceof WasmMatrix && matrix.memory === memory;
  ensure(ours, "E_KERNEL", "matmul: the matrix was loaded by another kernel set");
  ensure(matrix.start !== undefined, "E_KERNEL", "matmul: the matrix was freed");
  return matrix.start;
}
