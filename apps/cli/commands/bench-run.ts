import { writeFile } from "node:fs/promises";
import { type Command, Option } from "commander";
import type { BenchContext, MeasuredParties, PartyNeeds } from "../../../bench/context.ts";
import { markdown } from "../../../bench/markdown.ts";
import { ask } from "../../../bench/profile.ts";
import { groupNames, runBench } from "../../../bench/runner.ts";
import { describeKernels, ensure, shapeNames } from "../../../src/index.ts";
import { modelFolder, workOption } from "../bench-model.ts";
import { interruptible, stopSignal } from "../network.ts";
import { integer, modelOption } from "../options.ts";
import { note, printJson } from "../output.ts";
import { startParties, withFamily } from "../processes.ts";

interface RunFlags {
  readonly quick?: boolean;
  readonly only?: readonly string[];
  readonly out?: string;
  readonly remark?: string;
  readonly shape?: string;
  readonly model: string;
  readonly data?: string;
  readonly limit?: number;
  readonly work?: string;
  readonly json?: boolean;
}

/** Least milliseconds for the samples of a kernel. */
const BUDGET_MS = 300;
const QUICK_BUDGET_MS = 40;

/** `mergen bench run`: everything, into one result. */
export function addBenchRun(bench: Command): void {
  bench
    .command("run")
    .description("measure the machine, the kernels, and private texts end to end; one result")
    .option("--quick", "fewer samples and smaller models: minutes in place of an hour")
    .addOption(
      new Option("--only <names...>", "these groups alone; the limits are always measured").choices(
        groupNames,
      ),
    )
    .option("--out <file>", "write the result as JSON here, and as Markdown beside it (.md)")
    .option("--remark <text>", "kept with the result: whether the machine was shared, say")
    .addOption(
      new Option("--shape <name>", "of the models that run end to end, but for sizes")
        .choices([...shapeNames])
        .default(undefined, "gpt2; distilgpt2 for lengths when quick"),
    )
    .option("--data <file>", "for the group anchors: prompts and references")
    .option("--limit <n>", "for the group anchors: the first n lines of --data", integer(1))
    .addOption(modelOption)
    .addOption(workOption())
    .option("--json", "print the result as one compact JSON object, not as Markdown")
    .addHelpText(
      "after",
      `\nGroups: ${groupNames.join(", ")}.\n\nExamples:\n` +
        "  $ mergen bench run --quick --out result.json\n" +
        "  $ mergen bench run --only ring-kernels float-kernels",
    )
    .action(run);
}

async function run(flags: RunFlags): Promise<void> {
  const { quick = false, only, out, data, limit, model } = flags;
  const needsData = only?.includes("anchors") === true;
  ensure(!needsData || data !== undefined, "E_USAGE", "the group anchors needs --data FILE");
  ensure(needsData || data === undefined, "E_USAGE", "--data goes with --only anchors");
  const ends = out === undefined || out.endsWith(".json");
  ensure(ends, "E_USAGE", "--out must name a file that ends in .json");
  const signal = stopSignal();
  const { ring, float, checksum } = await describeKernels();
  const context: Omit<BenchContext, "limits"> = {
    quick,
    shape: flags.shape,
    budgetMs: quick ? QUICK_BUDGET_MS : BUDGET_MS,
    note,
    modelFolder: ({ shape, positions = 512 }) =>
      modelFolder({ shape, positions, recipe: "merge", norm: "layernorm", work: flags.work }),
    withParties: (folder, needs, work) => withParties(signal, { folder, needs, work }),
    anchors: data === undefined ? undefined : { model, data, limit },
  };
  const kernels = { ring: ring.detail, float: float.detail, checksum: checksum.detail };
  const running = runBench({ context, kernels, only, remark: flags.remark });
  const result = await interruptible(signal, running);
  const text = markdown(result);
  if (out !== undefined) {
    await writeFile(out, `${JSON.stringify(result, null, 1)}\n`);
    await writeFile(out.replace(/\.json$/, ".md"), text);
  }
  if (flags.json) printJson(result);
  else process.stdout.write(text);
}

/** Runs work with a dealer and a server that answer questions; both end with it. */
function withParties<T>(
  signal: AbortSignal,
  {
    folder,
    needs,
    work,
  }: { folder: string; needs: PartyNeeds; work: (parties: MeasuredParties) => Promise<T> },
): Promise<T> {
  const { network, maxSessions, profile = false } = needs;
  return withFamily(signal, async (family) => {
    const { server, dealer, processes } = await startParties(folder, family, {
      ...(network !== undefined && { network }),
      ...(maxSessions !== undefined && { serverOptions: ["--max-sessions", String(maxSessions)] }),
      measure: profile ? "profile" : "memory",
    });
    return work({
      server,
      dealer,
      report: (party) => ask(processes[party], "report"),
      reset: async () => void (await ask(processes.server, "reset")),
    });
  });
}
