// Constant attention over float32 (MERGE, Liang et al. 2024, Fig. 3c), forward and backward. The
// rows that it reads may lie in several segments (earlier rows, then new ones): a roll-out then
// needs no copy of all earlier rows at each step.

import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Arena } from "./arena.ts";

/** Rows from..from+rows-1 of all batches, [B, rows, d]; `gradient` where one is wanted. */
export interface Segment {
  readonly data: Float32Array;
  readonly from: number;
  readonly rows: number;
  gradient?: Float32Array | undefined;
}

export interface AttentionShape {
  readonly batches: number;
  readonly heads: number;
  /** T: rows and columns of the weight of one head. */
  readonly positions: number;
  readonly columns: number;
  /** Rows start..start+count-1 are wanted. */
  readonly start: number;
  readonly count: number;
}

/**
 * From this many values on, calling a kernel beats a plain loop over the rows of a segment: 768
 * take 1.3 us in a loop, 0.8 native and 1.1 in WASM; 19,200 take 38, 2.3 and 4.2.
 */
const LARGE_SEGMENT = 1024;

interface Context {
  readonly kernels: FloatKernels;
  readonly arena: Arena;
}

/** out [B, count, d] from weight [H, T, T] and the segments' rows. */
export function constantAttention(
  segments: readonly Segment[],
  weight: Float32Array,
  shape: AttentionShape,
  out: Float32Array,
  { kernels, arena }: Context,
): void {
  if (shape.count === 1) {
    out.fill(0);
    for (const segment of segments) {
      const large = segment.rows * shape.columns >= LARGE_SEGMENT;
      if (large) mixSegment(segment, weight, shape, out, { kernels, arena });
      else addSingleRow(segment, weight, shape, out);
    }
    return;
  }
  const { batches, heads, start, count, columns } = shape;
  const width = (batches * columns) / heads;
  const end = start + count;
  const rows = arena.take(heads * end * width);
  for (const segment of segments) gatherHeads(segment, { ...shape, total: end }, rows);
  const mixed = arena.take(heads * count * width);
  const coefficients = arena.take(count * end);
  for (let head = 0; head < heads; head++) {
    maskedWeights(weight, shape, head, coefficients);
    kernels.gemm({
      m: count,
      n: width,
      k: end,
      a: coefficients,
      b: rows.subarray(head * end * width, (head + 1) * end * width),
      out: mixed.subarray(head * count * width, (head + 1) * count * width),
    });
  }
  scatterHeads(mixed, { data: out, from: 0, rows: count }, { ...shape, total: count }, false);
  for (const buffer of [rows, mixed, coefficients]) arena.give(buffer);
}

/** Adds into each segment's gradient and into dWeight, from dOut [B, count, d]. */
export function constantAttentionBackward(
  segments: readonly Segment[],
  weight: Float32Array,
  shape: AttentionShape,
  { dOut, dWeight }: { dOut: Float32Array; dWeight: Float32Array | undefined },
  { kernels, arena }: Context,
): void {
  if (shape.count === 1) {
    for (const segment of segments) {
      if (segment.gradient) addSingleRowBack(segment, weight, shape, dOut);
      if (dWeight) addSingleRowProducts(segment, dWeight, shape, dOut);
    }
    return;
  }
  const { batches, heads, start, count, columns } = shape;
  const width = (batches * columns) / heads;
  const end = start + count;
  const dMixed = arena.take(heads * count * width);
  gatherHeads({ data: dOut, from: 0, rows: count }, { ...shape, total: count }, dMixed);
  const coefficients = arena.take(count * end);
  if (segments.some(({ gradient }) => gradient)) {
    const dRows = arena.take(heads * end * width);
    for (let head = 0; head < heads; head++) {
      maskedWeights(weight, shape, head, coefficients);
      kernels.gemm({
        m: end,
        n: width,
        k: count,
        a: coefficients,
        transposeA: true,
        b: dMixed.subarray(head * count * width, (head + 1) * count * width),
        out: dRows.subarray(head * end * width, (head + 1) * end * width),
      });
    }
    for (const { gradient, from, rows } of segments) {
      if (!gradient) continue;
      scatterHeads(dRows, { data: gradient, from, rows }, { ...shape, total: end }, true);
    }
    arena.give(dRows);
  }
  if (dWeight) {
    const rows = arena.take(heads * end * width);
    for (const segment of segments) gatherHeads(segment, { ...shape, total: end }, rows);
    for (let head = 0; head < heads; head++) {
      kernels.gemm({
        m: count,
        n: end,
        k: width,
        a: dMixed.subarray(head * count * width, (head + 1) * count * width),
        b: rows.subarray(head * end * width, (head + 1) * end * width),
        transposeB: true,
        out: coefficients,
      });
      addMasked(coefficients, shape, head, dWeight);
    }
    arena.give(rows);
  }
  for (const buffer of [dMixed, coefficients]) arena.give(buffer);
}

type Laid = AttentionShape & { readonly total: number };

