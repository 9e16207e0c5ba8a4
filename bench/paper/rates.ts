// From measured gates to what gates of other sizes will take.

import { networks, type Part, parts, type Task } from "../../src/index.ts";
import { median } from "../rows.ts";
import type { Moments } from "./gate-times.ts";
import type { Counted, Measurement, NetworkName, Rate, Rates, Run } from "./result.ts";

/** Rates of all that was measured. */
export function ratesOf(measurements: readonly Measurement[]): Rates {
  const runs = measurements.flatMap(({ runs: each }) => each);
  const client = fitted(measurements.map(({ moments }) => moments.client));
  const server = fitted(measurements.map(({ moments }) => moments.server));
  const roundTrip: Partial<Record<NetworkName, number>> = {};
  for (const network of Object.keys(networks) as NetworkName[]) {
    const over = measurements.filter((each) => each.network === network);
    const found = roundTripSeconds(
      network,
      over.flatMap(({ runs: each }) => each),
    );
    if (found !== undefined) roundTrip[network] = found;
  }
  return { client, server, roundTrip, offline: offlineRates(runs) };
}

function fitted(moments: readonly Readonly<Record<string, Moments>>[]): Record<string, Rate> {
  const tasks = new Set(moments.flatMap((each) => Object.keys(each)));
  const rates: Record<string, Rate> = {};
  for (const task of [...tasks].sort()) {
    const found = moments.flatMap((each) => each[task] ?? []);
    rates[task] = lineFit(found.reduce(added));
  }
  return rates;
}

function added(a: Moments, b: Moments): Moments {
  return { n: a.n + b.n, w: a.w + b.w, s: a.s + b.s, ww: a.ww + b.ww, ws: a.ws + b.ws };
}

/**
 * s = gate + unit w by least squares, neither below 0. Where all gates have the same work, time is
 * taken to grow with it.
 */
export function lineFit({ n, w, s, ww, ws }: Moments): Rate {
  const spread = n * ww - w * w;
  const even = { gate: 0, unit: w > 0 ? s / w : 0 };
  if (n === 0) return { gate: 0, unit: 0 };
  if (spread <= 1e-9 * n * ww) return w > 0 ? even : { gate: s / n, unit: 0 };
  const unit = (n * ws - w * s) / spread;
  const gate = (s - unit * w) / n;
  if (unit < 0) return { gate: s / n, unit: 0 };
  return gate < 0 ? even : { gate, unit };
}

/** What the line alone takes. */
export function lineSeconds(
  network: NetworkName,
  { roundTrips, onlineBytes }: { readonly roundTrips: number; readonly onlineBytes: number },
): number {
  const { delayMs, bitsPerSecond } = networks[network];
  return (roundTrips * 2 * delayMs) / 1000 + (8 * onlineBytes) / bitsPerSecond;
}

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

function roundTripSeconds(network: NetworkName, runs: readonly Run[]): number | undefined {
  const found = runs.flatMap(({ all }) => perRoundTrip(network, all) ?? []);
  return found.length > 0 ? median(found) : undefined;
}

/** What computing and the line leave of the time of these segments, by their round trips. */
export function perRoundTrip(network: NetworkName, of: Counted): number | undefined {
  if (of.roundTrips === 0) return undefined;
  const left = of.seconds - lineSeconds(network, of) - total(Object.values(of.compute));
  return left / of.roundTrips;
}

/** The same of all of them together: what is rare, a collection of garbage say, counts as often. */
export function pooledRoundTrip(
  network: NetworkName,
  each: readonly Counted[],
): number | undefined {
  const trips = total(each.map(({ roundTrips }) => roundTrips));
  if (trips === 0) return undefined;
  const left = each.map((of) => (perRoundTrip(network, of) ?? 0) * of.roundTrips);
  return total(left) / trips;
}

/** Least squares without a constant, neither below 0. */
function offlineRates(runs: readonly Run[]): Rates["offline"] {
  const sums = { aa: 0, ab: 0, bb: 0, as: 0, bs: 0 };
  for (const { offline } of runs) {
    const { multiplyAdds: a, bytes: b, seconds: s } = offline;
    // Each run counts alike, whatever its size.
    const weight = 1 / Math.max(s, 1e-9) ** 2;
    sums.aa += weight * a * a;
    sums.ab += weight * a * b;
    sums.bb += weight * b * b;
    sums.as += weight * a * s;
    sums.bs += weight * b * s;
  }
  const { aa, ab, bb, as, bs } = sums;
  const determinant = aa * bb - ab * ab;
  const both = {
    multiplyAdd: (as * bb - bs * ab) / determinant,
    byte: (bs * aa - as * ab) / determinant,
  };
  const fits = determinant > 1e-9 * aa * bb && both.multiplyAdd >= 0 && both.byte >= 0;
  if (fits) return both;
  const bytesAlone = { multiplyAdd: 0, byte: bb > 0 ? bs / bb : 0 };
  const productsAlone = { multiplyAdd: aa > 0 ? as / aa : 0, byte: 0 };
  return both.byte < 0 ? productsAlone : bytesAlone;
}

/** Seconds of both parties' computation by part. */
export function computeSeconds(rates: Rates, tasks: readonly Task[]): Record<Part, number> {
  const seconds = Object.fromEntries(parts.map((part) => [part, 0])) as Record<Part, number>;
  for (const { part, task, gates, work } of tasks) {
    for (const side of [rates.client, rates.server]) {
      const { gate, unit } = rateOf(side, task);
      seconds[part] += gates * gate + work * unit;
    }
  }
  return seconds;
}

/** A product of many rows that was not measured takes what as many single rows take. */
function rateOf(side: Readonly<Record<string, Rate>>, task: string): Rate {
  const other = { "product, rows": "product, one row", "product, one row": "product, rows" }[task];
  return side[task] ?? (other === undefined ? undefined : side[other]) ?? { gate: 0, unit: 0 };
}

/** Tasks of the target that no measurement had at the server. */
export function unknownTasks(rates: Rates, tasks: readonly Task[]): string[] {
  const names = new Set(tasks.map(({ task }) => task));
  return [...names].filter((task) => !(task in rates.server) && !task.startsWith("product"));
}
