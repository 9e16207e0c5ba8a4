// Limit of the tile registers: products of 16 x 64 by 64 x 16 bytes. The instructions are written
// out, as in product_amx.cc; an assembler that does not know them leaves the limit at nothing.
#if defined(__x86_64__)

#include "limits.h"

#if defined(MERGEN_TILES)

namespace {

// All tiles with 16 rows of 64 bytes.
void configure() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } sizes;
  __asm__ volatile("ldtilecfg %0" ::"m"(sizes));
  __asm__ volatile(
      "tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3\n\t"
      "tilezero %tmm4\n\ttilezero %tmm5\n\ttilezero %tmm6\n\ttilezero %tmm7");
}

}  // namespace

uint64_t mergen::tile_multiply_adds(uint64_t least) {
  constexpr uint64_t EACH = 16 * 16 * 64;
  configure();
  uint64_t done = 0;
  for (; done < least; done += 6 * EACH) {
    __asm__ volatile(
        "tdpbuud %tmm7, %tmm6, %tmm0\n\ttdpbuud %tmm7, %tmm6, %tmm1\n\t"
        "tdpbuud %tmm7, %tmm6, %tmm2\n\ttdpbuud %tmm7, %tmm6, %tmm3\n\t"
        "tdpbuud %tmm7, %tmm6, %tmm4\n\ttdpbuud %tmm7, %tmm6, %tmm5");
  }
  __asm__ volatile("tilerelease");
  return done;
}

#else

uint64_t mergen::tile_multiply_adds(uint64_t) { return 0; }

#endif

#endif
