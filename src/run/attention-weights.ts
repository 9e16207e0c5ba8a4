// Attention weights other than the exact softmax, over float32 scores [lead, rows, columns],
// forward and backward. Row i of a matrix sees columns 0 .. columns - rows + i; the others get 0.
// Sources: MPCFormer (arXiv 2211.01452, 2quad and 2relu), power softmax (arXiv 2410.09457), THE-X
// (Findings of ACL 2022), PUMA (arXiv 2307.12533) and BumbleBee (NDSS 2025) for the limit form.

import type { AttentionForm, ExpForm } from "../graph/ops.ts";
import { derivative, valueAt } from "./piecewise.ts";

type Floats = Float32Array;

/** Of one of `lead` matrices of scores. */
export interface ScoreShape {
  readonly rows: number;
  readonly columns: number;
}

interface Row {
  readonly base: number;
  /** Columns that it sees. */
  readonly seen: number;
}

/** Each row of all matrices in order. */
function eachRow(length: number, { rows, columns }: ScoreShape, visit: (row: Row) => void): void {
  for (let base = 0, row = 0; base < length; base += columns, row++) {
    visit({ base, seen: columns - rows + (row % rows) + 1 });
  }
}

/**
 * out [lead, rows, columns], each row's weights; `sums` receives its denominator and its greatest
 * score in turn, two for each row. A row whose denominator is 0 gets values that are not finite.
 */
export function attentionWeights(
  x: Floats,
  form: AttentionForm,
  shape: ScoreShape,
  out: Floats,
  sums: Floats,
): void {
  const { columns } = shape;
  out.fill(0);
  eachRow(out.length, shape, ({ base, seen }) => {
    const row = (2 * base) / columns;
    const most = greatest(x, base, seen);
    numerators(form, x, { base, seen, most }, out);
    let sum = 0;
    for (let i = base; i < base + seen; i++) sum += out[i]!;
    const whole = sum + offsetOf(form);
    const floor = form.kind === "2relu" ? form.eps / seen : 0;
    for (let i = base; i < base + seen; i++) out[i] = (out[i]! + floor) / whole;
    sums[row] = whole;
    sums[row + 1] = most;
  });
}

/** Turns dy into dx in place, from the forward pass's results. */
export function attentionWeightsBackward(
  x: Floats,
  form: AttentionForm,
  shape: ScoreShape,
  { y, sums }: { y: Floats; sums: Floats },
  dy: Floats,
): void {
  const slopes = new Float64Array(shape.columns);
  eachRow(dy.length, shape, ({ base, seen }) => {
    const row = (2 * base) / shape.columns;
    const whole = sums[row]!;
    const most = sums[row + 1]!;
    let product = 0;
    for (let i = base; i < base + seen; i++) product += dy[i]! * y[i]!;
    slopesOf(form, x, { base, seen, most }, slopes);
    let total = 0;
    for (let i = 0; i < seen; i++) {
      const slope = (slopes[i]! * (dy[base + i]! - product)) / whole;
      dy[base + i] = slope;
      total += slope;
    }
    // The greatest score is taken off all others.
    if (form.kind === "softmax") dy[base + indexOf(x, base, seen, most)]! -= total;
    dy.fill(0, base + seen, base + shape.columns);
  });
}

/** What the denominator has beside the sum. */
function offsetOf(form: AttentionForm): number {
  return form.kind === "2relu" || form.kind === "power" ? form.eps : 0;
}

function greatest(x: Floats, base: number, seen: number): number {
  let most = x[base]!;
  for (let i = base + 1; i < base + seen; i++) most = Math.max(most, x[i]!);
  return most;
}

function indexOf(x: Floats, base: number, seen: number, value: number): number {
  for (let i = 0; i < seen; i++) if (x[base + i] === value) return i;
  return 0;
}

interface Part extends Row {
  readonly most: number;
}

