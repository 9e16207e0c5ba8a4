// docs/quality.md: what the students of each recipe are worth on each task, in float and in the
// secure mode. All figures are those of the files in bench/results/quality, which the stage `study`
// leaves behind; cells without a file are not run yet.

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  loadQualityResult,
  parseTrainConfig,
  type QualityMetrics,
  type QualityResult,
  type StudyConfig,
} from "../../src/index.ts";

/** In the order of the page; configs/TASK.json. */
export const qualityTasks = ["e2e", "multiwoz", "commongen", "dailydialog"] as const;

const titles: Readonly<Record<string, string>> = {
  e2e: "E2E NLG",
  multiwoz: "MultiWOZ NLG",
  commongen: "CommonGen",
  dailydialog: "DailyDialog",
};

/** Of the paper, GPT-2 (124 M) on MultiWOZ 2.1 NLG. */
const published = [
  ["GPT-2", "4.79", "0.4424", "0.490", "43.3", "0.9237", "-2.902"],
  ["MERGE", "3.74", "0.3970", "0.430", "36.7", "0.8984", "-3.146"],
  ["MERGE, only ER", "-", "0.434", "-", "-", "-", "-"],
  ["MERGE, only MM", "-", "0.478", "-", "-", "-", "-"],
  ["MERGE, ER without training", "-", "0.071", "-", "-", "-", "-"],
] as const;

/** A task's configuration with the results that there are, by the cell's name. */
export interface TaskResults {
  readonly config: StudyConfig;
  readonly cells: ReadonlyMap<string, QualityResult>;
}

const root = new URL("../../", import.meta.url);

/** @throws E_CONFIG, E_DATA naming the file that is wrong */
export function taskResults(task: string, folder: URL = root): TaskResults {
  const path = fileURLToPath(new URL(`configs/${task}.json`, folder));
  const config = parseTrainConfig(JSON.parse(readFileSync(path, "utf8")), { origin: path });
  if (config.stage !== "study") throw new Error(`${path}: is no study`);
  const cells = new Map<string, QualityResult>();
  for (const { name } of config.cells) {
    const file = fileURLToPath(new URL(`${config.results}/${name}.json`, folder));
    if (existsSync(file)) cells.set(name, loadQualityResult(file));
  }
  return { config, cells };
}

/** docs/quality.md. */
export function qualityPage(
  tasks: readonly TaskResults[] = qualityTasks.map((t) => taskResults(t)),
) {
  return `${[...introduction, ...tasks.flatMap(taskSection)].join("\n")}\n`;
}

const introduction = [
  "# Quality",
  "",
  "Made by `npm run quality` (`bench/quality/`) from the files in `bench/results/quality/`; a test",
  "checks that this page is what it makes. Each file also has the command, the commit and the",
  "machine. `-`: not run, or no such figure.",
  "",
  "A task's cells come from one command, which goes on where it was stopped:",
  "",
  "    mergen train configs/TASK.json [only='[\"merge\"]'] [key=value ...]",
  "",
  "The budgets are small: minutes on two cores that also did other work, and not the same for all",
  "students of a task: see `from` and `steps`. Larger ones are one argument away, as",
  "`students.steps=5000 teacher.steps=5000 out=runs/long results=runs/long/results`. The figures",
  "say what these budgets give, not what a recipe can reach.",
  "",
  "- Models: 4 layers, 192 columns, 6 heads, 768 inner; a tokenizer for each task.",
  "- vanilla is the teacher, trained on the references. All others learn its greedy texts on",
  "  inputs of the training set (Kim and Rush 2016) and, where a task says so, on made-up ones;",
  "  their loss knows the texts alone.",
  "- Texts are greedy. merge, merge-hybrid and merge-er send their states again (anchor 0), all",
  "  others tokens.",
  "- Metrics are those of `mergen eval` without WordNet: chrF++ and BLEU of 100, slot errors by",
  "  the task's rules (lower is better), `ended` the share of texts with an end token.",
  "- float: float32. Merged modules have the weights of the int16 grid there, too.",
  "- secure: the two-party protocol with its dealer, all in one process (`mergen eval --mode",
  "  secure`), on the first N cases of the test set; beside it float on the same N. `equal` counts",
  "  texts that are the same in both, of N, which is smaller where a text takes longer; the first",
  "  cases are no random draw. `bounds` says whether the plan rests on bounds that the weights",
  "  prove, or on seen ones (README, recipes).",
  "- Training pairs that are also cases of the development or test set are left out.",
  "- `seconds` are of training alone, by the clock, over all resumptions. The cores had other work",
  "  at all times, so they say little of what a training needs.",
];

function taskSection(results: TaskResults): string[] {
  const { config } = results;
  const count = anyResult(results)?.test.count;
  return [
    "",
    `## ${titles[config.task] ?? config.task}`,
    "",
    ...dataLines(results),
    ...config.notes.map((text) => `- ${text}`),
    ...cellNotes(results),
    "",
    ...trainingTable(results),
    "",
    `Float, all test cases of \`../shared\`${count === undefined ? "" : ` (${grouped(count)})`}:`,
    "",
    ...floatTable(results),
    "",
    "Secure, the first N of them, and float on the same:",
    "",
    ...secureTable(results),
    ...(config.task === "multiwoz" ? ["", ...publishedTable()] : []),
  ];
}

