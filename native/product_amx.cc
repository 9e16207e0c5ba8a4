// Products for processors with AMX, whose tile instruction multiplies 16 x 64 by 64 x 16 bytes and
// adds up in 32 bits. Words and int16 entries are cut into bytes:
//
//   x w = sum over i + j < 8 of 2^(8 (i + j)) x_i w_j   (mod 2^64)
//
// 36 products of bytes for a word, 15 for an int16; those of one i + j share a 32-bit sum, eight
// sums in all. There are eight tile registers, so sums 4..7 are made in one pass over the rows of
// the matrix, and 0..3 in another. A panel holds 16 columns, and of each 64 rows one tile for each
// byte; so does x of up to 16 of its rows.
//
// Tile instructions are written out: the compiler's intrinsics take literal register numbers only.
// Rejected: two columns of tiles and two sums a pass, fewer loads a product but more traffic from
// the second-level cache (49 G multiply-adds/s instead of 45 at 128 rows of x, 36 instead of 37 at
// 16). Software prefetch, of the next tiles or the next panel, costs 20 to 45% where the matrix
// lies in the third-level cache and gains nothing where it lies in memory.
#if defined(__x86_64__)

#include "product.h"

#if defined(__linux__) && defined(__AVX512VBMI__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "product_avx512.h"
#include "product_panels.h"

namespace {

constexpr long TILE_BYTES = 1024;
constexpr int SIDE = 16;
constexpr long TILE_ROWS = 64;
constexpr int WORD_BYTES = 8;
// Tile registers: four sums, then two for w and two for x in turn.
constexpr int SUMS = 4, W_TILE = 4, X_TILE = 6;

template <int TILE>
inline void load_tile(const void* from) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(INT64_C(64)), "i"(TILE)
                   : "memory");
}

template <int TILE>
inline void store_tile(void* to) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(INT64_C(64)), "i"(TILE)
                   : "memory");
}

template <int TILE>
inline void clear_tile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(TILE));
}

template <int SUM, int X, int W, bool SIGNED>
inline void multiply_tiles() {
  if constexpr (SIGNED) {
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUM), "i"(X), "i"(W));
  } else {
    __asm__ volatile("tdpbuud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUM), "i"(X), "i"(W));
  }
}

// The upper byte of an int16 carries its sign; all other bytes are unsigned.
template <int BYTES, int J>
constexpr bool is_signed = BYTES < WORD_BYTES && J == BYTES - 1;

// Adds the products of byte I of x and byte J of w to their sum, if that is one of FIRST ..
// FIRST + 3. BYTES is the width of an entry.
template <int BYTES, int FIRST, int J, int I>
inline void add_product(const uint8_t* x, long x_tile_bytes, const uint8_t* w) {
  constexpr int SUM = I + J - FIRST;
  if constexpr (SUM >= 0 && SUM < SUMS) {
    constexpr bool is_first_of_w = I == 0 || SUM == 0;
    if constexpr (is_first_of_w) load_tile<W_TILE + J % 2>(w + J * TILE_BYTES);
    load_tile<X_TILE + I % 2>(x + I * x_tile_bytes);
    multiply_tiles<SUM, X_TILE + I % 2, W_TILE + J % 2, is_signed<BYTES, J>>();
  }
}

template <int BYTES, int FIRST, int... PAIR>
inline void add_products(const uint8_t* x, long x_tile_bytes, const uint8_t* w,
                         std::integer_sequence<int, PAIR...>) {
  (add_product<BYTES, FIRST, PAIR / WORD_BYTES, PAIR % WORD_BYTES>(x, x_tile_bytes, w), ...);
}

// Sums FIRST .. FIRST + 3 of so many tiles of rows.
template <int BYTES, int FIRST>
void pass(long tiles, const uint8_t* x, long x_tile_bytes, const uint8_t* w, int32_t* sums) {
  clear_tile<0>();
  clear_tile<1>();
  clear_tile<2>();
  clear_tile<3>();
  constexpr std::make_integer_sequence<int, BYTES * WORD_BYTES> pairs{};
  for (long i = 0; i < tiles; i++) {
    add_products<BYTES, FIRST>(x, x_tile_bytes, w, pairs);
    x += WORD_BYTES * x_tile_bytes;
    w += BYTES * TILE_BYTES;
  }
  store_tile<0>(sums);
  store_tile<1>(sums + SIDE * SIDE);
  store_tile<2>(sums + 2 * SIDE * SIDE);
  store_tile<3>(sums + 3 * SIDE * SIDE);
}

