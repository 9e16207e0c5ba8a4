// Text to token ids and back: @huggingface/tokenizers behind the few calls that Mergen needs.
// Special tokens are kept from the library: a text that spells one out is plain text, so no text
// can put an end or padding token into a prompt.

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { en } from "zod/locales";
import * as z from "zod/mini";
import { MergenError } from "../errors.ts";
import type { ModelConfig } from "./config.ts";

const ID_LIMIT = 1 << 22;
/** Models may round their vocabulary up to a multiple of this. */
const VOCABULARY_PADDING = 128;

const tokenId = z.int().check(z.nonnegative(), z.lt(ID_LIMIT));
const part = z.nullable(z.looseObject({ type: z.string() }));
const pattern = z.union([
  z.strictObject({ String: z.string() }),
  z.strictObject({ Regex: z.string() }),
]);
const addedToken = z.looseObject({
  id: tokenId,
  content: z.string().check(z.minLength(1)),
  special: z.optional(z.boolean()),
});
const merge = z.union([
  z.string().check(z.regex(/^[^ ]+ [^ ]+$/)),
  z.tuple([z.string(), z.string()]),
]);
const wordModel = z.looseObject({
  type: z.enum(["BPE", "WordPiece"]),
  vocab: z.record(z.string(), tokenId),
  merges: z.optional(z.array(merge)),
  unk_token: z.nullish(z.string()),
});
const unigramModel = z.looseObject({
  type: z.literal("Unigram"),
  vocab: z.array(z.tuple([z.string(), z.number()])).check(z.minLength(1)),
  unk_id: tokenId,
});
const fileSchema = z.looseObject({
  model: z.discriminatedUnion("type", [wordModel, unigramModel]),
  normalizer: z._default(part, null),
  pre_tokenizer: z._default(part, null),
  post_processor: z._default(part, null),
  decoder: z._default(part, null),
  added_tokens: z._default(z.array(addedToken), []),
});
type TokenizerFile = z.infer<typeof fileSchema>;

/** What the model folder's tokenizer files hold, as parsed JSON. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly tokenizer: unknown;
  /** tokenizer_config.json, where there is one. */
  readonly config?: unknown;
}

/** Token ids of texts and texts of token ids. */
export class Tokenizer {
  /** The parsed files that it was made from, to be saved again. */
  readonly files: TokenizerFiles;
  /** One more than the greatest token id. */
  readonly size: number;
  readonly #library: Library;
  readonly #specials: ReadonlyMap<number, string>;
  readonly #tokens: ReadonlyMap<number, string>;
  readonly #lossless: boolean;