function anyResult({ cells }: TaskResults): QualityResult | undefined {
  return [...cells.values()][0];
}

function dataLines(results: TaskResults): string[] {
  const { config } = results;
  const data = anyResult(results)?.data;
  const { prompt } = config.teacher.model as { prompt: { kind: string; bucket?: number } };
  const { generation } = config.teacher.model as { generation: { maxTokens: number } };
  const { syntheticFrom } = config.distil as { syntheticFrom?: "slots" | "acts" };
  const lines = [`- Training data: ${config.trainFiles.join(", ")} of \`${config.data}\`.`];
  if (data) {
    const { train, leftOut, distilled, withoutEnd } = data;
    lines.push(
      `- ${grouped(train)} training pairs, ${grouped(leftOut)} left out as cases of dev or test.`,
      `- ${grouped(distilled)} texts of the teacher; ${grouped(withoutEnd)} more came to no end.`,
    );
    if (syntheticFrom === "acts") {
      lines.push(
        "  Some are on made-up inputs: one to three acts of different inputs of the training set,",
        "  with values of others; no input of dev or test is among them.",
      );
    }
  }
  if (prompt.kind === "text") {
    const most = generation.maxTokens;
    lines.push(
      `- A prompt takes ${prompt.bucket} positions, a text at most ${most}; longer training texts`,
      "  are left out. Longer inputs lose words from the left.",
    );
    if (data?.cut) {
      const { train, dev, test } = data.cut;
      const all = `${grouped(train)} of train, ${grouped(dev)} of dev, ${grouped(test)} of test`;
      lines.push(`  Inputs cut: ${all}.`);
    }
  }
  return lines;
}

function cellNotes({ config, cells }: TaskResults): string[] {
  return config.cells.flatMap(({ name, note }) => {
    const { refused } = cells.get(name) ?? {};
    return [
      ...(note === undefined ? [] : [`- ${name}: ${note}.`]),
      ...(refused === undefined ? [] : [`- ${name} has no secure figures: ${refused}`]),
    ];
  });
}

function trainingTable({ config, cells }: TaskResults): string[] {
  const rows = config.cells.map(({ name }) => {
    const cell = cells.get(name);
    if (!cell) return [name, ...new Array(6).fill("-")];
    const { from, steps, batchSize, seed, seconds } = cell.training;
    return [
      name,
      from,
      ...[steps, batchSize, seed, Math.round(seconds)].map(grouped),
      fixed(cell.dev.rougeL, 4),
    ];
  });
  return table(["cell", "from", "steps", "batch", "seed", "seconds", "dev ROUGE-L"], rows);
}

const heads = ["BLEU", "NIST", "ROUGE-L", "METEOR", "chrF++", "slot errors", "ended"];

function figures(metrics: QualityMetrics): string[] {
  const { bleu, nist, rougeL, meteor, chrfpp, slotErrorRate, endReached } = metrics;
  return [
    fixed(bleu, 2),
    fixed(nist, 3),
    fixed(rougeL, 4),
    fixed(meteor, 4),
    fixed(chrfpp, 2),
    slotErrorRate === undefined ? "-" : fixed(slotErrorRate, 4),
    fixed(endReached, 3),
  ];
}

function floatTable({ config, cells }: TaskResults): string[] {
  const rows = config.cells.map(({ name }) => {
    const cell = cells.get(name);
    return [name, ...(cell ? figures(cell.test.metrics) : new Array(heads.length).fill("-"))];
  });
  return table(["cell", ...heads], rows);
}

function secureTable({ config, cells }: TaskResults): string[] {
  const rows = config.cells.flatMap(({ name }) => {
    const secure = cells.get(name)?.secure;
    if (!secure) return [[name, "secure", ...new Array(heads.length + 2).fill("-")]];
    const { metrics, float, count, equal, bounds } = secure;
    return [
      [name, "secure", ...figures(metrics), `${equal} of ${count}`, bounds],
      [name, "float", ...figures(float), "", ""],
    ];
  });
  return table(["cell", "mode", ...heads, "equal", "bounds"], rows);
}

function publishedTable(): string[] {
  return [
    "The paper's own figures (Liang et al., AAAI 2024, arXiv 2305.15769), of GPT-2 with 124 M",
    "parameters, pretrained, and MultiWOZ 2.1's own training set; ours have neither:",
    "",
    ...table(["model", "NIST", "ROUGE-L", "METEOR", "chrF++", "BERTScore", "BARTScore"], published),
  ];
}

function table(names: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(names), line(names.map(() => "---")), ...rows.map(line)];
}

function fixed(value: number, digits: number): string {
  return value.toFixed(digits);
}

/** With commas between thousands. */
function grouped(value: number): string {
  return value.toLocaleString("en-US");
}
