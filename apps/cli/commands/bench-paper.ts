import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Method, methodNames, PREFIX } from "../../../bench/paper/methods.ts";
import { plots } from "../../../bench/paper/plots.ts";
import {
  type ModelSize,
  type NetworkName,
  type PaperResult,
  readIfThere,
  readPaperResult,
  type Settings,
  writeWhole,
} from "../../../bench/paper/result.ts";
import { type PaperContext, runStudy } from "../../../bench/paper/study.ts";
import { tables } from "../../../bench/paper/tables.ts";
import {
  describeKernels,
  ensure,
  loadModel,
  loadRingKernels,
  networks,
  shapeNames,
  svgOf,
} from "../../../src/index.ts";
import { paperModelFolder, workOption } from "../bench-model.ts";
import { KeptParties } from "../kept-parties.ts";
import { interruptible, stopSignal } from "../network.ts";
import { integer } from "../options.ts";
import { note, Progress } from "../output.ts";

interface PaperFlags {
  readonly out: string;
  readonly quick?: boolean;
  readonly modelOnly?: boolean;
  readonly resume?: boolean;
  readonly minutes?: number;
  readonly methods: readonly string[];
  readonly shapes: readonly string[];
  readonly lengths: readonly number[];
  readonly networks: readonly NetworkName[];
  readonly full: string;
  readonly samples: number;
  readonly sampleBytes: number;
  readonly rates?: string;
  readonly remark?: string;
  readonly work?: string;
}

/** Shortest length: the prompt, and steps to measure behind it. */
const LEAST_LENGTH = PREFIX + 2;
const SAMPLE_BYTES = 512e6;
/** Of the paper's Figure 4. */
const LENGTHS: readonly number[] = [64, 128, 256, 512];
const RESULTS = "results.json";

/** `mergen bench paper`: the speed study of MERGE on this machine. */
export function addBenchPaper(bench: Command): void {
  bench
    .command("paper")
    .description("the speed study of MERGE (Tables 1 and 2, Figure 4) on this machine")
    .requiredOption("--out <dir>", "folder for results.json, table.md and the plots")
    .option("--quick", "run models of 2 layers, model the others: minutes in place of a day")
    .option("--model-only", "run no table: all cells by the cost model (rates are measured first)")
    .option("--resume", "go on from the results in --out")
    .option("--minutes <n>", "measure for so long, model what is left; see --resume", integer(0))
    .addOption(
      new Option("--methods <names...>", "rows").choices(methodNames).default(methodNames, "all"),
    )
    .addOption(
      new Option("--shapes <names...>", "models; the first is the one of all lengths")
        .choices([...shapeNames])
        .default(["gpt2", "distilgpt2", "gpt2-medium", "gpt-391m"]),
    )
    .addOption(
      new Option("--lengths <n...>", `positions, ${PREFIX} of them the prompt`)
        .argParser(lengthsOption)
        .default(LENGTHS),
    )
    .addOption(
      new Option("--networks <names...>", "between client and server")
        .choices(Object.keys(networks))
        .default(Object.keys(networks)),
    )
    .addOption(
      new Option("--full <method>", "is also run in full on each network, to check samples")
        .choices(methodNames)
        .default("merge"),
    )
    .option("--samples <n>", "lengths at which steps are timed", integer(1), 8)
    .option("--sample-bytes <n>", "offline bytes of one of them at most", integer(1), SAMPLE_BYTES)
    .option("--rates <file>", "results.json whose rates modelled cells take")
    .option("--remark <text>", "kept with the result: whether the machine was shared, say")
    .addOption(workOption())
    .addHelpText(
      "after",
      "\nExamples:\n  $ mergen bench paper --quick --out study\n" +
        "  $ mergen bench paper --model-only --rates study/results.json --out modelled\n" +
        "  $ mergen bench paper --out whole --minutes 60\n" +
        "  $ mergen bench paper --out whole --resume",
    )
    .action(paper);
}

function lengthsOption(text: string, before: unknown): number[] {
  const value = integer(1)(text);
  if (value < LEAST_LENGTH) {
    throw new InvalidArgumentError(`It must be an integer of at least ${LEAST_LENGTH}.`);
  }
  return before === LENGTHS ? [value] : [...(before as number[]), value];
}

async function paper(flags: PaperFlags): Promise<void> {
  const settings = settingsOf(flags);
  const file = join(flags.out, RESULTS);
  const previous = readIfThere(file);
  checkPrevious(flags, settings, previous);
  const rates = ratesOption(flags);
  const signal = stopSignal();
  await mkdir(flags.out, { recursive: true });
  let bar: Progress | undefined;
  const kept = new KeptParties(signal);
  const context: PaperContext = {
    kernels: await loadRingKernels(),
    kernelsName: (await describeKernels()).ring.detail,
    model: (wanted) => madeModel(flags.work, wanted),
    parties: (folder, network) => kept.of(folder, network),
    note,
    progress(done, total) {
      bar ??= new Progress("measurements", total);
      bar.update(done);
    },
    save: (result) => writeWhole(file, `${JSON.stringify(result, null, 1)}\n`),
  };
  try {
    const { minutes, remark } = flags;
    const until = minutes === undefined ? undefined : new Date(Date.now() + 60_000 * minutes);
    const study = runStudy({ settings, context, previous, rates, remark, until });
    const result = await interruptible(signal, study);
    const text = tables(result);
    await writeWhole(join(flags.out, "table.md"), text);
    for (const { name, spec } of plots(result)) {
      await writeWhole(join(flags.out, `${name}.svg`), await svgOf(spec));
    }
    process.stdout.write(text);
  } finally {
    bar?.stop();
    await kept.end();
  }
}

/** @throws E_USAGE when options contradict each other */
function settingsOf(flags: PaperFlags): Settings {
  const { quick = false, modelOnly = false, methods, shapes, lengths } = flags;
  ensure(!(quick && modelOnly), "E_USAGE", "--quick runs models, --model-only does not: give one");
  const { networks: over, full, samples, sampleBytes } = flags;
  return {
    ...{ quick, modelOnly, full, samples, sampleBytes },
    methods: methodNames.filter((name) => methods.includes(name)),
    shapes: [...new Set(shapes)],
    lengths: [...new Set(lengths)].sort((a, b) => a - b),
    networks: [...new Set(over)],
  };
}

function checkPrevious(
  { out, resume = false }: PaperFlags,
  settings: Settings,
  previous: PaperResult | undefined,
): void {
  const free = previous === undefined || resume;
  ensure(free, "E_USAGE", `${out} has results: add --resume, or take another folder`);
  if (previous === undefined) return;
  const same = JSON.stringify(previous.settings) === JSON.stringify(settings);
  ensure(same, "E_USAGE", `the results in ${out} were taken with other options`);
}

/** @throws E_DATA, E_VERSION, E_USAGE when the file has no rates */
function ratesOption({ rates: path }: PaperFlags) {
  if (path === undefined) return undefined;
  const { rates, machine } = readPaperResult(path);
  ensure(rates !== undefined, "E_USAGE", `${path} has no rates: that study was cut off`);
  return { rates, from: `${machine.kind}, commit ${machine.commit}` };
}

async function madeModel(
  work: string | undefined,
  { method, size, positions }: { method: Method; size: ModelSize; positions: number },
) {
  const folder = await paperModelFolder({ work, size, positions, recipe: method.name });
  return { folder, model: await loadModel(folder) };
}
