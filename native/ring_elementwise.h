// Elementwise kernels, row sums and constant attention over Z_2^64 in the compilers' vector types,
// LANES words wide (the including file says how many), so that one text serves every instruction
// set.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include <cstring>

#include "ring.h"

namespace {

using namespace mergen;

typedef uint64_t Words __attribute__((vector_size(8 * LANES)));

inline Words splat(uint64_t x) { return Words{} + x; }

inline Words load(const uint64_t* from) {
  Words v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(uint64_t* to, Words v) { std::memcpy(to, &v, sizeof v); }

// out[i] = f(a[i], b[i]) for whole vectors and for the words before and after. Each vector is read
// before it is written, so that out may be a or b. Stores are aligned, because a vector of 64 bytes
// on two cache lines takes two accesses: 768 words of JavaScript's memory, which begins 16 bytes
// after a line, are added in 44 instead of 75 ns.
template <class F>
inline void each(uint64_t* out, const uint64_t* a, const uint64_t* b, uint64_t count, F f) {
  uint64_t i = 0;
  const uint64_t before = (0 - reinterpret_cast<uintptr_t>(out) / 8) % LANES;
  for (; i < before && i < count; i++) out[i] = f(splat(a[i]), splat(b[i]))[0];
  for (; i + 4 * LANES <= count; i += 4 * LANES) {
    Words v[4];
    for (int k = 0; k < 4; k++) v[k] = f(load(a + i + k * LANES), load(b + i + k * LANES));
    for (int k = 0; k < 4; k++) store(out + i + k * LANES, v[k]);
  }
  for (; i + LANES <= count; i += LANES) store(out + i, f(load(a + i), load(b + i)));
  for (; i < count; i++) out[i] = f(splat(a[i]), splat(b[i]))[0];
}

void add(uint64_t* out, const uint64_t* a, const uint64_t* b, uint64_t count) {
  each(out, a, b, count, [](Words x, Words y) { return x + y; });
}

void sub(uint64_t* out, const uint64_t* a, const uint64_t* b, uint64_t count) {
  each(out, a, b, count, [](Words x, Words y) { return x - y; });
}

void mul(uint64_t* out, const uint64_t* a, const uint64_t* b, uint64_t count) {
  each(out, a, b, count, [](Words x, Words y) { return x * y; });
}

void scale(uint64_t* out, const uint64_t* a, uint64_t factor, uint64_t count) {
  const Words f = splat(factor);
  each(out, a, a, count, [f](Words x, Words) { return x * f; });
}

void add_scaled(uint64_t* out, const uint64_t* a, uint64_t factor, uint64_t count) {
  const Words f = splat(factor);
  each(out, a, out, count, [f](Words x, Words old) { return old + x * f; });
}

void add_constant(uint64_t* out, const uint64_t* a, uint64_t constant, uint64_t count) {
  const Words c = splat(constant);
  each(out, a, a, count, [c](Words x, Words) { return x + c; });
}

void shift_right(uint64_t* out, const uint64_t* a, uint64_t bits, uint64_t count) {
  const Words n = splat(bits);
  each(out, a, a, count, [n](Words x, Words) { return x >> n; });
}

// By the logical shift of x + 2^63: AVX2 has no arithmetic one for 64 bits.
void shift_right_signed(uint64_t* out, const uint64_t* a, uint64_t bits, uint64_t count) {
  const Words n = splat(bits);
  const Words top = splat(uint64_t{1} << 63);
  const Words shifted = top >> n;
  each(out, a, a, count, [=](Words x, Words) { return ((x ^ top) >> n) - shifted; });
}

void low_bits(uint64_t* out, const uint64_t* a, uint64_t bits, uint64_t count) {
  const Words mask = splat(~uint64_t{0} >> (64 - bits));
  each(out, a, a, count, [mask](Words x, Words) { return x & mask; });
}

void sum_rows(uint64_t* out, const uint64_t* a, uint64_t width, uint64_t rows) {
  for (uint64_t row = 0; row < rows; row++, a += width) {
    uint64_t sum = 0, i = 0;
    if (width >= 4 * LANES) {
      Words sums[4] = {};
      for (; i + 4 * LANES <= width; i += 4 * LANES) {
        for (int k = 0; k < 4; k++) sums[k] += load(a + i + k * LANES);
      }
      const Words total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      for (int lane = 0; lane < LANES; lane++) sum += total[lane];
    }
    for (; i < width; i++) sum += a[i];
    out[row] = sum;
  }
}

// Rows of x that one step takes in: when the result has few rows, so many streams are read side by
// side; when it has many, a head's part of so many rows stays in the first-level cache. One row
// over 512 of 768 words in AVX-512 reads 34 GB/s with 4 streams, 38 with 8; a plain sum makes 35.
constexpr uint64_t FEW = 8, MANY = 16;

// out[c] += sum over k < count of factors[k] x[k, c] for c < VECTORS * LANES; rows of x lie
// `stride` apart.
template <int VECTORS>
inline void add_rows(uint64_t* out, const uint64_t* x, uint64_t stride, const uint64_t* factors,
                     uint64_t count) {
  Words sums[VECTORS];
  for (int i = 0; i < VECTORS; i++) sums[i] = load(out + i * LANES);
  for (uint64_t k = 0; k < count; k++, x += stride) {
    const Words factor = splat(factors[k]);
    for (int i = 0; i < VECTORS; i++) sums[i] += load(x + i * LANES) * factor;
  }
  for (int i = 0; i < VECTORS; i++) store(out + i * LANES, sums[i]);
}

inline void add_head(uint64_t* out, const uint64_t* x, uint64_t stride, const uint64_t* factors,
                     uint64_t count, uint64_t width) {
  uint64_t c = 0;
  for (; c + 8 * LANES <= width; c += 8 * LANES) {
    add_rows<8>(out + c, x + c, stride, factors, count);
  }
  for (; c + LANES <= width; c += LANES) add_rows<1>(out + c, x + c, stride, factors, count);
  for (; c < width; c++) {
    for (uint64_t k = 0; k < count; k++) out[c] += x[k * stride + c] * factors[k];
  }
}

// A few rows of x at a time meet all rows of the result that see them. So x streams from memory
// once, row by row, also for one row of the result; head by head it would come in pieces of 512
// bytes, one in each page.
template <class Weight>
void attend(const AttendRing<Weight>& s) {
  const uint64_t width = s.columns / s.heads;
  std::memset(s.out, 0, 8 * (s.rows - s.start) * s.columns);
  const uint64_t step = s.rows - s.start < FEW ? FEW : MANY;
  for (uint64_t j = 0; j < s.rows; j += step) {
    for (uint64_t head = 0; head < s.heads; head++) {
      const uint64_t* x = s.x + j * s.columns + head * width;
      for (uint64_t row = s.start > j ? s.start : j; row < s.rows; row++) {
        const Weight* weights = s.weights + (head * s.held + row - s.from) * s.positions + j;
        const uint64_t count = row + 1 - j < step ? row + 1 - j : step;
        uint64_t factors[MANY];
        for (uint64_t k = 0; k < count; k++) {
          factors[k] = static_cast<uint64_t>(static_cast<int64_t>(weights[k]));
        }
        add_head(s.out + (row - s.start) * s.columns + head * width, x, s.columns, factors, count,
                 width);
      }
    }
  }
}

}  // namespace
