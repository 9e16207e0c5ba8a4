// Memory for large results, the same again and again: a new array of 100 MB costs more to clear
// and to collect than what D writes into it.

/** Smaller arrays are not worth it. */
const LEAST_BYTES = 1 << 20;
/** What is kept for later, at the most. */
const KEPT_BYTES = 1 << 29;

/** Buffers that are taken, and given back all together. */
export class Rooms {
  readonly #free: ArrayBuffer[] = [];

  /** A lease: `room` gives bytes, whatever is in them; `end` gives all of them back. */
  lease(): { readonly room: (byteLength: number) => Uint8Array; readonly end: () => void } {
    const taken: ArrayBuffer[] = [];
    const room = (byteLength: number) => {
      if (byteLength < LEAST_BYTES) return new Uint8Array(byteLength);
      const buffer = this.#take(byteLength);
      taken.push(buffer);
      return new Uint8Array(buffer, 0, byteLength);
    };
    return { room, end: () => this.#giveBack(taken.splice(0)) };
  }

  /** The smallest free buffer that is large enough, and not twice too large; else a new one. */
  #take(byteLength: number): ArrayBuffer {
    let best = -1;
    for (const [i, { byteLength: size }] of this.#free.entries()) {
      const fits = size >= byteLength && size <= 2 * byteLength;
      if (fits && (best < 0 || size < this.#free[best]!.byteLength)) best = i;
    }
    return best < 0 ? new ArrayBuffer(byteLength) : this.#free.splice(best, 1)[0]!;
  }

  /** Those used last are kept. */
  #giveBack(buffers: readonly ArrayBuffer[]): void {
    this.#free.unshift(...buffers);
    let bytes = 0;
    for (const [i, { byteLength }] of this.#free.entries()) {
      bytes += byteLength;
      if (bytes > KEPT_BYTES) this.#free.length = i;
    }
  }
}
