// Loops over float32 data behind the graph's elementwise and row-wise ops, forward and backward,
// as far as no kernel does them.
// Written flat, since these are what is left of a training step once the matrix products are fast.

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

export function silu(x: Floats, out: Floats): void {
  for (let i = 0; i < out.length; i++) out[i] = x[i] / (1 + Math.exp(-x[i]));
}

/** dx = dy s (1 + x (1 - s)) with s = sigmoid(x); dx may be dy. */
export function siluBackward(x: Floats, dy: Floats): void {
  for (let i = 0; i < dy.length; i++) {
    const s = 1 / (1 + Math.exp(-x[i]));
    dy[i] = dy[i] * s * (1 + x[i] * (1 - s));
  }
}

/** Each block of `size` numbers `times` times in a row. */
export function repeatBlocks(
  x: Floats,
  { size, times }: { size: number; times: number },
  out: Floats,
): void {
  for (let target = 0, block = 0; target < out.length; target += size, block++) {
    const source = Math.floor(block / times) * size;
    for (let i = 0; i < size; i++) out[target + i] = x[source + i];
  }
}

/** dx += the sums of repeated blocks of dy. */
export function addRepeatedBlocks(
  dy: Floats,
  { size, times }: { size: number; times: number },
  dx: Floats,
): void {
  for (let source = 0, block = 0; source < dy.length; source += size, block++) {
    const target = Math.floor(block / times) * size;
    for (let i = 0; i < size; i++) dx[target + i] = dx[target + i] + dy[source + i];
  }
}

/** Rows by the root of their mean square; `inverse` receives 1 / sqrt(mean square + eps). */
export function rmsNorm(
  x: Floats,
  options: { columns: number; eps: number },
  out: Floats,
  inverse: Floats,
): void {
  const { columns, eps } = options;
  for (let row = 0, base = 0; base < out.length; row++, base += columns) {
    let squares = 0;
    for (let i = base; i < base + columns; i++) squares += x[i] * x[i];
    const scale = 1 / Math.sqrt(squares / columns + eps);
    inverse[row] = scale;
    for (let i = base; i < base + columns; i++) out[i] = x[i] * scale;
  }
}

/** Turns dy into dx in place; y is the forward result. */
export function rmsNormBackward(y: Floats, inverse: Floats, columns: number, dy: Floats): void {
  for (let row = 0, base = 0; base < dy.length; row++, base += columns) {
    let product = 0;
    for (let i = base; i < base + columns; i++) product += dy[i] * y[i];
    const slope = product / columns;
    const scale = inverse[row];
    for (let i = base; i < base + columns; i++) dy[i] = (dy[i] - y[i] * slope) * scale;
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

/** Normalises each column by statistics that are given. */
export function batchNorm(
  x: Floats,
  { mean, variance, eps }: { mean: Floats; variance: Floats; eps: number },
  out: Floats,
): void {
  const columns = mean.length;
  for (let base = 0; base < out.length; base += columns) {
    for (let i = 0; i < columns; i++) {
      out[base + i] = (x[base + i] - mean[i]) / Math.sqrt(variance[i] + eps);
    }
  }
}

/** Adds to the gradients of the statistics that are wanted; turns dy into dx in place. */
export function batchNormBackward(
  y: Floats,
  { variance, eps }: { variance: Floats; eps: number },
  { dMean, dVariance }: { dMean: Floats | undefined; dVariance: Floats | undefined },
  dy: Floats,
): void {
  const columns = variance.length;
  for (let base = 0; base < dy.length; base += columns) {
    for (let i = 0; i < columns; i++) {
      const inverse = 1 / Math.sqrt(variance[i] + eps);
      const slope = dy[base + i] * inverse;
      if (dMean) dMean[i] -= slope;
      if (dVariance) dVariance[i] -= 0.5 * slope * inverse * y[base + i];
      dy[base + i] = slope;
    }
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
 * Weighted mean cross entropy, from the logits, their softmax and the logarithms of its sums. Turns
 * the softmax into the derivative of the result; rows of weight 0 get zeros.
 */
export function crossEntropy(
  logits: Floats,
  targets: Int32Array,
  options: { weights: Floats; smoothing: number; columns: number; logSums: Floats },
  slopes: Floats,
): number {
  const { weights, smoothing, columns, logSums } = options;
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
    const target = base + targets[row];
    loss += weight * (logSums[row] - (1 - smoothing) * logits[target]);
    if (spread > 0) {
      let sum = 0;
      for (let i = 0; i < columns; i++) sum += logits[base + i];
      loss -= weight * spread * sum;
    }
    const offset = weight * spread;
    for (let i = 0; i < columns; i++) slopes[base + i] = slopes[base + i] * weight - offset;
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

/** Weighted mean over rows of the mean of (a - b)^2. */
export function squaredLoss(
  a: Floats,
  b: Floats,
  { weights, columns }: { weights: Floats; columns: number },
): number {
  let total = 0;
  let loss = 0;
  for (let row = 0, base = 0; row < weights.length; row++, base += columns) {
    total += weights[row];
    if (weights[row] === 0) continue;
    let squares = 0;
    for (let i = base; i < base + columns; i++) squares += (a[i] - b[i]) ** 2;
    loss += weights[row] * squares;
  }
  return loss / ((total || 1) * columns);
}

/** Adds scale times the gradient with respect to a (swap a and b for the other one). */
export function squaredLossBackward(
  a: Floats,
  b: Floats,
  { weights, columns, scale }: { weights: Floats; columns: number; scale: number },
  da: Floats,
): void {
  let total = 0;
  for (let row = 0; row < weights.length; row++) total += weights[row];
  for (let row = 0, base = 0; row < weights.length; row++, base += columns) {
    if (weights[row] === 0) continue;
    const factor = (2 * scale * weights[row]) / ((total || 1) * columns);
    for (let i = base; i < base + columns; i++) da[i] = da[i] + factor * (a[i] - b[i]);
  }
}

/** The softmax of some logits over a temperature, with the logarithms of its sums. */
interface SoftLabels {
  /** Logits over the temperature. */
  readonly logits: Floats;
  readonly softmax: Floats;
  readonly logSums: Floats;
}

/**
 * t^2 times the weighted mean divergence of own labels from a teacher's. Turns the own softmax into
 * the derivative of the result with respect to the logits before they were divided by t; rows of
 * weight 0 get zeros.
 */
export function softLabelLoss(
  own: SoftLabels,
  teacher: SoftLabels,
  options: { weights: Floats; columns: number; temperature: number },
): number {
  const { weights, columns, temperature: t } = options;
  const slopes = own.softmax;
  let total = 0;
  for (let row = 0; row < weights.length; row++) total += weights[row];
  let loss = 0;
  for (let row = 0, base = 0; row < weights.length; row++, base += columns) {
    const weight = weights[row] / (total || 1);
    if (weight === 0) {
      slopes.fill(0, base, base + columns);
      continue;
    }
    const shift = own.logSums[row] - teacher.logSums[row];
    let divergence = 0;
    for (let i = base; i < base + columns; i++) {
      const label = teacher.softmax[i];
      divergence += label * (teacher.logits[i] - own.logits[i] + shift);
      slopes[i] = weight * t * (slopes[i] - label);
    }
    loss += weight * divergence;
  }
  return t * t * loss;
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
