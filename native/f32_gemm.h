// The blocking around a register tile, shared by the instruction sets. After Goto and van de Geijn,
// "Anatomy of High-Performance Matrix Multiplication" (2008), and BLIS: B is packed into panels of
// NR columns, A into panels of MR rows, blocks sized so that a panel of each stays in L1 and a
// block of A in L2. Packing also resolves the transpositions, so that one tile serves all four.
//
// Everything lives in an anonymous namespace: each file that includes this is compiled with other
// -m flags, and the linker must not merge their copies.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "f32.h"
#include "f32_gemv.h"

namespace {

inline long round_up(long x, long step) { return (x + step - 1) / step * step; }
inline long min_long(long x, long y) { return x < y ? x : y; }

// The largest equal parts of `total` that do not exceed `limit`, rounded up to `step`.
inline long even_part(long total, long limit, long step) {
  const long parts = (total + limit - 1) / limit;
  return round_up((total + parts - 1) / parts, step);
}

// 64-byte aligned memory that a thread keeps from call to call.
struct Scratch {
  float* data = nullptr;
  long capacity = 0;

  bool reserve(long count) {
    if (count <= capacity) return true;
    std::free(data);
    capacity = 0;
    const long bytes = round_up(count * static_cast<long>(sizeof(float)), 64);
    data = static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(bytes)));
    if (data == nullptr) return false;
    capacity = count;
    return true;
  }

  ~Scratch() { std::free(data); }
};

thread_local Scratch packed_a;
thread_local Scratch packed_b;

// Packs `count` lanes by `depth` steps into panels of WIDTH lanes: dst[panel][step][lane].
// contiguous: the lanes of one step lie side by side in src (leading dimension ld between steps);
// otherwise the steps of one lane do (ld between lanes). A store may run past a panel's end by less
// than T::STORE floats; the next panel overwrites that, and the buffer has that much slack.
template <class T, int WIDTH>
void pack(bool contiguous, const float* src, long ld, long count, long depth, float* dst) {
  for (long lane = 0; lane < count; lane += WIDTH) {
    const long lanes = min_long(WIDTH, count - lane);
    if (contiguous) {
      T::template copy_steps<WIDTH>(src + lane, ld, lanes, depth, dst);
    } else {
      for (long part = 0; part < WIDTH; part += T::STORE) {
        T::transpose_lanes(src + (lane + part) * ld, ld, lanes - part, depth, dst + part, WIDTH);
      }
    }
    dst += WIDTH * depth;
  }
}

inline bool few_rows(const mergen::GemmF32& g) {
  if (!g.transpose_a || g.m == 1) {
    gemv(g, g.a, g.k, 1);
  } else if (!g.transpose_b) {
    gemv(g, g.a, 1, g.m);
  } else {
    if (!packed_a.reserve(g.m * g.k)) return false;
    for (long i = 0; i < g.m; i++) {
      for (long p = 0; p < g.k; p++) packed_a.data[i * g.k + p] = g.a[p * g.m + i];
    }
    gemv(g, packed_a.data, g.k, 1);
  }
  return true;
}

template <class T>
bool gemm(const mergen::GemmF32& g) {
  if (g.m == 0 || g.n == 0) return true;
  if (g.k == 0) {
    if (!g.accumulate) {
      for (long i = 0; i < g.m * g.n; i++) g.out[i] = 0;
    }
    return true;
  }
  if (g.m <= GEMV_ROWS) return few_rows(g);
  const long kc = even_part(g.k, T::KC, 1);
  const long mc = even_part(g.m, T::MC, T::MR);
  const long nc = even_part(g.n, T::NC, T::NR);
  // One row of tiles uses each element of B once: packing a plain B would only cost.
  const bool plain_b = g.m <= T::MR && !g.transpose_b;
  if (!packed_a.reserve(mc * kc + T::STORE)) return false;
  if (!plain_b && !packed_b.reserve(nc * kc + T::STORE)) return false;

  for (long j0 = 0; j0 < g.n; j0 += nc) {
    const long cols = min_long(nc, g.n - j0);
    for (long p0 = 0; p0 < g.k; p0 += kc) {
      const long depth = min_long(kc, g.k - p0);
      const bool add = g.accumulate || p0 > 0;
      const float* b = g.transpose_b ? g.b + j0 * g.k + p0 : g.b + p0 * g.n + j0;
      if (!plain_b) {
        pack<T, T::NR>(!g.transpose_b, b, g.transpose_b ? g.k : g.n, cols, depth, packed_b.data);
      }
      for (long i0 = 0; i0 < g.m; i0 += mc) {
        const long rows = min_long(mc, g.m - i0);
        const float* a = g.transpose_a ? g.a + p0 * g.m + i0 : g.a + i0 * g.k + p0;
        pack<T, T::MR>(g.transpose_a, a, g.transpose_a ? g.m : g.k, rows, depth, packed_a.data);
        for (long j = 0; j < cols; j += T::NR) {
          const float* panel_b = plain_b ? b + j : packed_b.data + j * depth;
          const long stride_b = plain_b ? g.n : T::NR;
          for (long i = 0; i < rows; i += T::MR) {
            T::tile(min_long(T::MR, rows - i), min_long(T::NR, cols - j), depth,
                    packed_a.data + i * depth, panel_b, stride_b,
                    g.out + (i0 + i) * g.n + j0 + j, g.n, add);
          }
        }
      }
    }
  }
  return true;
}

}  // namespace
