// Pearson's chi-square, as a distance in standard deviations from what chance would give.

import type { Observation } from "./lanes.ts";

/** How far `counts` are from equal ones. */
export function fromUniform(counts: ArrayLike<number>): { statistic: number; freedom: number } {
  let total = 0;
  for (let i = 0; i < counts.length; i++) total += counts[i]!;
  const expected = total / counts.length;
  let statistic = 0;
  for (let i = 0; i < counts.length; i++) statistic += (counts[i]! - expected) ** 2 / expected;
  return { statistic, freedom: counts.length - 1 };
}

/** How far two histograms of equal totals are from a common distribution. */
export function fromEachOther(a: ArrayLike<number>, b: ArrayLike<number>) {
  let statistic = 0;
  let cells = 0;
  for (let i = 0; i < a.length; i++) {
    const sum = a[i]! + b[i]!;
    if (sum === 0) continue;
    cells++;
    statistic += (a[i]! - b[i]!) ** 2 / sum;
  }
  return { statistic, freedom: cells - 1 };
}

/** Standard deviations above the mean, by Wilson and Hilferty's normal approximation. */
export function deviations({ statistic, freedom }: { statistic: number; freedom: number }): number {
  if (freedom === 0) return Number.NEGATIVE_INFINITY; // One cell holds everything.
  const spread = 2 / (9 * freedom);
  return (Math.cbrt(statistic / freedom) - (1 - spread)) / Math.sqrt(spread);
}

/** The worst of all single fields and of all sums and differences of two. */
export function worstDeviation(a: Observation, b: Observation): number {
  const { lanes } = a;
  const [columnsA, columnsB] = [a, b].map(columnsOf);
  let worst = Number.NEGATIVE_INFINITY;
  const compare = (body: (columns: readonly Uint8Array[], lane: number) => number) => {
    const histograms = [columnsA!, columnsB!].map((columns) => {
      const histogram = new Float64Array(64);
      for (let lane = 0; lane < lanes; lane++) histogram[body(columns, lane) & 63]!++;
      return histogram;
    });
    worst = Math.max(worst, deviations(fromEachOther(histograms[0]!, histograms[1]!)));
  };
  for (let i = 0; i < columnsA!.length; i++) {
    compare((columns, lane) => columns[i]![lane]!);
    compare((columns, lane) => columns[i]![lane]! >> 2);
    for (let j = 0; j < i; j++) {
      compare((columns, lane) => columns[i]![lane]! + columns[j]![lane]!);
      compare((columns, lane) => columns[i]![lane]! - columns[j]![lane]!);
    }
  }
  return worst;
}

/** The view's fields, one column for each word of a lane. */
function columnsOf({ view, lanes }: Observation): Uint8Array[] {
  return view.flatMap(({ words }) => {
    const width = words.length / lanes;
    return Array.from({ length: width }, (_, k) =>
      Uint8Array.from({ length: lanes }, (_unused, lane) => Number(words[lane * width + k])),
    );
  });
}
