// One measured figure: what it is, how often it was taken, how far its samples lie apart, and what
// it is held against.

import { ensure } from "../src/index.ts";

/** Something that a figure is held against: a limit of the machine, or the same in the clear. */
export interface Reference {
  readonly name: string;
  /** In the figure's unit. */
  readonly value: number;
}

export interface Row {
  readonly name: string;
  readonly unit: string;
  /** Whether more of it is better, or less. */
  readonly better: "more" | "less";
  /** Samples. */
  readonly n: number;
  readonly median: number;
  /** Quartiles of the samples. */
  readonly low: number;
  readonly high: number;
  /** `ratio` is the median by the reference's value. */
  readonly reference?: Reference & { readonly ratio: number };
  /** Computed from other rows and a cost model, not measured. */
  readonly modelled?: true;
}

/** Median and quartiles. */
export interface Summary {
  readonly n: number;
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** The value below which this part of the samples lies; between two of them, by their distance. */
export function quantile(values: readonly number[], part: number): number {
  ensure(values.length > 0, "E_INTERNAL", "no samples");
  const sorted = values.toSorted((a, b) => a - b);
  const at = part * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return below + (above - below) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function summary(samples: readonly number[]): Summary {
  const [low, middle, high] = [0.25, 0.5, 0.75].map((part) => quantile(samples, part));
  return { n: samples.length, median: middle!, low: low!, high: high! };
}

export interface RowOptions extends Pick<Row, "name" | "unit" | "better"> {
  readonly samples: readonly number[];
  readonly reference?: Reference | undefined;
  readonly modelled?: boolean | undefined;
}

export function makeRow({ samples, reference, modelled, ...rest }: RowOptions): Row {
  const figures = summary(samples);
  return {
    ...rest,
    ...figures,
    ...(reference && { reference: { ...reference, ratio: figures.median / reference.value } }),
    ...(modelled && { modelled }),
  };
}
