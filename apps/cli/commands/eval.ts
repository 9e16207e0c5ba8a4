import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { type Command, Option } from "commander";
import {
  type CorpusScore,
  type Example,
  ensure,
  loadExamples,
  loadModel,
  MergenError,
  type Mode,
  scoreOutputs,
} from "../../../src/index.ts";
import { DEFAULT_SEED, integer, modelOption } from "../options.ts";
import { note, Progress, printJson, table } from "../output.ts";
import { openBench } from "./run.ts";

interface EvalFlags {
  readonly data: string;
  readonly limit?: number;
  readonly outputs?: string;
  readonly model: string;
  readonly mode: Mode;
  readonly anchor?: number;
  readonly maxTokens?: number;
  readonly seed: number;
  readonly json?: boolean;
}

/** `mergen eval`: scores outputs, or a model's own. */
export function addEval(root: Command): void {
  root
    .command("eval")
    .description("score outputs against references: ROUGE-L and name coverage")
    .requiredOption(
      "--data <file>",
      "examples, .jsonl or .jsonl.gz with `input` and `refs` or `ref`",
    )
    .option("--limit <n>", "take the first n examples", integer(1))
    .option(
      "--outputs <file>",
      "outputs, one JSON object with `text` a line; else the model is run",
    )
    .addOption(modelOption)
    .addOption(
      new Option("--mode <name>", "how the model is run")
        .choices(["float", "fixed", "secure"])
        .default("fixed"),
    )
    .option("--anchor <k>", "send every k-th token back (default: from the model)", integer(0))
    .option("--max-tokens <n>", "tokens at most (default: from the model)", integer(1))
    .option("--seed <n>", "seed of the run", integer(0), DEFAULT_SEED)
    .option("--json", "print one compact JSON object")
    .addHelpText(
      "after",
      "\nExamples:\n  $ mergen eval --data dev.jsonl.gz --outputs texts.jsonl --json\n" +
        "  $ mergen eval --data dev.jsonl.gz --mode fixed --anchor 0",
    )
    .action(evaluate);
}

async function evaluate(flags: EvalFlags): Promise<void> {
  const { limit } = flags;
  const examples = await loadExamples(flags.data, limit === undefined ? {} : { limit });
  const outputs =
    flags.outputs === undefined
      ? await produce(flags, examples)
      : (await readOutputs(flags.outputs)).slice(0, limit);
  printScore(scoreOutputs(examples, outputs), flags);
}

async function produce(flags: EvalFlags, examples: readonly Example[]) {
  const bench = await openBench(await loadModel(flags.model), flags.mode, flags.seed);
  note("insecure: all parties share this process; use it to test a model, not to protect a prompt");
  const progress = new Progress("running", examples.length);
  const outputs = [];
  for (const { input } of examples) {
    const { anchor, maxTokens } = flags;
    outputs.push(await bench({ prompt: input, anchor, maxTokens }));
    progress.update(outputs.length);
  }
  progress.stop();
  return outputs;
}

async function readOutputs(path: string): Promise<{ text: string; stopped?: string }[]> {
  const lines = (await readText(path)).split("\n");
  return lines.flatMap((line, index) => {
    if (line.trim() === "") return [];
    let value: { text?: unknown; stopped?: unknown } | null;
    try {
      value = JSON.parse(line);
    } catch {
      throw new MergenError("E_DATA", `${path}:${index + 1}: not JSON`);
    }
    const text = value?.text;
    ensure(typeof text === "string", "E_DATA", `${path}:${index + 1}: no field \`text\``);
    return [typeof value?.stopped === "string" ? { text, stopped: value.stopped } : { text }];
  });
}

async function readText(path: string): Promise<string> {
  try {
    const raw = await readFile(path);
    const plain = path.endsWith(".gz") ? gunzipSync(raw) : raw;
    return new TextDecoder("utf-8", { fatal: true }).decode(plain);
  } catch (cause) {
    throw new MergenError("E_DATA", `${path}: cannot be read as UTF-8 text`, { cause });
  }
}

function printScore(score: CorpusScore, flags: EvalFlags): void {
  if (flags.json) {
    printJson(score);
    return;
  }
  const share = (value: number | undefined) => (value === undefined ? "-" : value.toFixed(4));
  const rows = [
    ["examples", String(score.count)],
    ["ROUGE-L", share(score.rougeL)],
    ["name coverage", share(score.nameCoverage)],
    ["end token reached", share(score.endReached)],
  ];
  process.stdout.write(`${table(rows)}\n`);
}
