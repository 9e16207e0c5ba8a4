// Counts of n-grams: pieces of n neighbours of a list of words or characters.

/** How often each n-gram occurs. Keys join the items with a blank, which no item holds. */
export function countNgrams(items: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= items.length; i++) {
    const key = n === 1 ? items[i]! : items.slice(i, i + n).join(" ");
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** For each n-gram the most that one of several counts has of it. */
export function mostOf(counts: readonly ReadonlyMap<string, number>[]): Map<string, number> {
  const most = new Map<string, number>();
  for (const one of counts) {
    for (const [key, count] of one) most.set(key, Math.max(count, most.get(key) ?? 0));
  }
  return most;
}

/** Of the n-grams of `counts`, those that `limits` has, each at most as often: [key, times]. */
export function* clipped(
  counts: ReadonlyMap<string, number>,
  limits: ReadonlyMap<string, number>,
): Generator<[key: string, times: number]> {
  for (const [key, count] of counts) {
    const times = Math.min(count, limits.get(key) ?? 0);
    if (times > 0) yield [key, times];
  }
}

/** n-grams of a list that are also in another, each counted at most as often as there. */
export function commonNgrams(
  counts: ReadonlyMap<string, number>,
  limits: ReadonlyMap<string, number>,
): number {
  let common = 0;
  for (const [, times] of clipped(counts, limits)) common += times;
  return common;
}
