// CRC-32C in plain C++: eight bytes a step with eight tables (Kounavis, Berry 2005, "slicing").
#include "crc.h"
#include "crc_tables.h"

namespace {

constexpr ByteTables<8> tables;

uint32_t crc32c(const uint8_t* bytes, uint64_t count, uint32_t previous) {
  const auto& t = tables.of;
  uint32_t crc = ~previous;
  for (; count >= 8; bytes += 8, count -= 8) {
    // Byte by byte, so that the order of a word's bytes in memory does not matter.
    crc = t[7][(crc ^ bytes[0]) & 255] ^ t[6][(crc >> 8 ^ bytes[1]) & 255] ^
          t[5][(crc >> 16 ^ bytes[2]) & 255] ^ t[4][(crc >> 24 ^ bytes[3]) & 255] ^
          t[3][bytes[4]] ^ t[2][bytes[5]] ^ t[1][bytes[6]] ^ t[0][bytes[7]];
  }
  for (; count > 0; bytes++, count--) crc = crc >> 8 ^ t[0][(crc ^ *bytes) & 255];
  return ~crc;
}

}  // namespace

const mergen::KernelsCrc mergen::crc_portable = {crc32c};
