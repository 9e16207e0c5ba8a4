// The curve of a run: loss and scores by step, as JSON and as a picture, written with the lines of
// the log. A resumed run goes on with the points that it has.

import { readFile, rename, writeFile } from "node:fs/promises";
import type { TopLevelSpec } from "vega-lite";
import type { ProgressPoint } from "./progress.ts";
import { svgOf } from "./svg.ts";

/** Scores of the weights after a step, by name. */
export interface ScorePoint {
  readonly step: number;
  readonly scores: Readonly<Record<string, number>>;
}

interface Points {
  readonly losses: readonly ProgressPoint[];
  readonly scores: readonly ScorePoint[];
}

const FORMAT = "mergen-curve-1";
/** A picture takes some tens of milliseconds, and is drawn at most so often while a run goes on. */
const DRAW_EVERY_MS = 1000;

export class Curve {
  readonly #path: string;
  #losses: ProgressPoint[];
  #scores: ScorePoint[];
  #drawn = Number.NEGATIVE_INFINITY;

  private constructor(path: string, { losses, scores }: Points) {
    this.#path = path;
    this.#losses = [...losses];
    this.#scores = [...scores];
  }

  /** The curve up to a step, from `path` with .json; none where the file is no curve. */
  static async open(path: string, step: number): Promise<Curve> {
    const { losses, scores } = await readPoints(`${path}.json`);
    const kept = <P extends { readonly step: number }>(points: readonly P[]) =>
      points.filter((point) => point.step <= step);
    return new Curve(path, { losses: kept(losses), scores: kept(scores) });
  }

  addLoss(point: ProgressPoint): void {
    this.#losses.push(point);
  }

  addScores(point: ScorePoint): void {
    this.#scores.push(point);
  }

  /** Writes `path` with .json and, now and then or where it is the last time, .svg. */
  async write({ last }: { last: boolean }): Promise<void> {
    const points = { losses: this.#losses, scores: this.#scores };
    const json = `${JSON.stringify({ format: FORMAT, ...points }, null, 1)}\n`;
    await replace(`${this.#path}.json`, json);
    if (!last && performance.now() - this.#drawn < DRAW_EVERY_MS) return;
    this.#drawn = performance.now();
    await replace(`${this.#path}.svg`, await svgOf(curvePlot(points)));
  }
}

async function readPoints(path: string): Promise<Points> {
  const none = { losses: [], scores: [] };
  try {
    const { format, losses, scores } = JSON.parse(await readFile(path, "utf8"));
    return format === FORMAT ? { losses, scores } : none;
  } catch {
    return none;
  }
}

async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.part`, text);
  await rename(`${path}.part`, path);
}

/** Losses above, and scores below where there are any, by step. */
export function curvePlot({ losses, scores }: Points): TopLevelSpec {
  const loss = losses.flatMap(({ step, loss, parts }) => [
    { step, name: "loss", value: loss },
    ...Object.entries(parts).map(([name, value]) => ({ step, name, value })),
  ]);
  const score = scores.flatMap(({ step, scores }) =>
    Object.entries(scores).map(([name, value]) => ({ step, name, value })),
  );
  const drawn = [
    { title: "loss", points: loss },
    { title: "score", points: score },
  ].filter(({ points }) => points.length > 0);
  return {
    vconcat: drawn.map(({ title, points }) => ({
      width: 480,
      height: 200,
      data: { values: points },
      mark: { type: "line", point: points.length < 50 },
      encoding: {
        x: { field: "step", type: "quantitative" },
        y: { field: "value", type: "quantitative", title, scale: { zero: false } },
        color: { field: "name", type: "nominal", title: null },
      },
    })),
    resolve: { scale: { color: "independent" } },
  };
}
