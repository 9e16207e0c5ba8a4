// Ring kernels for AVX-512 (F, DQ, BW, VL).
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int LANES = 8;
constexpr int BLOCKS = 16;
typedef uint32_t Lanes __attribute__((vector_size(4 * BLOCKS)));

template <int BITS>
inline Lanes rotate(Lanes x) {
  return x << BITS | x >> (32 - BITS);  // one instruction
}

// 16 vectors of one state word each to 16 blocks.
inline void store_blocks(Lanes s[16], uint8_t* out) {
  __m512i* r = reinterpret_cast<__m512i*>(s);
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4 q + b] now holds words 4 q .. 4 q + 3 of blocks b, 4 + b, 8 + b and 12 + b.
#pragma GCC unroll 4
  for (int b = 0; b < 4; b++) {
    const __m512i low = _mm512_shuffle_i32x4(r[b], r[4 + b], 0x44);
    const __m512i low2 = _mm512_shuffle_i32x4(r[8 + b], r[12 + b], 0x44);
    const __m512i high = _mm512_shuffle_i32x4(r[b], r[4 + b], 0xee);
    const __m512i high2 = _mm512_shuffle_i32x4(r[8 + b], r[12 + b], 0xee);
    _mm512_storeu_si512(out + 64 * b, _mm512_shuffle_i32x4(low, low2, 0x88));
    _mm512_storeu_si512(out + 64 * (4 + b), _mm512_shuffle_i32x4(low, low2, 0xdd));
    _mm512_storeu_si512(out + 64 * (8 + b), _mm512_shuffle_i32x4(high, high2, 0x88));
    _mm512_storeu_si512(out + 64 * (12 + b), _mm512_shuffle_i32x4(high, high2, 0xdd));
  }
}

}  // namespace

#include "ring_chacha.h"
#include "ring_elementwise.h"
#include "ring_pack_avx2.h"
#include "ring_pack_vbmi.h"

namespace {

// VBMI came two processor generations after the rest.
bool has_vbmi() { return __builtin_cpu_supports("avx512vbmi"); }

void pack(uint8_t* out, const uint64_t* words, uint64_t bits, uint64_t count) {
  if (bits < LEAST_BYTE_BITS || bits > MOST_BYTE_BITS) return pack_words(out, words, bits, count);
  if (!has_vbmi()) return pack_pairs(out, words, bits, count);
  if (bits > MOST_BITS) return pack_groups<true>(out, words, bits, count);
  pack_groups<false>(out, words, bits, count);
}

void unpack(uint64_t* out, const uint8_t* bytes, uint64_t bits, uint64_t count) {
  if (bits > MOST_BYTE_BITS) return unpack_words(out, bytes, bits, count);
  if (!has_vbmi()) return unpack_pairs(out, bytes, bits, count);
  if (bits > MOST_BITS) return unpack_groups<true>(out, bytes, bits, count);
  unpack_groups<false>(out, bytes, bits, count);
}

}  // namespace

const mergen::KernelsRing mergen::ring_avx512 = {
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
    pack,
    unpack,
    attend<uint64_t>,
    attend<int16_t>,
};

#endif
