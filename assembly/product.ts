// Matrix products modulo 2^64. Matrices are repacked into panels of columns, so that a product
// reads them as one stream.

// int16 panels: 8 columns in two halves of 4; in a half, for each pair of rows (k, k + 1) 16 bytes:
// the pair of column 0, of column 1 and so on. Missing rows and columns are zero. The halves lie
// apart because two streams load faster than one: 17.8 against 20.0 ms for 56.6 M weights (four
// streams: no further gain).
//
// A word of x is split into five signed limbs, x = l0 + l1 2^11 + l2 2^22 + l3 2^32 + l4 2^48
// (mod 2^64) of 11, 11, 10, 16 and 16 bits, and i32x4.dot_i16x8_s multiplies a pair of limbs by a
// pair of weights. The sums of l3 and l4 are needed modulo 2^32 only, so they may wrap. Those of
// l0..l2 must not: |l| <= 2^10 and |w| <= 2^15, so a dot is at most 2^26 and a lane holds 31 of
// them (31 * 2^26 < 2^31; 32 could reach 2^31).
const flushPairs: usize = 31;
/** Bytes of the limbs of a pair of words: five times two int16. */
const limbBytes: usize = 20;

/** Packs rows [firstRow, firstRow + count) of [rows, columns]; firstRow is even. */
export function packInt16(
  out: usize,
  source: usize,
  firstRow: usize,
  count: usize,
  rows: usize,
  columns: usize,
): void {
  const halfBytes = ((rows + 1) >> 1) << 4;
  const panels = (columns + 7) >> 3;
  for (let k: usize = 0; k < count; k += 2) {
    const top = source + ((k * columns) << 1);
    const bottom = top + (columns << 1);
    const hasBottom = k + 1 < count;
    for (let panel: usize = 0; panel < panels; panel++) {
      const to = out + ((panel * halfBytes) << 1) + (((firstRow + k) >> 1) << 4);
      const first = panel << 3;
      if (first + 8 <= columns) {
        const a = v128.load(top + (first << 1));
        const b = hasBottom ? v128.load(bottom + (first << 1)) : i64x2.splat(0);
        v128.store(to, i16x8.shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11));
        v128.store(to + halfBytes, i16x8.shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15));
      } else {
        for (let j: usize = 0; j < 8; j++) {
          const column = first + j;
          const inside = column < columns;
          const a = inside ? load<i16>(top + (column << 1)) : 0;
          const b = inside && hasBottom ? load<i16>(bottom + (column << 1)) : 0;
          const at = to + (j & 4 ? halfBytes : 0) + ((j & 3) << 2);
          store<i16>(at, a);
          store<i16>(at, b, 2);
        }
      }
    }
  }
}

/** Splits a row of words into limbs: for each pair of words five pairs of int16. */
export function splitLimbs(out: usize, x: usize, rows: usize): void {
  for (let k: usize = 0; k < rows; k++) {
    const to = out + (k >> 1) * limbBytes + ((k & 1) << 1);
    let rest = load<i64>(x + (k << 3));
    const l0 = (rest << 53) >> 53;
    rest = (rest - l0) >> 11;
    const l1 = (rest << 53) >> 53;
    rest = (rest - l1) >> 11;
    const l2 = (rest << 54) >> 54;
    rest = (rest - l2) >> 10;
    const l3 = (rest << 48) >> 48;
    rest = (rest - l3) >> 16;
    store<i16>(to, l0 as i16);
    store<i16>(to, l1 as i16, 4);
    store<i16>(to, l2 as i16, 8);
    store<i16>(to, l3 as i16, 12);
    store<i16>(to, rest as i16, 16);
  }
  if (rows & 1) {
    const to = out + (rows >> 1) * limbBytes;
    for (let i: usize = 0; i < limbBytes; i += 4) store<i16>(to + i, 0, 2);
  }
}

/** Sum of l0 + l1 2^11 + l2 2^22 over two columns given as the low halves of three i32x4. */
// @ts-ignore: decorator
@inline
function joinLow(l0: v128, l1: v128, l2: v128): v128 {
  return i64x2.add(
    i64x2.extend_low_i32x4_s(l0),
    i64x2.add(
      i64x2.shl(i64x2.extend_low_i32x4_s(l1), 11),
      i64x2.shl(i64x2.extend_low_i32x4_s(l2), 22),
    ),
  );
}

