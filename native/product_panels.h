// The loops around the panel kernels, shared by the instruction sets. A panel kernel P says how a
// panel and the prepared x are laid out, and multiplies one by the other:
//
//   Entry            int16_t or uint64_t
//   COLUMNS          columns of a panel
//   STEP             rows that pack_rows takes at a time
//   panel_bytes      of so many rows; whatever lies beyond the last row may hold anything
//   pack_rows        lines of COLUMNS entries, to the rows from `row` on of a panel
//   prepared_bytes, prepare
//   multiply         rows [from, from + depth) of x by a panel whose first row is `from`
//
// and, if Entry is uint64_t, for keystreams
//
//   pack_columns     COLUMNS lines of `depth` entries, each to a column of a panel; it may read and
//                    write up to COLUMN_SLACK rows more
//   GROUP            panels made at a time, of DEPTH rows; of COLUMN_DEPTH rows where transposed
//
// Everything lives in an anonymous namespace: each file that includes this is compiled with other
// -m flags, and the linker must not merge their copies.
#pragma once

#include <cstdint>
#include <cstring>

#include "memory.h"
#include "product.h"

namespace {

using mergen::KeystreamProduct;
using mergen::PanelKernels;
using mergen::PanelProduct;
using mergen::PreparedRows;

inline long round_up(long x, long step) { return (x + step - 1) / step * step; }
inline long min_long(long x, long y) { return x < y ? x : y; }

thread_local mergen::Scratch keystream_scratch;

// Rows packed at a time, of all panels asked for: so that reads run along rows.
constexpr long PACK_ROWS = 64;

// STEP rows from `row` on of one panel; missing rows and columns become zeros.
template <class P>
void pack_step(const typename P::Entry* from, long ld, long height, long width, uint8_t* panel,
               long row) {
  using Entry = typename P::Entry;
  const Entry* lines[P::STEP];
  Entry padded[P::STEP * P::COLUMNS];
  const bool whole = height >= P::STEP && width >= P::COLUMNS;
  if (!whole) std::memset(padded, 0, sizeof padded);
  for (long i = 0; i < P::STEP; i++) {
    lines[i] = whole ? from + i * ld : padded + i * P::COLUMNS;
    if (!whole && i < height) {
      const long count = min_long(width, P::COLUMNS);
      std::memcpy(padded + i * P::COLUMNS, from + i * ld, count * sizeof(Entry));
    }
  }
  P::pack_rows(lines, panel, row);
}

template <class P>
void pack(const void* entries, long rows, long columns, long first, long last, uint8_t* panels) {
  const auto* source = static_cast<const typename P::Entry*>(entries);
  const uint64_t bytes = P::panel_bytes(rows);
  for (long begin = 0; begin < rows; begin += PACK_ROWS) {
    const long end = min_long(rows, begin + PACK_ROWS);
    for (long panel = first; panel < last; panel++) {
      const long column = panel * P::COLUMNS;
      for (long row = begin; row < end; row += P::STEP) {
        pack_step<P>(source + row * columns + column, columns, end - row, columns - column,
                     panels + panel * bytes, row);
      }
    }
  }
}

template <class P>
void multiply(const PanelProduct& product, long first, long last) {
  P kernel;
  const long rows = product.x.rows;
  const uint64_t bytes = P::panel_bytes(rows);
  for (long panel = first; panel < last; panel++) {
    const long column = panel * P::COLUMNS;
    kernel.multiply(product.x, 0, rows, product.panels + panel * bytes, product.out + column,
                    product.columns, min_long(P::COLUMNS, product.columns - column), false);
  }
}

constexpr long BLOCK_WORDS = 8;

// Words [begin, begin + count) of the keystream. They lie in `room`, behind those of their first
// block that come before; so it holds up to BLOCK_WORDS more.
inline const uint64_t* keystream_words(const KeystreamProduct& product, uint64_t begin, long count,
                                       uint64_t* room) {
  const long before = static_cast<long>(begin % BLOCK_WORDS);
  product.chacha12(reinterpret_cast<uint8_t*>(room), (before + count) * sizeof(uint64_t),
                   product.key, product.nonce, static_cast<uint32_t>(begin / BLOCK_WORDS));
  return room + before;
}

// Columns [column, column + width) of out: panels of DEPTH rows are made side by side, and used.
template <class P>
void multiply_rows(const KeystreamProduct& product, long column, long width, uint8_t* panels,
                   uint64_t* room) {
  constexpr long LD = P::GROUP * P::COLUMNS + BLOCK_WORDS;
  const uint64_t bytes = P::panel_bytes(P::DEPTH);
  P kernel;
  for (long from = 0; from < product.rows; from += P::DEPTH) {
    const long depth = min_long(P::DEPTH, product.rows - from);
    for (long row = 0; row < depth; row += P::STEP) {
      const uint64_t* lines[P::STEP];
      for (long i = 0; i < P::STEP; i++) {
        lines[i] = room + i * LD;
        if (row + i >= depth) continue;
        const uint64_t begin = static_cast<uint64_t>(from + row + i) * product.columns + column;
        lines[i] = keystream_words(product, begin, width, room + i * LD);
      }
      for (long at = 0, panel = 0; at < width; at += P::COLUMNS, panel++) {
        P::pack_rows(lines, panels + panel * bytes, row);
        for (long i = 0; i < P::STEP; i++) lines[i] += P::COLUMNS;
      }
    }
    for (long at = 0, panel = 0; at < width; at += P::COLUMNS, panel++) {
      kernel.multiply(product.x, from, depth, panels + panel * bytes, product.out + column + at,
                      product.columns, min_long(P::COLUMNS, width - at), from > 0);
    }
  }
}

// The same of the transpose: rows [column, column + width) of the keystream matrix.
template <class P>
void multiply_columns(const KeystreamProduct& product, long column, long width, uint8_t* panel,
                      uint64_t* room) {
  constexpr long LD = P::COLUMN_DEPTH + P::COLUMN_SLACK + BLOCK_WORDS;
  P kernel;
  for (long at = column; at < column + width; at += P::COLUMNS) {
    const long count = min_long(P::COLUMNS, column + width - at);
    for (long from = 0; from < product.columns; from += P::COLUMN_DEPTH) {
      const long depth = min_long(P::COLUMN_DEPTH, product.columns - from);
      const uint64_t* lines[P::COLUMNS];
      for (long i = 0; i < P::COLUMNS; i++) {
        lines[i] = room + i * LD;
        if (i >= count) continue;
        const uint64_t begin = static_cast<uint64_t>(at + i) * product.columns + from;
        lines[i] = keystream_words(product, begin, depth, room + i * LD);
      }
      P::pack_columns(lines, depth, panel);
      kernel.multiply(product.x, from, depth, panel, product.out + at, product.rows, count,
                      from > 0);
    }
  }
}

template <class P>
bool keystream(const KeystreamProduct& product, long column, long width) {
  constexpr long WIDTH = P::GROUP * P::COLUMNS;
  constexpr uint64_t ROOM = P::STEP * (WIDTH + BLOCK_WORDS);
  constexpr uint64_t COLUMN_ROOM = P::COLUMNS * (P::COLUMN_DEPTH + P::COLUMN_SLACK + BLOCK_WORDS);
  const bool turned = product.transposed;
  const uint64_t panel_bytes = turned ? P::panel_bytes(P::COLUMN_DEPTH + P::COLUMN_SLACK)
                                      : P::GROUP * P::panel_bytes(P::DEPTH);
  const uint64_t room_bytes = (turned ? COLUMN_ROOM : ROOM) * sizeof(uint64_t);
  uint8_t* const panels = keystream_scratch.reserve(panel_bytes + room_bytes);
  if (panels == nullptr) return false;
  uint64_t* const room = reinterpret_cast<uint64_t*>(panels + panel_bytes);
  turned ? multiply_columns<P>(product, column, width, panels, room)
         : multiply_rows<P>(product, column, width, panels, room);
  return true;
}

template <class P>
constexpr PanelKernels panel_kernels() {
  return {P::COLUMNS, P::panel_bytes, pack<P>, P::prepared_bytes, P::prepare, multiply<P>};
}

}  // namespace
