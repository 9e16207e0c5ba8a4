// ChaCha12, four blocks at a time in the lanes of vectors. A state is 16 vectors; lane j of vector
// i is word i of block j.
//
// The quarter rounds of a round stand one after the other: an engine orders them as it likes. With
// 128-bit vectors and 15 registers the rate is bound by latency and spills: 2.45 GB/s, where a C
// compiler's code for the same vectors makes 2.5. A fifth block in scalar registers, in the same
// loop, fills idle slots: 2.63 GB/s; a sixth makes it slower, 2.27. Unrolling all rounds: 2.9, for
// five times the code. Rotating by shifts alone: 2.2.

/** Byte orders that rotate each lane left by 16 and by 8 bits. */
const rotations = memory.data<u8>(
  [
    2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
    3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14,
  ],
  16,
);

/**
 * Rotates by a byte order from memory. As a shuffle or a swizzle by a constant it would be slower:
 * engines build such a constant anew for every use (2.32 GB/s).
 */
// @ts-ignore: decorator
@inline
function rotate(x: v128, order: v128): v128 {
  return i8x16.swizzle(x, order);
}

// @ts-ignore: decorator
@inline
function rotate12(x: v128): v128 {
  return v128.or(i32x4.shl(x, 12), i32x4.shr_u(x, 20));
}

// @ts-ignore: decorator
@inline
function rotate7(x: v128): v128 {
  return v128.or(i32x4.shl(x, 7), i32x4.shr_u(x, 25));
}

/** Stores four words of each of four blocks, which lie 64 bytes apart. */
// @ts-ignore: decorator
@inline
export function storeTransposed(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(out, i64x2.shuffle(ab01, cd01, 0, 2));
  v128.store(out, i64x2.shuffle(ab01, cd01, 1, 3), 64);
  v128.store(out, i64x2.shuffle(ab23, cd23, 0, 2), 128);
  v128.store(out, i64x2.shuffle(ab23, cd23, 1, 3), 192);
}

/**
 * Four blocks of a state [16][4], which is left as it is, in the state's own layout: the first
 * `words` words, rounded up to four, and word 15.
 */
export function chachaBlocks(state: usize, out: usize, words: usize): void {
  const by16 = v128.load(rotations);
  const by8 = v128.load(rotations, 16);
  let x0 = v128.load(state);
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
    x12 = rotate(v128.xor(x12, x0), by16);
    x13 = rotate(v128.xor(x13, x1), by16);
    x14 = rotate(v128.xor(x14, x2), by16);
    x15 = rotate(v128.xor(x15, x3), by16);
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
    x12 = rotate(v128.xor(x12, x0), by8);
    x13 = rotate(v128.xor(x13, x1), by8);
    x14 = rotate(v128.xor(x14, x2), by8);
    x15 = rotate(v128.xor(x15, x3), by8);
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
    x15 = rotate(v128.xor(x15, x0), by16);
    x12 = rotate(v128.xor(x12, x1), by16);
    x13 = rotate(v128.xor(x13, x2), by16);
    x14 = rotate(v128.xor(x14, x3), by16);
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
    x15 = rotate(v128.xor(x15, x0), by8);
    x12 = rotate(v128.xor(x12, x1), by8);
    x13 = rotate(v128.xor(x13, x2), by8);
    x14 = rotate(v128.xor(x14, x3), by8);
    x10 = i32x4.add(x10, x15);
    x11 = i32x4.add(x11, x12);
    x8 = i32x4.add(x8, x13);
    x9 = i32x4.add(x9, x14);
    x5 = rotate7(v128.xor(x5, x10));
    x6 = rotate7(v128.xor(x6, x11));
    x7 = rotate7(v128.xor(x7, x8));
    x4 = rotate7(v128.xor(x4, x9));
  }
  v128.store(out, i32x4.add(x0, v128.load(state)));
  v128.store(out, i32x4.add(x1, v128.load(state, 16)), 16);
  v128.store(out, i32x4.add(x2, v128.load(state, 32)), 32);
  v128.store(out, i32x4.add(x3, v128.load(state, 48)), 48);
  v128.store(out, i32x4.add(x15, v128.load(state, 240)), 240);
  if (words > 4) {
    v128.store(out, i32x4.add(x4, v128.load(state, 64)), 64);
    v128.store(out, i32x4.add(x5, v128.load(state, 80)), 80);
    v128.store(out, i32x4.add(x6, v128.load(state, 96)), 96);
    v128.store(out, i32x4.add(x7, v128.load(state, 112)), 112);
  }
  if (words > 8) {
    v128.store(out, i32x4.add(x8, v128.load(state, 128)), 128);
    v128.store(out, i32x4.add(x9, v128.load(state, 144)), 144);
    v128.store(out, i32x4.add(x10, v128.load(state, 160)), 160);
    v128.store(out, i32x4.add(x11, v128.load(state, 176)), 176);
  }
  if (words > 12) {
    v128.store(out, i32x4.add(x12, v128.load(state, 192)), 192);
    v128.store(out, i32x4.add(x13, v128.load(state, 208)), 208);
    v128.store(out, i32x4.add(x14, v128.load(state, 224)), 224);
  }
}

