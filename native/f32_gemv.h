// Products of one to four rows with a matrix, which wait for memory and not for arithmetic: the
// matrix is read once, in the order in which it lies there, and never packed. For [768, 3072] that
// is 14.6 GB/s on a core whose plain loads reach 15 to 17; prefetches ahead of the loads made it
// 12.5 (and the transposed product 4% faster).
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include "f32.h"
#include "f32_elementwise.h"

namespace {

constexpr long GEMV_ROWS = 4;
// Rows of the matrix that are read side by side: as many streams as prefetchers follow easily.
constexpr int GEMV_DEPTH = 8;
// Columns after which the next rows of the matrix are begun, so that sums stay in the L1 cache.
constexpr long GEMV_COLUMNS = 2048;

inline float sum_of(Vec v) {
  float sum = 0;
  for (int lane = 0; lane < LANES; lane++) sum += v[lane];
  return sum;
}

// out[r, j] = (add ? out[r, j] : 0) + sum over d < DEPTH of a(r, d) b[d, j], with a(r, d) at
// a[r * a_row + d * a_step]; rows of b lie ld_b apart, rows of out ld_out.
template <int ROWS, int DEPTH>
void add_rows(const float* a, long a_row, long a_step, const float* b, long ld_b, long columns,
              float* out, long ld_out, bool add) {
  for (long j = 0; j < columns; j += LANES) {
    const long left = columns - j;
    Vec vb[DEPTH];
#pragma GCC unroll 8
    for (int d = 0; d < DEPTH; d++) vb[d] = load(b + d * ld_b + j, left);
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) {
      Vec sum = add ? load(out + r * ld_out + j, left) : Vec{};
#pragma GCC unroll 8
      for (int d = 0; d < DEPTH; d++) sum += a[r * a_row + d * a_step] * vb[d];
      store(out + r * ld_out + j, sum, left);
    }
  }
}

// The same for any depth; `add` holds for the first rows of b, the others always add.
template <int ROWS>
void add_all_rows(const float* a, long a_row, long a_step, const float* b, long ld_b, long depth,
                  long columns, float* out, long ld_out, bool add) {
  long p = 0;
  for (; p + GEMV_DEPTH <= depth; p += GEMV_DEPTH) {
    add_rows<ROWS, GEMV_DEPTH>(a + p * a_step, a_row, a_step, b + p * ld_b, ld_b, columns, out,
                               ld_out, add || p > 0);
  }
  for (; p < depth; p++) {
    add_rows<ROWS, 1>(a + p * a_step, a_row, a_step, b + p * ld_b, ld_b, columns, out, ld_out,
                      add || p > 0);
  }
}

// Rows of b [n, k] times rows of a [ROWS, k], COUNT of b's rows at a time.
template <int ROWS, int COUNT>
void dot_rows(const float* a, const float* b, long k, float* out, long ld_out, bool add) {
  Vec sums[COUNT][ROWS] = {};
  for (long p = 0; p < k; p += LANES) {
    Vec va[ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) va[r] = load(a + r * k + p, k - p);
#pragma GCC unroll 4
    for (int c = 0; c < COUNT; c++) {
      const Vec vb = load(b + c * k + p, k - p);
#pragma GCC unroll 4
      for (int r = 0; r < ROWS; r++) sums[c][r] += va[r] * vb;
    }
  }
  for (int c = 0; c < COUNT; c++) {
    for (int r = 0; r < ROWS; r++) {
      float* to = out + r * ld_out + c;
      *to = (add ? *to : 0) + sum_of(sums[c][r]);
    }
  }
}

template <int ROWS>
void gemv_rows(const mergen::GemmF32& g, const float* a, long a_row, long a_step) {
  if (!g.transpose_b) {
    for (long j = 0; j < g.n; j += GEMV_COLUMNS) {
      const long columns = g.n - j < GEMV_COLUMNS ? g.n - j : GEMV_COLUMNS;
      add_all_rows<ROWS>(a, a_row, a_step, g.b + j, g.n, g.k, columns, g.out + j, g.n,
                         g.accumulate);
    }
    return;
  }
  long j = 0;
  for (; j + 4 <= g.n; j += 4) dot_rows<ROWS, 4>(a, g.b + j * g.k, g.k, g.out + j, g.n, g.accumulate);
  for (; j < g.n; j++) dot_rows<ROWS, 1>(a, g.b + j * g.k, g.k, g.out + j, g.n, g.accumulate);
}

// A product of 1 to GEMV_ROWS rows; `a` is g.a with its rows made contiguous where g needs that.
void gemv(const mergen::GemmF32& g, const float* a, long a_row, long a_step) {
  switch (g.m) {
    case 1: return gemv_rows<1>(g, a, a_row, a_step);
    case 2: return gemv_rows<2>(g, a, a_row, a_step);
    case 3: return gemv_rows<3>(g, a, a_row, a_step);
    default: return gemv_rows<4>(g, a, a_row, a_step);
  }
}

void mix_heads(const mergen::MixHeadsF32& m) {
  const long width = m.columns / m.heads;
  if (m.rows == 0 && !m.accumulate) {
    for (long i = 0; i < m.columns; i++) m.out[i] = 0;
  }
  // A few rows for all heads, then the next few: x is read in the order in which it lies there.
  for (long row = 0; row < m.rows; row += GEMV_DEPTH) {
    const long depth = m.rows - row < GEMV_DEPTH ? m.rows - row : GEMV_DEPTH;
    const bool add = m.accumulate || row > 0;
    for (long head = 0; head < m.heads; head++) {
      add_all_rows<1>(m.coefficients + head * m.rows + row, 0, 1,
                      m.x + row * m.columns + head * width, m.columns, depth, width,
                      m.out + head * width, m.columns, add);
    }
  }
}

}  // namespace