/** [B, rows, d] -> its rows of [H, total, B, w]. */
export function gatherHeads(
  { data, from, rows }: Segment,
  { batches, heads, columns, total }: Laid,
  out: Float32Array,
): void {
  const w = columns / heads;
  let source = 0;
  for (let batch = 0; batch < batches; batch++) {
    for (let row = 0; row < rows; row++) {
      for (let head = 0; head < heads; head++) {
        const target = ((head * total + from + row) * batches + batch) * w;
        for (let i = 0; i < w; i++) out[target + i] = data[source + i];
        source += w;
      }
    }
  }
}

/** The way back; adds where asked. */
export function scatterHeads(
  laid: Float32Array,
  { data, from, rows }: Segment,
  { batches, heads, columns, total }: Laid,
  adds: boolean,
): void {
  const w = columns / heads;
  let target = 0;
  for (let batch = 0; batch < batches; batch++) {
    for (let row = 0; row < rows; row++) {
      for (let head = 0; head < heads; head++) {
        const source = ((head * total + from + row) * batches + batch) * w;
        if (adds) {
          for (let i = 0; i < w; i++) data[target + i] = data[target + i] + laid[source + i];
        } else {
          for (let i = 0; i < w; i++) data[target + i] = laid[source + i];
        }
        target += w;
      }
    }
  }
}

/** Rows start.. of one head's weight, columns 0..end-1, zero above the diagonal. */
function maskedWeights(
  weight: Float32Array,
  { positions, start, count }: AttentionShape,
  head: number,
  out: Float32Array,
): void {
  const end = start + count;
  for (let row = 0; row < count; row++) {
    const source = (head * positions + start + row) * positions;
    const seen = start + row + 1;
    for (let j = 0; j < seen; j++) out[row * end + j] = weight[source + j];
    out.fill(0, row * end + seen, (row + 1) * end);
  }
}

function addMasked(
  products: Float32Array,
  { positions, start, count }: AttentionShape,
  head: number,
  out: Float32Array,
): void {
  const end = start + count;
  for (let row = 0; row < count; row++) {
    const target = (head * positions + start + row) * positions;
    const seen = start + row + 1;
    for (let j = 0; j < seen; j++) out[target + j] = out[target + j] + products[row * end + j];
  }
}

/** As addSingleRow, by the kernel. */
function mixSegment(
  { data, from, rows }: Segment,
  weight: Float32Array,
  { batches, heads, columns, positions, start }: AttentionShape,
  out: Float32Array,
  { kernels, arena }: Context,
): void {
  const coefficients = arena.take(heads * rows);
  for (let head = 0; head < heads; head++) {
    const source = (head * positions + start) * positions + from;
    coefficients.set(weight.subarray(source, source + rows), head * rows);
  }
  for (let batch = 0; batch < batches; batch++) {
    kernels.mixHeads({
      heads,
      rows,
      columns,
      coefficients,
      x: data.subarray(batch * rows * columns, (batch + 1) * rows * columns),
      out: out.subarray(batch * columns, (batch + 1) * columns),
      accumulate: true,
    });
  }
  arena.give(coefficients);
}

export function addSingleRow(
  { data, from, rows }: Segment,
  weight: Float32Array,
  { batches, heads, columns, positions, start }: AttentionShape,
  out: Float32Array,
): void {
  const w = columns / heads;
  for (let batch = 0; batch < batches; batch++) {
    for (let row = 0; row < rows; row++) {
      let source = (batch * rows + row) * columns;
      let target = batch * columns;
      for (let head = 0; head < heads; head++) {
        const c = weight[(head * positions + start) * positions + from + row];
        for (let i = 0; i < w; i++) out[target + i] = out[target + i] + c * data[source + i];
        source += w;
        target += w;
      }
    }
  }
}

export function addSingleRowBack(
  { from, rows, gradient }: Segment,
  weight: Float32Array,
  { batches, heads, columns, positions, start }: AttentionShape,
  dOut: Float32Array,
): void {
  const w = columns / heads;
  const dx = gradient!;
  for (let batch = 0; batch < batches; batch++) {
    for (let row = 0; row < rows; row++) {
      let target = (batch * rows + row) * columns;
      let source = batch * columns;
      for (let head = 0; head < heads; head++) {
        const c = weight[(head * positions + start) * positions + from + row];
        for (let i = 0; i < w; i++) dx[target + i] = dx[target + i] + c * dOut[source + i];
        source += w;
        target += w;
      }
    }
  }
}

export function addSingleRowProducts(
  { data, from, rows }: Segment,
  dWeight: Float32Array,
  { batches, heads, columns, positions, start }: AttentionShape,
  dOut: Float32Array,
): void {
  const w = columns / heads;
  for (let batch = 0; batch < batches; batch++) {
    for (let row = 0; row < rows; row++) {
      let source = (batch * rows + row) * columns;
      let other = batch * columns;
      for (let head = 0; head < heads; head++) {
        let sum = 0;
        for (let i = 0; i < w; i++) sum += data[source + i] * dOut[other + i];
        const at = (head * positions + start) * positions + from + row;
        dWeight[at] = dWeight[at] + sum;
        source += w;
        other += w;
      }
    }
  }
}
