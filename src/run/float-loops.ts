// Loops over float32 data behind the graph's elementwise and row-wise ops, forward and backward.
// Written flat, since these are what is left of a training step once the matrix products are fast.

const LOG2_E = Math.LOG2E;
const powersOfTwo = new Float64Array(512).map((_, index) => 2 ** (index - 256));

/**
 * e^x to a relative 1e-8; 0 below -150, and saturating above 150. Math.exp is a call of 8 ns;
 * this inlines to about 2 ns, and softmax over a vocabulary is one exp per logit.
 */
export function fastExp(x: number): number {
  if (x < -150) return 0;
  const t = (x < 150 ? x : 150) * LOG2_E;
  const whole = Math.floor(t + 0.5);
  const f = t - whole;
  const high =
    f * (0.009618129107628477 + f * (0.0013333558146428443 + f * 0.00015403530393381609));
  const low = f * (0.24022650695910072 + f * (0.05550410866482158 + high));
  const tail = f * f * f * f * f * f * f * 1.5252733804059838e-5;
  return (1 + f * (Math.LN2 + low) + tail) * powersOfTwo[whole + 256];
}

export function tanh(x: number): number {
  return 1 - 2 / (1 + fastExp(2 * x));
}

/** Error function to 1.2e-7 (Press et al., Numerical Recipes, 2nd ed., §6.2, erfcc). */
export function erf(x: number): number {
  const z = Math.abs(x);
  const t = 1 / (1 + 0.5 * z);
  const series =
    -1.26551223 +
    t *
      (1.00002368 +
        t *
          (0.37409196 +
            t *
              (0.09678418 +
                t *
                  (-0.18628806 +
                    t *
                      (0.27886807 +
                        t *
                          (-1.13520398 +
                            t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  const complement = t * Math.exp(-z * z + series);
  return x >= 0 ? 1 - complement : complement - 1;
}

type Floats = Float32Array;

export function add(a: Floats, b: Floats, out: Floats): void {
  const { length } = out;
  const period = b.length;
  for (let base = 0; base < length; base += period) {
    for (let i = 0; i < period; i++) out[base + i] = a[base + i] + b[i];
  }
}

export function mul(a: Floats, b: Floats, out: Floats): void {
  const { length } = out;
  const period = b.length;
  for (let base = 0; base < length; base += period) {
    for (let i = 0; i < period; i++) out[base + i] = a[base + i] * b[i];
  }
}

/** out += a, where out's length divides a's: the gradient of a broadcast. */
export function addFolded(a: Floats, out: Floats): void {
  const { length } = a;
  const period = out.length;
  for (let base = 0; base < length; base += period) {
    for (let i = 0; i < period; i++) out[i] = out[i] + a[base + i];
  }
}

/** out += a * b, folded likewise. */
export function addProductFolded(a: Floats, b: Floats, out: Floats): void {
  const { length } = a;
  const period = out.length;
  for (let base = 0; base < length; base += period) {
    for (let i = 0; i < period; i++) out[i] = out[i] + a[base + i] * b[base + i];
  }
}

/** Repeats a row of `row.length` through out. */
export function fillRows(row: Floats, out: Floats): void {
  out.set(row);
  for (let done = row.length; done < out.length; done *= 2) {
    out.copyWithin(done, 0, Math.min(done, out.length - done));
  }
}

export function quad(x: Floats, c: readonly [number, number, number], out: Floats): void {
  const [c2, c1, c0] = c;
  for (let i = 0; i < out.length; i++) {
    const value = x[i];
    out[i] = (c2 * value + c1) * value + c0;
  }
}

/** dx = dy (2 c2 x + c1); dx may be dy. */
export function quadBackward(x: Floats, c: readonly [number, number, number], dy: Floats): void {
  const slope = 2 * c[0];
  const c1 = c[1];
  for (let i = 0; i < dy.length; i++) dy[i] = dy[i] * (slope * x[i] + c1);
}

const GELU_A = Math.sqrt(2 / Math.PI);
const GELU_B = 0.044715;

export function gelu(x: Floats, form: "tanh" | "erf", out: Floats): void {
  if (form === "erf") {
    for (let i = 0; i < out.length; i++) out[i] = 0.5 * x[i] * (1 + erf(x[i] * Math.SQRT1_2));
    return;
  }
  for (let i = 0; i < out.length; i++) {
    const v = x[i];
    out[i] = 0.5 * v * (1 + tanh(GELU_A * v * (1 + GELU_B * v * v)));
  }
}

/** Turns dy into dx in place. */
export function geluBackward(x: Floats, form: "tanh" | "erf", dy: Floats): void {
  if (form === "erf") {
    const density = 1 / Math.sqrt(2 * Math.PI);
    for (let i = 0; i < dy.length; i++) {
      const v = x[i];
      const slope = 0.5 * (1 + erf(v * Math.SQRT1_2)) + v * density * Math.exp(-0.5 * v * v);
      dy[i] = dy[i] * slope;
    }
    return;
  }
  for (let i = 0; i < dy.length; i++) {
    const v = x[i];
    const t = tanh(GELU_A * v * (1 + GELU_B * v * v));
    const slope = 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * GELU_A * (1 + 3 * GELU_B * v * v);
    dy[i] = dy[i] * slope;
  }
}

/** Row-wise normalisation; `inverse` receives 1 / sqrt(variance + eps) per row. */
export function layerNorm(
  x: Floats,
  options: { columns: number; eps: number },
  out: Floats,
  inverse: Floats,
): void {
  const { columns, eps } = options;
  for (let row = 0, base = 0; base < out.length; row++, base += columns) {
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += x[base + i];
    const mean = sum / columns;
    let squares = 0;
    for (let i = 0; i < columns; i++) {
      const centred = x[base + i] - mean;
      squares += centred * centred;
    }
    const scale = 1 / Math.sqrt(squares / columns + eps);
    inverse[row] = scale;
    for (let i = 0; i < columns; i++) out[base + i] = (x[base + i] - mean) * scale;
  }
}

/** Turns dy into dx in place; y is the forward result. */
export function layerNormBackward(y: Floats, inverse: Floats, columns: number, dy: Floats): void {
  for (let row = 0, base = 0; base < dy.length; row++, base += columns) {
    let sum = 0;
    let product = 0;
    for (let i = 0; i < columns; i++) {
      const g = dy[base + i];
      sum += g;
      product += g * y[base + i];
    }
    const mean = sum / columns;
    const slope = product / columns;
    const scale = inverse[row];
    for (let i = 0; i < columns; i++) {
      dy[base + i] = (dy[base + i] - mean - y[base + i] * slope) * scale;
    }
  }
}

/** Row i of each block of `rows` sees columns 0..columns-rows+i; the others get 0. */
export function causalSoftmax(
  x: Floats,
  { rows, columns }: { rows: number; columns: number },
  out: Floats,
): void {
  for (let base = 0, row = 0; base < out.length; base += columns, row = (row + 1) % rows) {
    const seen = columns - rows + row + 1;
    let top = x[base];
    for (let i = 1; i < seen; i++) if (x[base + i] > top) top = x[base + i];
    let sum = 0;
    for (let i = 0; i < seen; i++) {
      const e = fastExp(x[base + i] - top);
      out[base + i] = e;
      sum += e;
    }
    const scale = 1 / sum;
    for (let i = 0; i < seen; i++) out[base + i] = out[base + i] * scale;
    for (let i = seen; i < columns; i++) out[base + i] = 0;
  }
}

/** Turns dy into dx in place; y is the forward result, 0 outside the mask. */
export function softmaxBackward(y: Floats, columns: number, dy: Floats): void {
  for (let base = 0; base < dy.length; base += columns) {
    let product = 0;
    for (let i = 0; i < columns; i++) product += dy[base + i] * y[base + i];
    for (let i = 0; i < columns; i++) dy[base + i] = y[base + i] * (dy[base + i] - product);
  }
}

/**
 * Weighted mean cross entropy. `slopes` receives, per logit, the derivative of the result: rows of
 * weight 0 are skipped and get zeros.
 */
export function crossEntropy(
  logits: Floats,
  targets: Int32Array,
  options: { weights: Floats; smoothing: number; columns: number },
  slopes: Floats,
): number {
  const { weights, smoothing, columns } = options;
  let total = 0;
  for (let row = 0; row < weights.length; row++) total += weights[row];
  const spread = smoothing / columns;
  let loss = 0;
  for (let row = 0, base = 0; row < weights.length; row++, base += columns) {
    const weight = weights[row] / (total || 1);
    if (weight === 0) {
      slopes.fill(0, base, base + columns);
      continue;
    }
    let top = logits[base];
    let sumLogits = 0;
    for (let i = 0; i < columns; i++) {
      const value = logits[base + i];
      if (value > top) top = value;
      sumLogits += value;
    }
    let sum = 0;
    for (let i = 0; i < columns; i++) {
      const e = fastExp(logits[base + i] - top);
      slopes[base + i] = e;
      sum += e;
    }
    const target = base + targets[row];
    const logSum = top + Math.log(sum);
    loss += weight * (logSum - (1 - smoothing) * logits[target] - spread * sumLogits);
    const scale = weight / sum;
    const offset = weight * spread;
    for (let i = 0; i < columns; i++) slopes[base + i] = slopes[base + i] * scale - offset;
    slopes[target] = slopes[target] - weight * (1 - smoothing);
  }
  return loss;
}

/** Weighted mean of 1 - cos(a, b) over rows. */
export function cosineLoss(
  a: Floats,
  b: Floats,
  { weights, columns }: { weights: Floats; columns: number },
): number {
  let total = 0;
  let loss = 0;
  for (let row = 0, base = 0; row < weights.length; row++, base += columns) {
    total += weights[row];
    if (weights[row] === 0) continue;
    const { ab, aa, bb } = rowProducts(a, b, base, columns);
    loss += weights[row] * (1 - ab / Math.sqrt(aa * bb + 1e-16));
  }
  return loss / (total || 1);
}

/** Adds scale times the gradient with respect to a (swap a and b for the other one). */
export function cosineLossBackward(
  a: Floats,
  b: Floats,
  { weights, columns, scale }: { weights: Floats; columns: number; scale: number },
  da: Floats,
): void {
  let total = 0;
  for (let row = 0; row < weights.length; row++) total += weights[row];
  for (let row = 0, base = 0; row < weights.length; row++, base += columns) {
    if (weights[row] === 0) continue;
    const { ab, aa, bb } = rowProducts(a, b, base, columns);
    const inverse = 1 / Math.sqrt(aa * bb + 1e-16);
    const common = (-scale * weights[row] * inverse) / (total || 1);
    const own = common * ab * inverse * inverse * bb;
    for (let i = 0; i < columns; i++) {
      da[base + i] = da[base + i] + common * b[base + i] - own * a[base + i];
    }
  }
}

function rowProducts(a: Floats, b: Floats, base: number, columns: number) {
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let i = base; i < base + columns; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return { ab, aa, bb };
}
