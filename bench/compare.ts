// Two files of results beside each other: what was measured in both, the ratio, and what became
// worse. Files hold JSON lines of `bench step` and `bench sessions`, or a result of `bench run`.
// Figures of different machines are compared by their ratio to what they are held against.

import { readFileSync } from "node:fs";
import { ensure, MergenError } from "../src/index.ts";
import { parseResult } from "./runner.ts";

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

/** What tells results apart that measure different things. */
const names = ["shape", "recipe", "norm", "promptTokens", "tokens", "network", "clients"] as const;

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
  const { machine, groups } = parseResult(text, path);
  const figures = groups.flatMap(({ name, rows }) =>
    rows.map(
      (row): Figure => ({
        name: `${name}: ${row.name}`,
        value: row.median,
        better: row.better,
        ...(row.n > 1 && { low: row.low, high: row.high }),
        ...(row.reference && { ratio: row.reference.ratio }),
      }),
    ),
  );
  return { machine: machine.kind, figures };
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
  const title = names.flatMap((name) => (name in line ? [String(line[name])] : [])).join(" ");
  const plain = line.plaintextSecondsPerToken;
  return [...numbersOf(line)].map(([path, value]) => {
    const inClear = path === "perToken.onlineSeconds" && typeof plain === "number";
    const ratio = inClear ? { ratio: value / plain } : {};
    return { name: `${title}: ${path}`, value, better: betterOf(path), ...ratio };
  });
}

/** All numbers of a result by their path, without those that name it. */
function numbersOf(line: Line, prefix = ""): Map<string, number> {
  const found = new Map<string, number>();
  for (const [key, value] of Object.entries(line)) {
    if (key === "machine" || (names as readonly string[]).includes(key)) continue;
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
 * All figures that both hold, in the order of the first. Worse or better is what changed by more
 * than the tolerance and, where both say how far their samples lie apart, by more than that.
 */
export function compareResults(
  before: Results,
  after: Results,
  tolerance = TOLERANCE,
): Comparison[] {
  const sameMachine = before.machine === after.machine;
  const others = new Map(after.figures.map((figure) => [figure.name, figure]));
  return before.figures.flatMap((one) => {
    const other = others.get(one.name);
    if (!other) return [];
    const scaled = !sameMachine && one.ratio !== undefined && other.ratio !== undefined;
    const [old, now] = scaled ? [one.ratio!, other.ratio!] : [one.value, other.value];
    const name = scaled ? `${one.name} (ratio)` : one.name;
    if (old === 0) return [];
    const change = now / old;
    const certain = scaled || apart(one, other);
    const verdict = certain ? verdictOn(change, one.better, tolerance) : "";
    return [{ name, before: old, after: now, change, verdict }];
  });
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
