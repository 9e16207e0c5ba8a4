// Layout of function-secret-sharing keys, as src/kernel/function-key.ts describes it.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "tree.h"

namespace {

using namespace mergen;

constexpr long SEED_BYTES = 16;

inline uint64_t reverse_bits(uint64_t x) {
  x = ((x >> 1) & 0x5555555555555555u) | ((x & 0x5555555555555555u) << 1);
  x = ((x >> 2) & 0x3333333333333333u) | ((x & 0x3333333333333333u) << 2);
  x = ((x >> 4) & 0x0f0f0f0f0f0f0f0fu) | ((x & 0x0f0f0f0f0f0f0f0fu) << 4);
  x = ((x >> 8) & 0x00ff00ff00ff00ffu) | ((x & 0x00ff00ff00ff00ffu) << 8);
  x = ((x >> 16) & 0x0000ffff0000ffffu) | ((x & 0x0000ffff0000ffffu) << 16);
  return (x >> 32) | (x << 32);
}

struct Layout {
  bool is_dcf, halved;
  long levels, words, value_words, level_bytes, leaf_offset, control_offset, control_bytes;
  long key_bytes;

  explicit Layout(const TreeShape& shape)
      : is_dcf(shape.is_dcf),
        halved(shape.halved),
        levels(shape.domain_bits - 1),
        words(shape.words),
        value_words(shape.is_dcf ? shape.words : 0),
        level_bytes(SEED_BYTES + 8 * value_words),
        leaf_offset(SEED_BYTES + levels * level_bytes),
        control_offset(leaf_offset + 16 * words),
        control_bytes((levels + 3) / 4),
        key_bytes(control_offset + control_bytes) {}

  long level_offset(long level) const { return SEED_BYTES + level * level_bytes; }

  // Bit i is a point's branch at level i; bit `levels` is its side of the leaf.
  uint64_t path_of(uint64_t point) const { return reverse_bits(point) >> (63 - levels); }
};

inline uint64_t load64(const void* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

inline void store64(void* to, uint64_t word) { std::memcpy(to, &word, sizeof word); }

// Where payload words add up: modulo 2^64, or their halves modulo 2^32 each.
template <bool HALVED>
struct Group {
  static uint64_t add(uint64_t a, uint64_t b) {
    if (!HALVED) return a + b;
    constexpr uint64_t TOPS = 0x8000000080000000u;
    return ((a & ~TOPS) + (b & ~TOPS)) ^ ((a ^ b) & TOPS);
  }
  static uint64_t negate(uint64_t a) {
    if (!HALVED) return 0 - a;
    return static_cast<uint64_t>(0 - static_cast<uint32_t>(a >> 32)) << 32 |
           (0 - static_cast<uint32_t>(a));
  }
  static uint64_t subtract(uint64_t a, uint64_t b) { return add(a, negate(b)); }
  // With a mask of all ones, -a; with none, a.
  static uint64_t negate_if(uint64_t a, uint64_t mask) { return mask ? negate(a) : a; }
};

}  // namespace
