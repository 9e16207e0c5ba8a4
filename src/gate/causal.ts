// The layout of attention scores. A segment has `rows` new positions, of which number i sees the
// start + i + 1 positions up to itself: what is hidden by the causal mask has no words at all.
// Scores and weights are one vector [row i][position j][head h], heads innermost, so that a row's
// positions are contiguous blocks of `heads` words.

import type { Ring, Words } from "../ring/ring.ts";

export interface CausalDims {
  /** New positions. */
  readonly rows: number;
  /** Positions before them. */
  readonly start: number;
  /** Query heads. */
  readonly heads: number;
  /** Key and value heads; query head h reads key head floor(h / (heads / keyHeads)). */
  readonly keyHeads: number;
  /** Columns of one head. */
  readonly width: number;
}

/** Positions that each new row sees. */
export function visible({ rows, start }: CausalDims): number[] {
  return Array.from({ length: rows }, (_, i) => start + i + 1);
}

/** Words of all scores. */
export function scoreCount({ rows, start, heads }: CausalDims): number {
  return heads * ((rows * (2 * start + rows + 1)) / 2);
}

/** Ring multiply-adds of scores, or of a weighted sum of values, in the clear. */
export function causalMultiplyAdds(dims: CausalDims): number {
  return scoreCount(dims) * dims.width;
}

const pairs = (words: Words) => new Uint32Array(words.buffer, words.byteOffset, 2 * words.length);

/** Moves runs of `run` words: run t of `from` becomes run `place(t)` of the result. */
function rearranged(ring: Ring, from: Words, run: number, place: (t: number) => number): Words {
  const out = ring.words(from.length);
  const [source, target] = [pairs(from), pairs(out)];
  const step = 2 * run;
  for (let t = 0, at = 0; at < source.length; t++, at += step) {
    const to = place(t) * step;
    for (let i = 0; i < step; i++) target[to + i] = source[at + i]!;
  }
  return out;
}

/**
 * Splits rows of [.., heads, width] by the place of a head in its group: result g holds heads
 * k * groups + g for every key head k.
 */
function splitGroups(ring: Ring, x: Words, dims: CausalDims, run: number): Words[] {
  const groups = dims.heads / dims.keyHeads;
  if (groups === 1) return [x];
  const per = x.length / run / dims.heads; // rows
  const sorted = rearranged(ring, x, run, (t) => {
    const [row, head] = [Math.floor(t / dims.heads), t % dims.heads];
    return ((head % groups) * per + row) * dims.keyHeads + Math.floor(head / groups);
  });
  const size = sorted.length / groups;
  return Array.from({ length: groups }, (_, g) => sorted.subarray(g * size, (g + 1) * size));
}

/** The inverse of splitGroups. */
function joinGroups(ring: Ring, parts: readonly Words[], dims: CausalDims, run: number): Words {
  if (parts.length === 1) return parts[0]!;
  const groups = parts.length;
  const size = parts[0]!.length;
  const sorted = ring.words(size * groups);
  parts.forEach((part, g) => {
    sorted.set(part, g * size);
  });
  const runs = size / run; // of one group
  return rearranged(ring, sorted, run, (t) => {
    const [g, rest] = [Math.floor(t / runs), t % runs];
    const [row, head] = [Math.floor(rest / dims.keyHeads), rest % dims.keyHeads];
    return row * dims.heads + head * groups + g;
  });
}

/** q [rows, heads * width] and k [start + rows, keyHeads * width] -> scores. */
export function scoresOf(ring: Ring, dims: CausalDims, q: Words, k: Words): Words {
  const { width, keyHeads } = dims;
  const rowWords = keyHeads * width;
  const parts = splitGroups(ring, q, dims, width).map((queries) => {
    const out = ring.words((scoreCount(dims) / dims.heads) * keyHeads);
    let at = 0;
    visible(dims).forEach((seen, i) => {
      const query = queries.subarray(i * rowWords, (i + 1) * rowWords);
      const products = ring.mul(k.subarray(0, seen * rowWords), ring.repeat(query, seen));
      const sums = ring.sumRows(products, width);
      out.set(sums, at);
      at += sums.length;
    });
    return out;
  });
  return joinGroups(ring, parts, dims, 1);
}

/** Weights as scores lie and v [start + rows, keyHeads * width] -> [rows, heads * width]. */
export function mixOf(ring: Ring, dims: CausalDims, weights: Words, v: Words): Words {
  const { rows, start, width, keyHeads } = dims;
  const positions = start + rows;
  const held = { from: start, count: rows };
  const parts = splitGroups(ring, weights, dims, 1).map((part) => {
    const dense = denseWeights(ring, dims, part);
    const shape = { heads: keyHeads, positions, start, columns: keyHeads * width, held };
    return ring.attend(v, dense, shape);
  });
  return joinGroups(ring, parts, dims, width);
}

/** Weights of one group as [keyHeads, rows, positions], as the attend kernel reads them. */
function denseWeights(ring: Ring, dims: CausalDims, part: Words): Words {
  const { rows, start, keyHeads } = dims;
  const positions = start + rows;
  const dense = ring.zeros(keyHeads * rows * positions);
  const [source, target] = [pairs(part), pairs(dense)];
  let at = 0;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= start + i; j++) {
      for (let h = 0; h < keyHeads; h++, at += 2) {
        const to = 2 * ((h * rows + i) * positions + j);
        target[to] = source[at]!;
        target[to + 1] = source[at + 1]!;
      }
    }
  }
  return dense;
}

/** Sums over the positions of each row: scores -> [rows, heads]. */
export function rowSums(ring: Ring, dims: CausalDims, x: Words): Words {
  const { heads } = dims;
  const out = ring.words(dims.rows * heads);
  let at = 0;
  visible(dims).forEach((seen, i) => {
    let parts = x.subarray(at, at + seen * heads);
    at += parts.length;
    // Halves on halves: block j with block j + half, so that each step is one addition.
    for (let left = seen; left > 1; ) {
      const half = left >> 1;
      const rest = left - half;
      const sum = ring.copy(parts.subarray(0, rest * heads));
      const folded = ring.add(sum.subarray(0, half * heads), parts.subarray(rest * heads));
      sum.set(folded);
      parts = sum;
      left = rest;
    }
    out.set(parts, i * heads);
  });
  return out;
}

/** One word a row and head for each of the row's positions: [rows, heads] -> scores. */
export function spreadOverRows(ring: Ring, dims: CausalDims, x: Words): Words {
  const out = ring.words(scoreCount(dims));
  let at = 0;
  visible(dims).forEach((seen, i) => {
    const row = x.subarray(i * dims.heads, (i + 1) * dims.heads);
    for (let j = 0; j < seen; j++, at += dims.heads) out.set(row, at);
  });
  return out;
}
