// Limits of AVX-512, and of VAES.
#if defined(__x86_64__)

#pragma GCC diagnostic push
// GCC before 13 takes the undefined operands inside its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "limits.h"

namespace {
constexpr int VECTOR_BYTES = 64;
}

#include "limits_loops.h"

namespace {

uint64_t multiply_adds64(uint64_t least) {
  Words factor = Words{} + 0x9e3779b97f4a7c15, addend = Words{} + 1;
  opaque(factor);
  opaque(addend);
  return run_chains<Words>(least, [=](Words& x) { x = x * factor + addend; });
}

}  // namespace

namespace mergen {

uint64_t aes_rounds_vaes(uint64_t least) {
  constexpr int COUNT = 12;
  constexpr uint64_t EACH = 4;
  __m512i x[COUNT], key = _mm512_set1_epi64(0x9e3779b9);
  for (int i = 0; i < COUNT; i++) x[i] = _mm512_set1_epi64(i), opaque(x[i]);
  opaque(key);
  uint64_t done = 0;
  for (; done < least; done += COUNT * EACH) {
#pragma GCC unroll 12
    for (int i = 0; i < COUNT; i++) x[i] = _mm512_aesenc_epi128(x[i], key);
  }
  for (int i = 0; i < COUNT; i++) opaque(x[i]);
  return done;
}

const KernelsLimits limits_avx512 = {
    multiply_adds64, multiply_adds_f32, quarter_rounds, nullptr, read_memory,
};

const KernelsLimits limits_amx = {
    multiply_adds64, multiply_adds_f32, quarter_rounds, tile_multiply_adds, read_memory,
};

}  // namespace mergen

#endif
