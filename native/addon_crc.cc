// The checksum as JavaScript sees it.
#include "call.h"

namespace {

using namespace mergen;

// crc32c(bytes, previous): a number.
napi_value crc32c(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  const Span<uint8_t> bytes = call.bytes(0);
  const uint32_t previous = call.size(1);
  napi_value result = nullptr;
  if (!call.ok()) return nullptr;
  const uint32_t crc = call.isa().crc->crc32c(bytes.data, bytes.count, previous);
  if (napi_create_uint32(env, crc, &result) != 0) call.fail("a checksum cannot be given back");
  return result;
}

const Function rows[] = {{"crc32c", crc32c}};

}  // namespace

const mergen::Functions mergen::crc_functions = {rows, sizeof(rows) / sizeof(rows[0])};
