// Options that several commands share, and their checks.

import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  type AskedOptions,
  type Example,
  ensure,
  loadExamples,
  MergenError,
  type ModelConfig,
  promptText,
  type SampleOptions,
} from "../../src/index.ts";
import { note } from "./output.ts";
import { shippedModel } from "./package-info.ts";

/** An integer of at least `least`. */
export function integer(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`It must be an integer of at least ${least}.`);
    }
    return value;
  };
}

export function real(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) {
    throw new InvalidArgumentError("It must be a number.");
  }
  return value;
}

/** Which texts, and how many tokens of each. */
export interface TextOptions {
  readonly input?: string;
  readonly data?: string;
  readonly limit?: number;
  readonly maxTokens?: number;
  readonly chunk?: number;
  readonly anchor?: number;
  readonly next?: AskedOptions["next"];
  readonly reveal?: AskedOptions["reveal"];
  readonly ignoreEnd?: boolean;
  readonly recipe?: string;
  readonly greedy?: boolean;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed: number;
  readonly json?: boolean;
}

/** The documented default of --seed. */
export const DEFAULT_SEED = 1;

/** What a step takes in. */
export function nextOption(): Option {
  return new Option(
    "--next <how>",
    "what a step takes in: the state sent again, the client's token (--anchor 1), or the\n" +
      "token, found and looked up under masks (default: as --anchor says)",
  ).choices(["resend", "client", "lookup"]);
}

/** Adds the options of TextOptions. */
export function textOptions(
  command: Command,
  recipe = "run the model with this recipe's functions in the place of its own",
): Command {
  return command
    .option("--input <text>", "one prompt; - reads it from standard input")
    .option("--data <file>", "prompts from a .jsonl or .jsonl.gz file, field `input`")
    .option("--limit <n>", "take the first n lines of --data", integer(1))
    .option("--max-tokens <n>", "tokens at most (default: from the model)", integer(1))
    .option(
      "--chunk <n>",
      "tokens whose logits come together (default: from the model)",
      integer(1),
    )
    .option(
      "--anchor <k>",
      "send every k-th token back privately; 0 never (default: from the model)",
      integer(0),
    )
    .addOption(nextOption())
    .addOption(
      new Option(
        "--reveal <what>",
        "what the client learns: truncated logits, or the likeliest token alone\n" +
          "(default: logits; token with --next lookup)",
      ).choices(["logits", "token"]),
    )
    .option("--ignore-end", "go on past the end token")
    .option("--recipe <name>", recipe)
    .addOption(
      new Option("--greedy", "take the likeliest token (the default)").conflicts("temperature"),
    )
    .option("--temperature <t>", "sample with this temperature", real)
    .option("--top-k <k>", "sample among the k likeliest tokens", integer(1))
    .option("--top-p <p>", "sample among the likeliest tokens of this total probability", real)
    .option("--seed <n>", "seed of all randomness that a run may fix", integer(0), DEFAULT_SEED)
    .option("--json", "print one compact JSON object a line");
}

export function sampling(options: TextOptions): SampleOptions {
  const sampled = options.topK !== undefined || options.topP !== undefined;
  return {
    temperature: options.temperature ?? (sampled ? 1 : 0),
    ...(options.topK !== undefined && { topK: options.topK }),
    ...(options.topP !== undefined && { topP: options.topP }),
    seed: options.seed,
  };
}

/** The prompts that a command is to work on. @throws E_USAGE, E_PROMPT, E_DATA */
export async function prompts(options: TextOptions): Promise<Example[]> {
  const { input, data, limit } = options;
  ensure(input === undefined || data === undefined, "E_USAGE", "give --input or --data, not both");
  ensure(limit === undefined || data !== undefined, "E_USAGE", "--limit goes with --data");
  if (data !== undefined) return loadExamples(data, limit === undefined ? {} : { limit });
  ensure(input !== undefined, "E_USAGE", "no prompt: give --input TEXT or --data FILE");
  const text = input === "-" ? promptText(readFileSync(0)) : argumentText(input);
  return [{ input: text, refs: [] }];
}

/** Bytes of an argument that are not UTF-8 reach us as U+FFFD. @throws E_PROMPT */
export function argumentText(text: string): string {
  ensure(!text.includes("\ufffd"), "E_PROMPT", "the prompt is not valid UTF-8; convert it");
  return text;
}

/** @throws E_CONFIG when the model is of another recipe than asked for */
export function checkRecipe(config: ModelConfig, recipe: string | undefined): void {
  if (recipe === undefined || recipe === config.recipe) return;
  const remedy = "train or adapt a model of that recipe first";
  throw new MergenError(
    "E_CONFIG",
    `the model's recipe is ${config.recipe}, not ${recipe}: ${remedy}`,
  );
}

/** Says that a model was not made for the recipe that it runs with. */
export function noteRecipe(config: ModelConfig, recipe: string | undefined): void {
  if (recipe === undefined || recipe === config.recipe) return;
  note(
    `${recipe} in the place of ${config.recipe}, on the same weights: costs hold, accuracy only ` +
      `after adapting (mergen adapt --recipe ${recipe})`,
  );
}

export const boundsOption = new Option(
  "--calibrated-bounds",
  "where proven bounds of an ordinary decoder do not fit, take seen ones: overflow is then silent",
);

export const modelOption = new Option("--model <dir>", "folder of the model").default(
  shippedModel("e2e-merge"),
  "the shipped models/e2e-merge",
);
