// A result as Markdown: what was measured on, and a table for each group.

import type { Row } from "./rows.ts";
import type { BenchResult, GroupResult } from "./runner.ts";

const legend =
  "`low` and `high` are the samples' quartiles, `n` their number. `ratio` is the median by what " +
  "it is held against. Modelled rows were computed, not measured.";

export function markdown(result: BenchResult): string {
  const { machine, kernels, quick, remark, startedAt, load, groups } = result;
  const facts = [
    ["processor", machine.kind],
    ["instruction sets", machine.instructionSets.join(", ") || "unknown without the addon"],
    ["memory", `${(machine.memoryBytes / 2 ** 30).toFixed(1)} GiB`],
    ["system", `${machine.system}, Node ${machine.node}`],
    ["commit", machine.commit],
    ["kernels", `ring ${kernels.ring}; float ${kernels.float}; checksums ${kernels.checksum}`],
    ["run", `${startedAt}${quick ? ", quick" : ""}`],
    ["load before and after", load.map((each) => each.toFixed(2)).join(", ")],
    ...(remark === undefined ? [] : [["remark", remark]]),
  ];
  const parts = ["# mergen bench run", table(["", ""], facts), legend, ...groups.map(section)];
  return `${parts.join("\n\n")}\n`;
}

function section({ name, question, rows }: GroupResult): string {
  const heads = ["", "median", "low", "high", "n", "unit", "ratio", "of"];
  const lines = rows.map((row) => [row.name, ...figures(row)]);
  const sentence = `${question[0]!.toUpperCase()}${question.slice(1)}.`;
  return `## ${name}\n\n${sentence}\n\n${table(heads, lines)}`;
}

function figures({ median, low, high, n, unit, reference, modelled }: Row): string[] {
  return [
    short(median),
    short(low),
    short(high),
    modelled ? "modelled" : String(n),
    unit === "1" ? "" : unit,
    reference ? short(reference.ratio) : "",
    reference ? `${reference.name}, ${short(reference.value)}` : "",
  ];
}

/** Four digits, without an exponent. */
function short(value: number): string {
  return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(4)));
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line)].join("\n");
}
