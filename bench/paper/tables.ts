// A study as Markdown, in the shape of the paper's Tables 1 and 2: our figures beside the paper's.

import { parts } from "../../src/index.ts";
import { AGREEMENT } from "./cells.ts";
import { BASELINE, methodOf, PREFIX, paperSpeedUps, partTitles } from "./methods.ts";
import {
  type Cell,
  type CellTotal,
  type NetworkName,
  type PaperResult,
  sizeName,
} from "./result.ts";

export function tables(result: PaperResult): string {
  const places = [...Map.groupBy(result.cells, placeOf).values()];
  const sections = [
    "# mergen bench paper",
    intro(result),
    ...places.map((cells) => timeSection(cells)),
    "## Bytes and round trips",
    "Exact, from the plans. A part's messages and their items' headers; `frames` is what " +
      "surrounds them. A round trip counts in equal shares with the parts that the answer is " +
      "for, so a part that only sends to the server has none.",
    ...[...Map.groupBy(result.cells, withoutNetwork).values()].map(byteSection),
    speedUpSection(result),
    spokenSection(result),
    agreementSection(result),
    notes(result),
  ];
  return `${sections.filter((section) => section !== "").join("\n\n")}\n`;
}

const placeOf = (cell: Cell) => `${withoutNetwork(cell)}, ${cell.network}`;
const withoutNetwork = ({ model, length }: Cell) => `${sizeName(model)}, ${length} positions`;

function intro(result: PaperResult): string {
  const { machine, kernels, startedAt, settings, remark, busy, finished, ratesFrom } = result;
  const runs = result.measurements.flatMap((each) => each.runs);
  const stalled = runs.filter(({ stalledSeconds }) => stalledSeconds > 0).length;
  return table(
    ["", ""],
    [
      ["processor", machine.kind],
      ["memory", `${(machine.memoryBytes / 2 ** 30).toFixed(1)} GiB`],
      ["system", `${machine.system}, Node ${machine.node}`],
      ["commit", machine.commit],
      ["kernels", kernels],
      [
        "begun",
        `${startedAt}${settings.quick ? ", quick" : ""}${finished ? "" : ", not finished"}`,
      ],
      ["others on the machine", busy ? "yes: seconds are noisy" : "no"],
      ...(stalled > 0 ? [["runs that were held up each time", String(stalled)]] : []),
      ...(ratesFrom === undefined ? [] : [["rates of modelled cells from", ratesFrom]]),
      ...(remark === undefined ? [] : [["remark", remark]]),
    ],
  );
}

// ---- seconds -----------------------------------------------------------------------------------

function timeSection(cells: readonly Cell[]): string {
  const { model, length } = cells[0]!;
  const isPaper = sizeName(model) === "gpt2" && length === 128;
  const baseline = cells.find(({ method }) => method === BASELINE)?.total;
  const heads = [
    "online seconds",
    "how",
    ...parts.map((part) => partTitles[part]),
    "rest",
    "total",
    "speed-up",
    "GB",
    "offline s",
    "offline GB",
    "speed-up with offline",
    ...(isPaper ? ["paper: embed", "linear", "softmax", "total", "speed-up", "GB"] : []),
  ];
  const rows = cells.map((cell) => [
    methodOf(cell.method).title,
    ...timeFigures(cell, baseline),
    ...(isPaper ? paperFigures(cell) : []),
  ]);
  return `## ${placeOf(cells[0]!)}\n\n${table(heads, rows)}`;
}

const whole = ({ seconds, offlineSeconds }: CellTotal) => seconds + offlineSeconds;

function timeFigures({ how, total, parts: of, rest }: Cell, baseline?: CellTotal): string[] {
  if (!total || !of || !rest) return ["no secure form yet", ...Array(parts.length + 7).fill("")];
  return [
    how,
    ...parts.map((part) => short(of[part].seconds)),
    short(rest.seconds),
    short(total.seconds),
    baseline ? short(baseline.seconds / total.seconds) : "",
    short(total.onlineBytes / 1e9),
    short(total.offlineSeconds),
    short(total.offlineBytes / 1e9),
    baseline ? short(whole(baseline) / whole(total)) : "",
  ];
}

function paperFigures({ method }: Cell): string[] {
  const { paper } = methodOf(method);
  if (!paper) return Array(6).fill("");
  const { embed, linear, softmax, seconds, speedUp, gigabytes } = paper;
  return [embed, linear, softmax, seconds, speedUp, gigabytes].map(String);
}

// ---- bytes -------------------------------------------------------------------------------------

