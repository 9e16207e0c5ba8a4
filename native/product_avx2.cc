// Products for AVX2. A 64-bit product modulo 2^64 is low(x) low(w) + 2^32 (low(x) high(w) +
// high(x) low(w)): one vpmuludq gives the first, and one vpmulld of w and x with its halves swapped
// both others, of which 32 bits count. The tile is 3 x 8: a sum of each kind for 6 registers.
#if defined(__x86_64__)

#include <immintrin.h>

#include "product_int16.h"
#include "product_ring.h"

namespace {

// All ones in the first `count` lanes: an unaligned window into four ones and four zeros.
alignas(32) const int64_t lane_window[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

inline __m256i first_lanes(long count) {
  const long inside = count >= 4 ? 4 : count <= 0 ? 0 : count;
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane_window + 4 - inside));
}

inline __m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

struct Words {
  using Entry = uint64_t;
  static constexpr long COLUMNS = 8, FORMS = 2;
  static constexpr int ROWS = 3, VECTORS = 2;
  static constexpr long DEPTH = 64, GROUP = 48, COLUMN_DEPTH = 384, COLUMN_SLACK = 4;
  // How far ahead panels are asked for, in bytes.
  static constexpr long AHEAD = 2048;

  static void prepare_word(uint64_t x, uint64_t* to) {
    to[0] = x;
    to[1] = x << 32 | x >> 32;
  }

  template <int R>
  static void tile(long depth, const uint64_t* x, const uint64_t* panel, uint64_t* out, long ld,
                   long width, bool add) {
    __m256i low[R][VECTORS] = {}, cross[R][VECTORS] = {};
    for (long k = 0; k < depth; k++) {
      const __m256i w[VECTORS] = {load(panel), load(panel + 4)};
      __builtin_prefetch(reinterpret_cast<const uint8_t*>(panel) + AHEAD);
#pragma GCC unroll 3
      for (int r = 0; r < R; r++) {
        const __m256i factor = _mm256_set1_epi64x(static_cast<long long>(x[2 * r]));
        const __m256i swapped = _mm256_set1_epi64x(static_cast<long long>(x[2 * r + 1]));
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
          low[r][v] = _mm256_add_epi64(low[r][v], _mm256_mul_epu32(factor, w[v]));
          cross[r][v] = _mm256_add_epi32(cross[r][v], _mm256_mullo_epi32(swapped, w[v]));
        }
      }
      x += FORMS * R;
      panel += COLUMNS;
    }
#pragma GCC unroll 3
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; v++) {
        const __m256i mask = first_lanes(width - 4 * v);
        long long* const to = reinterpret_cast<long long*>(out + r * ld + 4 * v);
        const __m256i both = _mm256_add_epi32(_mm256_slli_epi64(cross[r][v], 32), cross[r][v]);
        const __m256i high = _mm256_and_si256(both, _mm256_set1_epi64x(-(1ll << 32)));
        __m256i sum = _mm256_add_epi64(low[r][v], high);
        if (add) sum = _mm256_add_epi64(sum, _mm256_maskload_epi64(to, mask));
        _mm256_maskstore_epi64(to, mask, sum);
      }
    }
  }

  static void pack_columns(const uint64_t* const lines[COLUMNS], long depth, uint8_t* panel) {
    for (long k = 0; k < depth; k += 4) {
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; v++) {
        __m256i t[4];
#pragma GCC unroll 2
        for (int i = 0; i < 4; i += 2) {
          const __m256i first = load(lines[4 * v + i] + k), second = load(lines[4 * v + i + 1] + k);
          t[i] = _mm256_unpacklo_epi64(first, second);
          t[i + 1] = _mm256_unpackhi_epi64(first, second);
        }
        __m256i* const to = reinterpret_cast<__m256i*>(panel) + k * VECTORS + v;
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
          _mm256_storeu_si256(to + i * VECTORS, _mm256_permute2x128_si256(t[i], t[i + 2], 0x20));
          _mm256_storeu_si256(to + (i + 2) * VECTORS,
                              _mm256_permute2x128_si256(t[i], t[i + 2], 0x31));
        }
      }
    }
  }
};

struct Pairs {
  using Vec = __m256i;
  static constexpr int LANES = 8, VECTORS = 2;

  static Vec load(const uint8_t* from) { return ::load(from); }
  static Vec spread(const int32_t* x) { return _mm256_set1_epi32(*x); }
  static Vec dot(Vec sum, Vec x, Vec w) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
  }

  template <int SHIFT>
  static void add_digit(uint64_t* sums, Vec d) {
    __m256i* const to = reinterpret_cast<__m256i*>(sums);
    const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(d));
    const __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(d, 1));
    _mm256_store_si256(to, _mm256_add_epi64(to[0], _mm256_slli_epi64(low, SHIFT)));
    _mm256_store_si256(to + 1, _mm256_add_epi64(to[1], _mm256_slli_epi64(high, SHIFT)));
  }

  static void add_high(uint64_t* sums, Vec d3, Vec d4) {
    add_digit<32>(sums, _mm256_add_epi32(d3, _mm256_slli_epi32(d4, 16)));
  }
};

}  // namespace

namespace mergen {

const KernelsProduct product_avx2 = {
    panel_kernels<Int16Panels<Pairs>>(),
    panel_kernels<PlainPanels<Words>>(),
    Words::GROUP * Words::COLUMNS,
    keystream<PlainPanels<Words>>,
};

}  // namespace mergen

#endif
