// How long a call takes, over and over.

const GROUP_MS = 2;
const LEAST_SAMPLES = 5;

/**
 * Seconds of a call: samples for at least so many milliseconds, five at the least. Short calls are
 * timed in groups of some 2 ms. One call and one group before them warm up.
 */
export function timeCalls(call: () => void, budgetMs: number): number[] {
  const timed = (calls: number) => {
    const started = performance.now();
    for (let i = 0; i < calls; i++) call();
    return (performance.now() - started) / calls;
  };
  timed(1);
  const group = Math.max(1, Math.ceil(GROUP_MS / Math.max(timed(1), 1e-4)));
  timed(group);
  const samples: number[] = [];
  const end = performance.now() + budgetMs;
  do samples.push(timed(group) / 1000);
  while (performance.now() < end || samples.length < LEAST_SAMPLES);
  return samples;
}
