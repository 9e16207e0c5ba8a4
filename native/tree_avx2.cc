// The tree's generator on ChaCha12 with AVX2: 8 nodes to a vector.
#include <immintrin.h>

#include "tree_chacha_generate.h"

namespace {

struct Avx2 {
  typedef uint32_t Vec __attribute__((vector_size(32)));
  typedef uint64_t Wide __attribute__((vector_size(32)));
  static constexpr long LANES = 8;

  static Vec lanes() { return Vec{0, 1, 2, 3, 4, 5, 6, 7}; }

  template <int BITS>
  static Vec rotate(Vec x) {
    const __m256i v = (__m256i)x;
    if (BITS == 16) {
      return (Vec)_mm256_shuffle_epi8(
          v, _mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6,
                              7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    }
    if (BITS == 8) {
      return (Vec)_mm256_shuffle_epi8(
          v, _mm256_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7,
                              4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14));
    }
    return (x << BITS) | (x >> (32 - BITS));
  }

  // See tree_avx512.cc for what these four do.
  static void widen(Vec low, Vec high, Wide* out) {
    out[0] = (Wide)_mm256_unpacklo_epi32((__m256i)low, (__m256i)high);
    out[1] = (Wide)_mm256_unpackhi_epi32((__m256i)low, (__m256i)high);
  }

  static void transpose(Vec* x) {
    const __m256i a = (__m256i)x[0], b = (__m256i)x[1], c = (__m256i)x[2], d = (__m256i)x[3];
    const __m256i ab_low = _mm256_unpacklo_epi32(a, b), ab_high = _mm256_unpackhi_epi32(a, b);
    const __m256i cd_low = _mm256_unpacklo_epi32(c, d), cd_high = _mm256_unpackhi_epi32(c, d);
    x[0] = (Vec)_mm256_unpacklo_epi64(ab_low, cd_low);
    x[1] = (Vec)_mm256_unpackhi_epi64(ab_low, cd_low);
    x[2] = (Vec)_mm256_unpacklo_epi64(ab_high, cd_high);
    x[3] = (Vec)_mm256_unpackhi_epi64(ab_high, cd_high);
  }

  static void gather(const uint8_t* const* keys, long offset, Vec* out) {
    for (int j = 0; j < 4; j++) out[j] = (Vec)rows(keys + j, offset);
    transpose(out);
  }

  static void gather_wide(const uint8_t* const* keys, long offset, Wide* out) {
    const __m256i a = rows(keys, offset), b = rows(keys + 1, offset);
    const __m256i c = rows(keys + 2, offset), d = rows(keys + 3, offset);
    out[0] = (Wide)_mm256_unpacklo_epi64(a, b);
    out[1] = (Wide)_mm256_unpacklo_epi64(c, d);
    out[2] = (Wide)_mm256_unpackhi_epi64(a, b);
    out[3] = (Wide)_mm256_unpackhi_epi64(c, d);
  }

 private:
  static __m256i rows(const uint8_t* const* keys, long offset) {
    return _mm256_loadu2_m128i(reinterpret_cast<const __m128i*>(keys[4] + offset),
                               reinterpret_cast<const __m128i*>(keys[0] + offset));
  }
};

}  // namespace

const mergen::KernelsTree mergen::tree_avx2 = {
    {evaluate<ChaChaNodes, Avx2>, generate_chacha<Avx2>}};
