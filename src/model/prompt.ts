// Turns a text into the fixed positions of a prompt, as the model's layout in config.json says.
// The number of positions is public; what stands at them is not. No message holds a piece of the
// prompt: a slot is named only when it is one of the model's own, else by its place.

import { MergenError } from "../errors.ts";
import { type ModelConfig, type PromptLayout, promptPositions } from "./config.ts";
import type { Tokenizer } from "./tokenizer.ts";

type SlotLayout = Extract<PromptLayout, { kind: "slots" }>;
type TextLayout = Extract<PromptLayout, { kind: "text" }>;

/**
 * The text of a prompt's bytes.
 * @throws E_PROMPT when they are not UTF-8
 */
export function promptText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new MergenError("E_PROMPT", "the prompt is not UTF-8; convert it");
  }
}

/**
 * The token ids of a prompt, one per position.
 * Slots: each value at the beginning of its slot's positions and `pad` after it, a slot that is not
 * given all `pad`, then `begin`. Text: `pad` up to a multiple of the bucket, before or behind all
 * else as the layout says; `begin` if the layout has it; the text behind the layout's prefix. It
 * leaves room for a token where `maxTokens` are asked for, else for as many as the model says.
 * @throws E_PROMPT when the text is empty, malformed, too long or does not fit the layout
 */
export function encodePrompt(
  text: string,
  config: ModelConfig,
  tokenizer: Tokenizer,
  { maxTokens }: { readonly maxTokens?: number | undefined } = {},
): number[] {
  if (!text.isWellFormed()) fail("the prompt holds half of a surrogate pair; mend its encoding");
  const mayBeEmpty = config.prompt.kind === "text" && config.prompt.begin === true;
  if (text.trim() === "" && !mayBeEmpty) fail("the prompt is empty; write one");
  if (config.prompt.kind === "text") {
    return textIds(text, config, { layout: config.prompt, tokenizer, maxTokens });
  }
  const ids = slotIds(parseSlots(text, config.prompt), config, tokenizer);
  if (ids.length !== promptPositions(config.prompt)) {
    throw new MergenError("E_INTERNAL", "a prompt has another length than its layout");
  }
  return ids;
}

/**
 * The values of `name[value], name[value], ...` by slot name. Values may hold commas and brackets
 * that balance.
 * @throws E_PROMPT when the text is none such, or a slot is unknown, repeated or empty
 */
export function parseSlots(text: string, layout: SlotLayout): Map<string, string> {
  const known = new Set(layout.slots.map(({ name }) => name));
  const values = new Map<string, string>();
  const source = text.trim();
  let position = 0;
  for (let place = 1; position < source.length; place++) {
    const open = source.indexOf("[", position);
    if (open < 0) grammar(place);
    const name = source.slice(position, open).trim();
    if (!known.has(name)) {
      fail(`slot ${place} of the prompt is unknown; the model has ${[...known].join(", ")}`);
    }
    if (values.has(name)) fail(`slot ${name} stands twice in the prompt; give it once`);
    const close = closingBracket(source, open);
    if (close < 0) fail(`slot ${name}: its brackets do not balance; close each [ with a ]`);
    const value = source.slice(open + 1, close).trim();
    if (value === "") fail(`slot ${name} is empty; leave it out or give it a value`);
    values.set(name, value);
    position = nextSlot(source, close + 1, place);
  }
  return values;
}

/** The position after the comma and blanks that follow a slot, or the end of the text. */
function nextSlot(source: string, after: number, place: number): number {
  if (after === source.length) return after;
  const separator = /\s*,\s*/y;
  separator.lastIndex = after;
  if (!separator.test(source) || separator.lastIndex === source.length) grammar(place + 1);
  return separator.lastIndex;
}

function closingBracket(source: string, open: number): number {
  let depth = 0;
  for (let i = open; i < source.length; i++) {
    if (source[i] === "[") depth++;
    else if (source[i] === "]" && --depth === 0) return i;
  }
  return -1;
}

function slotIds(values: Map<string, string>, config: ModelConfig, tokenizer: Tokenizer): number[] {
  const layout = config.prompt as SlotLayout;
  const ids: number[] = [];
  for (const { name, width } of layout.slots) {
    const value = values.get(name);
    const prefixed = value === undefined ? "" : (layout.prefix ?? "") + value;
    const tokens = encodePart(prefixed, `slot ${name}`, { config, tokenizer });
    if (tokens.length > width) {
      const remedy = "shorten it, or take a value that the model was trained on";
      fail(`slot ${name} takes at most ${width} tokens, its value has more: ${remedy}`);
    }
    ids.push(...tokens, ...padding(width - tokens.length, config));
  }
  ids.push(config.tokens.begin);
  return ids;
}

function textIds(
  text: string,
  config: ModelConfig,
  {
    layout,
    tokenizer,
    maxTokens,
  }: { layout: TextLayout; tokenizer: Tokenizer; maxTokens: number | undefined },
): number[] {
  const { bucket, begin, prefix = "" } = layout;
  const tokens = encodePart(prefix + text, "the prompt", { config, tokenizer });
  if (begin) tokens.unshift(config.tokens.begin);
  const positions = Math.max(1, Math.ceil(tokens.length / bucket)) * bucket;
  // The last token is nobody's input. Where tokens are asked for, their plan says how many fit.
  const tokensToCome = maxTokens === undefined ? config.generation.maxTokens : 1;
  const most = Math.max(0, config.positionCount - tokensToCome + 1);
  if (positions > most) {
    fail(`the prompt takes ${positions} positions, the model has ${most} for it; shorten it`);
  }
  return padded(tokens, positions, config);
}

/** A text's prompt in so many positions, with `pad` where the layout has it. */
export function padded(
  tokens: readonly number[],
  positions: number,
  config: Pick<ModelConfig, "prompt" | "tokens">,
): number[] {
  const free = padding(positions - tokens.length, config);
  const onRight = config.prompt.kind === "text" && config.prompt.padding === "right";
  return onRight ? [...tokens, ...free] : [...free, ...tokens];
}

/** @throws E_PROMPT naming what it is that the tokenizer cannot write as tokens of text */
function encodePart(
  text: string,
  what: string,
  { config, tokenizer }: { config: ModelConfig; tokenizer: Tokenizer },
): number[] {
  const message = `${what} has characters that the model's tokenizer cannot write; leave them out`;
  let ids: number[];
  try {
    ids = tokenizer.encode(text);
  } catch (error) {
    if (!(error instanceof MergenError)) throw error;
    return fail(message);
  }
  // A tokenizer may use one of them for what it does not know.
  const { pad, begin, end } = config.tokens;
  if (ids.some((id) => id === pad || id === begin || id === end)) fail(message);
  return ids;
}

function padding(count: number, config: Pick<ModelConfig, "tokens">): number[] {
  return new Array<number>(count).fill(config.tokens.pad);
}

function grammar(place: number): never {
  return fail(`slot ${place} of the prompt is not written as name[value], parted by commas`);
}

function fail(message: string): never {
  throw new MergenError("E_PROMPT", message);
}
