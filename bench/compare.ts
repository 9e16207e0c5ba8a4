// Two files of results beside each other: what was measured in both, the ratio, and what became
// worse. Files hold JSON lines of `bench step` and `bench sessions`, or a result of `bench run`.
// Figures of different machines are compared by their ratio to what they are held against.

import { readFileSync } from "node:fs";
import { ensure, MergenError } from "../src/index.ts";
import { type GroupResult, parseResult } from "./runner.ts";

/** One figure of a file. */
export interface Figure {
  /** What was measured: the same in both files. */
  readonly name: string;
  readonly value: number;
  /** Undefined: neither more nor less is better. */
  readonly better: "more" | "less" | undefined;
  /** Quartiles, where there is more than one sample. */
  readonly low?: number;
  readonly high?: number;
  /** Ratio to a limit or to the same in the clear. */
  readonly ratio?: number;
  /** What that is, where it says so. */
  readonly reference?: string;
  /** What else tells the figure apart: its unit, whether it is modelled. */
  readonly of?: string;
}

export interface Results {
  /** Model of the processor and number of cores. */
  readonly machine: string;
  readonly figures: readonly Figure[];
}

export interface Comparison {
  readonly name: string;
  readonly before: number;
  readonly after: number;
  /** after / before. */
  readonly change: number;
  readonly verdict: "better" | "worse" | "";
}

/** What both files measure, and what only one of them does. */
export interface Compared {
  readonly pairs: readonly Comparison[];
  readonly beforeAlone: readonly string[];
  readonly afterAlone: readonly string[];
}

/** What tells results apart that measure different things. */
const names = [
  ...["shape", "model", "recipe", "norm", "promptTokens", "tokens", "network", "next", "clients"],
];

/** Groups whose texts are shorter when quick. */
const shorterWhenQuick = ["token", "flame", "sessions"];

/** @throws E_DATA naming the file and, of JSON lines, the line that is no result; E_VERSION */
export function readResults(path: string): Results {
  const text = readText(path);
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  ensure(lines.length > 0, "E_DATA", `${path}: no results`);
  // A result of `bench run` is one object over many lines, or one line with groups.
  if (lines[0]!.trim() === "{" || lines[0]!.includes('"groups":')) return ofRun(text, path);
  const objects = lines.map((line, i) => parseLine(line, `${path}, line ${i + 1}`));
  const machines = new Set(objects.map(({ machine }) => (machine as { kind: string }).kind));
  return { machine: [...machines].join("; "), figures: objects.flatMap(figuresOf) };
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new MergenError("E_DATA", `${path} cannot be read`, { cause });
  }
}

function ofRun(text: string, path: string): Results {
  const { machine, groups, quick } = parseResult(text, path);
  const figures = groups.flatMap((group) => {
    const title = titleOf(group, quick);
    return group.rows.map(
      (row): Figure => ({
        name: `${title}: ${row.name}`,
        value: row.median,
        better: row.better,
        ...(row.n > 1 && { low: row.low, high: row.high }),
        ...(row.reference && { ratio: row.reference.ratio, reference: row.reference.name }),
        of: row.modelled ? `${row.unit}, modelled` : row.unit,
      }),
    );
  });
  return { machine: machine.kind, figures };
}

/** A group's name, with what its rows have in common and do not say. */
function titleOf({ name, rows }: GroupResult, quick: boolean): string {
  // The rows of a flame name a side and a part; the first one alone names the model.
  const shape = name === "flame" ? rows[0]?.name.split(": ")[0] : undefined;
  const short = quick && shorterWhenQuick.includes(name);
  return [name, ...(shape === undefined ? [] : [shape]), ...(short ? ["quick"] : [])].join(", ");
}

type Line = Readonly<Record<string, unknown>>;

function parseLine(line: string, where: string): Line {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = undefined;
  }
  const isResult = typeof value === "object" && value !== null && "machine" in value;
  ensure(isResult, "E_DATA", `${where}: not a result of a benchmark`);
  return value as Line;
}

