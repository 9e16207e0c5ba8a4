// The tree's generator on ChaCha12 with AVX-512: 16 nodes to a vector.
#pragma GCC diagnostic push
// GCC before 13 takes the undefined operands inside its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "tree_chacha_generate.h"

namespace {

struct Avx512 {
  typedef uint32_t Vec __attribute__((vector_size(64)));
  typedef uint64_t Wide __attribute__((vector_size(64)));
  static constexpr long LANES = 16;

  static Vec lanes() {
    return Vec{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  }

  template <int BITS>
  static Vec rotate(Vec x) {
    return (Vec)_mm512_rol_epi32((__m512i)x, BITS);
  }

  // Words (low, high) of every lane as 64-bit words: of lanes 0, 1, 4, 5 .. and of 2, 3, 6, 7 ..
  static void widen(Vec low, Vec high, Wide* out) {
    out[0] = (Wide)_mm512_unpacklo_epi32((__m512i)low, (__m512i)high);
    out[1] = (Wide)_mm512_unpackhi_epi32((__m512i)low, (__m512i)high);
  }

  // The four words of lane 4 i + j stand in x[j], lanes 4 i on; they go to lane 4 i + j of x[0] to
  // x[3]. It is its own inverse.
  static void transpose(Vec* x) {
    const __m512i a = (__m512i)x[0], b = (__m512i)x[1], c = (__m512i)x[2], d = (__m512i)x[3];
    const __m512i ab_low = _mm512_unpacklo_epi32(a, b), ab_high = _mm512_unpackhi_epi32(a, b);
    const __m512i cd_low = _mm512_unpacklo_epi32(c, d), cd_high = _mm512_unpackhi_epi32(c, d);
    x[0] = (Vec)_mm512_unpacklo_epi64(ab_low, cd_low);
    x[1] = (Vec)_mm512_unpackhi_epi64(ab_low, cd_low);
    x[2] = (Vec)_mm512_unpacklo_epi64(ab_high, cd_high);
    x[3] = (Vec)_mm512_unpackhi_epi64(ab_high, cd_high);
  }

  // Four words at `offset` of each lane's key, as one vector each.
  static void gather(const uint8_t* const* keys, long offset, Vec* out) {
    for (int j = 0; j < 4; j++) out[j] = (Vec)rows(keys + j, offset);
    transpose(out);
  }

  // Two 64-bit words there: two vectors each, in the order of `widen`.
  static void gather_wide(const uint8_t* const* keys, long offset, Wide* out) {
    const __m512i a = rows(keys, offset), b = rows(keys + 1, offset);
    const __m512i c = rows(keys + 2, offset), d = rows(keys + 3, offset);
    out[0] = (Wide)_mm512_unpacklo_epi64(a, b);
    out[1] = (Wide)_mm512_unpacklo_epi64(c, d);
    out[2] = (Wide)_mm512_unpackhi_epi64(a, b);
    out[3] = (Wide)_mm512_unpackhi_epi64(c, d);
  }

 private:
  // 16 bytes of every fourth key.
  static __m512i rows(const uint8_t* const* keys, long offset) {
    const auto row = [=](int i) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(keys[4 * i] + offset));
    };
    __m512i x = _mm512_castsi128_si512(row(0));
    x = _mm512_inserti32x4(x, row(1), 1);
    x = _mm512_inserti32x4(x, row(2), 2);
    return _mm512_inserti32x4(x, row(3), 3);
  }
};

}  // namespace

const mergen::KernelsTree mergen::tree_avx512 = {
    {evaluate<ChaChaNodes, Avx512>, generate_chacha<Avx512>}};
