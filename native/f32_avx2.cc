// Float32 kernels for AVX2 with FMA. The matrix product has a tile of 6 x 16 (12 accumulators, two
// registers of B, one broadcast of A).
#if defined(__x86_64__)

#include <immintrin.h>

namespace {
constexpr int LANES = 8;
}

#include "f32_elementwise.h"
#include "f32_gemm.h"

namespace {

// All ones in the first `count` lanes: an unaligned window into eight ones and eight zeros.
alignas(32) const int32_t lane_window[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                             0,  0,  0,  0,  0,  0,  0,  0};

inline __m256i first_lanes(long count) {
  const long inside = count >= 8 ? 8 : count <= 0 ? 0 : count;
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane_window + 8 - inside));
}

// Turns 8 rows of 8 into 8 columns, in place.
inline void transpose8(__m256 r[8]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) r[i] = t[i];
}

// ROWS x (8 * VECTORS) of out; lanes of the last vector outside `last` stay untouched.
template <int ROWS, int VECTORS>
void tile_of(long depth, const float* a, long stride_a, const float* b, long stride_b, float* out,
             long ld, __m256i last, bool add) {
  __m256 sum[ROWS][VECTORS];
#pragma GCC unroll 6
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) {
      const float* from = out + r * ld + 8 * v;
      if (!add) {
        sum[r][v] = _mm256_setzero_ps();
      } else {
        sum[r][v] = v == VECTORS - 1 ? _mm256_maskload_ps(from, last) : _mm256_loadu_ps(from);
      }
    }
  }
  for (long p = 0; p < depth; p++) {
    __m256 vb[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) {
      vb[v] = v == VECTORS - 1 ? _mm256_maskload_ps(b + 8 * v, last) : _mm256_loadu_ps(b + 8 * v);
    }
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
      const __m256 va = _mm256_broadcast_ss(a + r);
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; v++) sum[r][v] = _mm256_fmadd_ps(va, vb[v], sum[r][v]);
    }
    a += stride_a;
    b += stride_b;
  }
#pragma GCC unroll 6
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) {
      float* to = out + r * ld + 8 * v;
      if (v == VECTORS - 1) {
        _mm256_maskstore_ps(to, last, sum[r][v]);
      } else {
        _mm256_storeu_ps(to, sum[r][v]);
      }
    }
  }
}

struct Avx2 {
  static constexpr int MR = 6, NR = 16, STORE = 8;
  static constexpr long KC = 256, MC = 24 * MR, NC = 128 * NR;

  template <int WIDTH>
  static void copy_steps(const float* src, long ld, long lanes, long depth, float* dst) {
    for (long p = 0; p < depth; p++, src += ld, dst += WIDTH) {
#pragma GCC unroll 2
      for (int v = 0; v < WIDTH; v += 8) {
        _mm256_storeu_ps(dst + v, _mm256_maskload_ps(src + v, first_lanes(lanes - v)));
      }
    }
  }

  static void transpose_lanes(const float* src, long ld, long lanes, long depth, float* dst,
                              long width) {
    for (long p = 0; p < depth; p += 8) {
      const __m256i mask = first_lanes(depth - p);
      __m256 r[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) {
        const bool inside = i < lanes && i < width;
        r[i] = inside ? _mm256_maskload_ps(src + i * ld + p, mask) : _mm256_setzero_ps();
      }
      transpose8(r);
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) {
        if (p + i < depth) _mm256_storeu_ps(dst + (p + i) * width, r[i]);
      }
    }
  }

  template <int ROWS>
  static void tile_rows(long rows, long cols, long depth, const float* a, const float* b,
                        long stride_b, float* out, long ld, bool add) {
    if constexpr (ROWS > 1) {
      if (rows < ROWS) {
        return tile_rows<ROWS - 1>(rows, cols, depth, a, b, stride_b, out, ld, add);
      }
    }
    if (cols > 8) {
      tile_of<ROWS, 2>(depth, a, MR, b, stride_b, out, ld, first_lanes(cols - 8), add);
    } else {
      tile_of<ROWS, 1>(depth, a, MR, b, stride_b, out, ld, first_lanes(cols), add);
    }
  }

  static void tile(long rows, long cols, long depth, const float* a, const float* b, long stride_b,
                   float* out, long ld, bool add) {
    tile_rows<MR>(rows, cols, depth, a, b, stride_b, out, ld, add);
  }
};

}  // namespace

namespace mergen {

const KernelsF32 f32_avx2 = {gemm<Avx2>, mix_heads, gelu, gelu_gradient, softmax, adamw};

}  // namespace mergen

#endif
