// Two files of results beside each other: what was measured in both, and the ratio. Figures of
// different machines are compared by their ratio to plaintext decoding of the same run.

import { readFileSync } from "node:fs";
import { ensure } from "../src/index.ts";

/** One printed result: nested objects of numbers and names. */
export type Result = Readonly<Record<string, unknown>>;

/** What tells results apart that measure different things. */
const names = ["shape", "recipe", "norm", "promptTokens", "tokens", "network", "clients"] as const;

/** @throws E_USAGE naming the file and the line that is no result */
export function readResults(path: string): Result[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.flatMap((line, i) => {
    if (line.trim() === "") return [];
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      value = undefined;
    }
    const isResult = typeof value === "object" && value !== null && "machine" in value;
    ensure(isResult, "E_USAGE", `${path}, line ${i + 1}: not a result of a benchmark`);
    return [value as Result];
  });
}

/** Rows of name, before, after and ratio, under a heading. */
export function compareResults(before: readonly Result[], after: readonly Result[]): string[][] {
  const rows = [["", "before", "after", "after / before"]];
  for (const one of before) {
    const title = titleOf(one);
    const other = after.find((result) => titleOf(result) === title);
    if (!other) continue;
    const [old, now] = [numbersOf(one), numbersOf(other)];
    for (const [name, value] of old) {
      const next = now.get(name);
      if (next === undefined || value === 0) continue;
      const ratio = (next / value).toFixed(3);
      rows.push([`${title}: ${name}`, value.toPrecision(4), next.toPrecision(4), ratio]);
    }
  }
  return rows;
}

function titleOf(result: Result): string {
  return names.flatMap((name) => (name in result ? [String(result[name])] : [])).join(" ");
}

/** All numbers of a result by their path, without those that name it. */
function numbersOf(result: Result, prefix = ""): Map<string, number> {
  const found = new Map<string, number>();
  for (const [key, value] of Object.entries(result)) {
    if (key === "machine" || (prefix === "" && (names as readonly string[]).includes(key)))
      continue;
    if (typeof value === "number") found.set(prefix + key, value);
    else if (typeof value === "object" && value !== null) {
      const inner = numbersOf(value as Result, `${prefix}${key}.`);
      for (const [name, number] of inner) found.set(name, number);
    }
  }
  return found;
}