  /** @throws E_TOKENIZER naming the key of tokenizer.json that is wrong */
  constructor(files: TokenizerFiles, origin = "tokenizer.json") {
    const file = parseFile(files.tokenizer, origin);
    this.files = files;
    this.#tokens = vocabulary(file, origin);
    this.size = [...this.#tokens.keys()].reduce((most, id) => Math.max(most, id + 1), 0);
    const specials = file.added_tokens.filter(({ special }) => special === true);
    this.#specials = new Map(specials.map(({ id, content }) => [id, content]));
    this.#lossless = isLossless(file);
    try {
      this.#library = new Library(withoutSpecials(file), libraryConfig(files.config));
    } catch (cause) {
      const message = `${origin}: cannot be used: a part is of an unknown kind or lacks a key`;
      throw new MergenError("E_TOKENIZER", message, { cause });
    }
  }

  /**
   * The token ids of a text; special tokens spelt out in it are plain text.
   * @throws E_TOKENIZER when the text has characters that the vocabulary cannot write
   */
  encode(text: string): number[] {
    if (text === "") return [];
    let ids: number[];
    try {
      ids = this.#library.encode(text, { add_special_tokens: false }).ids;
    } catch (cause) {
      throw new MergenError("E_TOKENIZER", "tokenizer.json: fails to encode a text", { cause });
    }
    const known = ids.every((id) => this.#tokens.has(id));
    if (!known || (this.#lossless && !this.decode(ids).trim().endsWith(text.trim()))) {
      const message = "the text has characters that the model's tokenizer cannot write";
      throw new MergenError("E_TOKENIZER", `${message}; leave them out`);
    }
    return ids;
  }

  /**
   * The text of token ids, special tokens left out. An id beyond the vocabulary, which a model
   * with a padded one can choose, has no text.
   */
  decode(ids: readonly number[]): string {
    const plain = ids.filter((id) => this.#tokens.has(id) && !this.#specials.has(id));
    if (plain.length === 0) return "";
    try {
      return this.#library.decode(plain, { clean_up_tokenization_spaces: false });
    } catch (cause) {
      throw new MergenError("E_TOKENIZER", "tokenizer.json: fails to decode a token", { cause });
    }
  }

  /** Whether an id is a special token, which no text can contain. */
  isSpecial(id: number): boolean {
    return this.#specials.has(id);
  }

  /** The least id of a special token; undefined when there is none. */
  firstSpecial(): number | undefined {
    const ids = [...this.#specials.keys()];
    return ids.length === 0 ? undefined : Math.min(...ids);
  }

  /** The id of a special token by its content, as `<|endoftext|>`. */
  specialId(content: string): number | undefined {
    for (const [id, text] of this.#specials) if (text === content) return id;
    return undefined;
  }
}

/** Emits a growing text token by token, and never half a character. */
export class TextStream {
  readonly #tokenizer: Tokenizer;
  readonly #ids: number[] = [];
  #emitted = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Adds a token; the text that is complete with it, often "". */
  push(id: number): string {
    this.#ids.push(id);
    const text = this.#tokenizer.decode(this.#ids);
    return this.#emit(text, completeLength(text));
  }

  /** Ends the stream; what was held back, a broken character as U+FFFD. */
  end(): string {
    const text = this.#tokenizer.decode(this.#ids);
    return this.#emit(text, text.length);
  }

  #emit(text: string, until: number): string {
    const fresh = text.slice(this.#emitted, until);
    this.#emitted = Math.max(this.#emitted, until);
    return fresh;
  }
}

/**
 * Checks that a tokenizer belongs to a model: its ids fit the vocabulary, which has at most 127
 * more for padding, and the model's pad, begin and end tokens are special.
 * @throws E_TOKENIZER naming what does not fit
 */
export function checkTokenizer(
  tokenizer: Tokenizer,
  config: ModelConfig,
  origin = "tokenizer.json",
): void {
  const { vocabSize, tokens } = config;
  const { size } = tokenizer;
  if (size > vocabSize || vocabSize - size >= VOCABULARY_PADDING) {
    const message = `${origin}: has ${size} tokens, but config.json's vocabSize is ${vocabSize}`;
    throw new MergenError("E_TOKENIZER", `${message}; use the tokenizer that the model came with`);
  }
  for (const [role, id] of Object.entries(tokens)) {
    if (!tokenizer.isSpecial(id)) {
      const message = `${origin}: token ${id}, config.json's tokens.${role}, is not special`;
      throw new MergenError("E_TOKENIZER", `${message}; list it under added_tokens as special`);
    }
  }
}

/** A trailing U+FFFD may be the beginning of a character that the next tokens complete. */
function completeLength(text: string): number {
  let length = text.length;
  while (length > 0 && text.charCodeAt(length - 1) === 0xfffd) length--;
  return length;
}

function parseFile(json: unknown, origin: string): TokenizerFile {
  const result = fileSchema.safeParse(json, { error: en().localeError });
  if (result.success) {
    const { normalizer, pre_tokenizer, decoder } = result.data;
    checkPatterns([normalizer, pre_tokenizer, decoder], origin);
    return result.data;
  }
  const issue = result.error.issues[0];
  const where = issue?.path.map(String).join(".").slice(0, 80) || "the whole";
  const message = `${origin}: ${where}: ${issue?.message ?? "is not valid"}`;
  throw new MergenError("E_TOKENIZER", `${message}; use the file that the model came with`);
}

/** The library takes a pattern that it does not know for none; here it is an error. */
function checkPatterns(parts: unknown[], origin: string): void {
  const open = [...parts];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null) continue;
    if ("pattern" in value && !pattern.safeParse(value.pattern).success) {
      const message = `${origin}: a pattern is neither a String nor a Regex`;
      throw new MergenError("E_TOKENIZER", `${message}; use the file that the model came with`);
    }
    for (const inner of Object.values(value)) open.push(inner);
  }
}

/** Content by id. @throws E_TOKENIZER when one id has two contents */
function vocabulary({ model, added_tokens }: TokenizerFile, origin: string): Map<number, string> {
  const tokens = new Map<number, string>();
  const add = (content: string, id: number) => {
    if (tokens.has(id) && tokens.get(id) !== content) {
      throw new MergenError("E_TOKENIZER", `${origin}: token ${id} stands for two texts`);
    }
    tokens.set(id, content);
  };
  if (model.type === "Unigram") {
    for (const [id, [content]] of model.vocab.entries()) add(content, id);
  } else for (const [content, id] of Object.entries(model.vocab)) add(content, id);
  for (const { content, id } of added_tokens) add(content, id);
  return tokens;
}

/** The file without its special tokens, but for the one that stands for unknown text. */
function withoutSpecials(file: TokenizerFile): TokenizerFile {
  const specials = file.added_tokens.filter(({ special }) => special === true);
  const contents = new Set(specials.map(({ content }) => content));
  const added_tokens = file.added_tokens.filter(({ special }) => special !== true);
  const { model } = file;
  if (model.type === "Unigram") {
    // Pieces are positional, so a special one gets a text that no well-formed text holds.
    const vocab = model.vocab.map(([content, score], id): [string, number] =>
      contents.has(content) && id !== model.unk_id ? [`\ud800${id}`, score] : [content, score],
    );
    return { ...file, added_tokens, model: { ...model, vocab } };
  }
  if (model.unk_token != null) contents.delete(model.unk_token);
  const plain = Object.entries(model.vocab).filter(([content]) => !contents.has(content));
  return { ...file, added_tokens, model: { ...model, vocab: Object.fromEntries(plain) } };
}

/** Whether a text must come back from its ids, but for blanks at its ends: all is byte-level. */
function isLossless({ normalizer, pre_tokenizer, decoder, added_tokens }: TokenizerFile): boolean {
  const parts = pre_tokenizer?.type === "Sequence" ? pre_tokenizer.pretokenizers : pre_tokenizer;
  const list = Array.isArray(parts) ? parts : [parts];
  return (
    normalizer === null &&
    isByteLevel(decoder) &&
    list.some((one) => one?.type === "ByteLevel") &&
    !added_tokens.some((token) => token.lstrip === true || token.rstrip === true)
  );
}

/** ByteLevel alone, or followed by parts that trim the text (Fuse, Strip). */
function isByteLevel(decoder: TokenizerFile["decoder"]): boolean {
  if (decoder?.type !== "Sequence") return decoder?.type === "ByteLevel";
  const parts = Array.isArray(decoder.decoders) ? decoder.decoders : [];
  const [first, ...others] = parts.map((part) => part?.type);
  return first === "ByteLevel" && others.every((type) => type === "Fuse" || type === "Strip");
}

function libraryConfig(config: unknown): object {
  return typeof config === "object" && config !== null && !Array.isArray(config) ? config : {};
}
