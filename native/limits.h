// What a core can do at the most, for `mergen bench run`: loops over registers, and over memory
// that is read once. One table for each instruction set. Kernels are measured against these.
#pragma once

#include <cstdint>

namespace mergen {

// Each does at least `least` operations and returns how many it did.
typedef uint64_t (*Limit)(uint64_t least);

struct KernelsLimits {
  // x y + z modulo 2^64, by products of 32 bits or what is better.
  Limit multiply_adds64;
  // x y + z in float32.
  Limit multiply_adds_f32;
  // Quarter-rounds of ChaCha, of which ChaCha12 takes 48 for 64 bytes.
  Limit quarter_rounds;
  // Products of bytes, added up, on tile registers; null where there are none.
  Limit multiply_adds8;
  // Reads `count` bytes, 64-byte aligned and a multiple of 1024, and gives their sum in words.
  uint64_t (*read)(const uint8_t* bytes, uint64_t count);
};

extern const KernelsLimits limits_amx;
extern const KernelsLimits limits_avx512;
extern const KernelsLimits limits_avx2;
extern const KernelsLimits limits_portable;

// Rounds of AES on one block each. Not all processors with the sets above have the instructions.
uint64_t aes_rounds_aesni(uint64_t least);
uint64_t aes_rounds_vaes(uint64_t least);

// Of the tile registers, for a table that shares all else with AVX-512.
uint64_t tile_multiply_adds(uint64_t least);

}  // namespace mergen
