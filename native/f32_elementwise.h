// Elementwise float32 kernels in the compilers' vector types, LANES wide (the including file says
// how many), so that one text serves every instruction set.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "f32.h"

namespace {

using namespace mergen;

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES)));

inline Vec splat(float x) { return Vec{} + x; }

// The first `count` lanes from memory, the others `rest`.
inline Vec load(const float* from, long count, float rest = 0) {
  Vec v = splat(rest);
  if (count >= LANES) {
    std::memcpy(&v, from, sizeof v);
  } else {
    for (long i = 0; i < count; i++) v[i] = from[i];
  }
  return v;
}

inline void store(float* to, Vec v, long count) {
  if (count >= LANES) {
    std::memcpy(to, &v, sizeof v);
  } else {
    for (long i = 0; i < count; i++) to[i] = v[i];
  }
}

// exp(x) within 2 ulp; 0 below -87.33 (where the result would be subnormal), exp(88) above 88.
// Source: Cephes expf: x = n ln 2 + r, degree 5 in r.
inline Vec exponential(Vec x) {
  const Vec low = splat(-87.33f), high = splat(88.0f), magic = splat(12582912.0f);  // 1.5 * 2^23
  const auto vanishes = x < low;
  x = vanishes ? low : x;
  x = x > high ? high : x;
  const Vec n = (x * 1.44269504f + magic) - magic;
  const Vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r) * r + (r + 1.0f);
  const IntVec power = (__builtin_convertvector(n, IntVec) + 127) << 23;
  Vec scale;
  std::memcpy(&scale, &power, sizeof scale);
  return vanishes ? Vec{} : p * scale;
}

struct Gate {
  Vec value;  // the share s of x that passes: gelu(x) = s x
  Vec slope;  // ds/dx
};

// tanh form: s = 1 / (1 + exp(-z)), z = 2 sqrt(2/pi) (x + 0.044715 x^3). Hendrycks and Gimpel 2016.
inline Gate gate_tanh(Vec x) {
  const Vec square = x * x;
  const Vec e = exponential(x * (square * -0.0713548162726f - 1.59576912161f));
  const Vec s = 1.0f / (1.0f + e);
  return {s, ((e * s) * s) * (square * 0.2140644488178f + 1.59576912161f)};
}

// erf form: s = Phi(x), slope phi(x). Phi within 7.5e-8 by Abramowitz and Stegun 7.1.26.
inline Gate gate_erf(Vec x) {
  const Vec magnitude = x < 0.0f ? -x : x;
  const Vec t = 1.0f / (magnitude * 0.231641888f + 1.0f);
  const Vec e = exponential(x * x * -0.5f);
  Vec p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Vec tail = p * t * e * 0.5f;
  return {x < 0.0f ? tail : 1.0f - tail, e * 0.398942280f};
}

template <GeluForm FORM>
inline Gate gate(Vec x) {
  return FORM == GeluForm::tanh ? gate_tanh(x) : gate_erf(x);
}

template <GeluForm FORM>
void gelu_of(long count, const float* x, float* out) {
  for (long i = 0; i < count; i += LANES) {
    const Vec v = load(x + i, count - i);
    store(out + i, v * gate<FORM>(v).value, count - i);
  }
}

template <GeluForm FORM>
void gelu_gradient_of(long count, const float* x, const float* dy, float* out) {
  for (long i = 0; i < count; i += LANES) {
    const Vec v = load(x + i, count - i);
    const Gate g = gate<FORM>(v);
    store(out + i, load(dy + i, count - i) * (v * g.slope + g.value), count - i);
  }
}

void gelu(GeluForm form, long count, const float* x, float* out) {
  form == GeluForm::tanh ? gelu_of<GeluForm::tanh>(count, x, out)
                         : gelu_of<GeluForm::erf>(count, x, out);
}

void gelu_gradient(GeluForm form, long count, const float* x, const float* dy, float* out) {
  form == GeluForm::tanh ? gelu_gradient_of<GeluForm::tanh>(count, x, dy, out)
                         : gelu_gradient_of<GeluForm::erf>(count, x, dy, out);
}

// The lanes below `count`; the others become -infinity, whose exp is 0. Reads whole vectors while
// `readable` floats allow it.
inline Vec load_visible(const float* from, long count, long readable) {
  if (count >= LANES || readable < LANES) return load(from, count, -INFINITY);
  IntVec lane;
  for (int i = 0; i < LANES; i++) lane[i] = i;
  return lane < static_cast<int32_t>(count) ? load(from, LANES) : splat(-INFINITY);
}

void softmax_row(long columns, long visible, const float* x, float* out, float* log_sum) {
  Vec high = splat(-INFINITY);
  for (long i = 0; i < visible; i += LANES) {
    const Vec v = load_visible(x + i, visible - i, columns - i);
    high = v > high ? v : high;
  }
  float top = high[0];
  for (int i = 1; i < LANES; i++) top = high[i] > top ? high[i] : top;

  // Lanes beyond `visible` store the zeros that belong there.
  Vec sums{};
  long done = 0;
  for (; done < visible; done += LANES) {
    const Vec e = exponential(load_visible(x + done, visible - done, columns - done) - top);
    sums += e;
    store(out + done, e, columns - done);
  }
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += sums[i];
  const float inverse = 1.0f / sum;
  for (long i = 0; i < visible; i += LANES) {
    store(out + i, load(out + i, columns - i) * inverse, columns - i);
  }
  for (; done < columns; done++) out[done] = 0;
  if (log_sum != nullptr) *log_sum = top + std::log(sum);
}

void softmax(const SoftmaxF32& s) {
  for (long row = 0; row < s.rows; row++) {
    const long hidden = s.causal_rows > 0 ? s.causal_rows - 1 - row % s.causal_rows : 0;
    softmax_row(s.columns, s.columns - hidden, s.x + row * s.columns, s.out + row * s.columns,
                s.log_sums == nullptr ? nullptr : s.log_sums + row);
  }
}

void adamw(const AdamwF32& s) {
  for (long i = 0; i < s.count; i += LANES) {
    const long left = s.count - i;
    const Vec g = load(s.gradients + i, left) * s.gradient_scale;
    const Vec m1 = load(s.m1 + i, left) * s.beta1 + g * (1.0f - s.beta1);
    const Vec m2 = load(s.m2 + i, left) * s.beta2 + (g * g) * (1.0f - s.beta2);
    Vec root;
    for (int lane = 0; lane < LANES; lane++) root[lane] = __builtin_sqrtf(m2[lane]);
    const Vec w = load(s.weights + i, left) * (1.0f - s.decay);
    store(s.m1 + i, m1, left);
    store(s.m2 + i, m2, left);
    store(s.weights + i, w - s.step_size * m1 / (root * s.root_scale + s.epsilon), left);
  }
}

}  // namespace
