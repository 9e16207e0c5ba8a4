// Buffers that a float program borrows and gives back, so that a training step allocates no
// memory after the first one of its shape. Programs of one thread share an arena.

type FloatArrayType = new (buffer: ArrayBuffer, offset: number, length: number) => Float32Array;

export class Arena {
  readonly #free = new Map<number, ArrayBuffer[]>();
  readonly #type: FloatArrayType;
  readonly #width: number;

  /** Float64Array as the type makes every program on this arena compute in doubles (for tests). */
  constructor(type: Float32ArrayConstructor | Float64ArrayConstructor = Float32Array) {
    this.#type = type as unknown as FloatArrayType;
    this.#width = type.BYTES_PER_ELEMENT;
  }

  /** A buffer of this length with arbitrary content. */
  take(length: number): Float32Array {
    const size = sizeClass(length);
    const buffer = this.#free.get(size)?.pop() ?? new ArrayBuffer(size * this.#width);
    return new this.#type(buffer, 0, length);
  }

  takeZeroed(length: number): Float32Array {
    return this.take(length).fill(0);
  }

  /** Gives a buffer back; it must have come from `take` and not be used afterwards. */
  give(array: Float32Array): void {
    const size = array.buffer.byteLength / this.#width;
    const list = this.#free.get(size);
    if (list) list.push(array.buffer as ArrayBuffer);
    else this.#free.set(size, [array.buffer as ArrayBuffer]);
  }
}

/** Rounds up to 1, 1.25, 1.5 or 1.75 times a power of two, so that near sizes share buffers. */
function sizeClass(length: number): number {
  if (length <= 64) return 64;
  const power = 2 ** Math.floor(Math.log2(length));
  const quarter = power / 4;
  return Math.ceil(length / quarter) * quarter;
}
