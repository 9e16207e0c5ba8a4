// The tree kernels as JavaScript sees them.
#include "call.h"
#include "tree_layout.h"

namespace {

using namespace mergen;

// Arguments 0 to 2 of every call: kind (0 DPF, 1 DCF, 2 DCF with halved words), domainBits, words.
TreeShape shape_of(Call& call) {
  const uint32_t kind = call.size(0), domain_bits = call.size(1), words = call.size(2);
  if (kind > 2 || domain_bits < 1 || domain_bits > 64 || words < 1 || words > MAX_TREE_WORDS) {
    call.fail("a function key's domain or payload has a wrong size");
    return {false, false, 1, 1};
  }
  return {kind != 0, kind == 2, static_cast<long>(domain_bits), static_cast<long>(words)};
}

// (kind, domainBits, words, party, keyCount, pointsPerKey, keys, points, out)
void evaluate(Call& call, const TreeKernels* kernels) {
  const TreeShape shape = shape_of(call);
  const uint32_t party = call.size(3);
  const uint64_t key_count = call.size(4), points_per_key = call.size(5);
  const uint64_t total = key_count * points_per_key;
  if (party > 1) call.fail("a party is neither 0 nor 1");
  // So that no product of sizes overflows.
  if (total > UINT32_MAX) call.fail("too many points for one call");
  const uint64_t key_bytes = static_cast<uint64_t>(Layout(shape).key_bytes);
  const uint8_t* keys = call.bytes(6, key_count * key_bytes);
  const uint64_t* points = call.u64s(7, total);
  uint64_t* out = call.u64s(8, total * static_cast<uint64_t>(shape.words));
  if (!call.ok() || total == 0) return;
  kernels->evaluate({shape, party, static_cast<long>(total), static_cast<long>(points_per_key),
                     keys, points, out});
}

// (kind, domainBits, words, count, alphas, payloads, roots, keys0, keys1)
void generate(Call& call, const TreeKernels* kernels) {
  const TreeShape shape = shape_of(call);
  const uint64_t count = call.size(3);
  const uint64_t key_bytes = static_cast<uint64_t>(Layout(shape).key_bytes);
  const uint64_t* alphas = call.u64s(4, count);
  const uint64_t* payloads = call.u64s(5, count * static_cast<uint64_t>(shape.words));
  const uint8_t* roots = call.bytes(6, count * 2 * SEED_BYTES);
  uint8_t* keys0 = call.bytes(7, count * key_bytes);
  uint8_t* keys1 = call.bytes(8, count * key_bytes);
  if (!call.ok()) return;
  kernels->generate({shape, static_cast<long>(count), alphas, payloads, roots, keys0, keys1});
}

napi_value evaluate_chacha12(napi_env env, napi_callback_info info) {
  Call call(env, info, 9);
  if (call.ok()) evaluate(call, &call.isa().tree->chacha12);
  return nullptr;
}

napi_value generate_chacha12(napi_env env, napi_callback_info info) {
  Call call(env, info, 9);
  if (call.ok()) generate(call, &call.isa().tree->chacha12);
  return nullptr;
}

napi_value evaluate_aes128(napi_env env, napi_callback_info info) {
  Call call(env, info, 9);
  if (call.ok()) evaluate(call, call.isa().tree_aes);
  return nullptr;
}

napi_value generate_aes128(napi_env env, napi_callback_info info) {
  Call call(env, info, 9);
  if (call.ok()) generate(call, call.isa().tree_aes);
  return nullptr;
}

const Function rows[] = {
    {"treeEvaluateChacha12", evaluate_chacha12},
    {"treeGenerateChacha12", generate_chacha12},
};

const Function aes_rows[] = {
    {"treeEvaluateAes128", evaluate_aes128},
    {"treeGenerateAes128", generate_aes128},
};

}  // namespace

const mergen::Functions mergen::tree_functions = {rows, sizeof(rows) / sizeof(rows[0])};
const mergen::Functions mergen::tree_aes_functions = {aes_rows,
                                                      sizeof(aes_rows) / sizeof(aes_rows[0])};
