// What the product files offer to addon_product.cc: one table for each instruction set, same
// contracts. Products are x [m, rows] times a matrix [rows, columns] over Z_2^64. A matrix is kept
// in panels of some columns each, all its rows in one panel, in the order in which the kernel reads
// them; x is prepared (packed, or cut into digits) once a product, and then panels are independent.
// Sizes are checked by the caller.
#pragma once

#include <cstdint>

namespace mergen {

// x [m, rows], prepared.
struct PreparedRows {
  long m, rows;
  const uint8_t* data;
};

// The product with a packed matrix: its panels from `panels` on; out [m, columns], overwritten.
struct PanelProduct {
  PreparedRows x;
  long columns;
  const uint8_t* panels;
  uint64_t* out;
};

// Products with one kind of entry, int16 or words. `first` and `last` name panels, last excluded.
struct PanelKernels {
  long panel_columns;
  uint64_t (*panel_bytes)(long rows);
  // From row-major entries [rows, columns].
  void (*pack)(const void* entries, long rows, long columns, long first, long last,
               uint8_t* panels);
  uint64_t (*prepared_bytes)(long m, long rows);
  void (*prepare)(const uint64_t* x, long m, long rows, uint8_t* prepared);
  void (*multiply)(const PanelProduct& product, long first, long last);
};

using Chacha12 = void (*)(uint8_t* out, uint64_t bytes, const uint8_t key[32],
                          const uint8_t nonce[12], uint32_t counter);

// The product with the keystream matrix [rows, columns] or its transpose, out overwritten; x is
// prepared for a matrix of words.
struct KeystreamProduct {
  PreparedRows x;
  long rows, columns;
  bool transposed;
  const uint8_t* key;
  const uint8_t* nonce;
  Chacha12 chacha12;
  uint64_t* out;
};

struct KernelsProduct {
  PanelKernels int16, ring;
  // Columns [column, column + width) of a keystream product, width at most keystream_columns and
  // best a multiple of the columns of a panel. False: no scratch memory.
  long keystream_columns;
  bool (*keystream)(const KeystreamProduct& product, long column, long width);
};

#if defined(__x86_64__)
// Asks the system for the tile registers; false where there are none.
bool enable_amx();
extern const KernelsProduct product_amx;
#endif
extern const KernelsProduct product_avx512;
extern const KernelsProduct product_avx2;
extern const KernelsProduct product_portable;

}  // namespace mergen
