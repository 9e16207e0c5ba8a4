// Products of ring words and ring matrices, modulo 2^64, by Winograd's inner product ("A new
// algorithm for inner product", IEEE Trans. Comput. C-17, 1968): for a pair of rows k, k + 1
//   x1 w1 + x2 w2 = (x1 + w2) (x2 + w1) - x1 x2 - w1 w2,
// where x1 x2 is summed once for a row of x and w1 w2 once for a column of the matrix. So two
// multiply-adds cost one 64-bit multiplication, of which a core makes one a clock, and three
// additions, of which it makes five.
//
// Measured, [128, 768] times [768, 3072]: 5.2 G multiply-adds/s; 3.9 with plain scalar products
// (one multiplication each); 3.1 with 32-bit limbs in vectors (extmul for low times low, i32x4.mul
// for the rest), because an engine turns each extmul into two shuffles and a multiplication. The
// same trick in vectors (i64x2.mul, eight instructions) alone 4.4, beside scalar rows 5.1.
//
// Panels hold 4 columns, cut into blocks of `blockRows` rows. A block begins with minus the sums of
// w1 w2, four words; then for each pair of rows w1 of the four columns and w2 of them. A last row
// without a partner lies where a w1 would, and is multiplied plainly. Missing columns are zero.

/** Rows of a block: 24 KB, so that it stays in the first-level cache. */
export const blockRows: usize = 768;
/** Bytes of the sums at the head of a block. */
const headBytes: usize = 32;

/** Bytes of a block of `rows` rows. */
// @ts-ignore: decorator
@inline
export function blockBytes(rows: usize): usize {
  return headBytes + ((rows + 1) >> 1 << 6);
}

/** Bytes of a panel of `rows` rows. */
export function panelBytes(rows: usize): usize {
  const blocks = rows / blockRows;
  const rest = rows % blockRows;
  return blocks * blockBytes(blockRows) + (rest > 0 ? blockBytes(rest) : 0);
}

/** Bytes of a matrix [rows, columns]. */
export function ringBytes(rows: usize, columns: usize): usize {
  return ((columns + 3) >> 2) * panelBytes(rows);
}

/** Packs rows [firstRow, firstRow + count) of [rows, columns], in order; firstRow is even. */
export function packRing(
  out: usize,
  source: usize,
  firstRow: usize,
  count: usize,
  rows: usize,
  columns: usize,
): void {
  const rowBytes = columns << 3;
  for (let first: usize = 0; first < columns; first += 4) {
    const panel = out + (first >> 2) * panelBytes(rows);
    const width = min(columns - first, 4);
    let done: usize = 0;
    while (done < count) {
      const row = firstRow + done;
      const within = row % blockRows;
      const taken = min(count - done, blockRows - within);
      const block = panel + (row / blockRows) * blockBytes(blockRows);
      packBlock(block, source + done * rowBytes + (first << 3), rowBytes, 8, within, taken, width);
      done += taken;
    }
  }
}

/**
 * Packs rows [firstRow, firstRow + count) of a block; the word in row k and column j of them lies
 * at source + k * rowBytes + j * columnBytes. firstRow is even, and `count` where more rows follow.
 */
export function packBlock(
  block: usize,
  source: usize,
  rowBytes: usize,
  columnBytes: usize,
  firstRow: usize,
  count: usize,
  width: usize,
): void {
  if (firstRow === 0) memory.fill(block, 0, headBytes);
  for (let j: usize = 0; j < 4; j++) {
    let to = block + headBytes + (firstRow << 5) + (j << 3);
    const end = to + ((count >> 1) << 6);
    if (j >= width) {
      for (; to < end + ((count & 1) << 6); to += 32) store<u64>(to, 0);
      continue;
    }
    let from = source + j * columnBytes;
    let sum = load<u64>(block + (j << 3));
    for (; to < end; to += 64) {
      const w1 = load<u64>(from);
      const w2 = load<u64>(from + rowBytes);
      store<u64>(to, w1);
      store<u64>(to, w2, 32);
      sum -= w1 * w2;
      from += rowBytes << 1;
    }
    store<u64>(block + (j << 3), sum);
    if (count & 1) store<u64>(to, load<u64>(from));
  }
}