template <int BYTES, int J>
inline void add_stacked(const uint8_t* w) {
  load_tile<W_TILE + J % 2>(w + J * TILE_BYTES);
  multiply_tiles<J % SUMS, X_TILE, W_TILE + J % 2, is_signed<BYTES, J>>();
}

// Products of all bytes of x, in one tile, and bytes FIRST + N of w, each with a sum of its own.
template <int BYTES, int FIRST, int... N>
void pass_stacked(long tiles, const uint8_t* x, long height, const uint8_t* w,
                  int32_t parts[BYTES][SIDE][SIDE], std::integer_sequence<int, N...>) {
  (clear_tile<N>(), ...);
  for (long i = 0; i < tiles; i++) {
    load_tile<X_TILE>(x);
    (add_stacked<BYTES, FIRST + N>(w), ...);
    x += WORD_BYTES * height * TILE_ROWS;
    w += BYTES * TILE_BYTES;
  }
  (store_tile<N>(parts[FIRST + N]), ...);
}

// Loads the sizes of the tiles: x and the sums have `rows` rows, w all.
void configure_tiles(long rows) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  } sizes;
  for (int tile = 0; tile < 8; tile++) {
    const bool is_w = tile == W_TILE || tile == W_TILE + 1;
    sizes.row_bytes[tile] = TILE_ROWS;
    sizes.rows[tile] = is_w ? SIDE : static_cast<uint8_t>(rows);
  }
  __asm__ volatile("ldtilecfg %0" ::"m"(sizes));
}

alignas(64) constexpr struct ByteOrders {
  // Bytes of 8 words, from [word][byte] to [byte][word].
  uint8_t words[64] = {};
  // Bytes of 8 words, from [fours][word][byte] to [fours][byte][word].
  uint8_t fours[64] = {};
  // Bytes of two registers, [row of 4][column][byte], to those of one byte [column][row].
  uint8_t int16s[2][64] = {};

  constexpr ByteOrders() {
    for (int i = 0; i < 64; i++) {
      words[i] = static_cast<uint8_t>(i % 8 * 8 + i / 8);
      fours[i] = static_cast<uint8_t>(i / 32 * 32 + i % 4 * 8 + i % 32 / 4);
      for (int byte = 0; byte < 2; byte++) {
        int16s[byte][i] = static_cast<uint8_t>(i % 4 * 32 + i / 4 * 2 + byte);
      }
    }
  }
} byte_orders;

// Where the bytes of the four rows from `row` on begin, of a panel of entries of so many bytes.
inline uint8_t* four_rows(uint8_t* panel, long row, int bytes) {
  return panel + row / TILE_ROWS * bytes * TILE_BYTES + row % TILE_ROWS / 4 * 64;
}

struct Words {
  using Entry = uint64_t;
  static constexpr long DEPTH = 384, GROUP = 16, COLUMN_DEPTH = 768, COLUMN_SLACK = 8;

  static void pack_rows(const uint64_t* const lines[4], uint8_t* panel, long row) {
    const __m512i order = load(byte_orders.words);
    __m512i even[4], odd[4];  // bytes 0, 2, 4, 6 of four columns each, and bytes 1, 3, 5, 7
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
      __m512i r[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) r[i] = _mm512_permutexvar_epi8(order, load(lines[i] + 8 * half));
      const __m512i low = _mm512_unpacklo_epi8(r[0], r[1]);
      const __m512i high = _mm512_unpackhi_epi8(r[0], r[1]);
      const __m512i low2 = _mm512_unpacklo_epi8(r[2], r[3]);
      const __m512i high2 = _mm512_unpackhi_epi8(r[2], r[3]);
      even[2 * half] = _mm512_unpacklo_epi16(low, low2);
      even[2 * half + 1] = _mm512_unpackhi_epi16(low, low2);
      odd[2 * half] = _mm512_unpacklo_epi16(high, high2);
      odd[2 * half + 1] = _mm512_unpackhi_epi16(high, high2);
    }
    uint8_t* const to = four_rows(panel, row, WORD_BYTES);
    __m512i done[4];
    transpose_quarters(even, done);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) _mm512_store_si512(to + 2 * i * TILE_BYTES, done[i]);
    transpose_quarters(odd, done);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) _mm512_store_si512(to + (2 * i + 1) * TILE_BYTES, done[i]);
  }

  static void pack_columns(const uint64_t* const lines[SIDE], long depth, uint8_t* panel) {
    const __m512i order = load(byte_orders.fours);
    for (long row = 0; row < depth; row += 8) {
      __m512i r[SIDE];
#pragma GCC unroll 16
      for (int i = 0; i < SIDE; i++) r[i] = _mm512_permutexvar_epi8(order, load(lines[i] + row));
      transpose16(r);
      uint8_t* const to = four_rows(panel, row, WORD_BYTES);
#pragma GCC unroll 16
      for (int i = 0; i < SIDE; i++) {
        _mm512_store_si512(to + i % 8 * TILE_BYTES + i / 8 * 64, r[i]);
      }
    }
  }
};

