// The Node-API module. It exports one object for each instruction set that this processor has, best
// first, and each holds the kernels by name: addon.avx512.gemmF32(...). To add kernels: a table in
// `Isa` (call.h), and a callback and a row each in addon_f32.cc or one of its siblings.
//
// Safe in worker threads: the module is context-aware (napi_register_module_v1) and holds no
// mutable state besides the kernels' thread_local scratch and helper threads.
#include <initializer_list>
#include <new>

#include "call.h"
#include "threads.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

using namespace mergen;

#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

// Compilers do not agree on a name for VAES, so the processor is asked itself.
bool has_vaes() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & 1u << 9) != 0;
}

const TreeKernels* tree_aes_beside_avx2() {
  return __builtin_cpu_supports("aes") ? &tree_aesni : nullptr;
}

const TreeKernels* tree_aes_beside_avx512() {
  return has_vaes() ? &tree_vaes : tree_aes_beside_avx2();
}

Limit limit_aes_beside_avx2() {
  return __builtin_cpu_supports("aes") ? aes_rounds_aesni : nullptr;
}

Limit limit_aes_beside_avx512() { return has_vaes() ? aes_rounds_vaes : limit_aes_beside_avx2(); }

// Every processor with AVX2 that was ever made has it, but nothing says that all must.
const KernelsCrc* crc_beside_avx2() {
  return __builtin_cpu_supports("sse4.2") ? &crc_sse42 : &crc_portable;
}

const Isa avx512 = {"avx512",     &f32_avx512,     &ring_avx512,
                    &tree_avx512, &product_avx512, crc_beside_avx2(),
                    &limits_avx512, tree_aes_beside_avx512(), limit_aes_beside_avx512()};
const Isa avx2 = {"avx2",     &f32_avx2,     &ring_avx2,
                  &tree_avx2, &product_avx2, crc_beside_avx2(),
                  &limits_avx2, tree_aes_beside_avx2(), limit_aes_beside_avx2()};
#endif
const Isa portable = {"portable",     &f32_portable,     &ring_portable,
                      &tree_portable, &product_portable, &crc_portable,
                      &limits_portable, nullptr, nullptr};

bool add_functions(napi_env env, napi_value object, const Isa& isa, const Functions& functions) {
  for (unsigned long i = 0; i < functions.count; i++) {
    const Function& entry = functions.rows[i];
    napi_value function;
    if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.call,
                             const_cast<Isa*>(&isa), &function) != 0 ||
        napi_set_named_property(env, object, entry.name, function) != 0) {
      return false;
    }
  }
  return true;
}

bool export_isa(napi_env env, napi_value exports, const Isa& isa) {
  napi_value object;
  if (napi_create_object(env, &object) != 0) return false;
  for (const Functions* list :
       {&f32_functions, &ring_functions, &tree_functions, &product_functions, &crc_functions,
        &limits_functions, &piecewise_functions}) {
    if (!add_functions(env, object, isa, *list)) return false;
  }
  if (isa.tree_aes != nullptr && !add_functions(env, object, isa, tree_aes_functions)) return false;
  return napi_set_named_property(env, exports, isa.name, object) == 0;
}

#if defined(__x86_64__)
// AMX serves the products; all else is as with AVX-512.
Isa beside_amx(const Isa& avx512) {
  Isa isa = avx512;
  isa.name = "amx";
  isa.product = &product_amx;
  isa.limits = &limits_amx;
  return isa;
}

const Isa amx = beside_amx(avx512);
#endif

// Helper threads end with the environment that they serve. The argument of a hook must be new each
// time, should an environment load the module twice.
bool close_threads_with(napi_env env) {
  char* const unique = new (std::nothrow) char;
  const auto close = [](void* argument) {
    close_threads();
    delete static_cast<char*>(argument);
  };
  return unique != nullptr && napi_add_env_cleanup_hook(env, close, unique) == 0;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int32_t node_api_module_get_api_version_v1() { return 8; }

__attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env,
                                                                          napi_value exports) {
  bool done = close_threads_with(env);
#if defined(__x86_64__)
  if (has_avx512() && enable_amx()) done = done && export_isa(env, exports, amx);
  if (has_avx512()) done = done && export_isa(env, exports, avx512);
  if (has_avx2()) done = done && export_isa(env, exports, avx2);
#endif
  done = done && export_isa(env, exports, portable);
  if (done) return exports;
  napi_throw_error(env, "E_KERNEL", "the native kernels cannot be exported");
  return nullptr;
}
}
