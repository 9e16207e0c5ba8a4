// ChaCha12, four blocks at a time. A state is 16 vectors; lane j of vector i is word i of block j.

// @ts-ignore: decorator
@inline
function rotate16(x: v128): v128 {
  return i8x16.shuffle(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
}

// @ts-ignore: decorator
@inline
function rotate12(x: v128): v128 {
  return v128.or(i32x4.shl(x, 12), i32x4.shr_u(x, 20));
}

// @ts-ignore: decorator
@inline
function rotate8(x: v128): v128 {
  return i8x16.shuffle(x, x, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
}

// @ts-ignore: decorator
@inline
function rotate7(x: v128): v128 {
  return v128.or(i32x4.shl(x, 7), i32x4.shr_u(x, 25));
}

/** Stores four words of each of four blocks, which lie 64 bytes apart. */
// @ts-ignore: decorator
@inline
function storeTransposed(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(out, i64x2.shuffle(ab01, cd01, 0, 2));
  v128.store(out, i64x2.shuffle(ab01, cd01, 1, 3), 64);
  v128.store(out, i64x2.shuffle(ab23, cd23, 0, 2), 128);
  v128.store(out, i64x2.shuffle(ab23, cd23, 1, 3), 192);
}

/** Four blocks [4][64] of a state [16][4]; the state is left as it is. */
export function chachaBlocks(state: usize, out: usize): void {
  let x0 = v128.load(state, 0);
  let x1 = v128.load(state, 16);
  let x2 = v128.load(state, 32);
  let x3 = v128.load(state, 48);
  let x4 = v128.load(state, 64);
  let x5 = v128.load(state, 80);
  let x6 = v128.load(state, 96);
  let x7 = v128.load(state, 112);
  let x8 = v128.load(state, 128);
  let x9 = v128.load(state, 144);
  let x10 = v128.load(state, 160);
  let x11 = v128.load(state, 176);
  let x12 = v128.load(state, 192);
  let x13 = v128.load(state, 208);
  let x14 = v128.load(state, 224);
  let x15 = v128.load(state, 240);
  for (let round = 0; round < 12; round += 2) {
    // Columns.
    x0 = i32x4.add(x0, x4);
    x1 = i32x4.add(x1, x5);
    x2 = i32x4.add(x2, x6);
    x3 = i32x4.add(x3, x7);
    x12 = rotate16(v128.xor(x12, x0));
    x13 = rotate16(v128.xor(x13, x1));
    x14 = rotate16(v128.xor(x14, x2));
    x15 = rotate16(v128.xor(x15, x3));
    x8 = i32x4.add(x8, x12);
    x9 = i32x4.add(x9, x13);
    x10 = i32x4.add(x10, x14);
    x11 = i32x4.add(x11, x15);
    x4 = rotate12(v128.xor(x4, x8));
    x5 = rotate12(v128.xor(x5, x9));
    x6 = rotate12(v128.xor(x6, x10));
    x7 = rotate12(v128.xor(x7, x11));
    x0 = i32x4.add(x0, x4);
    x1 = i32x4.add(x1, x5);
    x2 = i32x4.add(x2, x6);
    x3 = i32x4.add(x3, x7);
    x12 = rotate8(v128.xor(x12, x0));
    x13 = rotate8(v128.xor(x13, x1));
    x14 = rotate8(v128.xor(x14, x2));
    x15 = rotate8(v128.xor(x15, x3));
    x8 = i32x4.add(x8, x12);
    x9 = i32x4.add(x9, x13);
    x10 = i32x4.add(x10, x14);
    x11 = i32x4.add(x11, x15);
    x4 = rotate7(v128.xor(x4, x8));
    x5 = rotate7(v128.xor(x5, x9));
    x6 = rotate7(v128.xor(x6, x10));
    x7 = rotate7(v128.xor(x7, x11));
    // Diagonals.
    x0 = i32x4.add(x0, x5);
    x1 = i32x4.add(x1, x6);
    x2 = i32x4.add(x2, x7);
    x3 = i32x4.add(x3, x4);
    x15 = rotate16(v128.xor(x15, x0));
    x12 = rotate16(v128.xor(x12, x1));
    x13 = rotate16(v128.xor(x13, x2));
    x14 = rotate16(v128.xor(x14, x3));
    x10 = i32x4.add(x10, x15);
    x11 = i32x4.add(x11, x12);
    x8 = i32x4.add(x8, x13);
    x9 = i32x4.add(x9, x14);
    x5 = rotate12(v128.xor(x5, x10));
    x6 = rotate12(v128.xor(x6, x11));
    x7 = rotate12(v128.xor(x7, x8));
    x4 = rotate12(v128.xor(x4, x9));
    x0 = i32x4.add(x0, x5);
    x1 = i32x4.add(x1, x6);
    x2 = i32x4.add(x2, x7);
    x3 = i32x4.add(x3, x4);
    x15 = rotate8(v128.xor(x15, x0));
    x12 = rotate8(v128.xor(x12, x1));
    x13 = rotate8(v128.xor(x13, x2));
    x14 = rotate8(v128.xor(x14, x3));
    x10 = i32x4.add(x10, x15);
    x11 = i32x4.add(x11, x12);
    x8 = i32x4.add(x8, x13);
    x9 = i32x4.add(x9, x14);
    x5 = rotate7(v128.xor(x5, x10));
    x6 = rotate7(v128.xor(x6, x11));
    x7 = rotate7(v128.xor(x7, x8));
    x4 = rotate7(v128.xor(x4, x9));
  }
  storeTransposed(
    out + 0,
    i32x4.add(x0, v128.load(state, 0)),
    i32x4.add(x1, v128.load(state, 16)),
    i32x4.add(x2, v128.load(state, 32)),
    i32x4.add(x3, v128.load(state, 48)),
  );
  storeTransposed(
    out + 16,
    i32x4.add(x4, v128.load(state, 64)),
    i32x4.add(x5, v128.load(state, 80)),
    i32x4.add(x6, v128.load(state, 96)),
    i32x4.add(x7, v128.load(state, 112)),
  );
  storeTransposed(
    out + 32,
    i32x4.add(x8, v128.load(state, 128)),
    i32x4.add(x9, v128.load(state, 144)),
    i32x4.add(x10, v128.load(state, 160)),
    i32x4.add(x11, v128.load(state, 176)),
  );
  storeTransposed(
    out + 48,
    i32x4.add(x12, v128.load(state, 192)),
    i32x4.add(x13, v128.load(state, 208)),
    i32x4.add(x14, v128.load(state, 224)),
    i32x4.add(x15, v128.load(state, 240)),
  );
}

/**
 * Keystream of `groups` times four blocks. input: the 16 state words of the first block; state:
 * 256 bytes of scratch.
 */
export function chachaStream(out: usize, groups: usize, input: usize, state: usize): void {
  for (let i: usize = 0; i < 16; i++) {
    v128.store(state + (i << 4), v128.load32_splat(input + (i << 2)));
  }
  let counters = i32x4.add(v128.load(state, 192), i32x4(0, 1, 2, 3));
  for (let group: usize = 0; group < groups; group++) {
    v128.store(state, counters, 192);
    chachaBlocks(state, out + (group << 8));
    counters = i32x4.add(counters, i32x4.splat(4));
  }
}