struct Int16s {
  using Entry = int16_t;

  static void pack_rows(const int16_t* const lines[4], uint8_t* panel, long row) {
    __m512i r[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
      const __m256i* const second = reinterpret_cast<const __m256i*>(lines[2 * i + 1]);
      r[i] = _mm512_castsi256_si512(
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lines[2 * i])));
      r[i] = _mm512_inserti64x4(r[i], _mm256_loadu_si256(second), 1);
    }
    uint8_t* const to = four_rows(panel, row, sizeof(Entry));
#pragma GCC unroll 2
    for (int byte = 0; byte < 2; byte++) {
      const __m512i order = load(byte_orders.int16s[byte]);
      _mm512_store_si512(to + byte * TILE_BYTES, _mm512_permutex2var_epi8(r[0], order, r[1]));
    }
  }
};

// out (or out plus) the sum over s of 2^(8 s) sums[s], for 16 columns; sums lie `stride` apart.
inline void add_up(const int32_t* sums, long stride, uint64_t* out, long width, bool add) {
  __m512i s[WORD_BYTES];
#pragma GCC unroll 8
  for (int i = 0; i < WORD_BYTES; i++) s[i] = load(sums + i * stride);
  // Of the upper four, 32 bits count.
  __m512i high = s[4];
#pragma GCC unroll 3
  for (int i = 5; i < 8; i++) high = _mm512_add_epi32(high, _mm512_slli_epi32(s[i], 8 * (i - 4)));
#pragma GCC unroll 2
  for (int half = 0; half < 2; half++) {
    const auto half_of = [half](__m512i x) {
      return half == 0 ? _mm512_castsi512_si256(x) : _mm512_extracti64x4_epi64(x, 1);
    };
    __m512i sum = _mm512_slli_epi64(_mm512_cvtepu32_epi64(half_of(high)), 32);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const __m512i wide = _mm512_cvtepi32_epi64(half_of(s[i]));
      sum = _mm512_add_epi64(sum, _mm512_slli_epi64(wide, 8 * i));
    }
    const __mmask8 mask = first_lanes(width - 8 * half);
    uint64_t* const to = out + 8 * half;
    const __m512i before = _mm512_maskz_loadu_epi64(add ? mask : 0, to);
    _mm512_mask_storeu_epi64(to, mask, _mm512_add_epi64(before, sum));
  }
}

template <class T>
class TilePanels : public T {
 public:
  using typename T::Entry;
  static constexpr long COLUMNS = SIDE, STEP = 4;

  ~TilePanels() {
    if (tile_rows_ > 0) __asm__ volatile("tilerelease");
  }

  static uint64_t panel_bytes(long rows) { return round_up(rows, TILE_ROWS) * SIDE * BYTES; }

  static uint64_t prepared_bytes(long m, long rows) {
    return m * round_up(rows, TILE_ROWS) * WORD_BYTES;
  }

  // Blocks of 16 rows of x, the last one shorter, each [tiles][byte][rows of x][64]; zeros where
  // the matrix has no row.
  static void prepare(const uint64_t* x, long m, long rows, uint8_t* prepared) {
    const __m512i order = load(byte_orders.words);
    const long tiles = round_up(rows, TILE_ROWS) / TILE_ROWS;
    for (long i = 0; i < m; i++) {
      const long block = i / SIDE * SIDE;
      const long height = min_long(SIDE, m - block);
      uint8_t* to = prepared + block * tiles * TILE_ROWS * WORD_BYTES + i % SIDE * TILE_ROWS;
      for (long row = 0; row < rows; row += TILE_ROWS) {
        __m512i r[8];
#pragma GCC unroll 8
        for (int n = 0; n < 8; n++) {
          const __mmask8 inside = first_lanes(rows - row - 8 * n);
          const __m512i words = _mm512_maskz_loadu_epi64(inside, x + i * rows + row + 8 * n);
          r[n] = _mm512_permutexvar_epi8(order, words);
        }
        transpose8(r);
#pragma GCC unroll 8
        for (int n = 0; n < 8; n++, to += height * TILE_ROWS) _mm512_store_si512(to, r[n]);
      }
    }
  }