function figuresOf(line: Line): Figure[] {
  // Several clients at a time are compared with as many.
  const { together } = line as { together?: { clients?: unknown } };
  const clients = together?.clients === undefined ? [] : [`${together.clients} clients`];
  const own = names.flatMap((name) => (name in line ? [String(line[name])] : []));
  const of = JSON.stringify(names.map((name) => line[name] ?? null));
  const title = [...own, ...clients].join(" ");
  const plain = line.plaintextSecondsPerToken;
  return [...numbersOf(line)].map(([path, value]) => {
    const inClear = path === "perToken.onlineSeconds" && typeof plain === "number";
    const ratio = inClear ? { ratio: value / plain } : {};
    return { name: `${title}: ${path}`, value, better: betterOf(path), ...ratio, of };
  });
}

/** All numbers of a result by their path, without those that name it. */
function numbersOf(line: Line, prefix = ""): Map<string, number> {
  const found = new Map<string, number>();
  for (const [key, value] of Object.entries(line)) {
    if (key === "machine" || names.includes(key)) continue;
    if (typeof value === "number") found.set(prefix + key, value);
    else if (typeof value === "object" && value !== null) {
      for (const [name, number] of numbersOf(value as Line, `${prefix}${key}.`)) {
        found.set(name, number);
      }
    }
  }
  return found;
}

/** Which way is better; of a run in the clear neither, since it is what others are held against. */
function betterOf(path: string): Figure["better"] {
  if (path.startsWith("plaintext") || path === "floor.seconds") return undefined;
  if (path.endsWith("tokensPerSecond") || path === "ratio") return "more";
  return "less";
}

/** Times may differ by so much from run to run, as a part of the value before. */
export const TOLERANCE = 0.1;

/**
 * All figures that both hold, in the order of the first, and the names of those that one alone
 * holds. Figures pair only where all that identifies them is equal; of several that are equal, the
 * first with the first, the second with the second. Worse or better is what changed by more than
 * the tolerance and, where both say how far their samples lie apart, by more than that.
 */
export function compareResults(before: Results, after: Results, tolerance = TOLERANCE): Compared {
  const sameMachine = before.machine === after.machine;
  const others = new Map<string, Figure[]>();
  for (const figure of after.figures) {
    const key = identity(figure);
    others.set(key, [...(others.get(key) ?? []), figure]);
  }
  const pairs: Comparison[] = [];
  const beforeAlone: string[] = [];
  for (const one of before.figures) {
    const other = others.get(identity(one))?.shift();
    if (!other) beforeAlone.push(one.name);
    else if (one.value !== 0) pairs.push(comparison(one, other, { sameMachine, tolerance }));
  }
  const left = new Set([...others.values()].flat());
  const afterAlone = after.figures.filter((figure) => left.has(figure));
  return { pairs, beforeAlone, afterAlone: afterAlone.map(({ name }) => name) };
}

function identity({ name, of = "" }: Figure): string {
  return JSON.stringify([name, of]);
}

function comparison(
  one: Figure,
  other: Figure,
  { sameMachine, tolerance }: { sameMachine: boolean; tolerance: number },
): Comparison {
  const ratios = one.ratio !== undefined && other.ratio !== undefined;
  const scaled = !sameMachine && ratios && one.reference === other.reference;
  const [before, after] = scaled ? [one.ratio!, other.ratio!] : [one.value, other.value];
  const change = after / before;
  const certain = scaled || apart(one, other);
  const verdict = certain ? verdictOn(change, one.better, tolerance) : "";
  return { name: scaled ? `${one.name} (ratio)` : one.name, before, after, change, verdict };
}

/** Whether the middle halves of two sets of samples have nothing in common. */
function apart(one: Figure, other: Figure): boolean {
  if (one.low === undefined || other.low === undefined) return true;
  return one.high! < other.low || other.high! < one.low;
}

function verdictOn(
  change: number,
  better: Figure["better"],
  tolerance: number,
): Comparison["verdict"] {
  if (better === undefined) return "";
  const grew = change > 1 + tolerance;
  const shrank = change < 1 / (1 + tolerance);
  if (!grew && !shrank) return "";
  return grew === (better === "more") ? "better" : "worse";
}
