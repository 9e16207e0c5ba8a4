// The panel kernel of words, and of any matrix whose panels are plain rows of COLUMNS entries:
// blocks of ROWS rows of x against a panel, by a register tile that each instruction set brings:
//
//   Entry, COLUMNS, ROWS  the panel, and the rows of x in a tile
//   FORMS                 words that prepared x holds for each of its entries
//   prepare_word          writes them
//   tile<R>               R rows of x [depth][R][FORMS] by rows of a panel, to out or added to it
//   pack_columns          see product_panels.h
#pragma once

#include "product_panels.h"

namespace {

template <class T>
struct PlainPanels : T {
  using typename T::Entry;
  using T::COLUMNS;
  using T::FORMS;
  using T::ROWS;
  static constexpr long STEP = 1;
  // Rows of a panel used by all of x before the next ones are: they stay in the second-level cache.
  static constexpr long BLOCK = 1024;

  static uint64_t panel_bytes(long rows) { return rows * COLUMNS * sizeof(Entry); }

  static void pack_rows(const Entry* const lines[1], uint8_t* panel, long row) {
    std::memcpy(panel + row * COLUMNS * sizeof(Entry), lines[0], COLUMNS * sizeof(Entry));
  }

  static uint64_t prepared_bytes(long m, long rows) { return m * rows * FORMS * sizeof(uint64_t); }

  // Blocks of ROWS rows of x, the last one shorter, each [rows of the matrix][rows of x][FORMS].
  static void prepare(const uint64_t* x, long m, long rows, uint8_t* prepared) {
    uint64_t* to = reinterpret_cast<uint64_t*>(prepared);
    for (long i = 0; i < m; i += ROWS) {
      const long height = min_long(ROWS, m - i);
      for (long k = 0; k < rows; k++) {
        for (long r = 0; r < height; r++, to += FORMS) T::prepare_word(x[(i + r) * rows + k], to);
      }
    }
  }

  template <int R>
  static void tile_rows(long height, long depth, const uint64_t* x, const Entry* panel,
                        uint64_t* out, long ld, long width, bool add) {
    if constexpr (R > 1) {
      if (height < R) return tile_rows<R - 1>(height, depth, x, panel, out, ld, width, add);
    }
    T::template tile<R>(depth, x, panel, out, ld, width, add);
  }

  void multiply(const PreparedRows& x, long from, long depth, const uint8_t* panel, uint64_t* out,
                long ld, long width, bool add) {
    const uint64_t* prepared = reinterpret_cast<const uint64_t*>(x.data);
    const Entry* entries = reinterpret_cast<const Entry*>(panel);
    for (long k = 0; k < depth; k += BLOCK) {
      const long count = min_long(BLOCK, depth - k);
      for (long i = 0; i < x.m; i += ROWS) {
        const long height = min_long(ROWS, x.m - i);
        const uint64_t* block = prepared + (i * x.rows + (from + k) * height) * FORMS;
        tile_rows<ROWS>(height, count, block, entries + k * COLUMNS, out + i * ld, ld, width,
                        add || k > 0);
      }
    }
  }
};

}  // namespace
