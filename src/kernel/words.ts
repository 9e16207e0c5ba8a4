// Moving words about without a BigInt of any: as pairs of 32-bit halves.

/** From so many copies on a word is written by `fill`: before, its BigInt costs more. */
const LONG_RUN = 64;

/** The halves of words, low ones first. */
export function halves(words: BigUint64Array): Uint32Array {
  return new Uint32Array(words.buffer, words.byteOffset, 2 * words.length);
}

/** Each word of a column `times` times: [n] -> [n * times]. */
export function spreadInto(out: BigUint64Array, column: BigUint64Array, times: number): void {
  if (times >= LONG_RUN) {
    for (let i = 0; i < column.length; i++) out.fill(column[i]!, i * times, (i + 1) * times);
    return;
  }
  const [from, to] = [halves(column), halves(out)];
  for (let i = 0, at = 0; i < from.length; i += 2) {
    const [low, high] = [from[i]!, from[i + 1]!];
    for (const end = at + 2 * times; at < end; at += 2) {
      to[at] = low;
      to[at + 1] = high;
    }
  }
}

/** Vectors [n] as the columns of [n, vectors]. */
export function interleaveInto(out: BigUint64Array, columns: readonly BigUint64Array[]): void {
  const to = halves(out);
  columns.forEach((column, k) => {
    const from = halves(column);
    for (let i = 0, at = 2 * k; i < from.length; i += 2, at += 2 * columns.length) {
      to[at] = from[i]!;
      to[at + 1] = from[i + 1]!;
    }
  });
}

/** Copies of a row until `out` is full. */
export function repeatInto(out: BigUint64Array, row: BigUint64Array): void {
  for (let at = 0; at < out.length; at += row.length) out.set(row, at);
}
