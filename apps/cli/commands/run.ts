import { type Command, Option } from "commander";
import {
  fixedBench,
  floatBench,
  insecureSecureBench,
  type LocalBench,
  loadFloatKernels,
  loadModel,
  loadRingKernels,
  type Mode,
  type Model,
  modelWithRecipe,
  type ServableOptions,
  servable,
} from "../../../src/index.ts";
import {
  boundsOption,
  modelOption,
  noteRecipe,
  prompts,
  type TextOptions,
  textOptions,
} from "../options.ts";
import { note, Progress } from "../output.ts";
import { asked, printGeneration } from "./generate.ts";

interface RunFlags extends TextOptions {
  readonly model: string;
  readonly mode: Mode;
  readonly calibratedBounds?: boolean;
}

/** `mergen run`: all parties in one process, a test bench. */
export function addRun(root: Command): void {
  const command = root
    .command("run")
    .description("run a model in one mode with all parties in one process: a test bench, insecure")
    .addOption(modelOption)
    .addOption(
      new Option("--mode <name>", "which arithmetic")
        .choices(["float", "fixed", "secure"])
        .default("secure"),
    )
    .addOption(boundsOption);
  textOptions(command)
    .addHelpText(
      "after",
      '\nExample:\n  $ mergen run --mode fixed --input "name[The Eagle], food[French]" --json',
    )
    .action(run);
}

async function run(flags: RunFlags): Promise<void> {
  const examples = await prompts(flags);
  const own = await loadModel(flags.model);
  const model = flags.recipe === undefined ? own : modelWithRecipe(own, flags.recipe);
  noteRecipe(own.config, flags.recipe);
  note("insecure: all parties share this process; use it to test a model, not to protect a prompt");
  const bench = await openBench(model, flags.mode, flags.seed, flags);
  const progress = new Progress("running", examples.length);
  for (const [index, { input }] of examples.entries()) {
    const stream = flags.json
      ? {}
      : { onText: (piece: string) => void process.stdout.write(piece) };
    printGeneration(await bench({ prompt: input, ...asked(flags), ...stream }), flags);
    if (flags.json) progress.update(index + 1);
  }
  progress.stop();
}

/** The bench of a mode, with all its randomness fixed by the seed. */
export async function openBench(
  model: Model,
  mode: Mode,
  seed: number,
  { calibratedBounds }: ServableOptions = {},
): Promise<LocalBench> {
  switch (mode) {
    case "float":
      return floatBench(model, await loadFloatKernels());
    case "fixed": {
      const ready = servable(model, await loadFloatKernels(), { calibratedBounds });
      return fixedBench(ready, await loadRingKernels(), seed);
    }
    case "secure": {
      const floats = await loadFloatKernels();
      const ready = servable(model, floats, { calibratedBounds });
      return insecureSecureBench(ready, await loadRingKernels(), seed, floats);
    }
    default:
      return mode satisfies never;
  }
}