/** Blocks of a group. */
export const groupBlocks: usize = 5;

/** Five blocks: those of a state, and the one after them; the state is left as it is. */
function fiveBlocks(state: usize, out: usize): void {
  const by16 = v128.load(rotations);
  const by8 = v128.load(rotations, 16);
  let x0 = v128.load(state);
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
  let y0 = load<u32>(state);
  let y1 = load<u32>(state, 16);
  let y2 = load<u32>(state, 32);
  let y3 = load<u32>(state, 48);
  let y4 = load<u32>(state, 64);
  let y5 = load<u32>(state, 80);
  let y6 = load<u32>(state, 96);
  let y7 = load<u32>(state, 112);
  let y8 = load<u32>(state, 128);
  let y9 = load<u32>(state, 144);
  let y10 = load<u32>(state, 160);
  let y11 = load<u32>(state, 176);
  let y12 = load<u32>(state, 192);
  let y13 = load<u32>(state, 208);
  let y14 = load<u32>(state, 224);
  let y15 = load<u32>(state, 240);
  y12 += 4;
  for (let round = 0; round < 12; round += 2) {
    // Columns.
    x0 = i32x4.add(x0, x4); x12 = rotate(v128.xor(x12, x0), by16);
    x8 = i32x4.add(x8, x12); x4 = rotate12(v128.xor(x4, x8));
    x0 = i32x4.add(x0, x4); x12 = rotate(v128.xor(x12, x0), by8);
    x8 = i32x4.add(x8, x12); x4 = rotate7(v128.xor(x4, x8));
    y0 += y4; y12 = rotl<u32>(y12 ^ y0, 16); y8 += y12; y4 = rotl<u32>(y4 ^ y8, 12);
    y0 += y4; y12 = rotl<u32>(y12 ^ y0, 8); y8 += y12; y4 = rotl<u32>(y4 ^ y8, 7);
    x1 = i32x4.add(x1, x5); x13 = rotate(v128.xor(x13, x1), by16);
    x9 = i32x4.add(x9, x13); x5 = rotate12(v128.xor(x5, x9));
    x1 = i32x4.add(x1, x5); x13 = rotate(v128.xor(x13, x1), by8);
    x9 = i32x4.add(x9, x13); x5 = rotate7(v128.xor(x5, x9));
    y1 += y5; y13 = rotl<u32>(y13 ^ y1, 16); y9 += y13; y5 = rotl<u32>(y5 ^ y9, 12);
    y1 += y5; y13 = rotl<u32>(y13 ^ y1, 8); y9 += y13; y5 = rotl<u32>(y5 ^ y9, 7);
    x2 = i32x4.add(x2, x6); x14 = rotate(v128.xor(x14, x2), by16);
    x10 = i32x4.add(x10, x14); x6 = rotate12(v128.xor(x6, x10));
    x2 = i32x4.add(x2, x6); x14 = rotate(v128.xor(x14, x2), by8);
    x10 = i32x4.add(x10, x14); x6 = rotate7(v128.xor(x6, x10));
    y2 += y6; y14 = rotl<u32>(y14 ^ y2, 16); y10 += y14; y6 = rotl<u32>(y6 ^ y10, 12);
    y2 += y6; y14 = rotl<u32>(y14 ^ y2, 8); y10 += y14; y6 = rotl<u32>(y6 ^ y10, 7);
    x3 = i32x4.add(x3, x7); x15 = rotate(v128.xor(x15, x3), by16);
    x11 = i32x4.add(x11, x15); x7 = rotate12(v128.xor(x7, x11));
    x3 = i32x4.add(x3, x7); x15 = rotate(v128.xor(x15, x3), by8);
    x11 = i32x4.add(x11, x15); x7 = rotate7(v128.xor(x7, x11));
    y3 += y7; y15 = rotl<u32>(y15 ^ y3, 16); y11 += y15; y7 = rotl<u32>(y7 ^ y11, 12);
    y3 += y7; y15 = rotl<u32>(y15 ^ y3, 8); y11 += y15; y7 = rotl<u32>(y7 ^ y11, 7);
    // Diagonals.
    x0 = i32x4.add(x0, x5); x15 = rotate(v128.xor(x15, x0), by16);
    x10 = i32x4.add(x10, x15); x5 = rotate12(v128.xor(x5, x10));
    x0 = i32x4.add(x0, x5); x15 = rotate(v128.xor(x15, x0), by8);
    x10 = i32x4.add(x10, x15); x5 = rotate7(v128.xor(x5, x10));
    y0 += y5; y15 = rotl<u32>(y15 ^ y0, 16); y10 += y15; y5 = rotl<u32>(y5 ^ y10, 12);
    y0 += y5; y15 = rotl<u32>(y15 ^ y0, 8); y10 += y15; y5 = rotl<u32>(y5 ^ y10, 7);
    x1 = i32x4.add(x1, x6); x12 = rotate(v128.xor(x12, x1), by16);
    x11 = i32x4.add(x11, x12); x6 = rotate12(v128.xor(x6, x11));
    x1 = i32x4.add(x1, x6); x12 = rotate(v128.xor(x12, x1), by8);
    x11 = i32x4.add(x11, x12); x6 = rotate7(v128.xor(x6, x11));
    y1 += y6; y12 = rotl<u32>(y12 ^ y1, 16); y11 += y12; y6 = rotl<u32>(y6 ^ y11, 12);
    y1 += y6; y12 = rotl<u32>(y12 ^ y1, 8); y11 += y12; y6 = rotl<u32>(y6 ^ y11, 7);
    x2 = i32x4.add(x2, x7); x13 = rotate(v128.xor(x13, x2), by16);
    x8 = i32x4.add(x8, x13); x7 = rotate12(v128.xor(x7, x8));
    x2 = i32x4.add(x2, x7); x13 = rotate(v128.xor(x13, x2), by8);
    x8 = i32x4.add(x8, x13); x7 = rotate7(v128.xor(x7, x8));
    y2 += y7; y13 = rotl<u32>(y13 ^ y2, 16); y8 += y13; y7 = rotl<u32>(y7 ^ y8, 12);
    y2 += y7; y13 = rotl<u32>(y13 ^ y2, 8); y8 += y13; y7 = rotl<u32>(y7 ^ y8, 7);
    x3 = i32x4.add(x3, x4); x14 = rotate(v128.xor(x14, x3), by16);
    x9 = i32x4.add(x9, x14); x4 = rotate12(v128.xor(x4, x9));
    x3 = i32x4.add(x3, x4); x14 = rotate(v128.xor(x14, x3), by8);
    x9 = i32x4.add(x9, x14); x4 = rotate7(v128.xor(x4, x9));
    y3 += y4; y14 = rotl<u32>(y14 ^ y3, 16); y9 += y14; y4 = rotl<u32>(y4 ^ y9, 12);
    y3 += y4; y14 = rotl<u32>(y14 ^ y3, 8); y9 += y14; y4 = rotl<u32>(y4 ^ y9, 7);
  }
  storeTransposed(
    out,
    i32x4.add(x0, v128.load(state)),
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
  store<u32>(out, y0 + load<u32>(state), 256);
  store<u32>(out, y1 + load<u32>(state, 16), 260);
  store<u32>(out, y2 + load<u32>(state, 32), 264);
  store<u32>(out, y3 + load<u32>(state, 48), 268);
  store<u32>(out, y4 + load<u32>(state, 64), 272);
  store<u32>(out, y5 + load<u32>(state, 80), 276);
  store<u32>(out, y6 + load<u32>(state, 96), 280);
  store<u32>(out, y7 + load<u32>(state, 112), 284);
  store<u32>(out, y8 + load<u32>(state, 128), 288);
  store<u32>(out, y9 + load<u32>(state, 144), 292);
  store<u32>(out, y10 + load<u32>(state, 160), 296);
  store<u32>(out, y11 + load<u32>(state, 176), 300);
  store<u32>(out, y12 + load<u32>(state, 192) + 4, 304);
  store<u32>(out, y13 + load<u32>(state, 208), 308);
  store<u32>(out, y14 + load<u32>(state, 224), 312);
  store<u32>(out, y15 + load<u32>(state, 240), 316);
}

/** Makes a state of the 16 words of a block; its counters are still to be set. */
export function startState(state: usize, input: usize): void {
  for (let i: usize = 0; i < 16; i++) {
    v128.store(state + (i << 4), v128.load32_splat(input + (i << 2)));
  }
}

/** `groups` groups of blocks from number `block` on. */
export function chachaGroups(out: usize, groups: usize, state: usize, block: u32): void {
  for (let group: usize = 0; group < groups; group++) {
    v128.store(state, i32x4.add(i32x4.splat(block), i32x4(0, 1, 2, 3)), 192);
    fiveBlocks(state, out);
    out += groupBlocks << 6;
    block += groupBlocks as u32;
  }
}

/**
 * Keystream of `groups` times five blocks. input: the 16 state words of the first block; state:
 * 256 bytes of scratch.
 */
export function chachaStream(out: usize, groups: usize, input: usize, state: usize): void {
  startState(state, input);
  chachaGroups(out, groups, state, load<u32>(input, 48));
}
