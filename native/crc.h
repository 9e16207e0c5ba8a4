// What the checksum files offer to addon_crc.cc: one table for each instruction set, same contract.
#pragma once

#include <cstdint>

namespace mergen {

struct KernelsCrc {
  // CRC-32C of some bytes, continued from that of what came before them (0 at the start).
  uint32_t (*crc32c)(const uint8_t* bytes, uint64_t count, uint32_t previous);
};

extern const KernelsCrc crc_sse42;
extern const KernelsCrc crc_portable;

}  // namespace mergen
