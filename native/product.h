// What the product files offer to addon_product.cc: one table for each instruction set, same
// contracts.
#pragma once

namespace mergen {

struct KernelsProduct {};

extern const KernelsProduct product_avx512;
extern const KernelsProduct product_avx2;
extern const KernelsProduct product_portable;

}  // namespace mergen
