// Limits of plain C++: vectors of 16 bytes, and words one by one.
#include "limits.h"

namespace {
constexpr int VECTOR_BYTES = 16;
}

#include "limits_loops.h"

namespace {

uint64_t multiply_adds64(uint64_t least) {
  constexpr int COUNT = 6;
  uint64_t x[COUNT] = {3, 5, 7, 9, 11, 13}, factor = 0x9e3779b97f4a7c15, addend = 1;
  __asm__ volatile("" : "+r"(factor), "+r"(addend));
  uint64_t done = 0;
  for (; done < least; done += COUNT) {
#pragma GCC unroll 6
    for (int i = 0; i < COUNT; i++) x[i] = x[i] * factor + addend;
  }
  for (int i = 0; i < COUNT; i++) __asm__ volatile("" : "+r"(x[i]));
  return done;
}

}  // namespace

const mergen::KernelsLimits mergen::limits_portable = {
    multiply_adds64, multiply_adds_f32, quarter_rounds, nullptr, read_memory,
};