  void multiply(const PreparedRows& x, long from, long depth, const uint8_t* panel, uint64_t* out,
                long ld, long width, bool add) {
    const long row_bytes = round_up(x.rows, TILE_ROWS) * WORD_BYTES;
    for (long at = 0; at < depth; at += MOST_ROWS) {
      const long tiles = round_up(min_long(MOST_ROWS, depth - at), TILE_ROWS) / TILE_ROWS;
      const uint8_t* const w = panel + at * SIDE * BYTES;
      for (long i = 0; i < x.m; i += SIDE) {
        const long height = min_long(SIDE, x.m - i);
        const uint8_t* const block = x.data + i * row_bytes + (from + at) * height * WORD_BYTES;
        alignas(64) int32_t sums[WORD_BYTES][SIDE][SIDE];
        if (height <= 2) {
          multiply_stacked(tiles, block, height, w, sums);
        } else {
          configure(height);
          pass<BYTES, SUMS>(tiles, block, height * TILE_ROWS, w, sums[SUMS][0]);
          pass<BYTES, 0>(tiles, block, height * TILE_ROWS, w, sums[0][0]);
        }
        for (long row = 0; row < height; row++) {
          add_up(sums[0][row], SIDE * SIDE, out + (i + row) * ld, width, add || at > 0);
        }
      }
    }
  }

 private:
  static constexpr int BYTES = sizeof(Entry);
  // Four products of bytes a row of the matrix stay below 2^31 for so many.
  static constexpr long MOST_ROWS = 8192;
  void configure(long rows) {
    if (rows != tile_rows_) configure_tiles(rows);
    tile_rows_ = rows;
  }

  // One or two rows of x: all their bytes make one tile, and the panel is read once.
  void multiply_stacked(long tiles, const uint8_t* x, long height, const uint8_t* w,
                        int32_t sums[WORD_BYTES][SIDE][SIDE]) {
    configure(WORD_BYTES * height);
    // By byte of w, then byte of x and row.
    alignas(64) int32_t parts[BYTES][SIDE][SIDE];
    if constexpr (BYTES == 2) {
      pass_stacked<BYTES, 0>(tiles, x, height, w, parts, std::make_integer_sequence<int, 2>());
    } else {
      pass_stacked<BYTES, 0>(tiles, x, height, w, parts, std::make_integer_sequence<int, 4>());
      pass_stacked<BYTES, 4>(tiles, x, height, w, parts, std::make_integer_sequence<int, 4>());
    }
    for (long row = 0; row < height; row++) {
      for (int s = 0; s < WORD_BYTES; s++) {
        __m512i sum = load(parts[0][s * height + row]);
        for (int j = 1; j < BYTES && j <= s; j++) {
          sum = _mm512_add_epi32(sum, load(parts[j][(s - j) * height + row]));
        }
        _mm512_store_si512(sums[s][row], sum);
      }
    }
  }

  long tile_rows_ = 0;
};

bool has_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned VBMI = 1u << 1, TILE = 1u << 24, INT8 = 1u << 25;
  return (c & VBMI) != 0 && (d & TILE) != 0 && (d & INT8) != 0;
}

}  // namespace

namespace mergen {

bool enable_amx() {
  // Linux gives a process the tile registers when it asks. See "Using XSTATE features in user space
  // applications" in its documentation.
  constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
  return has_tiles() && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

const KernelsProduct product_amx = {
    panel_kernels<TilePanels<Int16s>>(),
    panel_kernels<TilePanels<Words>>(),
    Words::GROUP * SIDE,
    keystream<TilePanels<Words>>,
};

}  // namespace mergen

#else

namespace mergen {

bool enable_amx() { return false; }
const KernelsProduct product_amx = {};

}  // namespace mergen

#endif

#endif