// @ts-ignore: decorator
@inline
function joinHigh(l0: v128, l1: v128, l2: v128): v128 {
  return i64x2.add(
    i64x2.extend_high_i32x4_s(l0),
    i64x2.add(
      i64x2.shl(i64x2.extend_high_i32x4_s(l1), 11),
      i64x2.shl(i64x2.extend_high_i32x4_s(l2), 22),
    ),
  );
}

/** out [8] = one row of limbs times one panel. */
function limbsTimesPanel(out: usize, limbs: usize, panel: usize, pairs: usize): void {
  const halfBytes = pairs << 4;
  let sum01 = i64x2.splat(0);
  let sum23 = i64x2.splat(0);
  let sum45 = i64x2.splat(0);
  let sum67 = i64x2.splat(0);
  let a3 = i64x2.splat(0);
  let b3 = i64x2.splat(0);
  let a4 = i64x2.splat(0);
  let b4 = i64x2.splat(0);
  while (pairs > 0) {
    const chunk = min(pairs, flushPairs);
    pairs -= chunk;
    let a0 = i64x2.splat(0);
    let b0 = i64x2.splat(0);
    let a1 = i64x2.splat(0);
    let b1 = i64x2.splat(0);
    let a2 = i64x2.splat(0);
    let b2 = i64x2.splat(0);
    const end = panel + (chunk << 4);
    while (panel < end) {
      const a = v128.load(panel);
      const b = v128.load(panel + halfBytes);
      let l = v128.load32_splat(limbs);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(a, l));
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(b, l));
      l = v128.load32_splat(limbs, 4);
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(a, l));
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(b, l));
      l = v128.load32_splat(limbs, 8);
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(a, l));
      b2 = i32x4.add(b2, i32x4.dot_i16x8_s(b, l));
      l = v128.load32_splat(limbs, 12);
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(a, l));
      b3 = i32x4.add(b3, i32x4.dot_i16x8_s(b, l));
      l = v128.load32_splat(limbs, 16);
      a4 = i32x4.add(a4, i32x4.dot_i16x8_s(a, l));
      b4 = i32x4.add(b4, i32x4.dot_i16x8_s(b, l));
      panel += 16;
      limbs += limbBytes;
    }
    sum01 = i64x2.add(sum01, joinLow(a0, a1, a2));
    sum23 = i64x2.add(sum23, joinHigh(a0, a1, a2));
    sum45 = i64x2.add(sum45, joinLow(b0, b1, b2));
    sum67 = i64x2.add(sum67, joinHigh(b0, b1, b2));
  }
  const a = i32x4.add(a3, i32x4.shl(a4, 16));
  const b = i32x4.add(b3, i32x4.shl(b4, 16));
  v128.store(out, i64x2.add(sum01, i64x2.shl(i64x2.extend_low_i32x4_u(a), 32)));
  v128.store(out, i64x2.add(sum23, i64x2.shl(i64x2.extend_high_i32x4_u(a), 32)), 16);
  v128.store(out, i64x2.add(sum45, i64x2.shl(i64x2.extend_low_i32x4_u(b), 32)), 32);
  v128.store(out, i64x2.add(sum67, i64x2.shl(i64x2.extend_high_i32x4_u(b), 32)), 48);
}

/**
 * Panels [firstPanel, endPanel) of out [m, columns] = x [m, rows] times int16 panels. limbs: m
 * rows of limbs, each ceil(rows / 2) * 20 bytes; edge: 64 bytes of scratch.
 */
export function productInt16(
  out: usize,
  limbs: usize,
  panels: usize,
  m: usize,
  rows: usize,
  columns: usize,
  firstPanel: usize,
  endPanel: usize,
  edge: usize,
): void {
  const pairs = (rows + 1) >> 1;
  for (let index = firstPanel; index < endPanel; index++) {
    const panel = panels + index * (pairs << 5);
    const first = index << 3;
    const width = min(columns - first, 8);
    for (let i: usize = 0; i < m; i++) {
      const to = out + ((i * columns + first) << 3);
      const row = limbs + i * pairs * limbBytes;
      if (width === 8) {
        limbsTimesPanel(to, row, panel, pairs);
      } else {
        limbsTimesPanel(edge, row, panel, pairs);
        memory.copy(to, edge, width << 3);
      }
    }
  }
}

// Ring panels: 4 columns; for each row 32 bytes: the low 32 bits of the four words, then the high
// 32 bits. x w = xl wl + 2^32 (xl wh + xh wl): the first product is needed in full (extmul), the
// sum in brackets modulo 2^32.