function byteSection(cells: readonly Cell[]): string {
  const firsts = [...Map.groupBy(cells, ({ method }) => method).values()].map(([cell]) => cell!);
  const known = firsts.filter(({ total }) => total !== undefined);
  if (known.length === 0) return "";
  const heads = [
    "MB online (round trips) + MB offline",
    ...parts.map((part) => partTitles[part]),
    "frames",
    "total",
  ];
  const rows = known.map(({ method, parts: of, rest, total }) => [
    methodOf(method).title,
    ...parts.map((part) => bytesOf(of![part])),
    bytesOf(rest!),
    bytesOf(total!),
  ]);
  return `### ${withoutNetwork(cells[0]!)}\n\n${table(heads, rows)}`;
}

function bytesOf(of: Pick<CellTotal, "onlineBytes" | "roundTrips" | "offlineBytes">): string {
  const { onlineBytes, roundTrips, offlineBytes } = of;
  return `${short(onlineBytes / 1e6)} (${short(roundTrips)}) + ${short(offlineBytes / 1e6)}`;
}

// ---- comparisons -------------------------------------------------------------------------------

/** How much faster MERGE is than the baseline. */
export function speedUp(
  cells: readonly Cell[],
  place: { readonly size: string; readonly length: number; readonly network: NetworkName },
): number | undefined {
  const [fast, slow] = ["merge", BASELINE].map((name) =>
    cells.find(
      ({ method, model, length, network }) =>
        method === name &&
        sizeName(model) === place.size &&
        length === place.length &&
        network === place.network,
    ),
  );
  if (!fast?.total || !slow?.total) return undefined;
  return slow.total.seconds / fast.total.seconds;
}

function speedUpSection({ cells, settings }: PaperResult): string {
  const { shapes, lengths, networks } = settings;
  const size = shapes[0]!;
  const rows = lengths.map((length) => [
    String(length),
    ...networks.map((network) => {
      const found = speedUp(cells, { size, length, network });
      return found === undefined ? "" : short(found);
    }),
    String(paperSpeedUps[length] ?? ""),
  ]);
  if (rows.every(([, ...found]) => found.slice(0, -1).every((cell) => cell === ""))) return "";
  const heads = ["positions", ...networks, "paper (GPT-2)"];
  const title = `MERGE against ${methodOf(BASELINE).title}, ${size}`;
  return `## ${title}\n\nOnline seconds of one by the other's.\n\n${table(heads, rows)}`;
}

function spokenSection({ measurements }: PaperResult): string {
  const spoken = measurements.flatMap(({ method, model, spoken: said }) =>
    said ? [{ method, model, ...said }] : [],
  );
  if (spoken.length === 0) return "";
  const ids = (tokens: readonly number[]) => tokens.slice(0, 8).join(" ");
  const rows = spoken.map(({ method, model, tokens, floatTokens }) => [
    methodOf(method).title,
    sizeName(model),
    ids(tokens),
    ids(floatTokens),
    `${tokens.filter((token, i) => token === floatTokens[i]).length} of ${tokens.length}`,
  ]);
  const heads = ["first tokens", "model", "private", "in the clear", "alike"];
  return (
    "## What the rows say\n\nRandom weights: the tokens mean nothing, but each row's should be " +
    "those of the same recipe in the clear. After one that differs, all may.\n\n" +
    table(heads, rows)
  );
}

function agreementSection({ agreements }: PaperResult): string {
  if (agreements.length === 0) return "";
  const rows = agreements.map((each) => [
    `${methodOf(each.method).title}, ${each.length} positions, ${each.network}`,
    short(each.runSeconds),
    short(each.sampledSeconds),
    `${(100 * each.difference).toFixed(1)} %`,
    each.agrees ? "yes" : "no",
  ]);
  const heads = ["online seconds", "run", "sampled", "difference", `within ${100 * AGREEMENT} %`];
  return `## Sampled against run\n\n${table(heads, rows)}`;
}

function notes({ cells }: PaperResult): string {
  const reasons = new Map<string, string>();
  for (const { method, reason } of cells) {
    if (reason !== undefined) reasons.set(methodOf(method).title, reason);
  }
  const lines = [
    `Every text has a private prompt of ${PREFIX} positions; the rest is generated. ` +
      '"run" cells were run in full; "sampled" ones are steps at several lengths, the rest ' +
      'by the cost model; "modelled" ones were not run.',
    "A part's seconds are both parties' computation in its gates, and what the line takes for " +
      "its round trips and bytes; `rest` is the total without them: the schedule and messages, " +
      "less what both parties do at the same time.",
    "The paper's columns were taken with CrypTen on a V100 with another protocol, which makes " +
      "its correlations online: hold its totals against online and offline together. Its " +
      "softmax is that function alone; our attention also has the products around it, or " +
      "constant attention.",
    ...[...reasons].map(([title, reason]) => `${title}: ${reason}.`),
  ];
  return `## Notes\n\n${lines.map((line) => `- ${line}`).join("\n")}`;
}

/** Three digits, without an exponent. */
function short(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return String(Number(value.toPrecision(3)));
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line)].join("\n");
}
