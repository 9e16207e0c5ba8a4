// What the ring files offer to addon_ring.cc and, for keystreams, to the products: one table for
// each instruction set, same contracts. Words are those of Z_2^64. Sizes are checked by the caller.
// In the elementwise kernels out may be an operand itself.
#pragma once

#include <cstdint>

namespace mergen {

// Constant attention: row i of out [rows - start, columns] is, for each head h, the sum over
// j <= start + i of weights[h, start + i - from, j] x[j, slice of h]. x [rows, columns], weights
// [heads, held, positions]; each head has columns / heads columns.
template <class Weight>
struct AttendRing {
  uint64_t* out;
  const uint64_t* x;
  const Weight* weights;
  uint64_t rows, start, columns, heads, positions, from, held;
};

struct KernelsRing {
  // ChaCha12 keystream (RFC 8439 state layout, 12 rounds) from block `counter` on; any length.
  void (*chacha12)(uint8_t* out, uint64_t bytes, const uint8_t key[32], const uint8_t nonce[12],
                   uint32_t counter);

  void (*add)(uint64_t* out, const uint64_t* a, const uint64_t* b, uint64_t count);
  void (*sub)(uint64_t* out, const uint64_t* a, const uint64_t* b, uint64_t count);
  void (*mul)(uint64_t* out, const uint64_t* a, const uint64_t* b, uint64_t count);
  void (*scale)(uint64_t* out, const uint64_t* a, uint64_t factor, uint64_t count);
  void (*add_scaled)(uint64_t* out, const uint64_t* a, uint64_t factor, uint64_t count);
  void (*add_constant)(uint64_t* out, const uint64_t* a, uint64_t constant, uint64_t count);
  // 0 <= bits < 64.
  void (*shift_right)(uint64_t* out, const uint64_t* a, uint64_t bits, uint64_t count);
  void (*shift_right_signed)(uint64_t* out, const uint64_t* a, uint64_t bits, uint64_t count);
  // 1 <= bits <= 64.
  void (*low_bits)(uint64_t* out, const uint64_t* a, uint64_t bits, uint64_t count);
  // a [rows, width] -> out [rows].
  void (*sum_rows)(uint64_t* out, const uint64_t* a, uint64_t width, uint64_t rows);

  // Word i takes bits i * bits on of a little-endian string of ceil(count * bits / 8) bytes, no
  // byte beyond which is read or written. 1 <= bits <= 64.
  void (*pack)(uint8_t* out, const uint64_t* words, uint64_t bits, uint64_t count);
  void (*unpack)(uint64_t* out, const uint8_t* bytes, uint64_t bits, uint64_t count);

  void (*attend)(const AttendRing<uint64_t>&);
  void (*attend_int16)(const AttendRing<int16_t>&);
};

extern const KernelsRing ring_avx512;
extern const KernelsRing ring_avx2;
extern const KernelsRing ring_portable;

}  // namespace mergen