/** Sum of x1 x2 over the pairs of a row of x. */
function pairProducts(x: usize, rows: usize): u64 {
  let sum: u64 = 0;
  for (const end = x + ((rows >> 1) << 4); x < end; x += 16) {
    sum += load<u64>(x) * load<u64>(x, 8);
  }
  return sum;
}

/** out [4] += row x times a block, but for the products of the pairs of x. */
function rowTimesBlock(out: usize, x: usize, block: usize, rows: usize): void {
  let a0 = load<u64>(out) + load<u64>(block);
  let a1 = load<u64>(out, 8) + load<u64>(block, 8);
  let a2 = load<u64>(out, 16) + load<u64>(block, 16);
  let a3 = load<u64>(out, 24) + load<u64>(block, 24);
  let w = block + headBytes;
  for (const end = w + ((rows >> 1) << 6); w < end; w += 64, x += 16) {
    const x1 = load<u64>(x);
    const x2 = load<u64>(x, 8);
    a0 += (x2 + load<u64>(w)) * (x1 + load<u64>(w, 32));
    a1 += (x2 + load<u64>(w, 8)) * (x1 + load<u64>(w, 40));
    a2 += (x2 + load<u64>(w, 16)) * (x1 + load<u64>(w, 48));
    a3 += (x2 + load<u64>(w, 24)) * (x1 + load<u64>(w, 56));
  }
  if (rows & 1) {
    const last = load<u64>(x);
    a0 += last * load<u64>(w);
    a1 += last * load<u64>(w, 8);
    a2 += last * load<u64>(w, 16);
    a3 += last * load<u64>(w, 24);
  }
  store<u64>(out, a0);
  store<u64>(out, a1, 8);
  store<u64>(out, a2, 16);
  store<u64>(out, a3, 24);
}

/** Columns [first, first + count) of out [m, stride] = minus the pair products of each row of x. */
export function startProduct(
  out: usize,
  x: usize,
  m: usize,
  rows: usize,
  stride: usize,
  first: usize,
  count: usize,
): void {
  for (let i: usize = 0; i < m; i++) {
    const start = i64x2.splat(0 - pairProducts(x + ((i * rows) << 3), rows));
    const from = out + ((i * stride + first) << 3);
    for (let to = from; to < from + (count << 3); to += 16) v128.store(to, start);
  }
}

/** Four columns of out [m] += x [m, rows] times a block; rows lie so many bytes apart. */
export function addBlock(
  out: usize,
  strideBytes: usize,
  x: usize,
  rowBytes: usize,
  m: usize,
  block: usize,
  rows: usize,
): void {
  for (let i: usize = 0; i < m; i++) {
    rowTimesBlock(out, x, block, rows);
    out += strideBytes;
    x += rowBytes;
  }
}

/**
 * Panels [firstPanel, endPanel) of out [m, stride] = x [m, rows] times ring panels, where stride
 * is the number of columns rounded up to a multiple of 4.
 */
export function productRing(
  out: usize,
  x: usize,
  panels: usize,
  m: usize,
  rows: usize,
  stride: usize,
  firstPanel: usize,
  endPanel: usize,
): void {
  startProduct(out, x, m, rows, stride, firstPanel << 2, (endPanel - firstPanel) << 2);
  const bytes = panelBytes(rows);
  for (let k: usize = 0; k < rows; k += blockRows) {
    const count = min(rows - k, blockRows);
    const offset = (k / blockRows) * blockBytes(blockRows);
    for (let index = firstPanel; index < endPanel; index++) {
      const block = panels + index * bytes + offset;
      addBlock(out + (index << 5), stride << 3, x + (k << 3), rows << 3, m, block, count);
    }
  }
}
