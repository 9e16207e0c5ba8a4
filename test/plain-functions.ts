// What tables are held against: functions by the engine's own Math, written down once more.

/** erf to about 1e-13, by Simpson's rule. */
function plainErf(x: number): number {
  if (x < 0) return -plainErf(-x);
  if (x > 6.2) return 1;
  const steps = 2000;
  const h = x / steps;
  let sum = 1 + Math.exp(-x * x);
  for (let i = 1; i < steps; i++) sum += (i % 2 ? 4 : 2) * Math.exp(-((i * h) ** 2));
  return (2 / Math.sqrt(Math.PI)) * (h / 3) * sum;
}

export const plainGelu = {
  tanh: (x: number) =>
    0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
  erf: (x: number) => 0.5 * x * (1 + plainErf(x / Math.SQRT2)),
} as const;

export const plainSilu = (x: number): number => x / (1 + Math.exp(-x));
