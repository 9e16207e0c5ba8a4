// Prompts of a stated length to measure with. What they say does not matter: costs depend on the
// number of positions alone.

import { encodePrompt, ensure, MergenError, type Model, promptPositions } from "../../src/index.ts";

/** Positions of a prompt that nobody asked a length of, where the model lets it be so short. */
const USUAL = 4;
/** What texts are made of: a token each in the tokenizers that there are. */
const fillers = ["a", " a", "1", "!"];
/** Values of slots that are tried: tokens of the vocabulary, from its begin. */
const VALUES = 4096;

export interface BenchPrompt {
  readonly text: string;
  /** Positions that it takes. */
  readonly tokens: number;
}

/**
 * A prompt of so many positions; without a number of 4, or of the least that the model takes.
 * @throws E_USAGE saying which lengths the model takes, where this is none of them
 */
export function promptOf(model: Model, asked: number | undefined): BenchPrompt {
  const { prompt, positionCount, generation } = model.config;
  if (prompt.kind === "slots") {
    const tokens = promptPositions(prompt);
    const fits = asked === undefined || asked === tokens;
    ensure(fits, "E_USAGE", `the model's prompts are of slots and have ${tokens} tokens, always`);
    return { text: slotsText(model), tokens };
  }
  const { bucket } = prompt;
  const most = Math.floor((positionCount - generation.maxTokens + 1) / bucket) * bucket;
  const tokens = asked ?? Math.min(Math.ceil(USUAL / bucket) * bucket, most);
  const lengths = bucket === 1 ? "" : `, multiples of ${bucket}`;
  const fits = tokens >= 1 && tokens <= most && tokens % bucket === 0;
  ensure(fits, "E_USAGE", `the model takes prompts of ${bucket} to ${most} tokens${lengths}`);
  for (const filler of fillers) {
    // A beginning and a blank before the text may take a position each.
    for (let count = tokens; count >= Math.max(0, tokens - 2); count--) {
      const text = filler.repeat(count);
      if (lengthOf(text, model) === tokens) return { text, tokens };
    }
  }
  throw new MergenError("E_USAGE", `no text of ${tokens} tokens is known for this model`);
}

/** One slot with one token of the vocabulary, or as few as it takes; the rest is padding. */
function slotsText(model: Model): string {
  const { config, tokenizer } = model;
  if (config.prompt.kind !== "slots") throw new MergenError("E_INTERNAL", "no slots");
  for (const { name } of config.prompt.slots) {
    for (let id = 0; id < Math.min(tokenizer.size, VALUES); id++) {
      const text = `${name}[${tokenizer.decode([id])}]`;
      if (lengthOf(text, model) !== undefined) return text;
    }
  }
  throw new MergenError("E_USAGE", "no value of a slot is known for this model");
}

/** Positions of a prompt; undefined where it is none of the model's. */
function lengthOf(text: string, { config, tokenizer }: Model): number | undefined {
  try {
    return encodePrompt(text, config, tokenizer).length;
  } catch (error) {
    if (error instanceof MergenError && error.code === "E_PROMPT") return undefined;
    throw error;
  }
}
