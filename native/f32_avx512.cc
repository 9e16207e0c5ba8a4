// Float32 kernels for AVX-512. The matrix product has a tile of 14 x 32 (28 accumulators, two
// registers of B, one broadcast of A).
#if defined(__x86_64__)

#include <immintrin.h>

namespace {
constexpr int LANES = 16;
}

#include "f32_elementwise.h"
#include "f32_gemm.h"

namespace {

inline __mmask16 first_lanes(long count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

inline __m512 low_pairs(__m512 x, __m512 y) {
  return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
}

inline __m512 high_pairs(__m512 x, __m512 y) {
  return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
}

// Turns 16 rows of 16 into 16 columns, in place.
inline void transpose16(__m512 r[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = low_pairs(t[i], t[i + 2]);
    r[i + 1] = high_pairs(t[i], t[i + 2]);
    r[i + 2] = low_pairs(t[i + 1], t[i + 3]);
    r[i + 3] = high_pairs(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// ROWS x (16 * VECTORS) of out; lanes of the last vector outside `last` stay untouched.
template <int ROWS, int VECTORS>
void tile_of(long depth, const float* a, long stride_a, const float* b, long stride_b, float* out,
             long ld, __mmask16 last, bool add) {
  __m512 sum[ROWS][VECTORS];
#pragma GCC unroll 14
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) {
      const __mmask16 mask = v == VECTORS - 1 ? last : 0xffff;
      sum[r][v] = add ? _mm512_maskz_loadu_ps(mask, out + r * ld + 16 * v) : _mm512_setzero_ps();
    }
  }
  for (long p = 0; p < depth; p++) {
    __m512 vb[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) {
      vb[v] = _mm512_maskz_loadu_ps(v == VECTORS - 1 ? last : 0xffff, b + 16 * v);
    }
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
      const __m512 va = _mm512_set1_ps(a[r]);
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; v++) sum[r][v] = _mm512_fmadd_ps(va, vb[v], sum[r][v]);
    }
    a += stride_a;
    b += stride_b;
  }
#pragma GCC unroll 14
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) {
      _mm512_mask_storeu_ps(out + r * ld + 16 * v, v == VECTORS - 1 ? last : 0xffff, sum[r][v]);
    }
  }
}

struct Avx512 {
  static constexpr int MR = 14, NR = 32, STORE = 16;
  static constexpr long KC = 320, MC = 18 * MR, NC = 64 * NR;

  template <int WIDTH>
  static void copy_steps(const float* src, long ld, long lanes, long depth, float* dst) {
    for (long p = 0; p < depth; p++, src += ld, dst += WIDTH) {
#pragma GCC unroll 2
      for (int v = 0; v < WIDTH; v += 16) {
        _mm512_storeu_ps(dst + v, _mm512_maskz_loadu_ps(first_lanes(lanes - v), src + v));
      }
    }
  }

  static void transpose_lanes(const float* src, long ld, long lanes, long depth, float* dst,
                              long width) {
    for (long p = 0; p < depth; p += 16) {
      const __mmask16 mask = first_lanes(depth - p);
      __m512 r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) {
        const bool inside = i < lanes && i < width;
        r[i] = inside ? _mm512_maskz_loadu_ps(mask, src + i * ld + p) : _mm512_setzero_ps();
      }
      transpose16(r);
      if (mask == 0xffff) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) _mm512_storeu_ps(dst + (p + i) * width, r[i]);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
          if (p + i < depth) _mm512_storeu_ps(dst + (p + i) * width, r[i]);
        }
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
    if (cols > 16) {
      tile_of<ROWS, 2>(depth, a, MR, b, stride_b, out, ld, first_lanes(cols - 16), add);
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

const KernelsF32 f32_avx512 = {gemm<Avx512>, mix_heads, gelu, gelu_gradient, softmax, adamw};

}  // namespace mergen

#endif
