// AES-128 round keys (FIPS 197, section 5.2), computed by the compiler: the keys of the tree's
// generator are constants, and no code with AES instructions may run before the processor has been
// asked for them.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include <cstdint>

namespace {

struct SBox {
  uint8_t of[256] = {};

  // The inverse in GF(2^8), by powers of the generator 3, then the affine map.
  constexpr SBox() {
    uint8_t power[255] = {}, log[256] = {};
    uint8_t x = 1;
    for (int i = 0; i < 255; i++) {
      power[i] = x;
      log[x] = static_cast<uint8_t>(i);
      x = static_cast<uint8_t>(x ^ (x << 1) ^ ((x & 0x80) != 0 ? 0x11b : 0));
    }
    for (int i = 0; i < 256; i++) {
      const uint32_t inverse = i == 0 ? 0 : power[(255 - log[i]) % 255];
      const uint32_t twice = inverse | (inverse << 8);
      const uint32_t sum = twice ^ (twice >> 4) ^ (twice >> 5) ^ (twice >> 6) ^ (twice >> 7);
      of[i] = static_cast<uint8_t>(sum ^ 0x63);
    }
  }
};

constexpr int AES_ROUND_KEYS = 11;

// Every round key LANES times over, as a vector of LANES blocks wants it. The key is 16 characters.
template <int LANES>
struct AesSchedule {
  alignas(64) uint8_t round[AES_ROUND_KEYS][16 * LANES] = {};

  constexpr explicit AesSchedule(const char* key) {
    constexpr SBox sbox;
    uint8_t words[4 * AES_ROUND_KEYS][4] = {};
    uint8_t constant = 1;
    for (int i = 0; i < 4 * AES_ROUND_KEYS; i++) {
      for (int j = 0; j < 4; j++) {
        if (i < 4) {
          words[i][j] = static_cast<uint8_t>(key[4 * i + j]);
        } else if (i % 4 == 0) {
          const uint8_t turned = sbox.of[words[i - 1][(j + 1) % 4]];
          words[i][j] = words[i - 4][j] ^ turned ^ (j == 0 ? constant : 0);
        } else {
          words[i][j] = words[i - 4][j] ^ words[i - 1][j];
        }
      }
      if (i >= 4 && i % 4 == 0) {
        constant = static_cast<uint8_t>((constant << 1) ^ ((constant & 0x80) != 0 ? 0x11b : 0));
      }
    }
    for (int r = 0; r < AES_ROUND_KEYS; r++) {
      for (int b = 0; b < 16 * LANES; b++) round[r][b] = words[4 * r + b / 4 % 4][b % 4];
    }
  }
};

}  // namespace
