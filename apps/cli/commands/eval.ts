import { type FileHandle, open, realpath } from "node:fs/promises";
import { type Command, Option } from "commander";
import {
  type EvaluateOptions,
  type EvaluationReport,
  type Example,
  ensure,
  evaluate,
  type ItemReport,
  loadFloatKernels,
  loadModel,
  loadOutputs,
  MergenError,
  type Mode,
  type Numbered,
  needsInputs,
  numberedExamples,
  type Output,
  type SlotTask,
  slotTasks,
} from "../../../src/index.ts";
import { boundsOption, DEFAULT_SEED, integer, modelOption } from "../options.ts";
import { note, Progress, printJson, table } from "../output.ts";
import { openBench } from "./run.ts";

interface EvalFlags {
  readonly data: string;
  readonly limit?: number;
  readonly outputs?: string;
  readonly perItem?: string;
  readonly wordnet?: string;
  readonly task?: SlotTask;
  readonly perplexity?: string;
  readonly bertScore?: string;
  readonly bertScoreLayer?: number;
  readonly bartScore?: string;
  readonly model: string;
  readonly mode: Mode;
  readonly calibratedBounds?: boolean;
  readonly anchor?: number;
  readonly maxTokens?: number;
  readonly seed: number;
  readonly json?: boolean;
}

const HELP = `
Always: chrF++, BLEU, NIST, ROUGE-L, METEOR, name coverage, share of texts that end.
docs/format.md has the definitions and the keys of --json and --per-item.

Examples:
  $ mergen eval --data dev.jsonl.gz --outputs texts.jsonl --json
  $ mergen eval --data dev.jsonl.gz --outputs texts.jsonl --task e2e --per-item scores.jsonl
  $ mergen eval --data dev.jsonl.gz --mode fixed --anchor 0`;

/** `mergen eval`: scores outputs, or a model's own. */
export function addEval(root: Command): void {
  const command = root
    .command("eval")
    .description("score outputs against references: BLEU, ROUGE-L, METEOR and others")
    .requiredOption("--data <file>", "examples, .jsonl or .jsonl.gz with `refs` or `ref`, `input`")
    .option("--limit <n>", "take the first n examples", integer(1))
    .option("--outputs <file>", "outputs, one JSON object with `text` a line; else a model is run")
    .option("--per-item <file>", "write the scores of each item there, a JSON object a line")
    .option("--wordnet <dir>", "folder of WordNet 3's files: synonyms for METEOR")
    .addOption(
      new Option("--task <name>", "slot error rate by the rules of a task").choices(slotTasks),
    )
    .option("--perplexity <dir>", "perplexity under a model of this package, in float")
    .option("--bert-score <dir>", "BERTScore with a BERT or RoBERTa folder (safetensors)")
    .option("--bert-score-layer <n>", "layer of its embeddings (default: bert_score's)", integer(0))
    .option("--bart-score <dir>", "BARTScore with a BART folder (safetensors)");
  modelOptions(command).addHelpText("after", HELP).action(run);
}

function modelOptions(command: Command): Command {
  return command
    .addOption(modelOption)
    .addOption(
      new Option("--mode <name>", "how the model is run")
        .choices(["float", "fixed", "secure"])
        .default("fixed"),
    )
    .addOption(boundsOption)
    .option(
      "--anchor <k>",
      "send every k-th token back, also for --perplexity (default: from the model)",
      integer(0),
    )
    .option("--max-tokens <n>", "tokens at most (default: from the model)", integer(1))
    .option("--seed <n>", "seed of the run", integer(0), DEFAULT_SEED)
    .option("--json", "print one compact JSON object");
}

async function run(flags: EvalFlags): Promise<void> {
  const { data, limit } = flags;
  const inputOptional = flags.outputs !== undefined && !needsInputs(flags);
  const numbered: Numbered<Example>[] = [];
  for await (const one of numberedExamples(data, { limit, inputOptional })) numbered.push(one);
  const examples = numbered.map(({ item }) => item);
  await checkPerItem(flags);
  const outputs = await outputsOf(flags, numbered);
  const file = flags.perItem === undefined ? undefined : await opened(flags.perItem);
  try {
    const { wordnet, task, perplexity, anchor, bertScore, bertScoreLayer, bartScore } = flags;
    const folders = { wordnet, task, perplexity, anchor, bertScore, bertScoreLayer, bartScore };
    const { corpus, items } = await scored(examples, outputs, {
      ...folders,
      loadKernels: loadFloatKernels,
      describe: (index) => `${data}:${numbered[index].line}`,
    });
    const lines = items.map((item, i) => itemLine(item, numbered[i].line));
    await file?.writeFile(lines.join("")).catch((cause) => unwritable(flags.perItem!, cause));
    if (flags.json) printJson(corpus);
    else process.stdout.write(`${table(rows(corpus))}\n`);
  } finally {
    await file?.close();
  }
}

