// Float32 kernels in WASM SIMD. The matrix product has the blocking of native/f32_gemm.h and a tile
// of 6 x 8 (12 accumulators, two registers of B, one broadcast of A, which fills the 16 registers
// that engines use). Packing resolves the transpositions.
//
// Built twice: with relaxed SIMD (a fused multiply-add) and without, for engines that lack it.
//
// The host lays out memory above heapBase(): operands, then scratchBytes() of scratch.

import { madd } from "./float-elementwise";

export { adamw, gelu, geluGradient, softmax } from "./float-elementwise";
export { addRows, dotRows } from "./float-rows";

const MR: i32 = 6;
const NR: i32 = 8;
const KC: i32 = 256;
const MC: i32 = 32 * MR;
const NC: i32 = 128 * NR;

const PACKED_A_BYTES: usize = 4 * MC * KC;
const PACKED_B_BYTES: usize = 4 * NC * KC;
const TILE_BYTES: usize = 4 * MR * NR;

/** First byte that the host may use. */
export function heapBase(): usize {
  return (__heap_base + 63) & ~63;
}

export function scratchBytes(): usize {
  return PACKED_A_BYTES + PACKED_B_BYTES + TILE_BYTES;
}

// @ts-ignore: decorator
@inline
function put(to: usize, value: v128, add: bool): void {
  v128.store(to, add ? f32x4.add(v128.load(to), value) : value);
}

/** 6 x 8 of out from packed panels; rows of out lie stride bytes apart. */
function tile(depth: i32, a: usize, b: usize, out: usize, stride: i32, add: bool): void {
  let s00 = f32x4.splat(0), s01 = f32x4.splat(0), s10 = f32x4.splat(0), s11 = f32x4.splat(0);
  let s20 = f32x4.splat(0), s21 = f32x4.splat(0), s30 = f32x4.splat(0), s31 = f32x4.splat(0);
  let s40 = f32x4.splat(0), s41 = f32x4.splat(0), s50 = f32x4.splat(0), s51 = f32x4.splat(0);
  for (const end = b + 4 * NR * depth; b < end; a += 4 * MR, b += 4 * NR) {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    let va = v128.load32_splat(a);
    s00 = madd(va, b0, s00);
    s01 = madd(va, b1, s01);
    va = v128.load32_splat(a, 4);
    s10 = madd(va, b0, s10);
    s11 = madd(va, b1, s11);
    va = v128.load32_splat(a, 8);
    s20 = madd(va, b0, s20);
    s21 = madd(va, b1, s21);
    va = v128.load32_splat(a, 12);
    s30 = madd(va, b0, s30);
    s31 = madd(va, b1, s31);
    va = v128.load32_splat(a, 16);
    s40 = madd(va, b0, s40);
    s41 = madd(va, b1, s41);
    va = v128.load32_splat(a, 20);
    s50 = madd(va, b0, s50);
    s51 = madd(va, b1, s51);
  }
  put(out, s00, add);
  put(out + 16, s01, add);
  put(out += stride, s10, add);
  put(out + 16, s11, add);
  put(out += stride, s20, add);
  put(out + 16, s21, add);
  put(out += stride, s30, add);
  put(out + 16, s31, add);
  put(out += stride, s40, add);
  put(out + 16, s41, add);
  put(out += stride, s50, add);
  put(out + 16, s51, add);
}

/** A tile that sticks out of the matrix: summed in scratch, then the part inside is copied. */
function edge(
  rows: i32, cols: i32, depth: i32,
  a: usize, b: usize, out: usize, stride: i32, add: bool, scratch: usize,
): void {
  tile(depth, a, b, scratch, 4 * NR, false);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const to = out + r * stride + 4 * c;
      const sum = load<f32>(scratch + 4 * (r * NR + c));
      store<f32>(to, add ? load<f32>(to) + sum : sum);
    }
  }
}

/**
 * Packs `count` lanes by `depth` steps into panels of `width` lanes: dst[panel][step][lane],
 * missing lanes zero. Lanes lie laneBytes apart in src, steps stepBytes.
 */
function pack(
  width: i32, src: usize, laneBytes: i32, stepBytes: i32, count: i32, depth: i32, dst: usize,
): void {
  const panelBytes = 4 * width * depth;
  for (let lane = 0; lane < count; lane += width) {
    const lanes = min(width, count - lane);
    if (lanes < width) memory.fill(dst, 0, panelBytes);
    if (laneBytes == 4 && lanes == width) {
      copySteps(width, src, stepBytes, depth, dst);
    } else {
      for (let i = 0; i < lanes; i++) {
        let from = src + i * laneBytes;
        let to = dst + 4 * i;
        for (let p = 0; p < depth; p++, from += stepBytes, to += 4 * width) {
          store<f32>(to, load<f32>(from));
        }
      }
    }
    src += width * laneBytes;
    dst += panelBytes;
  }
}

/** Copies 6 or 8 neighbouring floats a step. */
function copySteps(width: i32, src: usize, stepBytes: i32, depth: i32, dst: usize): void {
  for (let p = 0; p < depth; p++, src += stepBytes, dst += 4 * width) {
    v128.store(dst, v128.load(src));
    if (width == 8) v128.store(dst, v128.load(src, 16), 16);
    else store<u64>(dst, load<u64>(src, 16), 16);
  }
}

/** Rows by columns of tiles, over one block of packed A and B. */
function tiles(
  rows: i32, cols: i32, depth: i32,
  packedA: usize, packedB: usize, out: usize, stride: i32, add: bool, scratch: usize,
): void {
  for (let j = 0; j < cols; j += NR) {
    const b = packedB + 4 * j * depth;
    for (let i = 0; i < rows; i += MR) {
      const a = packedA + 4 * i * depth;
      const to = out + i * stride + 4 * j;
      if (rows - i >= MR && cols - j >= NR) tile(depth, a, b, to, stride, add);
      else edge(min(MR, rows - i), min(NR, cols - j), depth, a, b, to, stride, add, scratch);
    }
  }
}

/** As FloatKernels.gemm, sizes positive; flags 1 transposes a, 2 transposes b, 4 accumulates. */
export function gemm(
  m: i32, n: i32, k: i32, a: usize, b: usize, out: usize, flags: i32, scratch: usize,
): void {
  const packedA = scratch;
  const packedB = packedA + PACKED_A_BYTES;
  const edgeTile = packedB + PACKED_B_BYTES;
  // How far apart in bytes neighbours along m, n and k lie.
  const aRow = flags & 1 ? 4 : 4 * k, aStep = flags & 1 ? 4 * m : 4;
  const bCol = flags & 2 ? 4 * k : 4, bStep = flags & 2 ? 4 : 4 * n;
  for (let j0 = 0; j0 < n; j0 += NC) {
    const cols = min(NC, n - j0);
    for (let p0 = 0; p0 < k; p0 += KC) {
      const depth = min(KC, k - p0);
      pack(NR, b + j0 * bCol + p0 * bStep, bCol, bStep, cols, depth, packedB);
      for (let i0 = 0; i0 < m; i0 += MC) {
        const rows = min(MC, m - i0);
        const to = out + 4 * (i0 * n + j0);
        pack(MR, a + i0 * aRow + p0 * aStep, aRow, aStep, rows, depth, packedA);
        const add = (flags & 4) != 0 || p0 > 0;
        tiles(rows, cols, depth, packedA, packedB, to, 4 * n, add, edgeTile);
      }
    }
  }
}
