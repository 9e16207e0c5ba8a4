// The tree's generator on AES-128 with AVX-512 and VAES: four blocks to a vector.
#pragma GCC diagnostic push
// GCC before 13 takes the undefined operands inside its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "tree_aes_generate.h"

namespace {

struct Vaes {
  typedef __m512i Vec;
  typedef __mmask8 Bits, Mask;  // of 64-bit words
  typedef __m512i Level;
  static constexpr long LANES = 4;
  // Eight chains with those of the values.
  static constexpr long VECTORS = 4;

  static Vec load(const void* from) { return _mm512_load_si512(from); }
  static void store(void* to, Vec x) { _mm512_store_si512(to, x); }
  static Vec exclusive_or(Vec a, Vec b) { return _mm512_xor_si512(a, b); }
  static Vec both(Vec a, Vec b) { return _mm512_and_si512(a, b); }
  static Vec and_not(Vec a, Vec b) { return _mm512_andnot_si512(a, b); }  // ~a & b
  static Vec add(Vec a, Vec b) { return _mm512_add_epi64(a, b); }
  static Vec add32(Vec a, Vec b) { return _mm512_add_epi32(a, b); }
  static Vec subtract32(Vec a, Vec b) { return _mm512_sub_epi32(a, b); }
  static Vec subtract(Vec a, Vec b) { return _mm512_sub_epi64(a, b); }
  static Vec shift_left(Vec x, long bits) {
    return _mm512_sll_epi64(x, _mm_cvtsi64_si128(bits));
  }
  static Vec round(Vec x, Vec key) { return _mm512_aesenc_epi128(x, key); }
  static Vec last_round(Vec x, Vec key) { return _mm512_aesenclast_epi128(x, key); }
  static Vec lower(uint64_t x) { return _mm512_broadcast_i32x4(_mm_set_epi64x(0, x)); }
  static Vec upper(uint64_t x) { return _mm512_broadcast_i32x4(_mm_set_epi64x(x, 0)); }

  static Level level(long bit) { return _mm512_set1_epi64(uint64_t{1} << bit); }
  static Bits test(Vec x, Level bit) { return _mm512_test_epi64_mask(x, bit); }
  static Vec flip_low(Vec x, Bits bits) { return _mm512_mask_xor_epi64(x, bits, x, lower(1)); }
  static Vec flip_high(Vec x, Bits bits) { return _mm512_mask_xor_epi64(x, bits, x, upper(1)); }

  // Both words of the nodes whose control bit is set.
  static Mask control(Vec x) {
    const Vec upper_words = _mm512_shuffle_epi32(x, static_cast<_MM_PERM_ENUM>(0xee));
    return _mm512_test_epi64_mask(upper_words, _mm512_set1_epi64(1));
  }
  static Vec xor_if(Vec a, Mask mask, Vec b) { return _mm512_mask_xor_epi64(a, mask, a, b); }
  static Vec only(Mask mask, Vec x) { return _mm512_maskz_mov_epi64(mask, x); }
  static Vec add_if(Vec a, Mask mask, Vec b) { return _mm512_mask_add_epi64(a, mask, a, b); }

  static Vec negate_if(Vec x, Mask mask) {
    return _mm512_mask_sub_epi64(x, mask, _mm512_setzero_si512(), x);
  }
  static Vec choose(Mask mask, Vec a, Vec b) { return _mm512_mask_blend_epi64(mask, b, a); }
  static Mask mask(Bits bits) { return bits; }

  static Vec gather(const uint8_t* const* keys, long offset) {
    const auto block = [=](int lane) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(keys[lane] + offset));
    };
    Vec x = _mm512_castsi128_si512(block(0));
    x = _mm512_inserti32x4(x, block(1), 1);
    x = _mm512_inserti32x4(x, block(2), 2);
    return _mm512_inserti32x4(x, block(3), 3);
  }

  // The 16 bytes at `offset` and the 16 behind them.
  static void gather_two(const uint8_t* const* keys, long offset, Vec& first, Vec& second) {
    const auto pair = [=](int lane) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys[lane] + offset));
    };
    const Vec a = _mm512_inserti64x4(_mm512_castsi256_si512(pair(0)), pair(1), 1);
    const Vec b = _mm512_inserti64x4(_mm512_castsi256_si512(pair(2)), pair(3), 1);
    first = _mm512_shuffle_i64x2(a, b, 0x88);
    second = _mm512_shuffle_i64x2(a, b, 0xdd);
  }

  // The inverses.
  static void scatter(uint8_t* const* keys, long offset, Vec x) {
    const auto to = [=](int lane) { return reinterpret_cast<__m128i*>(keys[lane] + offset); };
    _mm_storeu_si128(to(0), _mm512_castsi512_si128(x));
    _mm_storeu_si128(to(1), _mm512_extracti32x4_epi32(x, 1));
    _mm_storeu_si128(to(2), _mm512_extracti32x4_epi32(x, 2));
    _mm_storeu_si128(to(3), _mm512_extracti32x4_epi32(x, 3));
  }
  static void scatter_two(uint8_t* const* keys, long offset, Vec first, Vec second) {
    scatter(keys, offset, first);
    scatter(keys, offset + 16, second);
  }
};

}  // namespace

const mergen::TreeKernels mergen::tree_vaes = {evaluate<AesNodes, Vaes>, generate_aes<Vaes>};
