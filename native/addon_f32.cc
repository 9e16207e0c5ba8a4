// The float32 kernels as JavaScript sees them.
#include "call.h"

namespace {

using namespace mergen;

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

// mixHeadsF32(heads, rows, columns, coefficients, x, out, accumulate): heads divide columns.
napi_value mix_heads_f32(napi_env env, napi_callback_info info) {
  Call call(env, info, 7);
  const uint64_t heads = call.size(0), rows = call.size(1), columns = call.size(2);
  if (heads == 0 || columns % heads != 0) call.fail("mixHeadsF32: heads do not divide columns");
  const float* coefficients = call.floats(3, heads * rows);
  const float* x = call.floats(4, rows * columns);
  float* out = call.floats(5, columns);
  const bool accumulate = call.size(6) != 0;
  if (!call.ok()) return nullptr;
  call.isa().f32->mix_heads({static_cast<long>(heads), static_cast<long>(rows),
                             static_cast<long>(columns), coefficients, x, out, accumulate});
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

const Function rows[] = {
    {"gemmF32", gemm_f32}, {"mixHeadsF32", mix_heads_f32},
    {"geluF32", gelu_f32}, {"geluGradientF32", gelu_gradient_f32},
    {"softmaxF32", softmax_f32}, {"adamwF32", adamw_f32},
};

}  // namespace

const mergen::Functions mergen::f32_functions = {rows, sizeof(rows) / sizeof(rows[0])};
