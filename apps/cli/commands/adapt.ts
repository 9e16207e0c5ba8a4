import { type Command, Option } from "commander";
import { loadFloatKernels, parseTrainConfig, presetNames, runStage } from "../../../src/index.ts";
import { checkSignal, stopSignal } from "../network.ts";
import { integer, real } from "../options.ts";
import { note, printJson } from "../output.ts";

interface AdaptFlags {
  readonly teacher: string;
  readonly recipe: string;
  readonly data: string;
  readonly out: string;
  readonly steps?: number;
  readonly batchSize?: number;
  readonly rate?: number;
  readonly seed?: number;
  readonly threads?: number;
  readonly targets?: string;
  readonly json?: boolean;
}

/** `mergen adapt`: a model folder in, its student under a recipe out. */
export function addAdapt(root: Command): void {
  root
    .command("adapt")
    .description("train a model's student under a recipe, from the model's own texts")
    .requiredOption("--teacher <dir>", "folder of the model to begin with")
    .addOption(
      new Option("--recipe <name>", "whose functions the student has")
        .choices([...presetNames])
        .makeOptionMandatory(),
    )
    .requiredOption(
      "--data <file>",
      "examples, .jsonl or .jsonl.gz with `input` and `refs` or `ref`",
    )
    .requiredOption("--out <dir>", "model folder to write")
    .addOption(
      new Option("--targets <kind>", "texts that it learns (default: teacher)").choices([
        "teacher",
        "references",
      ]),
    )
    .option("--steps <n>", "training steps (default: 1000)", integer(1))
    .option("--batch-size <n>", "texts of a step (default: 32)", integer(1))
    .option("--rate <r>", "peak learning rate (default: 0.0005)", real)
    .option("--threads <n>", "training threads (default: 2)", integer(1))
    .option("--seed <n>", "of weights, order and noise (default: 1)", integer(0))
    .option("--json", "print the result as one JSON object")
    .argument("[overrides...]", "key=value of the adapt stage; see docs/format.md")
    .addHelpText(
      "after",
      "\nA run that was cut off goes on where its last checkpoint is: give the same command.\n\n" +
        "Example:\n  $ mergen adapt --teacher models/e2e-teacher --recipe mpcformer-2quad \\\n" +
        "      --data train.jsonl.gz --out runs/mpcformer steps=500",
    )
    .action(adapt);
}

async function adapt(overrides: string[], { json, ...flags }: AdaptFlags): Promise<void> {
  const config = parseTrainConfig(
    { stage: "adapt", ...flags },
    { overrides, origin: "mergen adapt" },
  );
  const signal = stopSignal({ patient: true });
  const kernels = await loadFloatKernels();
  const result = await runStage(config, { kernels, log: note, signal });
  checkSignal(signal);
  if (json) printJson(result);
}
