// Pearson's chi-square, as a distance in standard deviations from what chance would give.

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
