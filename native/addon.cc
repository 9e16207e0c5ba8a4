// The Node-API module. It exports one object for each instruction set that this processor has, best
// first, and each holds the kernels by name: addon.avx512.gemmF32(...). To add kernels: a table in
// `Isa`, a callback each, a row each in `functions`.
//
// Safe in worker threads: the module is context-aware (napi_register_module_v1) and holds no
// mutable state besides the kernels' thread_local scratch. Views are read in place, also those over
// a SharedArrayBuffer; sizes are checked again here, so that no caller can reach outside them.
#include "f32.h"
#include "napi_min.h"

namespace {

using namespace mergen;

struct Isa {
  const char* name;
  const KernelsF32* f32;
};

#if defined(__x86_64__)
const Isa avx512 = {"avx512", &f32_avx512};
const Isa avx2 = {"avx2", &f32_avx2};

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
const Isa portable = {"portable", &f32_portable};

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

  // A Float32Array of at least `count` elements.
  float* floats(int index, uint64_t count) {
    return static_cast<float*>(view(index, napi_float32_array, count));
  }

 private:
  static constexpr size_t MAX_ARGUMENTS = 16;

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

// gemmF32(m, n, k, a, b, out, flags): flags 1 transposes a, 2 transposes b, 4 accumulates.
napi_value gemm_f32(napi_env env, napi_callback_info info) {
  Call call(env, info, 7);
  const uint64_t m = call.size(0), n = call.size(1), k = call.size(2);
  const float* a = call.floats(3, m * k);
  const float* b = call.floats(4, k * n);
  float* out = call.floats(5, m * n);
  const uint32_t flags = call.size(6);
  if (!call.ok()) return nullptr;
  const GemmF32 args = {static_cast<long>(m), static_cast<long>(n), static_cast<long>(k), a, b, out,
                        (flags & 1) != 0,     (flags & 2) != 0,     (flags & 4) != 0};
  if (!call.isa().f32->gemm(args)) call.fail("out of memory in gemmF32");
  return nullptr;
}

GeluForm gelu_form(uint32_t value) { return value == 0 ? GeluForm::tanh : GeluForm::erf; }

// geluF32(form, count, x, out): form 0 is tanh, 1 is erf.
napi_value gelu_f32(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  const GeluForm form = gelu_form(call.size(0));
  const uint32_t count = call.size(1);
  const float* x = call.floats(2, count);
  float* out = call.floats(3, count);
  if (call.ok()) call.isa().f32->gelu(form, count, x, out);
  return nullptr;
}

// geluGradientF32(form, count, x, dy, out)
napi_value gelu_gradient_f32(napi_env env, napi_callback_info info) {
  Call call(env, info, 5);
  const GeluForm form = gelu_form(call.size(0));
  const uint32_t count = call.size(1);
  const float* x = call.floats(2, count);
  const float* dy = call.floats(3, count);
  float* out = call.floats(4, count);
  if (call.ok()) call.isa().f32->gelu_gradient(form, count, x, dy, out);
  return nullptr;
}

// softmaxF32(rows, columns, causalRows, x, out, logSums, wantsSums): logSums is written only if
// wantsSums is 1.
napi_value softmax_f32(napi_env env, napi_callback_info info) {
  Call call(env, info, 7);
  const uint64_t rows = call.size(0), columns = call.size(1), causal_rows = call.size(2);
  if (causal_rows > columns) call.fail("softmaxF32 got more causal rows than columns");
  const float* x = call.floats(3, rows * columns);
  float* out = call.floats(4, rows * columns);
  const bool wants_sums = call.size(6) != 0;
  float* log_sums = call.floats(5, wants_sums ? rows : 0);
  if (!call.ok()) return nullptr;
  call.isa().f32->softmax({static_cast<long>(rows), static_cast<long>(columns),
                           static_cast<long>(causal_rows), x, out,
                           wants_sums ? log_sums : nullptr});
  return nullptr;
}

// adamwF32(count, weights, gradients, m1, m2, beta1, beta2, stepSize, rootScale, epsilon, decay,
//          gradientScale)
napi_value adamw_f32(napi_env env, napi_callback_info info) {
  Call call(env, info, 12);
  const uint32_t count = call.size(0);
  float* weights = call.floats(1, count);
  const float* gradients = call.floats(2, count);
  float* m1 = call.floats(3, count);
  float* m2 = call.floats(4, count);
  const AdamwF32 args = {count,          weights,        gradients,      m1,
                         m2,             call.number(5), call.number(6), call.number(7),
                         call.number(8), call.number(9), call.number(10), call.number(11)};
  if (call.ok()) call.isa().f32->adamw(args);
  return nullptr;
}

const struct {
  const char* name;
  napi_callback call;
} functions[] = {
    {"gemmF32", gemm_f32},       {"geluF32", gelu_f32},   {"geluGradientF32", gelu_gradient_f32},
    {"softmaxF32", softmax_f32}, {"adamwF32", adamw_f32},
};

bool export_isa(napi_env env, napi_value exports, const Isa& isa) {
  napi_value object;
  if (napi_create_object(env, &object) != 0) return false;
  for (const auto& entry : functions) {
    napi_value function;
    if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.call,
                             const_cast<Isa*>(&isa), &function) != 0 ||
        napi_set_named_property(env, object, entry.name, function) != 0) {
      return false;
    }
  }
  return napi_set_named_property(env, exports, isa.name, object) == 0;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int32_t node_api_module_get_api_version_v1() { return 8; }

__attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env,
                                                                          napi_value exports) {
  bool done = true;
#if defined(__x86_64__)
  if (has_avx512()) done = done && export_isa(env, exports, avx512);
  if (has_avx2()) done = done && export_isa(env, exports, avx2);
#endif
  done = done && export_isa(env, exports, portable);
  if (done) return exports;
  napi_throw_error(env, "E_KERNEL", "the native kernels cannot be exported");
  return nullptr;
}
}
