// The ring kernels as JavaScript sees them. Calls are short, 768 words of one operation take 50 ns;
// so sizes come from the views themselves and nothing is passed that follows from them.
#include "call.h"

namespace {

using namespace mergen;

typedef void (*Binary)(uint64_t*, const uint64_t*, const uint64_t*, uint64_t);
typedef void (*WithWord)(uint64_t*, const uint64_t*, uint64_t, uint64_t);

// addU64(out, a, b) and its like: as many words as out has.
template <Binary KernelsRing::*KERNEL>
napi_value binary(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  const Span<uint64_t> out = call.u64s(0);
  const uint64_t* a = call.u64s(1, out.count);
  const uint64_t* b = call.u64s(2, out.count);
  if (call.ok()) (call.isa().ring->*KERNEL)(out.data, a, b, out.count);
  return nullptr;
}

// scaleU64(out, a, factor) and its like; the factor is a BigInt. (Two doubles would be read 2 ns
// faster than a BigInt, and take 38 ns to make of one.)
template <WithWord KernelsRing::*KERNEL>
napi_value with_word(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  const Span<uint64_t> out = call.u64s(0);
  const uint64_t* a = call.u64s(1, out.count);
  const uint64_t factor = call.u64(2);
  if (call.ok()) (call.isa().ring->*KERNEL)(out.data, a, factor, out.count);
  return nullptr;
}

// shiftRightU64(out, a, bits) and its like.
template <WithWord KernelsRing::*KERNEL, uint32_t LEAST, uint32_t MOST>
napi_value with_bits(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  const Span<uint64_t> out = call.u64s(0);
  const uint64_t* a = call.u64s(1, out.count);
  const uint32_t bits = call.size(2);
  if (bits < LEAST || bits > MOST) call.fail("a number of bits is out of range");
  if (call.ok()) (call.isa().ring->*KERNEL)(out.data, a, bits, out.count);
  return nullptr;
}

// sumRowsU64(out, a, width)
napi_value sum_rows(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  const Span<uint64_t> out = call.u64s(0);
  const Span<uint64_t> a = call.u64s(1);
  const uint64_t width = call.size(2);
  if (width > 0 && a.count / width < out.count) call.fail("sumRowsU64 got too few words");
  if (call.ok()) call.isa().ring->sum_rows(out.data, a.data, width, out.count);
  return nullptr;
}

uint64_t packed_bytes(Call& call, uint64_t count, uint64_t bits) {
  if (bits < 1 || bits > 64) call.fail("packed words have 1 to 64 bits");
  return (count * bits + 7) / 8;
}

// packU64(out, words, bits): as many words as `words` has.
napi_value pack(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  const Span<uint64_t> words = call.u64s(1);
  const uint32_t bits = call.size(2);
  uint8_t* out = call.bytes(0, packed_bytes(call, words.count, bits));
  if (call.ok()) call.isa().ring->pack(out, words.data, bits, words.count);
  return nullptr;
}

// unpackU64(out, bytes, bits): as many words as out has.
napi_value unpack(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  const Span<uint64_t> out = call.u64s(0);
  const uint32_t bits = call.size(2);
  const uint8_t* bytes = call.bytes(1, packed_bytes(call, out.count, bits));
  if (call.ok()) call.isa().ring->unpack(out.data, bytes, bits, out.count);
  return nullptr;
}

// What of the sizes could lead outside the views.
template <class Weight>
bool fits(const AttendRing<Weight>& s, uint64_t out_count, uint64_t weight_count) {
  return s.columns % s.heads == 0 && s.start <= s.rows &&
         out_count >= (s.rows - s.start) * s.columns && s.rows <= s.positions &&
         s.from <= s.start && s.rows <= s.from + s.held &&
         weight_count / s.heads >= s.held * s.positions;
}

template <class Weight>
AttendRing<Weight> attend_arguments(Call& call, const Span<Weight>& weights) {
  const Span<uint64_t> out = call.u64s(0);
  const Span<uint64_t> x = call.u64s(1);
  const uint64_t heads = call.size(3), positions = call.size(4), start = call.size(5);
  const uint64_t columns = call.size(6), from = call.size(7), held = call.size(8);
  const bool sides = heads > 0 && columns > 0;
  const AttendRing<Weight> args = {out.data, x.data, weights.data, sides ? x.count / columns : 0,
                                   start,    columns, heads,       positions,
                                   from,     held};
  if (!sides || !fits(args, out.count, weights.count)) call.fail("attend: sizes do not fit");
  return args;
}

// attendU64(out, x, weights, heads, positions, start, columns, from, held): as many rows as x has;
// `held` rows of each head's matrix are there, from row `from` on.
napi_value attend_u64(napi_env env, napi_callback_info info) {
  Call call(env, info, 9);
  const AttendRing<uint64_t> args = attend_arguments(call, call.u64s(2));
  if (call.ok()) call.isa().ring->attend(args);
  return nullptr;
}

// attendInt16(...), the same with weights of 16 bits.
napi_value attend_int16(napi_env env, napi_callback_info info) {
  Call call(env, info, 9);
  const AttendRing<int16_t> args = attend_arguments(call, call.i16s(2));
  if (call.ok()) call.isa().ring->attend_int16(args);
  return nullptr;
}

// chacha12(out, key, nonce, counter)
napi_value chacha12(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  const Span<uint8_t> out = call.bytes(0);
  const uint8_t* key = call.bytes(1, 32);
  const uint8_t* nonce = call.bytes(2, 12);
  const uint32_t counter = call.size(3);
  if (call.ok()) call.isa().ring->chacha12(out.data, out.count, key, nonce, counter);
  return nullptr;
}

const Function rows[] = {
    {"addU64", binary<&KernelsRing::add>},
    {"subU64", binary<&KernelsRing::sub>},
    {"mulU64", binary<&KernelsRing::mul>},
    {"scaleU64", with_word<&KernelsRing::scale>},
    {"addScaledU64", with_word<&KernelsRing::add_scaled>},
    {"addConstantU64", with_word<&KernelsRing::add_constant>},
    {"shiftRightU64", with_bits<&KernelsRing::shift_right, 0, 63>},
    {"shiftRightSignedU64", with_bits<&KernelsRing::shift_right_signed, 0, 63>},
    {"lowBitsU64", with_bits<&KernelsRing::low_bits, 1, 64>},
    {"sumRowsU64", sum_rows},
    {"packU64", pack},
    {"unpackU64", unpack},
    {"attendU64", attend_u64},
    {"attendInt16", attend_int16},
    {"chacha12", chacha12},
};

}  // namespace

const mergen::Functions mergen::ring_functions = {rows, sizeof(rows) / sizeof(rows[0])};
