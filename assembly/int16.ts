// Products of ring words and int16 matrices, modulo 2^64.
//
// A word of x is split into five signed limbs, x = l0 + l1 2^11 + l2 2^22 + l3 2^32 + l4 2^48
// (mod 2^64) of 11, 11, 10, 16 and 16 bits, and i32x4.dot_i16x8_s multiplies a pair of limbs by a
// pair of weights. The sums of l3 and l4 are needed modulo 2^32 only, so they may wrap. Those of
// l0..l2 must not: |l| <= 2^10 and |w| <= 2^15, so a dot is at most 2^26 and a lane holds 31 of
// them (31 * 2^26 < 2^31; 32 could reach 2^31).
//
// Panels hold 8 columns; for each pair of rows (k, k + 1) 32 bytes: the pair of column 0, of column
// 1 and so on. The pairs of rows are cut into `streams` equal runs, and run s of every panel lies
// in part s of the matrix. A product reads all runs of a panel side by side, since one run alone
// waits for memory: it outpaces what a core fetches ahead, and stops at every page. 56.6 M weights
// take 11.4 ms with 6 streams, 13.0 with 4, 16.9 with two halves of a panel side by side, 20 with
// one stream; six streams of bare loads take 5.3. Touching the first lines of the pages to come
// (there is no prefetch) brought the two halves to 13.9 and did nothing for six streams. Within the
// caches the product is bound by a multiplication and an addition for each limb on three ports.
// Missing columns are zero; rows beyond the last meet limbs of zero.

const streams: usize = 6;
/** Turns of the product's loop over all streams whose sums fit a lane: 5 * 6 < 31 pairs. */
const flushTurns: usize = 5;
/** Bytes of the limbs of a pair of words: five times two int16. */
const limbBytes: usize = 20;

/** Pairs of rows in each stream. */
// @ts-ignore: decorator
@inline
function streamPairs(rows: usize): usize {
  return (((rows + 1) >> 1) + streams - 1) / streams;
}

/** Bytes of a matrix [rows, columns]. */
export function int16Bytes(rows: usize, columns: usize): usize {
  return (((columns + 7) >> 3) * streams * streamPairs(rows)) << 5;
}

/** Bytes of the limbs of a row of words. */
export function limbRowBytes(rows: usize): usize {
  return streams * streamPairs(rows) * limbBytes;
}

/** Packs rows [firstRow, firstRow + count) of [rows, columns]; firstRow is even. */
export function packInt16(
  out: usize,
  source: usize,
  firstRow: usize,
  count: usize,
  rows: usize,
  columns: usize,
): void {
  const pairs = streamPairs(rows);
  const panels = (columns + 7) >> 3;
  for (let k: usize = 0; k < count; k += 2) {
    const top = source + ((k * columns) << 1);
    const bottom = top + (columns << 1);
    const hasBottom = k + 1 < count;
    const pair = (firstRow + k) >> 1;
    let to = out + ((pair / pairs) * panels * pairs + (pair % pairs)) * 32;
    for (let panel: usize = 0; panel < panels; panel++) {
      const first = panel << 3;
      if (first + 8 <= columns) {
        const a = v128.load(top + (first << 1));
        const b = hasBottom ? v128.load(bottom + (first << 1)) : i64x2.splat(0);
        v128.store(to, i16x8.shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11));
        v128.store(to, i16x8.shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15), 16);
      } else {
        for (let j: usize = 0; j < 8; j++) {
          const column = first + j;
          const inside = column < columns;
          const a = inside ? load<i16>(top + (column << 1)) : 0;
          const b = inside && hasBottom ? load<i16>(bottom + (column << 1)) : 0;
          store<i16>(to + (j << 2), a);
          store<i16>(to + (j << 2), b, 2);
        }
      }
      to += pairs << 5;
    }
  }
}

/** Splits a row of words into limbs: for each pair of words five pairs of int16. */
export function splitLimbs(out: usize, x: usize, rows: usize): void {
  const whole = (rows >> 1) * limbBytes;
  memory.fill(out + whole, 0, limbRowBytes(rows) - whole);
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

/** out [8] = one row of limbs times one panel, whose runs of `pairs` pairs lie partBytes apart. */
function limbsTimesPanel(
  out: usize,
  limbs: usize,
  panel: usize,
  pairs: usize,
  partBytes: usize,
): void {
  const runBytes = pairs * limbBytes;
  let sum01 = i64x2.splat(0);
  let sum23 = i64x2.splat(0);
  let sum45 = i64x2.splat(0);
  let sum67 = i64x2.splat(0);
  let a3 = i64x2.splat(0);
  let b3 = i64x2.splat(0);
  let a4 = i64x2.splat(0);
  let b4 = i64x2.splat(0);
  while (pairs > 0) {
    const turns = min(pairs, flushTurns);
    pairs -= turns;
    let a0 = i64x2.splat(0);
    let b0 = i64x2.splat(0);
    let a1 = i64x2.splat(0);
    let b1 = i64x2.splat(0);
    let a2 = i64x2.splat(0);
    let b2 = i64x2.splat(0);
    for (const end = panel + (turns << 5); panel < end; panel += 32, limbs += limbBytes) {
      let from = panel;
      let at = limbs;
      for (let stream: usize = 0; stream < streams; stream++) {
        const a = v128.load(from);
        const b = v128.load(from, 16);
        let l = v128.load32_splat(at);
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(a, l));
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(b, l));
        l = v128.load32_splat(at, 4);
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(a, l));
        b1 = i32x4.add(b1, i32x4.dot_i16x8_s(b, l));
        l = v128.load32_splat(at, 8);
        a2 = i32x4.add(a2, i32x4.dot_i16x8_s(a, l));
        b2 = i32x4.add(b2, i32x4.dot_i16x8_s(b, l));
        l = v128.load32_splat(at, 12);
        a3 = i32x4.add(a3, i32x4.dot_i16x8_s(a, l));
        b3 = i32x4.add(b3, i32x4.dot_i16x8_s(b, l));
        l = v128.load32_splat(at, 16);
        a4 = i32x4.add(a4, i32x4.dot_i16x8_s(a, l));
        b4 = i32x4.add(b4, i32x4.dot_i16x8_s(b, l));
        from += partBytes;
        at += runBytes;
      }
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
 * rows of limbs; edge: 64 bytes of scratch.
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
  const pairs = streamPairs(rows);
  const rowBytes = limbRowBytes(rows);
  const partBytes = (((columns + 7) >> 3) * pairs) << 5;
  for (let index = firstPanel; index < endPanel; index++) {
    const panel = panels + ((index * pairs) << 5);
    const first = index << 3;
    const width = min(columns - first, 8);
    for (let i: usize = 0; i < m; i++) {
      const to = out + ((i * columns + first) << 3);
      const row = limbs + i * rowBytes;
      if (width === 8) {
        limbsTimesPanel(to, row, panel, pairs, partBytes);
      } else {
        limbsTimesPanel(edge, row, panel, pairs, partBytes);
        memory.copy(to, edge, width << 3);
      }
    }
  }
}
