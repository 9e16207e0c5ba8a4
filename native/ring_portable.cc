// Ring kernels in plain C++: vectors of 16 bytes, which every 64-bit processor has.
#include <cstdint>
#include <cstring>

namespace {

constexpr int LANES = 2;
constexpr int BLOCKS = 4;
typedef uint32_t Lanes __attribute__((vector_size(4 * BLOCKS)));

template <int BITS>
inline Lanes rotate(Lanes x) {
  return x << BITS | x >> (32 - BITS);
}

inline void store_blocks(const Lanes s[16], uint8_t* out) {
  for (int block = 0; block < BLOCKS; block++) {
    uint32_t words[16];
    for (int i = 0; i < 16; i++) words[i] = s[i][block];
    std::memcpy(out + 64 * block, words, 64);
  }
}

}  // namespace

#include "ring_chacha.h"
#include "ring_elementwise.h"
#include "ring_pack.h"

const mergen::KernelsRing mergen::ring_portable = {
    chacha12,
    add,
    sub,
    mul,
    scale,
    add_scaled,
    add_constant,
    shift_right,
    shift_right_signed,
    low_bits,
    sum_rows,
    pack_words,
    unpack_words,
    attend<uint64_t>,
    attend<int16_t>,
};
