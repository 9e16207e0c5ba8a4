// Words as a dense string of bits, and back, with 64-bit shifts; for every width, and for what
// wider code leaves over.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include <cstring>

#include "ring.h"

namespace {

inline uint64_t packed_bytes(uint64_t count, uint64_t bits) { return (count * bits + 7) / 8; }

inline uint64_t low_mask(uint64_t bits) { return ~uint64_t{0} >> (64 - bits); }

void pack_words(uint8_t* out, const uint64_t* words, uint64_t bits, uint64_t count) {
  if (bits == 64) {
    std::memcpy(out, words, 8 * count);
    return;
  }
  const uint64_t mask = low_mask(bits);
  uint64_t held = 0, held_bits = 0;
  for (uint64_t i = 0; i < count; i++) {
    const uint64_t word = words[i] & mask;
    held |= word << held_bits;
    held_bits += bits;
    if (held_bits >= 64) {
      std::memcpy(out, &held, 8);
      out += 8;
      held_bits -= 64;
      held = word >> (bits - held_bits);
    }
  }
  std::memcpy(out, &held, packed_bytes(1, held_bits));
}

inline uint64_t load_word(const uint8_t* from) {
  uint64_t word;
  std::memcpy(&word, from, 8);
  return word;
}

void unpack_words(uint64_t* out, const uint8_t* bytes, uint64_t bits, uint64_t count) {
  if (bits == 64) {
    std::memcpy(out, bytes, 8 * count);
    return;
  }
  const uint64_t mask = low_mask(bits), size = packed_bytes(count, bits);
  uint64_t i = 0, at = 0;
  // A word reaches into the ninth byte after its first only if it is wider than 57 bits.
  for (; i < count && (at >> 3) + 9 <= size; i++, at += bits) {
    const uint8_t* from = bytes + (at >> 3);
    const uint64_t shift = at & 7, ninth = uint64_t{from[8]} << 1;
    out[i] = (load_word(from) >> shift | ninth << (63 - shift)) & mask;
  }
  for (; i < count; i++, at += bits) {
    uint8_t last[16] = {};
    std::memcpy(last, bytes + (at >> 3), size - (at >> 3));
    const uint64_t shift = at & 7, ninth = uint64_t{last[8]} << 1;
    out[i] = (load_word(last) >> shift | ninth << (63 - shift)) & mask;
  }
}

}  // namespace
