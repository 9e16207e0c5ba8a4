// Models from elsewhere, as ours: norms folded into the matrices and, unless refused, rounded to
// the int16 grid of the secure modes, so that every mode runs on the same numbers.

import { join } from "node:path";
import { MergenError } from "../errors.ts";
import { checkWeights } from "./check-weights.ts";
import type { Model } from "./checkpoint.ts";
import { weightShapes } from "./decoder.ts";
import { readJson, readPart } from "./files.ts";
import { foldNorms, scaleQuery } from "./fold.ts";
import { roundToColumnGrid } from "./grid.ts";
import {
  type HuggingFaceConfig,
  type HuggingFaceKind,
  parseHuggingFaceConfig,
} from "./hf-config.ts";
import {
  addsBegin,
  bytePairTokenizerJson,
  hasPairFiles,
  keepLeadingBlank,
} from "./hf-tokenizer.ts";
import { readHuggingFaceWeights } from "./hf-weights.ts";
import { llama2cModel } from "./import-llama2c.ts";
import { checkTokenizer, Tokenizer } from "./tokenizer.ts";

export interface ImportOptions {
  /** Keep weights as 32-bit floats; such a model runs in float mode only. */
  readonly float32?: boolean | undefined;
  /** Bits after the point that a tensor may have at the most. */
  readonly mostFracBits?: number | undefined;
  /** Refuse a Hugging Face folder of another kind. */
  readonly kind?: HuggingFaceKind | undefined;
}

/**
 * The model of llama2.c's weights and tokenizer files.
 * @throws E_MODEL, E_TOKENIZER naming the file that is missing or wrong
 */
export async function importLlama2c(
  files: { readonly weights: string; readonly tokenizer: string },
  options: ImportOptions = {},
): Promise<Model> {
  const [weights, tokenizer] = await Promise.all(
    [files.weights, files.tokenizer].map(async (path) => ({ path, bytes: await readPart(path) })),
  );
  return rounded(llama2cModel(weights!, tokenizer!), options);
}

/**
 * The model of a Hugging Face folder of the kind gpt2 or llama: config.json, model.safetensors (or
 * its parts and their index), tokenizer.json or vocab.json and merges.txt.
 * @throws E_MODEL, E_TOKENIZER naming the file, key or tensor that is missing or wrong
 */
export async function importHuggingFace(dir: string, options: ImportOptions = {}): Promise<Model> {
  const path = join(dir, "config.json");
  const given = parseHuggingFaceConfig(await readJson(path), path);
  if (options.kind !== undefined && options.kind !== given.kind) {
    const message = `${path}: model_type is ${given.kind}, not ${options.kind}`;
    throw new MergenError("E_MODEL", `${message}; import it as ${given.kind}`);
  }
  const { tokenizer, begin, origin } = await readTokenizer(dir, given);
  const config = { ...given.config, prompt: { ...given.config.prompt, ...(begin && { begin }) } };
  checkTokenizer(tokenizer, config, origin);
  const weights = await readHuggingFaceWeights(dir, given.kind, config);
  checkWeights(weights, weightShapes(config), join(dir, "model.safetensors"));
  for (let layer = 0; layer < config.layerCount; layer++) {
    const factor = given.scoreFactor(layer);
    if (factor !== 1) scaleQuery(weights, layer, factor);
  }
  return rounded({ ...foldNorms({ config, weights }), tokenizer }, options);
}

async function readTokenizer(dir: string, { kind, config, begin }: HuggingFaceConfig) {
  const separate = kind === "gpt2" && (await hasPairFiles(dir));
  const origin = join(dir, separate ? "vocab.json" : "tokenizer.json");
  const json = separate
    ? await bytePairTokenizerJson(dir, Object.values(config.tokens))
    : await readJson(origin);
  const settings = await readJson(join(dir, "tokenizer_config.json"), { optional: true });
  const files = { tokenizer: keepLeadingBlank(json), config: settings };
  const added = begin !== undefined && addsBegin(json, settings, begin);
  return { tokenizer: new Tokenizer(files, origin), begin: added, origin };
}

function rounded(model: Model, { float32 = false, mostFracBits }: ImportOptions): Model {
  return float32 ? model : { ...model, ...roundToColumnGrid(model, { mostFracBits }) };
}
