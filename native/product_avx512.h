// Loads and transpositions of 512-bit registers, for the product files that are compiled for
// AVX-512.
#pragma once

#include <immintrin.h>

namespace {

inline __m512i load(const void* from) { return _mm512_loadu_si512(from); }

inline __mmask8 first_lanes(long count) {
  return count >= 8 ? 0xff : count <= 0 ? 0 : static_cast<__mmask8>((1u << count) - 1);
}

// Turns 8 rows of 8 words into 8 columns, in place.
inline void transpose8(__m512i r[8]) {
  __m512i t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      r[i + j] = _mm512_shuffle_i64x2(t[i + j], t[i + j + 2], 0x88);
      r[i + j + 2] = _mm512_shuffle_i64x2(t[i + j], t[i + j + 2], 0xdd);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i64x2(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i64x2(r[i], r[i + 4], 0xdd);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) r[i] = t[i];
}

// Turns 4 rows of 4 quarters (of 128 bits) into 4 columns.
inline void transpose_quarters(const __m512i r[4], __m512i out[4]) {
  const __m512i low = _mm512_shuffle_i64x2(r[0], r[1], 0x44);
  const __m512i high = _mm512_shuffle_i64x2(r[0], r[1], 0xee);
  const __m512i low2 = _mm512_shuffle_i64x2(r[2], r[3], 0x44);
  const __m512i high2 = _mm512_shuffle_i64x2(r[2], r[3], 0xee);
  out[0] = _mm512_shuffle_i64x2(low, low2, 0x88);
  out[1] = _mm512_shuffle_i64x2(low, low2, 0xdd);
  out[2] = _mm512_shuffle_i64x2(high, high2, 0x88);
  out[3] = _mm512_shuffle_i64x2(high, high2, 0xdd);
}

// Turns 16 rows of 16 half words into 16 columns, in place.
inline void transpose16(__m512i r[16]) {
  __m512i t[16];
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const __m512i low = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    const __m512i high = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    const __m512i low2 = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]);
    const __m512i high2 = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);
    t[i] = _mm512_unpacklo_epi64(low, low2);
    t[i + 1] = _mm512_unpackhi_epi64(low, low2);
    t[i + 2] = _mm512_unpacklo_epi64(high, high2);
    t[i + 3] = _mm512_unpackhi_epi64(high, high2);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const __m512i quarters[4] = {t[i], t[i + 4], t[i + 8], t[i + 12]};
    __m512i columns[4];
    transpose_quarters(quarters, columns);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) r[4 * j + i] = columns[j];
  }
}

}  // namespace
