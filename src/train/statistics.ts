// Running statistics of batch norms (Ioffe and Szegedy 2015). They are stored with the weights but
// not trained: each step moves them a tenth of the way to what its texts show. The states are
// normalised by the stored values in training too, so that roll-outs and single rows mean the same.

import type { FloatProgram } from "../run/float.ts";

/** How far a step goes towards its own statistics. */
export const STATISTIC_STEP = 0.1;

export function isStatistic(name: string): boolean {
  return /\.(?:mean|variance)$/.test(name);
}

interface Sums {
  readonly variance: string;
  readonly sums: Float64Array;
  readonly squares: Float64Array;
  rows: number;
}

/**
 * Adds how far the stored statistics lie from those of a program's last run, in the place of their
 * gradients, so that threads average them as they average gradients.
 */
export function addStatistics(
  program: FloatProgram,
  gradients: ReadonlyMap<string, Float32Array>,
): void {
  for (const [mean, { variance, sums, squares, rows }] of columnSums(program)) {
    const [means, variances] = [gradients.get(mean), gradients.get(variance)];
    const stored = (name: string) => {
      const op = program.graph.ops.find((each) => each.kind === "weight" && each.name === name);
      return program.values[op!.out]!;
    };
    for (let i = 0; i < sums.length; i++) {
      const average = sums[i]! / rows;
      const spread = Math.max(0, squares[i]! / rows - average * average);
      if (means) means[i]! += stored(mean)[i]! - average;
      if (variances) variances[i]! += stored(variance)[i]! - spread;
    }
  }
}

/** Sums over all rows that go through each batch norm, by the name of its mean. */
function columnSums({ graph, values }: FloatProgram): Map<string, Sums> {
  const all = new Map<string, Sums>();
  for (const op of graph.ops) {
    if (op.kind !== "batchNorm") continue;
    const [mean, variance] = [graph.ops[op.mean]!, graph.ops[op.variance]!];
    if (mean.kind !== "weight" || variance.kind !== "weight") continue;
    const columns = op.shape.at(-1)!;
    const empty = () => new Float64Array(columns);
    const entry = all.get(mean.name) ?? {
      variance: variance.name,
      sums: empty(),
      squares: empty(),
      rows: 0,
    };
    all.set(mean.name, entry);
    const x = values[op.x]!;
    for (let at = 0; at < x.length; at++) {
      entry.sums[at % columns]! += x[at]!;
      entry.squares[at % columns]! += x[at]! ** 2;
    }
    entry.rows += x.length / columns;
  }
  return all;
}

/** The gradients of what is trained. */
export function trainedOnly(
  gradients: ReadonlyMap<string, Float32Array>,
): ReadonlyMap<string, Float32Array> {
  return new Map([...gradients].filter(([name]) => !isStatistic(name)));
}
