// The tree's generator on ChaCha12 for any processor: 4 nodes to a vector, which compilers turn
// into the baseline vectors of their target (SSE2, NEON).
#include "tree_chacha_generate.h"

namespace {

struct Portable {
  typedef uint32_t Vec __attribute__((vector_size(16)));
  typedef uint64_t Wide __attribute__((vector_size(16)));
  static constexpr long LANES = 4;

  static Vec lanes() { return Vec{0, 1, 2, 3}; }

  template <int BITS>
  static Vec rotate(Vec x) {
    return (x << BITS) | (x >> (32 - BITS));
  }

  // See tree_avx512.cc for what these four do.
  static void widen(Vec low, Vec high, Wide* out) {
    out[0] = (Wide)Vec{low[0], high[0], low[1], high[1]};
    out[1] = (Wide)Vec{low[2], high[2], low[3], high[3]};
  }

  static void transpose(Vec* x) {
    const Vec a = x[0], b = x[1], c = x[2], d = x[3];
    for (int i = 0; i < 4; i++) x[i] = Vec{a[i], b[i], c[i], d[i]};
  }

  static void gather(const uint8_t* const* keys, long offset, Vec* out) {
    for (int i = 0; i < 4; i++) std::memcpy(&out[i], keys[i] + offset, 16);
    transpose(out);
  }

  static void gather_wide(const uint8_t* const* keys, long offset, Wide* out) {
    Wide rows[4];
    for (int i = 0; i < 4; i++) std::memcpy(&rows[i], keys[i] + offset, 16);
    for (int i = 0; i < 2; i++) {
      out[2 * i] = Wide{rows[0][i], rows[1][i]};
      out[2 * i + 1] = Wide{rows[2][i], rows[3][i]};
    }
  }
};

}  // namespace

const mergen::KernelsTree mergen::tree_portable = {
    {evaluate<ChaChaNodes, Portable>, generate_chacha<Portable>}};
