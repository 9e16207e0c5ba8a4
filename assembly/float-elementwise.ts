// Elementwise float32 kernels in WASM SIMD: the same arithmetic as native/f32_elementwise.h, where
// the sources of the approximations are named. Counts are rounded up to whole vectors: the host
// leaves 16 readable and writable bytes behind every array, and no array is another's tail.

// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(c, f32x4.mul(a, b));
}

/** Places in the table of constants. */
const enum At {
  expLow,
  expHigh,
  magic,
  log2E,
  ln2High,
  ln2Low,
  exp5,
  exp4,
  exp3,
  exp2,
  exp1,
  exp0,
  tanh3,
  tanh1,
  slope2,
  slope0,
  erfT,
  erf5,
  erf4,
  erf3,
  erf2,
  erf1,
  density,
  half,
  minusHalf,
  one,
}

// Read from memory on purpose: engines rebuild a splatted literal in several instructions each time
// round the loop (3.2 ns an element for gelu, against 1.0 this way; V8 13.6).
const table: usize = memory.data<f32>([
  -87.33,            // expLow
  88.0,              // expHigh
  12582912.0,        // magic
  1.44269504,        // log2E
  -0.693359375,      // ln2High
  2.12194440e-4,     // ln2Low
  1.9875691500e-4,   // exp5
  1.3981999507e-3,   // exp4
  8.3334519073e-3,   // exp3
  4.1665795894e-2,   // exp2
  1.6666665459e-1,   // exp1
  5.0000001201e-1,   // exp0
  -0.0713548162726,  // tanh3
  -1.59576912161,    // tanh1
  0.2140644488178,   // slope2
  1.59576912161,     // slope0
  0.231641888,       // erfT
  1.061405429,       // erf5
  -1.453152027,      // erf4
  1.421413741,       // erf3
  -0.284496736,      // erf2
  0.254829592,       // erf1
  0.398942280,       // density
  0.5,               // half
  -0.5,              // minusHalf
  1,                 // one
]);

// @ts-ignore: decorator
@inline
function constant(at: At): v128 {
  return v128.load32_splat(table + 4 * at);
}

// @ts-ignore: decorator
@inline
function number(x: f32): v128 {
  return f32x4.splat(x);
}

/** exp(x) within 2 ulp; 0 below -87.33, exp(88) above 88. */
// @ts-ignore: decorator
@inline
function exponential(x: v128): v128 {
  const low = constant(At.expLow), magic = constant(At.magic);
  const vanishes = f32x4.lt(x, low);
  x = f32x4.pmin(f32x4.pmax(x, low), constant(At.expHigh));
  // Adding the magic number leaves the integer n in the low bits, ready to become an exponent.
  const shifted = madd(x, constant(At.log2E), magic);
  const n = f32x4.sub(shifted, magic);
  const r = madd(n, constant(At.ln2Low), madd(n, constant(At.ln2High), x));
  let p = madd(r, constant(At.exp5), constant(At.exp4));
  p = madd(p, r, constant(At.exp3));
  p = madd(p, r, constant(At.exp2));
  p = madd(p, r, constant(At.exp1));
  p = madd(p, r, constant(At.exp0));
  p = madd(f32x4.mul(p, r), r, f32x4.add(r, constant(At.one)));
  const power = i32x4.shl(i32x4.add(shifted, i32x4.splat(127)), 23);
  return v128.andnot(f32x4.mul(p, power), vanishes);
}

// The gate s of gelu(x) = s x, and its slope ds/dx, for each form.

// @ts-ignore: decorator
@inline
function tanhExponential(x: v128): v128 {
  const slope = madd(f32x4.mul(x, x), constant(At.tanh3), constant(At.tanh1));
  return exponential(f32x4.mul(x, slope));
}

// @ts-ignore: decorator
@inline
function tanhGate(e: v128): v128 {
  return f32x4.div(constant(At.one), f32x4.add(constant(At.one), e));
}

// @ts-ignore: decorator
@inline
function tanhSlope(x: v128, e: v128, s: v128): v128 {
  const inner = madd(f32x4.mul(x, x), constant(At.slope2), constant(At.slope0));
  return f32x4.mul(f32x4.mul(f32x4.mul(e, s), s), inner);
}

// @ts-ignore: decorator
@inline
function erfExponential(x: v128): v128 {
  return exponential(f32x4.mul(f32x4.mul(x, x), constant(At.minusHalf)));
}

