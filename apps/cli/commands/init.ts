import { statSync } from "node:fs";
import { join } from "node:path";
import { type Command, Option } from "commander";
import {
  checkModelFolder,
  loadFloatKernels,
  loadTokenizer,
  type PresetName,
  presetNames,
  randomModel,
  saveModel,
  shapeNames,
} from "../../../src/index.ts";
import { DEFAULT_SEED, integer } from "../options.ts";
import { bytes, printJson } from "../output.ts";

interface InitFlags {
  readonly shape: string;
  readonly out: string;
  readonly recipe: PresetName;
  readonly norm?: "layernorm" | "affine";
  readonly positions?: number;
  readonly vocabulary?: number;
  readonly layers?: number;
  readonly bucket?: number;
  readonly tokenizer?: string;
  readonly seed: number;
  readonly float32?: boolean;
  readonly json?: boolean;
}

/** `mergen init`: a model with random weights, to measure with. */
export function addInit(root: Command): void {
  root
    .command("init")
    .description("write a model of a known shape with random weights, to measure with")
    .addOption(
      new Option("--shape <name>", "sizes of which model")
        .choices([...shapeNames])
        .makeOptionMandatory(),
    )
    .requiredOption("--out <dir>", "folder to write")
    .addOption(
      new Option("--recipe <name>", "merge, merge-mm: merged module; others: ordinary decoder")
        .choices([...presetNames])
        .default("merge"),
    )
    .addOption(
      new Option("--norm <kind>", "of the merged module (default: layernorm)").choices([
        "layernorm",
        "affine",
      ]),
    )
    .option("--positions <n>", "of prompt and text together (default: 512)", integer(1))
    .option("--vocabulary <n>", "tokens (default: the shape's, or the tokenizer's)", integer(1))
    .option("--layers <n>", "layers (default: the shape's)", integer(1))
    .option("--bucket <n>", "prompts take a multiple of this many positions", integer(1), 1)
    .option("--tokenizer <dir>", "take this folder's tokenizer.json (default: made-up words)")
    .option("--seed <n>", "seed of the weights", integer(0), DEFAULT_SEED)
    .option("--float32", "write weights as 32-bit floats, not as int16")
    .option("--json", "print one compact JSON object")
    .addHelpText(
      "after",
      "\nWith the tokenizer of made-up words a prompt of n vowels has n tokens.\n\n" +
        "Example:\n  $ mergen init --shape gpt2 --out runs/gpt2\n" +
        "  $ mergen plan --model runs/gpt2 --input aaaa --max-tokens 64",
    )
    .action(init);
}

async function init({ out, json, float32, ...flags }: InitFlags): Promise<void> {
  await checkModelFolder(out);
  const kernels = await loadFloatKernels();
  const tokenizer =
    flags.tokenizer === undefined ? undefined : await loadTokenizer(flags.tokenizer);
  const model = randomModel({ ...flags, tokenizer }, kernels);
  await saveModel(out, model, { int16: !float32 });
  let parameters = 0;
  for (const { data } of model.weights.values()) parameters += data.length;
  const weightBytes = statSync(join(out, "model.safetensors")).size;
  if (json) printJson({ out, shape: flags.shape, recipe: flags.recipe, parameters, weightBytes });
  else {
    const millions = (parameters / 1e6).toFixed(1);
    process.stdout.write(`${out}: ${millions} million weights, ${bytes(weightBytes)}\n`);
  }
}
