// Limits of AVX2, and of AES-NI.
#if defined(__x86_64__)

#include <immintrin.h>

#include "limits.h"

namespace {
constexpr int VECTOR_BYTES = 32;
}

#include "limits_loops.h"

namespace {

// A product of words takes three of 32 by 32 bits, if nothing else had to be done.
uint64_t multiply_adds64(uint64_t least) {
  constexpr int COUNT = 4;
  constexpr uint64_t EACH = 4;
  __m256i x[3 * COUNT], factor = _mm256_set1_epi64x(0x9e3779b9);
  for (int i = 0; i < 3 * COUNT; i++) x[i] = _mm256_set1_epi64x(i + 3), opaque(x[i]);
  opaque(factor);
  uint64_t done = 0;
  for (; done < least; done += COUNT * EACH) {
#pragma GCC unroll 12
    for (int i = 0; i < 3 * COUNT; i++) {
      x[i] = _mm256_add_epi64(_mm256_mul_epu32(x[i], factor), factor);
    }
  }
  for (int i = 0; i < 3 * COUNT; i++) opaque(x[i]);
  return done;
}

}  // namespace

namespace mergen {

uint64_t aes_rounds_aesni(uint64_t least) {
  constexpr int COUNT = 12;
  __m128i x[COUNT], key = _mm_set1_epi64x(0x9e3779b9);
  for (int i = 0; i < COUNT; i++) x[i] = _mm_set1_epi64x(i), opaque(x[i]);
  opaque(key);
  uint64_t done = 0;
  for (; done < least; done += COUNT) {
#pragma GCC unroll 12
    for (int i = 0; i < COUNT; i++) x[i] = _mm_aesenc_si128(x[i], key);
  }
  for (int i = 0; i < COUNT; i++) opaque(x[i]);
  return done;
}

const KernelsLimits limits_avx2 = {
    multiply_adds64, multiply_adds_f32, quarter_rounds, nullptr, read_memory,
};

}  // namespace mergen

#endif
