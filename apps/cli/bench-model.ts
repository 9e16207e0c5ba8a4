// Models that are made to measure with, and kept for the next time.

import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { loadFloatKernels, randomModel, saveModel, shapeNames } from "../../src/index.ts";
import { integer } from "./options.ts";
import { note } from "./output.ts";
import { packageVersion } from "./package-info.ts";

/** Which model a benchmark runs. */
export interface ModelFlags {
  readonly shape: string;
  readonly recipe: "merge";
  readonly norm: "layernorm" | "affine";
  readonly positions: number;
  readonly model?: string;
  readonly work: string;
}

export function modelOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--shape <name>", "sizes of the model").choices([...shapeNames]).default("gpt2"),
    )
    .addOption(new Option("--recipe <name>").choices(["merge"]).default("merge"))
    .addOption(new Option("--norm <kind>").choices(["layernorm", "affine"]).default("layernorm"))
    .option("--positions <n>", "of prompt and text together", integer(1), 512)
    .option("--model <dir>", "measure this model in place of one with random weights")
    .addOption(workOption());
}

export function workOption(): Option {
  return new Option("--work <dir>", "where models for measuring are kept").default(
    join(tmpdir(), "mergen-bench"),
  );
}

/** The model's folder; made where it is not there yet. */
export async function modelFolder(flags: ModelFlags): Promise<string> {
  const { shape, recipe, norm, positions } = flags;
  if (flags.model !== undefined) return flags.model;
  const name = [shape, recipe, norm, positions, packageVersion()].join("-");
  const folder = join(flags.work, name);
  if (!existsSync(join(folder, "config.json"))) {
    note(`making a ${shape} model with random weights in ${folder}`);
    const model = randomModel(
      { shape, recipe, norm, positions, seed: 1 },
      await loadFloatKernels(),
    );
    await saveModel(folder, model, { int16: true });
  }
  return folder;
}
