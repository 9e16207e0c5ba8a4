import { statSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import {
  checkModelFolder,
  type ImportOptions,
  importHuggingFace,
  importLlama2c,
  loadFloatKernels,
  type Model,
  saveModel,
  servable,
} from "../../../src/index.ts";
import { boundsOption, integer } from "../options.ts";
import { bytes, printJson } from "../output.ts";

interface ImportFlags {
  readonly out: string;
  readonly float32?: boolean;
  readonly fracBits?: number;
  readonly json?: boolean;
  readonly calibratedBounds?: boolean;
}

/** `mergen import`: a model from elsewhere as a model folder of ours. */
export function addImport(root: Command): void {
  const command = root
    .command("import")
    .description("make a model folder of a model from elsewhere: norms folded, weights as int16");
  withOptions(command.command("llama2c"))
    .description("weights of llama2.c (version 0) and their tokenizer.bin")
    .argument("<weights>", "file of weights")
    .argument("<tokenizer>", "file of tokens")
    .action((weights: string, tokenizer: string, flags: ImportFlags) =>
      write(flags, (options) => importLlama2c({ weights, tokenizer }, options)),
    );
  for (const kind of ["gpt2", "llama"] as const) {
    withOptions(command.command(kind))
      .description(`a Hugging Face folder of the kind ${kind}`)
      .argument("<dir>", "config.json, model.safetensors and the tokenizer's files")
      .action((dir: string, flags: ImportFlags) =>
        write(flags, (options) => importHuggingFace(dir, { ...options, kind })),
      );
  }
  command.addHelpText(
    "after",
    "\nExample:\n  $ mergen import llama2c stories260K.bin tok512.bin --out runs/stories\n" +
      '  $ mergen run --model runs/stories --mode float --input "Once upon a time"',
  );
}

function withOptions(command: Command): Command {
  return command
    .requiredOption("--out <dir>", "folder to write")
    .option("--frac-bits <n>", "bits after the point at most (default: 16)", integer(1))
    .addOption(boundsOption)
    .option("--float32", "write weights as 32-bit floats, for float mode only")
    .option("--json", "print one compact JSON object");
}

async function write(
  { out, float32, fracBits, json, calibratedBounds }: ImportFlags,
  read: (options: ImportOptions) => Promise<Model>,
): Promise<void> {
  await checkModelFolder(out);
  const read32 = await read({ float32, mostFracBits: fracBits });
  const model = float32 ? read32 : servable(read32, await loadFloatKernels(), { calibratedBounds });
  await saveModel(out, model, { int16: !float32 });
  let parameters = 0;
  for (const { data } of model.weights.values()) parameters += data.length;
  const weightBytes = statSync(join(out, "model.safetensors")).size;
  if (json) printJson({ out, recipe: model.config.recipe, parameters, weightBytes });
  else {
    const millions = (parameters / 1e6).toFixed(1);
    process.stdout.write(`${out}: ${millions} million weights, ${bytes(weightBytes)}\n`);
  }
}