function numerators(form: AttentionForm, x: Floats, { base, seen, most }: Part, out: Floats): void {
  const end = base + seen;
  switch (form.kind) {
    case "softmax": {
      const exp = expOf(form.exp);
      for (let i = base; i < end; i++) out[i] = exp(x[i]! - most);
      return;
    }
    case "2quad":
      for (let i = base; i < end; i++) out[i] = (x[i]! + form.shift) ** 2;
      return;
    case "2relu":
      for (let i = base; i < end; i++) out[i] = Math.max(x[i]!, 0);
      return;
    case "power":
      for (let i = base; i < end; i++) out[i] = x[i]! ** form.exponent;
      return;
    default:
      form satisfies never;
  }
}

/** Derivatives of the numerators, of column 0 on. */
function slopesOf(
  form: AttentionForm,
  x: Floats,
  { base, seen, most }: Part,
  out: Float64Array,
): void {
  switch (form.kind) {
    case "softmax": {
      const slope = expSlopeOf(form.exp);
      for (let i = 0; i < seen; i++) out[i] = slope(x[base + i]! - most);
      return;
    }
    case "2quad":
      for (let i = 0; i < seen; i++) out[i] = 2 * (x[base + i]! + form.shift);
      return;
    case "2relu":
      for (let i = 0; i < seen; i++) out[i] = Number(x[base + i]! > 0);
      return;
    case "power":
      for (let i = 0; i < seen; i++) out[i] = form.exponent * x[base + i]! ** (form.exponent - 1);
      return;
    default:
      form satisfies never;
  }
}

function expOf(form: ExpForm): (z: number) => number {
  if (form.kind === "piecewise") return (z) => valueAt(form, z);
  const { least, doublings } = form;
  const unit = 2 ** -doublings;
  return (z) => {
    if (z < least) return 0;
    let value = 1 + z * unit;
    for (let i = 0; i < doublings; i++) value *= value;
    return value;
  };
}

function expSlopeOf(form: ExpForm): (z: number) => number {
  if (form.kind === "piecewise") {
    const slope = derivative(form);
    return (z) => valueAt(slope, z);
  }
  const exp = expOf(form);
  const unit = 2 ** -form.doublings;
  return (z) => (z < form.least ? 0 : exp(z) / (1 + z * unit));
}

/** out [lead, rows]: sums of max(x / 2 + 1, 0)^3 over the columns that each row sees. */
export function causalCubes(x: Floats, shape: ScoreShape, out: Floats): void {
  eachRow(x.length, shape, ({ base, seen }) => {
    let sum = 0;
    for (let i = base; i < base + seen; i++) sum += Math.max(x[i]! / 2 + 1, 0) ** 3;
    out[base / shape.columns] = sum;
  });
}

/** Adds to dx. */
export function causalCubesBackward(x: Floats, shape: ScoreShape, dy: Floats, dx: Floats): void {
  eachRow(x.length, shape, ({ base, seen }) => {
    const slope = 1.5 * dy[base / shape.columns]!;
    for (let i = base; i < base + seen; i++) {
      dx[i] = dx[i]! + slope * Math.max(x[i]! / 2 + 1, 0) ** 2;
    }
  });
}

/** out = each row of x times its factor where it sees; out may be x. */
export function causalScale(x: Floats, factor: Floats, shape: ScoreShape, out: Floats): void {
  eachRow(out.length, shape, ({ base, seen }) => {
    const scale = factor[base / shape.columns]!;
    for (let i = base; i < base + seen; i++) out[i] = x[i]! * scale;
    out.fill(0, base + seen, base + shape.columns);
  });
}

/** Adds to the gradient of the factors, one for each row. */
export function causalScaleFactor(x: Floats, shape: ScoreShape, dy: Floats, dFactor: Floats): void {
  eachRow(x.length, shape, ({ base, seen }) => {
    let sum = 0;
    for (let i = base; i < base + seen; i++) sum += x[i]! * dy[i]!;
    dFactor[base / shape.columns]! += sum;
  });
}
