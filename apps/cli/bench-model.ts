// Models that are made to measure with, and kept for the next time.

import { existsSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { type Command, Option } from "commander";
import {
  ensure,
  isMerged,
  loadFloatKernels,
  loadModel,
  modelWithRecipe,
  type PresetName,
  presetNames,
  randomModel,
  saveModel,
  servable,
  shapeNames,
} from "../../src/index.ts";
import { markUsed, removeUnusedModels, UNUSED_DAYS } from "./bench-work.ts";
import { integer, noteRecipe } from "./options.ts";
import { note } from "./output.ts";
import { packageVersion } from "./package-info.ts";

/** Grows when models must be made anew because they state something else about themselves. */
const STATED = 2;

/** Costs are those of either kind of bounds; a text that overflows does no harm here. */
const measured = { calibratedBounds: true } as const;

/** Which model a benchmark runs. */
export interface ModelFlags {
  readonly shape: string;
  readonly recipe?: PresetName;
  readonly norm?: "layernorm" | "affine";
  readonly positions: number;
  readonly model?: string;
  readonly work?: string | undefined;
}

export function modelOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--shape <name>", "sizes of the model").choices([...shapeNames]).default("gpt2"),
    )
    .addOption(
      new Option(
        "--recipe <name>",
        "functions of the blocks (default: merge, or the model's)",
      ).choices([...presetNames]),
    )
    .addOption(
      new Option("--norm <kind>", "of a merged module (default: layernorm)").choices([
        "layernorm",
        "affine",
      ]),
    )
    .option("--positions <n>", "of prompt and text together", integer(1), 512)
    .option("--model <dir>", "measure this model in place of one with random weights")
    .addOption(workOption());
}

/** Where models for measuring are kept unless a folder is named. */
const USUAL_WORK = join(tmpdir(), "mergen-bench");

export function workOption(): Option {
  return new Option(
    "--work <dir>",
    `where models for measuring are kept (default: ${USUAL_WORK}, where those\n` +
      `that are not used for ${UNUSED_DAYS} days are removed)`,
  );
}

/** @throws E_USAGE when what is named is no folder */
function checkWork(named: string | undefined): void {
  const found = named === undefined ? undefined : statSync(named, { throwIfNoEntry: false });
  const isFolder = found === undefined || found.isDirectory();
  ensure(isFolder, "E_USAGE", `--work ${named}: is no folder; name one, or one to be made`);
}

/** Whether a model is there; it then counts as used now. */
function kept(folder: string): boolean {
  const config = join(folder, "config.json");
  if (!existsSync(config)) return false;
  markUsed(config);
  return true;
}

/** Makes room for a new model, unless the folder was named: then it is its owner's. */
function removeUnused(named: string | undefined): void {
  if (named !== undefined) return;
  for (const name of removeUnusedModels(USUAL_WORK)) {
    note(`removed ${join(USUAL_WORK, name)}: not used for ${UNUSED_DAYS} days`);
  }
}

/** The model's folder; made where it is not there yet. */
export async function modelFolder(flags: ModelFlags): Promise<string> {
  if (flags.model !== undefined) return underRecipe(flags.model, flags);
  checkWork(flags.work);
  const { shape, recipe = "merge", positions } = flags;
  const norm = isMerged(recipe) ? (flags.norm ?? "layernorm") : flags.norm;
  const name = [shape, recipe, norm ?? "layernorm", positions, packageVersion(), STATED].join("-");
  const folder = join(flags.work ?? USUAL_WORK, name);
  if (!kept(folder)) {
    removeUnused(flags.work);
    note(`making a ${shape} model with random weights in ${folder}`);
    const kernels = await loadFloatKernels();
    const model = randomModel({ shape, recipe, norm, positions, seed: 1 }, kernels);
    await saveModel(folder, servable(model, kernels, measured), { int16: true });
  }
  return folder;
}

/** A model's folder, or a copy of it with the recipe that is asked for. */
async function underRecipe(dir: string, { recipe, work }: ModelFlags): Promise<string> {
  if (recipe === undefined) return dir;
  checkWork(work);
  const own = await loadModel(dir);
  if (own.config.recipe === recipe) return dir;
  const changed = modelWithRecipe(own, recipe);
  noteRecipe(own.config, recipe);
  const folder = join(work ?? USUAL_WORK, `${basename(resolve(dir))}-${recipe}`);
  removeUnused(work);
  await saveModel(folder, servable(changed, await loadFloatKernels(), measured), { int16: true });
  return folder;
}

/** A model for `bench paper`: fewer layers and words where the size says so. */
export async function paperModelFolder({
  work,
  size: { shape, layers, vocabulary },
  positions,
  recipe,
}: {
  readonly work: string | undefined;
  readonly size: { shape: string; layers?: number | undefined; vocabulary?: number | undefined };
  readonly positions: number;
  readonly recipe: PresetName;
}): Promise<string> {
  checkWork(work);
  const cut = layers === undefined ? [] : [`${layers}-layers`, `${vocabulary}-words`];
  const name = ["paper", shape, ...cut, recipe, positions, packageVersion(), STATED].join("-");
  const folder = join(work ?? USUAL_WORK, name);
  if (kept(folder)) return folder;
  removeUnused(work);
  const kernels = await loadFloatKernels();
  const model = randomModel({ shape, layers, vocabulary, recipe, positions, seed: 1 }, kernels);
  await saveModel(folder, servable(model, kernels, measured), { int16: true });
  return folder;
}