/** Rows of a panel that a block takes: 16 KB, so that it stays in the first-level cache. */
const blockRows: usize = 512;

/** Packs rows [firstRow, firstRow + count) of [rows, columns]. */
export function packRing(
  out: usize,
  source: usize,
  firstRow: usize,
  count: usize,
  rows: usize,
  columns: usize,
): void {
  packRows(out + (firstRow << 5), source, columns << 3, count, rows << 5, columns);
}

/** Packs rows that lie rowBytes apart; columns of panels lie panelBytes apart. */
function packRows(
  out: usize,
  source: usize,
  rowBytes: usize,
  count: usize,
  panelBytes: usize,
  columns: usize,
): void {
  for (let first: usize = 0; first < columns; first += 4) {
    const panel = out + (first >> 2) * panelBytes;
    const from = source + (first << 3);
    const width = min(columns - first, 4);
    for (let k: usize = 0; k < count; k++) {
      const at = from + k * rowBytes;
      const to = panel + (k << 5);
      if (width === 4) {
        const a = v128.load(at);
        const b = v128.load(at, 16);
        v128.store(to, i32x4.shuffle(a, b, 0, 2, 4, 6));
        v128.store(to, i32x4.shuffle(a, b, 1, 3, 5, 7), 16);
      } else {
        memory.fill(to, 0, 32);
        for (let j: usize = 0; j < width; j++) {
          store<u32>(to + (j << 2), load<u32>(at + (j << 3)));
          store<u32>(to + (j << 2), load<u32>(at + (j << 3), 4), 16);
        }
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function joinCrossLow(low: v128, cross: v128): v128 {
  return i64x2.add(low, i64x2.shl(i64x2.extend_low_i32x4_u(cross), 32));
}

// @ts-ignore: decorator
@inline
function joinCrossHigh(low: v128, cross: v128): v128 {
  return i64x2.add(low, i64x2.shl(i64x2.extend_high_i32x4_u(cross), 32));
}

/** out0 [4] += row x0 times a panel; out1 [4] += row x1 times it. */
function twoRowsTimesPanel(
  out0: usize,
  out1: usize,
  x0: usize,
  x1: usize,
  panel: usize,
  count: usize,
): void {
  let a01 = v128.load(out0);
  let a23 = v128.load(out0, 16);
  let b01 = v128.load(out1);
  let b23 = v128.load(out1, 16);
  let aCross = i64x2.splat(0);
  let bCross = i64x2.splat(0);
  const end = panel + (count << 5);
  while (panel < end) {
    const low = v128.load(panel);
    const high = v128.load(panel, 16);
    let xl = v128.load32_splat(x0);
    let xh = v128.load32_splat(x0, 4);
    a01 = i64x2.add(a01, i64x2.extmul_low_i32x4_u(low, xl));
    a23 = i64x2.add(a23, i64x2.extmul_high_i32x4_u(low, xl));
    aCross = i32x4.add(aCross, i32x4.mul(high, xl));
    aCross = i32x4.add(aCross, i32x4.mul(low, xh));
    xl = v128.load32_splat(x1);
    xh = v128.load32_splat(x1, 4);
    b01 = i64x2.add(b01, i64x2.extmul_low_i32x4_u(low, xl));
    b23 = i64x2.add(b23, i64x2.extmul_high_i32x4_u(low, xl));
    bCross = i32x4.add(bCross, i32x4.mul(high, xl));
    bCross = i32x4.add(bCross, i32x4.mul(low, xh));
    panel += 32;
    x0 += 8;
    x1 += 8;
  }
  v128.store(out0, joinCrossLow(a01, aCross));
  v128.store(out0, joinCrossHigh(a23, aCross), 16);
  v128.store(out1, joinCrossLow(b01, bCross));
  v128.store(out1, joinCrossHigh(b23, bCross), 16);
}

/** out [4] += row x times a panel. */
function oneRowTimesPanel(out: usize, x: usize, panel: usize, count: usize): void {
  let a01 = v128.load(out);
  let a23 = v128.load(out, 16);
  let cross = i64x2.splat(0);
  const end = panel + (count << 5);
  while (panel < end) {
    const low = v128.load(panel);
    const high = v128.load(panel, 16);
    const xl = v128.load32_splat(x);
    const xh = v128.load32_splat(x, 4);
    a01 = i64x2.add(a01, i64x2.extmul_low_i32x4_u(low, xl));
    a23 = i64x2.add(a23, i64x2.extmul_high_i32x4_u(low, xl));
    cross = i32x4.add(cross, i32x4.mul(high, xl));
    cross = i32x4.add(cross, i32x4.mul(low, xh));
    panel += 32;
    x += 8;
  }
  v128.store(out, joinCrossLow(a01, cross));
  v128.store(out, joinCrossHigh(a23, cross), 16);
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
  for (let i: usize = 0; i < m; i++) {
    memory.fill(out + ((i * stride + (firstPanel << 2)) << 3), 0, (endPanel - firstPanel) << 5);
  }
  for (let k: usize = 0; k < rows; k += blockRows) {
    const count = min(rows - k, blockRows);
    for (let index = firstPanel; index < endPanel; index++) {
      const panel = panels + ((index * rows + k) << 5);
      let to = out + (index << 5);
      let from = x + (k << 3);
      let i: usize = 0;
      for (; i + 2 <= m; i += 2) {
        const to1 = to + (stride << 3);
        const from1 = from + (rows << 3);
        twoRowsTimesPanel(to, to1, from, from1, panel, count);
        to = to1 + (stride << 3);
        from = from1 + (rows << 3);
      }
      if (i < m) oneRowTimesPanel(to, from, panel, count);
    }
  }
}

/** out [4] = weights [count] times four columns of x, whose rows lie rowBytes apart. */
function weightsTimesColumns(
  out: usize,
  weights: usize,
  x: usize,
  rowBytes: usize,
  count: usize,
): void {
  let a01 = i64x2.splat(0);
  let a23 = i64x2.splat(0);
  let cross = i64x2.splat(0);
  const end = weights + (count << 3);
  while (weights < end) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    const low = i32x4.shuffle(a, b, 0, 2, 4, 6);
    const high = i32x4.shuffle(a, b, 1, 3, 5, 7);
    const wl = v128.load32_splat(weights);
    const wh = v128.load32_splat(weights, 4);
    a01 = i64x2.add(a01, i64x2.extmul_low_i32x4_u(low, wl));
    a23 = i64x2.add(a23, i64x2.extmul_high_i32x4_u(low, wl));
    cross = i32x4.add(cross, i32x4.mul(high, wl));
    cross = i32x4.add(cross, i32x4.mul(low, wh));
    weights += 8;
    x += rowBytes;
  }
  v128.store(out, joinCrossLow(a01, cross));
  v128.store(out, joinCrossHigh(a23, cross), 16);
}

/**
 * One head of constant attention: row i < count of out [width] = sum over j <= start + i of
 * weights[i, j] x[j]. Rows of x and out lie rowBytes apart, those of weights 8 * positions. work:
 * 32 bytes for each four columns times (start + count + count). x is read up to 24 bytes beyond
 * its last row's end.
 */
export function attend(
  out: usize,
  x: usize,
  rowBytes: usize,
  weights: usize,
  positions: usize,
  start: usize,
  count: usize,
  width: usize,
  work: usize,
): void {
  const panelCount = (width + 3) >> 2;
  const sumBytes = panelCount << 5;
  const weightBytes = positions << 3;
  const rows = start + count;
  if (count === 1) {
    // A single row, as in decoding: packing would cost as much as the product.
    for (let panel: usize = 0; panel < panelCount; panel++) {
      const to = work + (panel << 5);
      weightsTimesColumns(to, weights, x + (panel << 5), rowBytes, rows);
    }
    memory.copy(out, work, width << 3);
    return;
  }
  const panels = work + count * sumBytes;
  const panelBytes = rows << 5;
  memory.fill(work, 0, count * sumBytes);
  packRows(panels, x, rowBytes, rows, panelBytes, width);
  for (let index: usize = 0; index < panelCount; index++) {
    const panel = panels + index * panelBytes;
    let i: usize = 0;
    for (; i + 2 <= count; i += 2) {
      const to = work + i * sumBytes + (index << 5);
      const row = weights + i * weightBytes;
      const shared = start + i + 1;
      twoRowsTimesPanel(to, to + sumBytes, row, row + weightBytes, panel, shared);
      const last = row + weightBytes + (shared << 3);
      oneRowTimesPanel(to + sumBytes, last, panel + (shared << 5), 1);
    }
    if (i < count) {
      const to = work + i * sumBytes + (index << 5);
      oneRowTimesPanel(to, weights + i * weightBytes, panel, start + i + 1);
    }
  }
  for (let i: usize = 0; i < count; i++) {
    memory.copy(out + i * rowBytes, work + i * sumBytes, width << 3);
  }
}
