// How a callback reads the arguments of one call from JavaScript, and the tables that addon.cc
// exports. Views are read in place, also those over a SharedArrayBuffer; every size is checked here
// again, so that no caller can reach outside them.
#pragma once

#include "crc.h"
#include "f32.h"
#include "limits.h"
#include "napi_min.h"
#include "product.h"
#include "ring.h"
#include "tree.h"

namespace mergen {

// The kernels of one instruction set.
struct Isa {
  const char* name;
  const KernelsF32* f32;
  const KernelsRing* ring;
  const KernelsTree* tree;
  const KernelsProduct* product;
  const KernelsCrc* crc;
  const KernelsLimits* limits;
  // Null where the processor has no AES instructions for them.
  const TreeKernels* tree_aes;
  Limit limit_aes;
};

// One exported function; addon_*.cc hold a list each.
struct Function {
  const char* name;
  napi_callback call;
};

struct Functions {
  const Function* rows;
  unsigned long count;
};

extern const Functions f32_functions;
extern const Functions ring_functions;
extern const Functions tree_functions;
extern const Functions tree_aes_functions;
extern const Functions product_functions;
extern const Functions crc_functions;
extern const Functions piecewise_functions;
extern const Functions limits_functions;

// A view as a callback takes it in.
template <class T>
struct Span {
  T* data;
  uint64_t count;
};

// The arguments of one call. A getter that finds something wrong throws the JavaScript error and
// clears `ok`; the callback checks that once, before it touches memory.
class Call {
 public:
  Call(napi_env env, napi_callback_info info, size_t count) : env_(env) {
    size_t argc = MAX_ARGUMENTS;
    void* data = nullptr;
    const bool got = napi_get_cb_info(env, info, &argc, argv_, nullptr, &data) == 0;
    isa_ = static_cast<const Isa*>(data);
    if (!got || argc != count) fail("a native kernel was called with a wrong number of arguments");
  }

  bool ok() const { return ok_; }
  const Isa& isa() const { return *isa_; }
  napi_env env() const { return env_; }
  napi_value value(int index) const { return argv_[index]; }

  void fail(const char* message) {
    if (ok_) napi_throw_error(env_, "E_KERNEL", message);
    ok_ = false;
  }

  uint32_t size(int index) {
    uint32_t result = 0;
    if (ok_ && napi_get_value_uint32(env_, argv_[index], &result) != 0) {
      fail("a size given to a native kernel is not a number");
    }
    return result;
  }

  float number(int index) {
    double result = 0;
    if (ok_ && napi_get_value_double(env_, argv_[index], &result) != 0) {
      fail("a factor given to a native kernel is not a number");
    }
    return static_cast<float>(result);
  }

  // A BigInt modulo 2^64.
  uint64_t u64(int index) {
    uint64_t result = 0;
    bool lossless = false;
    if (ok_ && napi_get_value_bigint_uint64(env_, argv_[index], &result, &lossless) != 0) {
      fail("a word given to a native kernel is not a BigInt");
    }
    return result;
  }

  // All of a view, or a view of at least `count` elements. Which array it is does not matter: only
  // its bytes and its alignment do. Asking Node-API for the type as well takes 45 instead of 16 ns.
  Span<uint64_t> u64s(int index) { return span<uint64_t>(index); }
  Span<int16_t> i16s(int index) { return span<int16_t>(index); }
  Span<uint8_t> bytes(int index) { return span<uint8_t>(index); }
  uint64_t* u64s(int index, uint64_t count) { return span<uint64_t>(index, count).data; }
  int16_t* i16s(int index, uint64_t count) { return span<int16_t>(index, count).data; }
  uint8_t* bytes(int index, uint64_t count) { return span<uint8_t>(index, count).data; }

  // A Float32Array of at least `count` elements.
  float* floats(int index, uint64_t count) {
    return static_cast<float*>(view(index, napi_float32_array, count));
  }

 private:
  static constexpr size_t MAX_ARGUMENTS = 16;

  template <class T>
  Span<T> span(int index, uint64_t least = 0) {
    alignas(8) static char empty[8];
    bool is_view = false;
    size_t bytes = 0;
    void* data = nullptr;
    if (!ok_) return {nullptr, 0};
    const napi_value value = argv_[index];
    if (napi_is_typedarray(env_, value, &is_view) != 0 || !is_view ||
        napi_get_buffer_info(env_, value, &data, &bytes) != 0 ||
        reinterpret_cast<uintptr_t>(data) % alignof(T) != 0 || bytes / sizeof(T) < least) {
      fail("an operand of a native kernel has a wrong type or is too short");
      return {nullptr, 0};
    }
    return {static_cast<T*>(bytes == 0 ? empty : data), bytes / sizeof(T)};
  }

  void* view(int index, napi_typedarray_type type, uint64_t count) {
    static char empty[1];
    bool is_view = false;
    napi_typedarray_type found = napi_int8_array;
    size_t length = 0;
    void* data = nullptr;
    if (!ok_) return nullptr;
    const napi_value value = argv_[index];
    if (napi_is_typedarray(env_, value, &is_view) != 0 || !is_view ||
        napi_get_typedarray_info(env_, value, &found, &length, &data, nullptr, nullptr) != 0 ||
        found != type || length < count) {
      fail("an operand of a native kernel has a wrong type or is too short");
      return nullptr;
    }
    return length == 0 ? empty : data;
  }

  napi_env env_;
  napi_value argv_[MAX_ARGUMENTS];
  const Isa* isa_ = nullptr;
  bool ok_ = true;
};

}  // namespace mergen
