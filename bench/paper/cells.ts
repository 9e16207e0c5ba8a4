// Cells of the tables, from costs that are exact and times that were measured, scaled or modelled.

import { type Part, parts } from "../../src/index.ts";
import type { Costs } from "./costs.ts";
import { computeSeconds, lineSeconds, pooledRoundTrip, ratesOf } from "./rates.ts";
import type {
  Agreement,
  Cell,
  CellTotal,
  Measurement,
  ModelSize,
  NetworkName,
  PartCell,
  Rates,
  Run,
} from "./result.ts";

/** Which cell. */
export interface CellPlace {
  readonly method: string;
  readonly model: ModelSize;
  readonly length: number;
  readonly network: NetworkName;
}

type Seconds = Readonly<Record<Part, number>>;

interface Times {
  /** Both parties' computation. */
  readonly compute: Seconds;
  readonly seconds: number;
  readonly offlineSeconds: number;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** Bytes and round trips of all parts and of the frames around them. */
export function totalsOf({
  parts: of,
  framing,
}: Costs): Omit<CellTotal, "seconds" | "offlineSeconds"> {
  const all = Object.values(of);
  return {
    onlineBytes: Math.round(sum(all.map(({ onlineBytes }) => onlineBytes)) + framing.onlineBytes),
    roundTrips: Math.round(sum(all.map(({ roundTrips }) => roundTrips))),
    offlineBytes: Math.round(
      sum(all.map(({ offlineBytes }) => offlineBytes)) + framing.offlineBytes,
    ),
  };
}

/** A part's time is both parties' computation, and what the line takes for its bytes. */
function cellOf(place: CellPlace, how: Cell["how"], costs: Costs, times: Times): Cell {
  const of = Object.fromEntries(
    parts.map((part): [Part, PartCell] => {
      const bytes = costs.parts[part];
      const seconds = times.compute[part] + lineSeconds(place.network, bytes);
      return [part, { ...bytes, seconds }];
    }),
  ) as Record<Part, PartCell>;
  const { seconds, offlineSeconds } = times;
  const total = { ...totalsOf(costs), seconds, offlineSeconds };
  const rest = {
    ...costs.framing,
    roundTrips: 0,
    seconds: seconds - sum(Object.values(of).map((part) => part.seconds)),
  };
  return { ...place, how, parts: of, rest, total };
}

/** @throws never: a method without a secure form is a cell, too */
export function withoutForm(place: CellPlace, reason: string): Cell {
  return { ...place, how: "none", reason };
}

export function runCell(place: CellPlace, costs: Costs, { runs }: Measurement): Cell {
  const mean = (of: (run: Run) => number) => sum(runs.map(of)) / runs.length;
  const compute = Object.fromEntries(
    parts.map((part) => [part, mean(({ all }) => all.compute[part])]),
  ) as Record<Part, number>;
  const seconds = mean(({ all }) => all.seconds);
  const offlineSeconds = mean(({ offline }) => offline.seconds);
  return cellOf(place, "run", costs, { compute, seconds, offlineSeconds });
}

export function modelledCell(place: CellPlace, costs: Costs, rates: Rates): Cell {
  return cellOf(place, "modelled", costs, modelled(place, costs, rates));
}

function modelled({ network }: CellPlace, costs: Costs, rates: Rates): Times {
  const compute = computeSeconds(rates, costs.tasks);
  const totals = totalsOf(costs);
  const trip = rates.roundTrip[network] ?? rates.roundTrip.loopback ?? 0;
  return {
    compute,
    seconds: sum(Object.values(compute)) + lineSeconds(network, totals) + trip * totals.roundTrips,
    offlineSeconds: modelledOffline(rates, {
      multiplyAdds: costs.multiplyAdds,
      bytes: totals.offlineBytes,
    }),
  };
}

function modelledOffline(
  { offline }: Rates,
  { multiplyAdds, bytes }: { readonly multiplyAdds: number; readonly bytes: number },
): number {
  return offline.multiplyAdd * multiplyAdds + offline.byte * bytes;
}

/**
 * A whole generation from steps at several lengths: each part's computation is that of the model
 * times what the steps took over what the model says of them.
 */
export function sampledCell(
  place: CellPlace,
  costs: Costs,
  { measurement, rates }: { readonly measurement: Measurement; readonly rates: Rates },
): Cell {
  const { runs } = measurement;
  const said = computeSeconds(
    rates,
    runs.flatMap(({ steps }) => steps.tasks),
  );
  const model = computeSeconds(rates, costs.tasks);
  const compute = Object.fromEntries(
    parts.map((part) => {
      const took = sum(runs.map(({ steps }) => steps.compute[part]));
      return [part, model[part] * (said[part] > 0 && took > 0 ? took / said[part] : 1)];
    }),
  ) as Record<Part, number>;
  const { network } = place;
  const trip = pooledRoundTrip(
    network,
    runs.map(({ steps }) => steps),
  );
  const totals = totalsOf(costs);
  const offlineTook = sum(runs.map(({ offline }) => offline.seconds));
  const offlineSaid = sum(runs.map(({ offline }) => modelledOffline(rates, offline)));
  const { multiplyAdds } = costs;
  const offline = modelledOffline(rates, { multiplyAdds, bytes: totals.offlineBytes });
  const seconds =
    sum(Object.values(compute)) + lineSeconds(network, totals) + (trip ?? 0) * totals.roundTrips;
  const offlineSeconds = offlineSaid > 0 ? offline * (offlineTook / offlineSaid) : offlineTook;
  return cellOf(place, "sampled", costs, { compute, seconds, offlineSeconds });
}

/** How far samples may be from a full run. */
export const AGREEMENT = 0.05;

/** A full run beside the cell that samples alone make of it. */
export function agreementOf(
  place: CellPlace,
  costs: Costs,
  { full, sample }: { readonly full: Measurement; readonly sample: Measurement },
): Agreement {
  // Rates of the samples alone: the full run must not tell them what to say.
  const cell = sampledCell(place, costs, { measurement: sample, rates: ratesOf([sample]) });
  const runSeconds = runCell(place, costs, full).total!.seconds;
  const difference = cell.total!.seconds / runSeconds - 1;
  const { method, network, length } = place;
  return {
    method,
    network,
    length,
    runSeconds,
    sampledSeconds: cell.total!.seconds,
    difference,
    agrees: Math.abs(difference) <= AGREEMENT,
  };
}
