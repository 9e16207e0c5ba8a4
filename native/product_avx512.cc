// Products for AVX-512. The ring product has a tile of 8 x 24 (24 sums, three registers of the
// panel, one product). Its vpmullq is three steps on Intel's processors, whose newer ones do better
// with AMX (product_amx.cc).
#if defined(__x86_64__)

#include "product_avx512.h"
#include "product_int16.h"
#include "product_ring.h"

namespace {

struct Words {
  using Entry = uint64_t;
  static constexpr long COLUMNS = 24, FORMS = 1;
  static constexpr int ROWS = 8, VECTORS = 3;
  static constexpr long DEPTH = 64, GROUP = 16, COLUMN_DEPTH = 384, COLUMN_SLACK = 8;
  // How far ahead panels are asked for, in bytes.
  static constexpr long AHEAD = 3072;

  static void prepare_word(uint64_t x, uint64_t* to) { *to = x; }

  template <int R>
  static void tile(long depth, const uint64_t* x, const uint64_t* panel, uint64_t* out, long ld,
                   long width, bool add) {
    __m512i sum[R][VECTORS] = {};
    for (long k = 0; k < depth; k++) {
      __m512i w[VECTORS];
#pragma GCC unroll 3
      for (int v = 0; v < VECTORS; v++) {
        w[v] = load(panel + 8 * v);
        __builtin_prefetch(reinterpret_cast<const uint8_t*>(panel + 8 * v) + AHEAD);
      }
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const __m512i factor = _mm512_set1_epi64(static_cast<long long>(x[r]));
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) {
          sum[r][v] = _mm512_add_epi64(sum[r][v], _mm512_mullo_epi64(factor, w[v]));
        }
      }
      x += R;
      panel += COLUMNS;
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
      for (int v = 0; v < VECTORS; v++) {
        const __mmask8 mask = first_lanes(width - 8 * v);
        uint64_t* const to = out + r * ld + 8 * v;
        const __m512i before = _mm512_maskz_loadu_epi64(add ? mask : 0, to);
        _mm512_mask_storeu_epi64(to, mask, _mm512_add_epi64(before, sum[r][v]));
      }
    }
  }

  static void pack_columns(const uint64_t* const lines[COLUMNS], long depth, uint8_t* panel) {
    uint64_t* to = reinterpret_cast<uint64_t*>(panel);
    for (long k = 0; k < depth; k += 8, to += 8 * COLUMNS) {
#pragma GCC unroll 3
      for (int v = 0; v < VECTORS; v++) {
        __m512i r[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) r[i] = load(lines[8 * v + i] + k);
        transpose8(r);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) _mm512_storeu_si512(to + i * COLUMNS + 8 * v, r[i]);
      }
    }
  }
};

struct Pairs {
  using Vec = __m512i;
  static constexpr int LANES = 16, VECTORS = 4;

  static Vec load(const uint8_t* from) { return ::load(from); }
  static Vec spread(const int32_t* x) { return _mm512_set1_epi32(*x); }
  static Vec dot(Vec sum, Vec x, Vec w) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, w));
  }

  static void add(uint64_t* sums, __m512i low, __m512i high) {
    _mm512_store_si512(sums, _mm512_add_epi64(_mm512_load_si512(sums), low));
    _mm512_store_si512(sums + 8, _mm512_add_epi64(_mm512_load_si512(sums + 8), high));
  }

  template <int SHIFT>
  static void add_digit(uint64_t* sums, Vec d) {
    add(sums, _mm512_slli_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(d)), SHIFT),
        _mm512_slli_epi64(_mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(d, 1)), SHIFT));
  }

  static void add_high(uint64_t* sums, Vec d3, Vec d4) {
    add_digit<32>(sums, _mm512_add_epi32(d3, _mm512_slli_epi32(d4, 16)));
  }
};

}  // namespace

namespace mergen {

const KernelsProduct product_avx512 = {
    panel_kernels<Int16Panels<Pairs>>(),
    panel_kernels<PlainPanels<Words>>(),
    Words::GROUP * Words::COLUMNS,
    keystream<PlainPanels<Words>>,
};

}  // namespace mergen

#endif