// @ts-ignore: decorator
@inline
function erfGate(x: v128, e: v128): v128 {
  const t = f32x4.div(constant(At.one), madd(f32x4.abs(x), constant(At.erfT), constant(At.one)));
  let p = madd(t, constant(At.erf5), constant(At.erf4));
  p = madd(p, t, constant(At.erf3));
  p = madd(p, t, constant(At.erf2));
  p = madd(p, t, constant(At.erf1));
  const tail = f32x4.mul(f32x4.mul(f32x4.mul(p, t), e), constant(At.half));
  return v128.bitselect(tail, f32x4.sub(constant(At.one), tail), f32x4.lt(x, number(0)));
}

/** out = GELU(x); form 0 is tanh, 1 is erf. */
export function gelu(form: i32, count: i32, x: usize, out: usize): void {
  for (let i = 0; i < count; i += 4, x += 16, out += 16) {
    const v = v128.load(x);
    const s = form == 0 ? tanhGate(tanhExponential(v)) : erfGate(v, erfExponential(v));
    v128.store(out, f32x4.mul(v, s));
  }
}

/** out = dy GELU'(x). */
export function geluGradient(form: i32, count: i32, x: usize, dy: usize, out: usize): void {
  for (let i = 0; i < count; i += 4, x += 16, dy += 16, out += 16) {
    const v = v128.load(x);
    let s: v128, slope: v128;
    if (form == 0) {
      const e = tanhExponential(v);
      s = tanhGate(e);
      slope = tanhSlope(v, e, s);
    } else {
      const e = erfExponential(v);
      s = erfGate(v, e);
      slope = f32x4.mul(e, constant(At.density));
    }
    v128.store(out, f32x4.mul(v128.load(dy), madd(v, slope, s)));
  }
}

/** Four floats, those at `count` and beyond replaced by -infinity. */
// @ts-ignore: decorator
@inline
function loadVisible(from: usize, count: i32): v128 {
  if (count >= 4) return v128.load(from);
  const inside = i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(count));
  return v128.bitselect(v128.load(from), number(-Infinity), inside);
}

/**
 * Softmax of one row. A vector that passes the row's end writes into the next row of out, which is
 * written afterwards; so out must not be x.
 */
function softmaxRow(columns: i32, visible: i32, x: usize, out: usize): f32 {
  let high = number(-Infinity);
  for (let i = 0; i < visible; i += 4) {
    high = f32x4.pmax(high, loadVisible(x + 4 * i, visible - i));
  }
  const top = max(
    max(f32x4.extract_lane(high, 0), f32x4.extract_lane(high, 1)),
    max(f32x4.extract_lane(high, 2), f32x4.extract_lane(high, 3)),
  );
  let sums = number(0);
  for (let i = 0; i < visible; i += 4) {
    const e = exponential(f32x4.sub(loadVisible(x + 4 * i, visible - i), number(top)));
    sums = f32x4.add(sums, e);
    v128.store(out + 4 * i, e);
  }
  const sum = f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1) +
    f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3);
  const inverse = number(1 / sum);
  for (let i = 0; i < visible; i += 4) {
    v128.store(out + 4 * i, f32x4.mul(v128.load(out + 4 * i), inverse));
  }
  if (visible < columns) memory.fill(out + 4 * visible, 0, 4 * (columns - visible));
  return top + Mathf.log(sum);
}

/** As FloatKernels.softmax, for rows firstRow .. firstRow + rows - 1 of the whole. */
export function softmax(
  rows: i32, columns: i32, causalRows: i32, firstRow: i32, x: usize, out: usize, logSums: usize,
): void {
  for (let row = 0; row < rows; row++) {
    const hidden = causalRows > 0 ? causalRows - 1 - (firstRow + row) % causalRows : 0;
    const logSum = softmaxRow(columns, columns - hidden, x, out);
    store<f32>(logSums + 4 * row, logSum);
    x += 4 * columns;
    out += 4 * columns;
  }
}

/** As adamw in native/f32.h. */
export function adamw(
  count: i32, weights: usize, gradients: usize, m1: usize, m2: usize, beta1: f32, beta2: f32,
  stepSize: f32, rootScale: f32, epsilon: f32, decay: f32, gradientScale: f32,
): void {
  for (let i = 0; i < 4 * count; i += 16) {
    const g = f32x4.mul(v128.load(gradients + i), number(gradientScale));
    const first = madd(v128.load(m1 + i), number(beta1), f32x4.mul(g, number(1 - beta1)));
    const square = f32x4.mul(f32x4.mul(g, g), number(1 - beta2));
    const second = madd(v128.load(m2 + i), number(beta2), square);
    const root = madd(f32x4.sqrt(second), number(rootScale), number(epsilon));
    const shrunk = f32x4.mul(v128.load(weights + i), number(1 - decay));
    const move = f32x4.div(f32x4.mul(first, number(stepSize)), root);
    v128.store(m1 + i, first);
    v128.store(m2 + i, second);
    v128.store(weights + i, f32x4.sub(shrunk, move));
  }
}
