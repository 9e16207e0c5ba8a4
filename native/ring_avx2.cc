// Ring kernels for AVX2.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int LANES = 4;
constexpr int BLOCKS = 8;
typedef uint32_t Lanes __attribute__((vector_size(4 * BLOCKS)));

// By whole bytes with one shuffle, else with two shifts.
template <int BITS>
inline Lanes rotate(Lanes x) {
  if (BITS % 8 != 0) return x << BITS | x >> (32 - BITS);
  const int places = BITS == 8 ? 0x02010003 : 0x01000302;
  const __m128i order = _mm_setr_epi32(places, places + 0x04040404, places + 0x08080808,
                                       places + 0x0c0c0c0c);
  return (Lanes)_mm256_shuffle_epi8((__m256i)x, _mm256_broadcastsi128_si256(order));
}

// Columns of 8 words to rows: 8 of the 16 state words of each block.
inline void transpose8(__m256i r[8]) {
  __m256i t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  __m256i u[8];
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    r[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
  }
}

inline void store_blocks(Lanes s[16], uint8_t* out) {
  __m256i* r = reinterpret_cast<__m256i*>(s);
  transpose8(r);
  transpose8(r + 8);
#pragma GCC unroll 8
  for (int block = 0; block < 8; block++) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 64 * block), r[block]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 64 * block + 32), r[8 + block]);
  }
}

}  // namespace

#include "ring_chacha.h"
#include "ring_elementwise.h"
#include "ring_pack_avx2.h"

const mergen::KernelsRing mergen::ring_avx2 = {
    chacha12,
    add,
    sub,
    mul,
    scale,
    add_scaled,
    add_constant,
    shift_right,
    shift_right_signed,
    low_bits,
    sum_rows,
    pack_pairs,
    unpack_pairs,
    attend<uint64_t>,
    attend<int16_t>,
};

#endif
