// What the float32 files offer to addon.cc: one table for each instruction set, same contracts.
// Sizes are checked by the caller. In the elementwise kernels out may be an operand itself.
#pragma once

namespace mergen {

// out [m, n] = (accumulate ? out : 0) + op(a) op(b); op(a) is [m, k], op(b) is [k, n], row-major.
// transpose_a: a is stored [k, m]. transpose_b: b is stored [n, k].
struct GemmF32 {
  long m, n, k;
  const float* a;
  const float* b;
  float* out;
  bool transpose_a, transpose_b, accumulate;
};

// out [columns] = (accumulate ? out : 0) + for each head its coefficients [rows] times its columns
// of x [rows, columns]: one row of constant attention, coefficients [heads, rows].
struct MixHeadsF32 {
  long heads, rows, columns;
  const float* coefficients;
  const float* x;
  float* out;
  bool accumulate;
};

enum class GeluForm { tanh, erf };

// Softmax of each row of x [rows, columns]; log_sums[row] = log(sum(exp(x))) unless null. With
// causal_rows > 0, row r sees columns 0 .. columns - causal_rows + r % causal_rows only.
struct SoftmaxF32 {
  long rows, columns, causal_rows;
  const float* x;
  float* out;
  float* log_sums;
};

// One AdamW step: m1 and m2 are the moments; the caller folds the bias corrections into
// step_size = rate / (1 - beta1^t) and root_scale = 1 / sqrt(1 - beta2^t).
struct AdamwF32 {
  long count;
  float* weights;
  const float* gradients;
  float* m1;
  float* m2;
  float beta1, beta2, step_size, root_scale, epsilon, decay, gradient_scale;
};

struct KernelsF32 {
  bool (*gemm)(const GemmF32&);  // false: no scratch memory, out untouched
  void (*mix_heads)(const MixHeadsF32&);
  void (*gelu)(GeluForm, long count, const float* x, float* out);
  void (*gelu_gradient)(GeluForm, long count, const float* x, const float* dy, float* out);
  void (*softmax)(const SoftmaxF32&);
  void (*adamw)(const AdamwF32&);
};

extern const KernelsF32 f32_avx512;
extern const KernelsF32 f32_avx2;
extern const KernelsF32 f32_portable;

}  // namespace mergen
