// The tree's generator on AES-128 with AES-NI and AVX2: one block to a vector.
#include <immintrin.h>

#include "tree_aes_generate.h"

namespace {

struct AesNi {
  typedef __m128i Vec;
  typedef __m128i Bits;  // bit 0 of either word
  typedef __m128i Mask;  // all or nothing
  typedef __m128i Level;
  static constexpr long LANES = 1;
  static constexpr long VECTORS = 4;

  static Vec load(const void* from) { return _mm_load_si128(static_cast<const __m128i*>(from)); }
  static void store(void* to, Vec x) { _mm_store_si128(static_cast<__m128i*>(to), x); }
  static Vec exclusive_or(Vec a, Vec b) { return _mm_xor_si128(a, b); }
  static Vec both(Vec a, Vec b) { return _mm_and_si128(a, b); }
  static Vec and_not(Vec a, Vec b) { return _mm_andnot_si128(a, b); }  // ~a & b
  static Vec add(Vec a, Vec b) { return _mm_add_epi64(a, b); }
  static Vec add32(Vec a, Vec b) { return _mm_add_epi32(a, b); }
  static Vec subtract32(Vec a, Vec b) { return _mm_sub_epi32(a, b); }
  static Vec subtract(Vec a, Vec b) { return _mm_sub_epi64(a, b); }
  static Vec shift_left(Vec x, long bits) { return _mm_sll_epi64(x, _mm_cvtsi64_si128(bits)); }
  static Vec round(Vec x, Vec key) { return _mm_aesenc_si128(x, key); }
  static Vec last_round(Vec x, Vec key) { return _mm_aesenclast_si128(x, key); }
  static Vec lower(uint64_t x) { return _mm_set_epi64x(0, static_cast<long long>(x)); }
  static Vec upper(uint64_t x) { return _mm_set_epi64x(static_cast<long long>(x), 0); }

  static Level level(long bit) { return _mm_cvtsi64_si128(bit); }
  static Bits test(Vec x, Level bit) { return both(_mm_srl_epi64(x, bit), _mm_set1_epi64x(1)); }
  static Vec flip_low(Vec x, Bits bits) { return exclusive_or(x, both(bits, lower(1))); }
  static Vec flip_high(Vec x, Bits bits) { return exclusive_or(x, both(bits, upper(1))); }

  static Mask mask(Bits bits) { return _mm_sub_epi64(_mm_setzero_si128(), bits); }
  static Mask control(Vec x) {
    return _mm_srai_epi32(_mm_slli_epi32(_mm_shuffle_epi32(x, 0xaa), 31), 31);
  }
  static Vec xor_if(Vec a, Mask mask, Vec b) { return exclusive_or(a, both(mask, b)); }
  static Vec only(Mask mask, Vec x) { return both(mask, x); }
  static Vec add_if(Vec a, Mask mask, Vec b) { return add(a, both(mask, b)); }
  static Vec negate_if(Vec x, Mask mask) { return subtract(exclusive_or(x, mask), mask); }
  static Vec choose(Mask mask, Vec a, Vec b) { return _mm_blendv_epi8(b, a, mask); }

  static Vec gather(const uint8_t* const* keys, long offset) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(keys[0] + offset));
  }
  static void gather_two(const uint8_t* const* keys, long offset, Vec& first, Vec& second) {
    first = gather(keys, offset);
    second = gather(keys, offset + 16);
  }
  static void scatter(uint8_t* const* keys, long offset, Vec x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(keys[0] + offset), x);
  }
  static void scatter_two(uint8_t* const* keys, long offset, Vec first, Vec second) {
    scatter(keys, offset, first);
    scatter(keys, offset + 16, second);
  }
};

}  // namespace

const mergen::TreeKernels mergen::tree_aesni = {evaluate<AesNodes, AesNi>, generate_aes<AesNi>};