async function scored(
  examples: readonly Example[],
  outputs: readonly Output[],
  options: EvaluateOptions,
) {
  const progress = new Progress("scoring", examples.length);
  const onProgress = (done: number) => progress.update(done);
  try {
    return await evaluate(examples, outputs, { ...options, onProgress });
  } finally {
    progress.stop();
  }
}

async function outputsOf(
  flags: EvalFlags,
  examples: readonly Numbered<Example>[],
): Promise<Output[]> {
  if (flags.outputs === undefined) return produce(flags, examples);
  const outputs = await loadOutputs(flags.outputs, { limit: flags.limit });
  const held = `${flags.outputs}: holds ${outputs.length} outputs`;
  const message = `${held}, but ${flags.data} has ${examples.length} examples to score`;
  ensure(outputs.length === examples.length, "E_DATA", `${message}; give one line for each`);
  return outputs;
}

async function produce(
  flags: EvalFlags,
  examples: readonly Numbered<Example>[],
): Promise<Output[]> {
  const bench = await openBench(await loadModel(flags.model), flags.mode, flags.seed, flags);
  note("insecure: all parties share this process; use it to test a model, not to protect a prompt");
  const progress = new Progress("running", examples.length);
  const outputs = [];
  const { anchor, maxTokens, data } = flags;
  try {
    for (const { item, line } of examples) {
      const output = bench({ prompt: item.input, anchor, maxTokens });
      outputs.push(await output.catch((error) => failedAt(`${data}:${line}`, error)));
      progress.update(outputs.length);
    }
  } finally {
    progress.stop();
  }
  return outputs;
}

/** The same error with where the prompt stands. */
function failedAt(place: string, cause: unknown): never {
  if (!(cause instanceof MergenError)) throw cause;
  throw new MergenError(cause.code, `${place}: ${cause.message}`, { cause });
}

/** Opened before the work, so that a bad path is told at once. */
async function opened(path: string): Promise<FileHandle> {
  try {
    return await open(path, "w");
  } catch (cause) {
    return unwritable(path, cause);
  }
}

function unwritable(path: string, cause: unknown): never {
  const { code = "unknown reason" } = cause as NodeJS.ErrnoException;
  const message = `--per-item ${path}: cannot be written: ${code}; choose another file`;
  throw new MergenError("E_USAGE", message, { cause });
}

/** @throws E_USAGE when it would overwrite what is read */
async function checkPerItem({ perItem, data, outputs }: EvalFlags): Promise<void> {
  if (perItem === undefined) return;
  const real = (path: string) => realpath(path).catch(() => undefined);
  const [target, ...read] = await Promise.all([perItem, data, outputs ?? data].map(real));
  const own = target !== undefined && read.includes(target);
  ensure(!own, "E_USAGE", `--per-item ${perItem}: is read from, too; choose another file`);
}

function itemLine(item: ItemReport, line: number): string {
  return `${JSON.stringify({ line, ...item })}\n`;
}

/** What people read; left out where it was not asked for. */
function rows(score: EvaluationReport): string[][] {
  const { bertScore, bartScore, slots } = score;
  const given: [name: string, value: number | undefined][] = [
    ["chrF++", score.chrfpp],
    ["BLEU", score.bleu],
    ["NIST", score.nist],
    ["ROUGE-L", score.rougeL],
    ["METEOR", score.meteor],
    ["name coverage", score.nameCoverage],
    ["end token reached", score.endReached],
    ["slot error rate", score.slotErrorRate],
    ["perplexity", score.perplexity],
    ["BERTScore precision", bertScore?.precision],
    ["BERTScore recall", bertScore?.recall],
    ["BERTScore F1", bertScore?.f1],
    ["BARTScore precision", bartScore?.precision],
    ["BARTScore recall", bartScore?.recall],
    ["BARTScore mean", bartScore?.f1],
  ];
  const counts = slots
    ? [[`slots missing, invented, of`, `${slots.missing}, ${slots.invented}, ${slots.total}`]]
    : [];
  const always = ["end token reached"];
  return [
    ["examples", String(score.count)],
    ...given
      .filter(([name, value]) => value !== undefined || always.includes(name))
      .map(([name, value]) => [name, value === undefined ? "-" : value.toFixed(4)]),
    ...counts,
  ];
}
