// The paper's Figure 4 of our figures: seconds by length, and by size of the model, as
// specifications for Vega-Lite.

import type { TopLevelSpec } from "vega-lite";

import { shapeConfig } from "../../src/index.ts";
import { methodOf } from "./methods.ts";
import { type Cell, type PaperResult, sizeName } from "./result.ts";
import { tableLength } from "./study.ts";

export interface Plot {
  readonly name: string;
  readonly spec: TopLevelSpec;
}

/** One point of a plot. */
interface Point {
  readonly method: string;
  readonly network: string;
  readonly x: number;
  readonly seconds: number;
  readonly how: string;
}

/** Plots that have points: figure-lengths and figure-sizes. */
export function plots({ cells, settings }: PaperResult): Plot[] {
  const { shapes } = settings;
  const base = cells.filter(({ model }) => sizeName(model) === shapes[0]);
  const sized = cells.filter(
    ({ model, length }) => model.layers === undefined && length === tableLength(settings),
  );
  const drawn = [
    { name: "figure-lengths", x: "positions", points: pointsOf(base, ({ length }) => length) },
    {
      name: "figure-sizes",
      x: "million parameters",
      points: pointsOf(sized, ({ model }) => millionParameters(model.shape)),
    },
  ].filter(({ points }) => points.length > 0);
  return drawn.map(({ name, x, points }) => ({ name, spec: specOf(points, x, settings) }));
}

function pointsOf(cells: readonly Cell[], x: (cell: Cell) => number): Point[] {
  return cells.flatMap((cell) => {
    const { method, network, total, how } = cell;
    if (!total || total.seconds <= 0) return [];
    const { title } = methodOf(method);
    return [{ method: title, network, x: x(cell), seconds: total.seconds, how }];
  });
}

/** With 1024 positions and a tied head, as models of this kind are called. */
export function millionParameters(shape: string): number {
  const config = shapeConfig({ shape, recipe: "vanilla", positions: 1024 });
  const { layerCount, hiddenSize: d, innerSize, vocabSize, positionCount } = config;
  const block = 4 * d * (d + 1) + 2 * d * innerSize + innerSize + d + 4 * d;
  return ((vocabSize + positionCount) * d + layerCount * block + 2 * d) / 1e6;
}

function specOf(
  points: readonly Point[],
  x: string,
  { networks }: Pick<PaperResult["settings"], "networks">,
): TopLevelSpec {
  return {
    data: { values: points.map((point) => ({ ...point })) },
    facet: { column: { field: "network", type: "nominal", sort: [...networks], title: null } },
    spec: {
      width: 260,
      height: 240,
      mark: { type: "line", point: true },
      encoding: {
        x: { field: "x", type: "quantitative", title: x, scale: { zero: false } },
        y: {
          field: "seconds",
          type: "quantitative",
          title: "online seconds",
          scale: { type: "log" },
        },
        color: { field: "method", type: "nominal", title: null },
      },
    },
  };
}
