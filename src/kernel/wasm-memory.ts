// First-fit allocator over a WebAssembly memory: long-lived blocks for matrices, and one scratch
// block that each call reuses. Blocks are multiples of 64 bytes. Memory grows on demand.

import { ensure, MergenError } from "../errors.ts";

const alignment = 64;
const pageBytes = 65536;
const maxBytes = 2 ** 32;
/** Growth in steps, so that many small matrices do not each grow the memory. */
const growthBytes = 1 << 22;

interface Span {
  start: number;
  bytes: number;
}

/** A memory's buffer and views of all of it, good until it grows. */
interface Views {
  readonly buffer: ArrayBufferLike;
  readonly bytes: Uint8Array;
  readonly halves: Int16Array;
  readonly words: BigUint64Array;
}

function viewsOf({ buffer }: WebAssembly.Memory): Views {
  const [bytes, halves] = [new Uint8Array(buffer), new Int16Array(buffer)];
  return { buffer, bytes, halves, words: new BigUint64Array(buffer) };
}

export class WasmMemory {
  readonly memory: WebAssembly.Memory;
  #views: Views;
  #free: Span[] = []; // sorted by start, never adjacent
  #end: number;
  #scratch: Span = { start: 0, bytes: 0 };

  /** Manages the memory from byte `heapBase` on. */
  constructor(memory: WebAssembly.Memory, heapBase: number) {
    this.memory = memory;
    this.#views = viewsOf(memory);
    this.#end = Math.ceil(heapBase / alignment) * alignment;
    this.release(this.#end, memory.buffer.byteLength - this.#end);
    this.#end = memory.buffer.byteLength;
  }

  /** @throws E_KERNEL when 4 GB do not suffice. */
  allocate(bytes: number): number {
    const size = roundUp(bytes);
    let index = this.#free.findIndex((span) => span.bytes >= size);
    if (index < 0) {
      this.#grow(size);
      index = this.#free.findIndex((span) => span.bytes >= size);
    }
    const span = this.#free[index];
    const start = span.start;
    if (span.bytes === size) this.#free.splice(index, 1);
    else this.#free[index] = { start: start + size, bytes: span.bytes - size };
    return start;
  }

  /** Gives back a block of `bytes` bytes that `allocate` returned. */
  release(start: number, bytes: number): void {
    const size = roundUp(bytes);
    const found = this.#free.findIndex((span) => span.start > start);
    const index = found < 0 ? this.#free.length : found;
    const before = this.#free[index - 1];
    const after = this.#free[index];
    ensure(
      (before === undefined || before.start + before.bytes <= start) &&
        (after === undefined || start + size <= after.start),
      "E_INTERNAL",
      "wasm memory: a block was released twice",
    );
    const merged = { start, bytes: size };
    let first = index;
    let count = 0;
    if (before !== undefined && before.start + before.bytes === start) {
      merged.start = before.start;
      merged.bytes += before.bytes;
      first--;
      count++;
    }
    if (after !== undefined && start + size === after.start) {
      merged.bytes += after.bytes;
      count++;
    }
    this.#free.splice(first, count, merged);
  }

  /** View of `count` words at an address; void once the memory has grown. */
  words(start: number, count: number): BigUint64Array {
    return new BigUint64Array(this.#views.buffer, start, count);
  }

  /**
   * Scratch of at least `bytes` bytes, good until the next call of `scratch`. The views are those
   * that the caller still needs.
   * @throws E_KERNEL when making room would void one of the views
   */
  scratch(bytes: number, ...views: ArrayBufferView[]): number {
    if (this.#scratch.bytes < bytes) {
      const resident = views.some((view) => this.addressOf(view) !== undefined);
      ensure(!resident, "E_KERNEL", "kernel memory has no scratch left beside a resident operand");
      if (this.#scratch.bytes > 0) this.release(this.#scratch.start, this.#scratch.bytes);
      this.#scratch = { start: 0, bytes: 0 };
      const size = roundUp(bytes + Math.floor(bytes / 4));
      this.#scratch = { start: this.allocate(size), bytes: size };
    }
    return this.#scratch.start;
  }

  /** Address of a view that lies in this memory, else undefined. */
  addressOf(view: ArrayBufferView): number | undefined {
    return view.buffer === this.#views.buffer ? view.byteOffset : undefined;
  }

  /** Address of the view's data, which are copied to `scratch` unless they lie in the memory. */
  bring(view: BigUint64Array | Uint8Array | Int16Array, scratch: number): number {
    if (view.buffer === this.#views.buffer) return view.byteOffset;
    this.put(view, scratch);
    return scratch;
  }

  /** Copies the view's data to an address that is a multiple of 8. */
  put(view: BigUint64Array | Uint8Array | Int16Array, start: number): void {
    if (view instanceof BigUint64Array) this.#views.words.set(view, start / 8);
    else if (view instanceof Int16Array) this.#views.halves.set(view, start / 2);
    else this.#views.bytes.set(view, start);
  }

  /** Fills the view with the data at `start`, unless it is that very place. */
  take(view: BigUint64Array | Uint8Array, start: number): void {
    const buffer = this.#views.buffer;
    if (view.buffer === buffer && view.byteOffset === start) return;
    if (view instanceof Uint8Array) view.set(new Uint8Array(buffer, start, view.length));
    else view.set(new BigUint64Array(buffer, start, view.length));
  }

  #grow(size: number): void {
    const last = this.#free.at(-1);
    const tail = last !== undefined && last.start + last.bytes === this.#end ? last.bytes : 0;
    const needed = Math.ceil((size - tail) / pageBytes);
    const room = (maxBytes - this.#end) / pageBytes;
    const pages = Math.min(Math.max(needed, growthBytes / pageBytes), room);
    if (needed > room) throw outOfMemory(size);
    try {
      this.memory.grow(pages);
    } catch (cause) {
      throw outOfMemory(size, cause);
    }
    this.#views = viewsOf(this.memory);
    this.#end += pages * pageBytes;
    this.release(this.#end - pages * pageBytes, pages * pageBytes);
  }
}

function roundUp(bytes: number): number {
  return Math.max(Math.ceil(bytes / alignment), 1) * alignment;
}

function outOfMemory(size: number, cause?: unknown): MergenError {
  return new MergenError("E_KERNEL", `kernel memory cannot grow by ${size} bytes`, { cause });
}
