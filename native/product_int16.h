// The panel kernel of int16 entries on processors that add products of 16-bit pairs (vpmaddwd).
// x is cut into five signed digits, x = d0 + 2^11 d1 + 2^22 d2 + 2^32 d3 + 2^48 d4 (mod 2^64), of
// 11, 11, 10, 16 and 16 bits. A 32-bit lane takes FLUSH pairs of products with d0, d1 or d2 before
// it could overflow, and then goes to a 64-bit sum; with d3 and d4 it may wrap, since only 32 and
// 16 bits count. Panels hold the entries of two rows side by side.
//
// Half the work of multiplying 64-bit words (vpmovsxwq, vpmullq), which does not keep up with
// memory on processors that take three steps for a vpmullq. An instruction set brings:
//
//   Vec, LANES, VECTORS  a register of int32 lanes; a panel has VECTORS of them
//   load, spread, dot    dot: each lane of the sum plus the products of its two pairs
//   add_digit<SHIFT>     sums[lane] += sign-extended lane << SHIFT
//   add_high             sums[lane] += (d3 + (d4 << 16)) << 32
//   store                sums to out, or added to it
#pragma once

#include "product_panels.h"

namespace {

template <class T>
struct Int16Panels {
  using Entry = int16_t;
  using Vec = typename T::Vec;
  static constexpr int LANES = T::LANES, VECTORS = T::VECTORS, DIGITS = 5;
  static constexpr long COLUMNS = LANES * VECTORS;
  static constexpr long STEP = 2;
  // A pair of products is at most 2 * 2^10 * 2^15 in size: 31 of them stay below 2^31.
  static constexpr long FLUSH = 30;
  // Pairs of rows used by all of x before the next ones are: they stay in the first-level cache.
  static constexpr long BLOCK = 4 * FLUSH;
  // How far ahead panels are asked for, in bytes.
  static constexpr long AHEAD = 1024;

  static long pairs(long rows) { return (rows + 1) / 2; }

  static uint64_t panel_bytes(long rows) { return pairs(rows) * 2 * COLUMNS * sizeof(Entry); }

  static void pack_rows(const Entry* const lines[2], uint8_t* panel, long row) {
    Entry* to = reinterpret_cast<Entry*>(panel) + row * COLUMNS;
    for (long i = 0; i < COLUMNS; i++) {
      to[2 * i] = lines[0][i];
      to[2 * i + 1] = lines[1][i];
    }
  }

  static uint64_t prepared_bytes(long m, long rows) {
    return m * pairs(rows) * DIGITS * sizeof(int32_t);
  }

  // The low `bits` of x as a signed digit, which is taken away from it.
  static int16_t cut(uint64_t& x, int bits) {
    const int16_t digit =
        static_cast<int16_t>(static_cast<int64_t>(x << (64 - bits)) >> (64 - bits));
    x = (x - static_cast<uint64_t>(static_cast<int64_t>(digit))) >> bits;
    return digit;
  }

  // [m][pairs][DIGITS][2]; zero where a pair has no second row.
  static void prepare(const uint64_t* x, long m, long rows, uint8_t* prepared) {
    constexpr int bits[DIGITS] = {11, 11, 10, 16, 16};
    int16_t* to = reinterpret_cast<int16_t*>(prepared);
    for (long i = 0; i < m; i++, x += rows) {
      for (long k = 0; k < rows; k += 2, to += 2 * DIGITS) {
        uint64_t first = x[k], second = k + 1 < rows ? x[k + 1] : 0;
        for (int d = 0; d < DIGITS; d++) {
          to[2 * d] = cut(first, bits[d]);
          to[2 * d + 1] = cut(second, bits[d]);
        }
      }
    }
  }

  // Up to BLOCK pairs of rows for one row of x.
  static void tile(long count, const int32_t* x, const uint8_t* panel, uint64_t* out, long width,
                   bool add) {
    alignas(64) uint64_t sums[COLUMNS] = {};
    Vec d3[VECTORS] = {}, d4[VECTORS] = {};
    for (long done = 0; done < count; done += FLUSH) {
      Vec d0[VECTORS] = {}, d1[VECTORS] = {}, d2[VECTORS] = {};
      const long end = min_long(count, done + FLUSH);
      for (long pair = done; pair < end; pair++) {
        const Vec x0 = T::spread(x), x1 = T::spread(x + 1), x2 = T::spread(x + 2);
        const Vec x3 = T::spread(x + 3), x4 = T::spread(x + 4);
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
          const uint8_t* from = panel + v * sizeof(Vec);
          if (v * sizeof(Vec) % 64 == 0) __builtin_prefetch(from + AHEAD);
          const Vec w = T::load(from);
          d0[v] = T::dot(d0[v], x0, w);
          d1[v] = T::dot(d1[v], x1, w);
          d2[v] = T::dot(d2[v], x2, w);
          d3[v] = T::dot(d3[v], x3, w);
          d4[v] = T::dot(d4[v], x4, w);
        }
        x += DIGITS;
        panel += VECTORS * sizeof(Vec);
      }
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) {
        T::template add_digit<0>(sums + v * LANES, d0[v]);
        T::template add_digit<11>(sums + v * LANES, d1[v]);
        T::template add_digit<22>(sums + v * LANES, d2[v]);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) T::add_high(sums + v * LANES, d3[v], d4[v]);
    for (long i = 0; i < width; i++) out[i] = (add ? out[i] : 0) + sums[i];
  }

  void multiply(const PreparedRows& x, long from, long depth, const uint8_t* panel, uint64_t* out,
                long ld, long width, bool add) {
    const int32_t* prepared = reinterpret_cast<const int32_t*>(x.data);
    const long total = pairs(x.rows);
    // With one row of x nothing is used twice, and a block would only cut the stream.
    const long block = x.m == 1 ? total : BLOCK;
    for (long at = 0; at < pairs(depth); at += block) {
      const long count = min_long(block, pairs(depth) - at);
      for (long i = 0; i < x.m; i++) {
        tile(count, prepared + (i * total + from / 2 + at) * DIGITS,
             panel + at * 2 * COLUMNS * sizeof(Entry), out + i * ld, width, add || at > 0);
      }
    }
  }
};

}  // namespace
