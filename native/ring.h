// What the ring files offer to addon_ring.cc and, for keystreams, to the products: one table for
// each instruction set, same contracts.
#pragma once

#include <cstdint>

namespace mergen {

struct KernelsRing {
  // ChaCha12 keystream (RFC 8439 state layout, 12 rounds) from block `counter` on; any length.
  void (*chacha12)(uint8_t* out, uint64_t bytes, const uint8_t key[32], const uint8_t nonce[12],
                   uint32_t counter);
};

extern const KernelsRing ring_avx512;
extern const KernelsRing ring_avx2;
extern const KernelsRing ring_portable;

}  // namespace mergen
