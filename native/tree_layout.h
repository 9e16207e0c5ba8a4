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
  bool is_dcf;
  long levels, words, value_words, level_bytes, leaf_offset, control_offset, control_bytes;
  long key_bytes;

  explicit Layout(const TreeShape& shape)
      : is_dcf(shape.is_dcf),
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

}  // namespace
