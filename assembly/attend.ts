// Constant attention: weights, full words or int16, times rows of words, with plain scalar
// products, four rows of x at a time. x is used where it lies: packing it for a better product
// costs as much as it gains at the widths of a head.

/** out [width] += weights [count] times rows of x that lie rowBytes apart. */
// @ts-ignore: decorator
@inline
function addRows<T>(
  out: usize,
  weights: usize,
  x: usize,
  rowBytes: usize,
  count: usize,
  width: usize,
): void {
  const end = out + (width << 3);
  for (; count >= 4; count -= 4) {
    const w0 = load<T>(weights) as i64;
    const w1 = load<T>(weights, sizeof<T>()) as i64;
    const w2 = load<T>(weights, 2 * sizeof<T>()) as i64;
    const w3 = load<T>(weights, 3 * sizeof<T>()) as i64;
    let x0 = x;
    let x2 = x + (rowBytes << 1);
    for (let to = out; to < end; to += 8, x0 += 8, x2 += 8) {
      const upper = w0 * load<i64>(x0) + w1 * load<i64>(x0 + rowBytes);
      const lower = w2 * load<i64>(x2) + w3 * load<i64>(x2 + rowBytes);
      store<i64>(to, load<i64>(to) + upper + lower);
    }
    weights += 4 * sizeof<T>();
    x += rowBytes << 2;
  }
  for (; count > 0; count--) {
    const w = load<T>(weights) as i64;
    let from = x;
    for (let to = out; to < end; to += 8, from += 8) {
      store<i64>(to, load<i64>(to) + w * load<i64>(from));
    }
    weights += sizeof<T>();
    x += rowBytes;
  }
}

// @ts-ignore: decorator
@inline
function attend<T>(
  out: usize,
  x: usize,
  columns: usize,
  weights: usize,
  headBytes: usize,
  positions: usize,
  start: usize,
  count: usize,
  width: usize,
  firstHead: usize,
  endHead: usize,
): void {
  const rowBytes = columns << 3;
  for (let head = firstHead; head < endHead; head++) {
    const offset = (head * width) << 3;
    for (let i: usize = 0; i < count; i++) {
      const to = out + i * rowBytes + offset;
      const row = weights + head * headBytes + i * positions * sizeof<T>();
      memory.fill(to, 0, width << 3);
      addRows<T>(to, row, x + offset, rowBytes, start + i + 1, width);
    }
  }
}

/**
 * Heads [firstHead, endHead) of constant attention: in each, row i < count of out [count, columns]
 * = sum over j <= start + i of weights[i, j] x[j], on `width` columns. The weights of a head,
 * [count, positions], lie headBytes after those of the one before.
 */
export function attendWords(
  out: usize,
  x: usize,
  columns: usize,
  weights: usize,
  headBytes: usize,
  positions: usize,
  start: usize,
  count: usize,
  width: usize,
  firstHead: usize,
  endHead: usize,
): void {
  attend<u64>(
    out, x, columns, weights, headBytes, positions, start, count, width, firstHead, endHead
  );
}

/** The same with int16 weights. */
export function attendInt16(
  out: usize,
  x: usize,
  columns: usize,
  weights: usize,
  headBytes: usize,
  positions: usize,
  start: usize,
  count: usize,
  width: usize,
  firstHead: usize,
  endHead: usize,
): void {
  attend<i16>(
    out, x, columns, weights, headBytes, positions, start, count, width, firstHead, endHead
  );
}
