// Products in plain C++, for other processors. A 64-bit multiply-add is one or two instructions
// there, and digits or halves would only add work.
#include "product_ring.h"

namespace {

template <class Of>
struct Plain {
  using Entry = Of;
  static constexpr long COLUMNS = 8, FORMS = 1;
  static constexpr int ROWS = 1;
  static constexpr long DEPTH = 64, GROUP = 48, COLUMN_DEPTH = 384, COLUMN_SLACK = 0;

  static void prepare_word(uint64_t x, uint64_t* to) { *to = x; }

  template <int R>
  static void tile(long depth, const uint64_t* x, const Entry* panel, uint64_t* out, long ld,
                   long width, bool add) {
    uint64_t sum[R][COLUMNS] = {};
    for (long k = 0; k < depth; k++, x += R, panel += COLUMNS) {
      for (int r = 0; r < R; r++) {
        for (int c = 0; c < COLUMNS; c++) {
          sum[r][c] += x[r] * static_cast<uint64_t>(static_cast<int64_t>(panel[c]));
        }
      }
    }
    for (int r = 0; r < R; r++) {
      for (long c = 0; c < width; c++) {
        out[r * ld + c] = (add ? out[r * ld + c] : 0) + sum[r][c];
      }
    }
  }

  static void pack_columns(const uint64_t* const lines[COLUMNS], long depth, uint8_t* panel) {
    uint64_t* to = reinterpret_cast<uint64_t*>(panel);
    for (long k = 0; k < depth; k++) {
      for (int c = 0; c < COLUMNS; c++) *to++ = lines[c][k];
    }
  }
};

}  // namespace

namespace mergen {

const KernelsProduct product_portable = {
    panel_kernels<PlainPanels<Plain<int16_t>>>(),
    panel_kernels<PlainPanels<Plain<uint64_t>>>(),
    Plain<uint64_t>::GROUP * Plain<uint64_t>::COLUMNS,
    keystream<PlainPanels<Plain<uint64_t>>>,
};

}  // namespace mergen
