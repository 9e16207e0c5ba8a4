// Points and sums of piecewise polynomials (src/kernel/piecewise.ts). Each entry has some knots of
// its own words, so plain loops over words serve all instruction sets.
#include "call.h"

namespace {

using namespace mergen;

// piecewisePoints(points, blocks, a, offsets, domainBits, blockBits): a + offset modulo
// 2^domainBits, for each entry of a the offsets in turn; and the same without its low blockBits.
napi_value points(napi_env env, napi_callback_info info) {
  Call call(env, info, 6);
  const Span<uint64_t> a = call.u64s(2);
  const Span<uint64_t> offsets = call.u64s(3);
  uint64_t* out = call.u64s(0, a.count * offsets.count);
  uint64_t* blocks = call.u64s(1, a.count * offsets.count);
  const uint32_t bits = call.size(4);
  const uint32_t block_bits = call.size(5);
  if (bits < 1 || bits > 63) call.fail("piecewisePoints: the domain has 1 to 63 bits");
  if (block_bits >= bits) call.fail("piecewisePoints: blocks are smaller than the domain");
  if (!call.ok()) return nullptr;
  const uint64_t mask = (uint64_t(1) << bits) - 1;
  for (uint64_t row = 0; row < a.count; row++) {
    for (uint64_t k = 0; k < offsets.count; k++) {
      const uint64_t point = (a.data[row] + offsets.data[k]) & mask;
      *out++ = point;
      *blocks++ = point >> block_bits;
    }
  }
  return nullptr;
}

struct Sums {
  uint64_t* out;
  const uint64_t* values;
  const uint64_t* points;
  const uint64_t* a;
  const uint64_t* powers[3];
  // [degree + 1] blocks of [knots, degree + 1], and of [degree + 1].
  const uint64_t* coefficients;
  const uint64_t* first;
  uint64_t rows, knots, party;
};

// The polynomial whose i-th coefficient stands at c[i * step], of degree `degree`.
inline uint64_t polynomial(const uint64_t* c, uint64_t step, int degree, uint64_t x) {
  uint64_t sum = c[degree * step];
  for (int i = degree - 1; i >= 0; i--) sum = sum * x + c[i * step];
  return sum;
}

template <int DEGREE>
void add_up(const Sums& s) {
  constexpr int WORDS = DEGREE + 1;
  const uint64_t step = s.knots * WORDS;
  const uint64_t* value = s.values;
  const uint64_t* point = s.points;
  for (uint64_t row = 0; row < s.rows; row++) {
    const uint64_t a = s.a[row];
    uint64_t share[WORDS] = {s.party};
    for (int j = 1; j < WORDS; j++) share[j] = s.powers[j - 1][row];
    uint64_t sum = 0;
    for (int j = 0; j < WORDS; j++) {
      // The factor of r^j has no power of x above degree - j.
      sum += share[j] * polynomial(s.first + j, WORDS, DEGREE - j, a);
    }
    for (uint64_t k = 0; k < s.knots; k++, point++) {
      const uint64_t x = *point;
      // Knot 0 lies at 0, where x is a: it is never certain.
      const uint64_t certain = uint64_t(0) - uint64_t(k > 0 && x <= a);
      const uint64_t* c = s.coefficients + k * WORDS;
      for (int j = 0; j < WORDS; j++, value++) {
        sum += (*value - (share[j] & certain)) * polynomial(c + j, step, DEGREE - j, x);
      }
    }
    s.out[row] = sum;
  }
}

// piecewiseSums(out, values, points, a, r1, r2, r3, coefficients, first, party): the degree follows
// from `first`, which has (degree + 1)^2 words; powers beyond it are not read.
napi_value sums(napi_env env, napi_callback_info info) {
  Call call(env, info, 10);
  const Span<uint64_t> out = call.u64s(0);
  const Span<uint64_t> first = call.u64s(8);
  const uint64_t words = first.count == 4 ? 2 : first.count == 9 ? 3 : first.count == 16 ? 4 : 0;
  const Span<uint64_t> coefficients = call.u64s(7);
  if (words == 0 || coefficients.count % (words * words) != 0) {
    call.fail("piecewiseSums: a table of this size has no degree of 1 to 3");
    return nullptr;
  }
  const uint64_t rows = out.count, knots = coefficients.count / (words * words);
  Sums s = {};
  s.out = out.data;
  s.values = call.u64s(1, rows * knots * words);
  s.points = call.u64s(2, rows * knots);
  s.a = call.u64s(3, rows);
  for (int j = 0; j < 3; j++) s.powers[j] = call.u64s(4 + j, rows);
  s.coefficients = coefficients.data;
  s.first = first.data;
  s.rows = rows;
  s.knots = knots;
  s.party = call.size(9);
  if (!call.ok()) return nullptr;
  if (words == 2) add_up<1>(s);
  if (words == 3) add_up<2>(s);
  if (words == 4) add_up<3>(s);
  return nullptr;
}

const Function rows[] = {{"piecewisePoints", points}, {"piecewiseSums", sums}};

}  // namespace

const mergen::Functions mergen::piecewise_functions = {rows, sizeof(rows) / sizeof(rows[0])};
