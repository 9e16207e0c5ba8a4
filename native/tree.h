// What the function-secret-sharing files offer to addon_tree.cc: one table for each instruction
// set and generator, same contracts. Keys are described in src/kernel/function-key.ts; the plain
// version of every step is in src/kernel/reference.ts.
#pragma once

#include <cstdint>

namespace mergen {

// 1 <= domain_bits <= 64, 1 <= words <= MAX_TREE_WORDS; the caller checks.
struct TreeShape {
  bool is_dcf;  // else DPF
  bool halved;  // words are pairs of 32-bit values that add up apart
  long domain_bits;
  long words;  // of the payload
};

constexpr long MAX_TREE_WORDS = 256;

// Keys of `total / points_per_key` functions, one after the other, each at its own points. Points
// lie inside the domain.
struct TreeEvaluate {
  TreeShape shape;
  uint32_t party;
  long total;  // points
  long points_per_key;
  const uint8_t* keys;
  const uint64_t* points;  // [total]
  uint64_t* out;           // [total, words]
};

// Key pairs: all of party 0's keys, one after the other, and all of party 1's. Alphas lie inside
// the domain.
struct TreeGenerate {
  TreeShape shape;
  long count;
  const uint64_t* alphas;    // [count]
  const uint64_t* payloads;  // [count, words]
  const uint8_t* roots;      // [count, 32]: both parties' root seeds
  uint8_t* keys0;
  uint8_t* keys1;
};

// The kernels on one generator.
struct TreeKernels {
  void (*evaluate)(const TreeEvaluate&);
  void (*generate)(const TreeGenerate&);
};

struct KernelsTree {
  TreeKernels chacha12;
};

extern const KernelsTree tree_avx512;
extern const KernelsTree tree_avx2;
extern const KernelsTree tree_portable;

// AES-128 asks for more than the instruction sets above, so it has tables of its own.
extern const TreeKernels tree_vaes;   // AVX-512 and VAES
extern const TreeKernels tree_aesni;  // AVX2 and AES-NI

}  // namespace mergen
