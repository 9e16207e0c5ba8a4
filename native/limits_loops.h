// Loops that keep a core busy, on vectors of VECTOR_BYTES, which the including file defines. Chains
// are long enough in number that no unit waits for a result.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include <cstdint>

// The compiler's letter for a vector register.
#if defined(__x86_64__)
#define MERGEN_VECTOR "+v"
#else
#define MERGEN_VECTOR "+w"
#endif

namespace {

constexpr int CHAINS = VECTOR_BYTES == 64 ? 24 : 12;

typedef uint64_t Words __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t Halves __attribute__((vector_size(VECTOR_BYTES)));
typedef float Floats __attribute__((vector_size(VECTOR_BYTES)));

// A value that the compiler must have, and knows nothing of.
template <class T>
inline void opaque(T& value) {
  __asm__ volatile("" : MERGEN_VECTOR(value));
}

// So many steps of a chain in each of CHAINS registers.
template <class T, class Step>
inline uint64_t run_chains(uint64_t least, Step step) {
  constexpr uint64_t EACH = VECTOR_BYTES / sizeof(T{}[0]);
  T x[CHAINS];
  for (int i = 0; i < CHAINS; i++) {
    x[i] = T{} + static_cast<decltype(T{}[0])>(i + 3);
    opaque(x[i]);
  }
  uint64_t done = 0;
  for (; done < least; done += CHAINS * EACH) {
#pragma GCC unroll 24
    for (int i = 0; i < CHAINS; i++) step(x[i]);
  }
  for (int i = 0; i < CHAINS; i++) opaque(x[i]);
  return done;
}

uint64_t multiply_adds_f32(uint64_t least) {
  Floats factor = Floats{} + 0.5f, addend = Floats{} + 1.0f;
  opaque(factor);
  opaque(addend);
  return run_chains<Floats>(least, [=](Floats& x) { x = x * factor + addend; });
}

inline Halves rotate_left(Halves x, int bits) { return x << bits | x >> (32 - bits); }

// A lane of a, b, c and d is a quarter-round.
uint64_t quarter_rounds(uint64_t least) {
  constexpr int STATES = VECTOR_BYTES == 64 ? 6 : 3;
  constexpr uint64_t EACH = VECTOR_BYTES / 4;
  Halves a[STATES], b[STATES], c[STATES], d[STATES];
  for (int i = 0; i < STATES; i++) {
    a[i] = b[i] = c[i] = d[i] = Halves{} + static_cast<uint32_t>(i + 3);
    opaque(a[i]);
    opaque(b[i]);
    opaque(c[i]);
    opaque(d[i]);
  }
  uint64_t done = 0;
  for (; done < least; done += STATES * EACH) {
#pragma GCC unroll 6
    for (int i = 0; i < STATES; i++) {
      a[i] += b[i], d[i] = rotate_left(d[i] ^ a[i], 16);
      c[i] += d[i], b[i] = rotate_left(b[i] ^ c[i], 12);
      a[i] += b[i], d[i] = rotate_left(d[i] ^ a[i], 8);
      c[i] += d[i], b[i] = rotate_left(b[i] ^ c[i], 7);
    }
  }
  for (int i = 0; i < STATES; i++) {
    opaque(a[i]);
    opaque(b[i]);
    opaque(c[i]);
    opaque(d[i]);
  }
  return done;
}

uint64_t read_memory(const uint8_t* bytes, uint64_t count) {
  constexpr int SUMS = 8;
  Words sums[SUMS] = {};
  for (const uint8_t* end = bytes + count; bytes < end; bytes += SUMS * VECTOR_BYTES) {
#pragma GCC unroll 8
    for (int i = 0; i < SUMS; i++) {
      sums[i] += *reinterpret_cast<const Words*>(bytes + i * VECTOR_BYTES);
    }
  }
  uint64_t total = 0;
  for (int i = 0; i < SUMS; i++) {
    for (unsigned j = 0; j < VECTOR_BYTES / 8; j++) total += sums[i][j];
  }
  return total;
}

}  // namespace
