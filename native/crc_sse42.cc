// CRC-32C with the instruction of SSE4.2. It takes eight bytes a cycle but gives its result after
// three, so three runs of bytes are taken at a time, and what the later ones would have got from
// the earlier is put in afterwards: zeros shift a register by tables.
#if defined(__x86_64__)

#include <nmmintrin.h>

#include <cstring>

#include "crc.h"
#include "crc_tables.h"

namespace {

inline uint64_t load(const uint8_t* from) {
  uint64_t word;
  std::memcpy(&word, from, 8);
  return word;
}

// Whole blocks of three runs of RUN bytes each.
template <int RUN>
uint32_t take_blocks(const uint8_t*& bytes, uint64_t& count, uint32_t crc) {
  static constexpr ZerosTables<RUN> zeros;
  for (; count >= 3 * RUN; bytes += 3 * RUN, count -= 3 * RUN) {
    uint64_t a = crc, b = 0, c = 0;
    for (int i = 0; i < RUN; i += 8) {
      a = _mm_crc32_u64(a, load(bytes + i));
      b = _mm_crc32_u64(b, load(bytes + RUN + i));
      c = _mm_crc32_u64(c, load(bytes + 2 * RUN + i));
    }
    crc = zeros.apply(static_cast<uint32_t>(a)) ^ static_cast<uint32_t>(b);
    crc = zeros.apply(crc) ^ static_cast<uint32_t>(c);
  }
  return crc;
}

uint32_t crc32c(const uint8_t* bytes, uint64_t count, uint32_t previous) {
  uint32_t crc = ~previous;
  crc = take_blocks<2048>(bytes, count, crc);
  crc = take_blocks<128>(bytes, count, crc);
  uint64_t wide = crc;
  for (; count >= 8; bytes += 8, count -= 8) wide = _mm_crc32_u64(wide, load(bytes));
  crc = static_cast<uint32_t>(wide);
  for (; count > 0; bytes++, count--) crc = _mm_crc32_u8(crc, *bytes);
  return ~crc;
}

}  // namespace

const mergen::KernelsCrc mergen::crc_sse42 = {crc32c};

#endif
