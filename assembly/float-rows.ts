// Products of one row with a matrix, which wait for memory and not for arithmetic: the matrix is
// read once, in the order in which it lies there, and never packed. As native/f32_gemv.h.

import { madd } from "./float-elementwise";

/**
 * out [columns] = (add ? out : 0) + a [depth] b [depth, columns]; rows of b lie strideBytes apart.
 * depth is positive.
 */
export function addRows(
  depth: i32, columns: i32, a: usize, b: usize, strideBytes: usize, out: usize, add: bool,
): void {
  let d = 0;
  for (; d + 4 <= depth; d += 4) {
    addFour(columns, a, b, strideBytes, out, add || d > 0);
    a += 16;
    b += 4 * strideBytes;
  }
  for (; d < depth; d++) {
    addOne(columns, a, b, out, add || d > 0);
    a += 4;
    b += strideBytes;
  }
}

function addFour(
  columns: i32, a: usize, b: usize, strideBytes: usize, out: usize, add: bool,
): void {
  const b1 = b + strideBytes, b2 = b1 + strideBytes, b3 = b2 + strideBytes;
  const a0 = v128.load32_splat(a), a1 = v128.load32_splat(a, 4);
  const a2 = v128.load32_splat(a, 8), a3 = v128.load32_splat(a, 12);
  const end: usize = 4 * (columns & ~3), last: usize = 4 * columns;
  let i: usize = 0;
  for (; i < end; i += 16) {
    let sum = add ? v128.load(out + i) : f32x4.splat(0);
    sum = madd(a0, v128.load(b + i), sum);
    sum = madd(a1, v128.load(b1 + i), sum);
    sum = madd(a2, v128.load(b2 + i), sum);
    v128.store(out + i, madd(a3, v128.load(b3 + i), sum));
  }
  for (; i < last; i += 4) {
    let sum = add ? load<f32>(out + i) : 0;
    sum += load<f32>(a) * load<f32>(b + i) + load<f32>(a, 4) * load<f32>(b1 + i);
    sum += load<f32>(a, 8) * load<f32>(b2 + i) + load<f32>(a, 12) * load<f32>(b3 + i);
    store<f32>(out + i, sum);
  }
}

function addOne(columns: i32, a: usize, b: usize, out: usize, add: bool): void {
  const a0 = v128.load32_splat(a);
  const end: usize = 4 * (columns & ~3), last: usize = 4 * columns;
  let i: usize = 0;
  for (; i < end; i += 16) {
    const sum = add ? v128.load(out + i) : f32x4.splat(0);
    v128.store(out + i, madd(a0, v128.load(b + i), sum));
  }
  for (; i < last; i += 4) {
    store<f32>(out + i, (add ? load<f32>(out + i) : 0) + load<f32>(a) * load<f32>(b + i));
  }
}

/** out [count] = (add ? out : 0) + b [count, k] a [k]. */
export function dotRows(count: i32, k: i32, a: usize, b: usize, out: usize, add: bool): void {
  const end: usize = 4 * (k & ~3), last: usize = 4 * k;
  for (let c = 0; c < count; c++, b += last, out += 4) {
    let s0 = f32x4.splat(0), s1 = f32x4.splat(0);
    let i: usize = 0;
    for (; i + 32 <= end; i += 32) {
      s0 = madd(v128.load(a + i), v128.load(b + i), s0);
      s1 = madd(v128.load(a + i, 16), v128.load(b + i, 16), s1);
    }
    if (i < end) {
      s0 = madd(v128.load(a + i), v128.load(b + i), s0);
      i += 16;
    }
    s0 = f32x4.add(s0, s1);
    let sum = f32x4.extract_lane(s0, 0) + f32x4.extract_lane(s0, 1);
    sum += f32x4.extract_lane(s0, 2) + f32x4.extract_lane(s0, 3);
    for (; i < last; i += 4) sum += load<f32>(a + i) * load<f32>(b + i);
    store<f32>(out, add ? load<f32>(out) + sum : sum);
  }
}
