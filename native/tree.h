// What the function-secret-sharing files offer to addon_tree.cc: one table for each instruction
// set, same contracts.
#pragma once

namespace mergen {

struct KernelsTree {};

extern const KernelsTree tree_avx512;
extern const KernelsTree tree_avx2;
extern const KernelsTree tree_portable;

}  // namespace mergen
