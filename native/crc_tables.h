// CRC-32C (Castagnoli) as a linear map, in tables that the compiler makes.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include <cstdint>

namespace {

constexpr uint32_t POLYNOMIAL = 0x82f63b78;  // 0x1EDC6F41, bits reversed

// The register after each byte in turn has been taken into an empty one, and SLICES - 1 zeros.
template <int SLICES>
struct ByteTables {
  uint32_t of[SLICES][256];

  constexpr ByteTables() : of() {
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint32_t crc = byte;
      for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
      of[0][byte] = crc;
    }
    for (int slice = 1; slice < SLICES; slice++) {
      for (uint32_t byte = 0; byte < 256; byte++) {
        const uint32_t crc = of[slice - 1][byte];
        of[slice][byte] = crc >> 8 ^ of[0][crc & 255];
      }
    }
  }
};

// What zeros make of the register: of each of its bits, where it is the only one.
struct ZerosMap {
  uint32_t of[32];

  // One byte.
  constexpr ZerosMap() : of() {
    const ByteTables<1> step{};
    for (int bit = 0; bit < 32; bit++) {
      const uint32_t crc = uint32_t{1} << bit;
      of[bit] = crc >> 8 ^ step.of[0][crc & 255];
    }
  }

  constexpr uint32_t apply(uint32_t crc) const {
    uint32_t sum = 0;
    for (int bit = 0; bit < 32; bit++) sum ^= crc >> bit & 1 ? of[bit] : 0;
    return sum;
  }

  // Twice as many.
  constexpr void square() {
    uint32_t twice[32] = {};
    for (int bit = 0; bit < 32; bit++) twice[bit] = apply(of[bit]);
    for (int bit = 0; bit < 32; bit++) of[bit] = twice[bit];
  }
};

// What BYTES zeros make of it: one table for each of its bytes. Few steps, since some compilers
// count them: the map of one byte, squared.
template <int BYTES>
struct ZerosTables {
  static_assert((BYTES & (BYTES - 1)) == 0, "a power of two");
  uint32_t of[4][256];

  constexpr ZerosTables() : of() {
    ZerosMap map{};
    for (int bytes = 1; bytes < BYTES; bytes *= 2) map.square();
    for (int slice = 0; slice < 4; slice++) {
      for (int bit = 0; bit < 8; bit++) of[slice][1 << bit] = map.of[8 * slice + bit];
      for (uint32_t byte = 1; byte < 256; byte++) {
        const uint32_t lowest = byte & (0 - byte);
        if (lowest != byte) of[slice][byte] = of[slice][lowest] ^ of[slice][byte ^ lowest];
      }
    }
  }

  uint32_t apply(uint32_t crc) const {
    return of[0][crc & 255] ^ of[1][crc >> 8 & 255] ^ of[2][crc >> 16 & 255] ^ of[3][crc >> 24];
  }
};

}  // namespace
