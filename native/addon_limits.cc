// The limits as JavaScript sees them: it asks for so many operations and looks at the clock.
#include <cstring>

#include "call.h"
#include "memory.h"

namespace {

using namespace mergen;

napi_value give(Call& call, uint64_t count) {
  napi_value result = nullptr;
  if (!call.ok()) return nullptr;
  if (napi_create_double(call.env(), static_cast<double>(count), &result) != 0) {
    call.fail("a count cannot be given back");
  }
  return result;
}

// limitMultiplyAdds64(least) and its like: how many operations were done; 0 where the processor
// cannot do them.
template <Limit KernelsLimits::*LIMIT>
napi_value operations(napi_env env, napi_callback_info info) {
  Call call(env, info, 1);
  const uint32_t least = call.size(0);
  if (!call.ok()) return nullptr;
  const Limit limit = call.isa().limits->*LIMIT;
  return give(call, limit == nullptr ? 0 : limit(least));
}

// limitAesRounds(least)
napi_value aes_rounds(napi_env env, napi_callback_info info) {
  Call call(env, info, 1);
  const uint32_t least = call.size(0);
  if (!call.ok()) return nullptr;
  const Limit limit = call.isa().limit_aes;
  return give(call, limit == nullptr ? 0 : limit(least));
}

// limitRead(bytes): reads so many bytes, rounded up, of memory as matrices lie in. The first call
// of a thread with a size makes and fills it. 0 where there is no memory; 0 bytes free it.
napi_value read(napi_env env, napi_callback_info info) {
  struct Filled {
    Block block;
    uint64_t bytes = 0;
  };
  static thread_local Filled filled;
  Call call(env, info, 1);
  const uint64_t count = (static_cast<uint64_t>(call.size(0)) + 1023) / 1024 * 1024;
  if (!call.ok()) return nullptr;
  if (filled.bytes != count) {
    filled.block.release();
    filled.bytes = 0;
    if (count == 0 || !filled.block.allocate(count)) return give(call, 0);
    std::memset(filled.block.data(), 1, count);
    filled.bytes = count;
  }
  const uint64_t sum = call.isa().limits->read(filled.block.data(), count);
  // Words of which every byte is 1.
  if (sum != count / 8 * 0x0101010101010101) call.fail("memory was read wrongly");
  return give(call, count);
}

const Function rows[] = {
    {"limitMultiplyAdds64", operations<&KernelsLimits::multiply_adds64>},
    {"limitMultiplyAddsF32", operations<&KernelsLimits::multiply_adds_f32>},
    {"limitQuarterRounds", operations<&KernelsLimits::quarter_rounds>},
    {"limitMultiplyAdds8", operations<&KernelsLimits::multiply_adds8>},
    {"limitAesRounds", aes_rounds},
    {"limitRead", read},
};

}  // namespace

const mergen::Functions mergen::limits_functions = {rows, sizeof(rows) / sizeof(rows[0])};
