import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { thisMachine } from "../../../bench/machine.ts";
import { loadFloatKernels, MergenError, parseTrainConfig, runStage } from "../../../src/index.ts";
import { checkSignal, stopSignal } from "../network.ts";
import { note, printJson } from "../output.ts";

/** `mergen train`: one stage of training, as a config file says. */
export function addTrain(root: Command): void {
  root
    .command("train")
    .description(
      "run one training stage (tokenizer, teacher, distil, student, adapt, export, evaluate), or " +
        "a study",
    )
    .argument("<config>", "JSON file; see configs/")
    .argument("[overrides...]", "key=value, with dots for nested keys")
    .option("--json", "print the stage's result as one JSON object")
    .addHelpText("after", "\nExample:\n  $ mergen train configs/e2e-teacher.json steps=100 seed=2")
    .action(async (path: string, overrides: string[], flags: { json?: boolean }) => {
      const config = parseTrainConfig(await readConfig(path), { overrides, origin: path });
      const kernels = await loadFloatKernels();
      const signal = stopSignal({ patient: true });
      const { kind, commit } = thisMachine();
      const command = ["mergen", "train", path, ...overrides].join(" ");
      const origin = { command, machine: kind, commit };
      const result = await runStage(config, { kernels, log: note, signal, origin });
      checkSignal(signal);
      if (flags.json) printJson(result ?? {});
    });
}

async function readConfig(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new MergenError("E_CONFIG", `${path}: cannot be read as JSON`, { cause });
  }
}
