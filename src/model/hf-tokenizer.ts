// The tokenizer of a Hugging Face folder: tokenizer.json, or GPT-2's vocab.json and merges.txt.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { MergenError } from "../errors.ts";
import { byteLevelTokenizerJson } from "./byte-level-tokenizer.ts";
import { readJson, readPart } from "./files.ts";

const vocabularySchema = z.record(z.string(), z.int().nonnegative());
/** Ends a text in GPT-2's vocabulary. */
const GPT2_END = "<|endoftext|>";

/** Whether a folder has vocab.json and no tokenizer.json. */
export async function hasPairFiles(dir: string): Promise<boolean> {
  const names = await readdir(dir).catch((): string[] => []);
  return names.includes("vocab.json") && !names.includes("tokenizer.json");
}

/**
 * A tokenizer.json made of vocab.json and merges.txt, byte-level. Special are the tokens of
 * `specialIds`, or else GPT-2's end of text.
 * @throws E_MODEL naming the file that is missing, E_TOKENIZER naming the one that is wrong
 */
export async function bytePairTokenizerJson(
  dir: string,
  specialIds?: readonly number[],
): Promise<object> {
  const vocabPath = join(dir, "vocab.json");
  const vocabulary = vocabularySchema.safeParse(await readJson(vocabPath));
  if (!vocabulary.success) {
    const message = `${vocabPath}: is no map from tokens to ids`;
    throw new MergenError("E_TOKENIZER", `${message}; copy the file anew`);
  }
  const entries = Object.entries(vocabulary.data);
  const isSpecial = ([content, id]: [string, number]) =>
    specialIds ? specialIds.includes(id) : content === GPT2_END;
  return byteLevelTokenizerJson({
    vocab: vocabulary.data,
    merges: await readMerges(join(dir, "merges.txt")),
    special: entries.filter(isSpecial),
  });
}

/** Lines of two parts; a first line that begins with #version is none. */
async function readMerges(path: string): Promise<string[]> {
  const fail = (message: string): never => {
    throw new MergenError("E_TOKENIZER", `${path}: ${message}; copy the file anew`);
  };
  let text = "";
  const bytes = await readPart(path);
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    fail("is not UTF-8");
  }
  const lines = text.split(/\r?\n/);
  const merges: string[] = [];
  for (const [index, line] of lines.entries()) {
    if (line === "" || (index === 0 && line.startsWith("#version"))) continue;
    if (!/^[^ ]+ [^ ]+$/.test(line)) fail(`line ${index + 1} is not two parts and a blank`);
    merges.push(line);
  }
  return merges;
}

/**
 * The same tokenizer.json, but that decoding keeps a leading blank: what is decoded here is a
 * text's continuation. SentencePiece's decoders take the blank off that encoding has put there.
 */
export function keepLeadingBlank(json: unknown): unknown {
  const decoder = (json as { decoder?: Decoder } | null)?.decoder;
  if (typeof decoder !== "object" || decoder === null) return json;
  if (decoder.type === "Metaspace") {
    const { replacement = "\u2581" } = decoder;
    const decoders = [
      { type: "Replace", pattern: { String: replacement }, content: " " },
      { type: "Fuse" },
    ];
    return { ...(json as object), decoder: { type: "Sequence", decoders } };
  }
  if (decoder.type !== "Sequence" || !Array.isArray(decoder.decoders)) return json;
  const decoders = decoder.decoders.filter((part: Decoder) => part?.type !== "Strip");
  return { ...(json as object), decoder: { ...decoder, decoders } };
}

interface Decoder {
  readonly type?: unknown;
  readonly replacement?: string;
  readonly decoders?: Decoder[];
}

/** Whether a tokenizer puts this token before every text. */
export function addsBegin(tokenizer: unknown, config: unknown, begin: number): boolean {
  const stated = (config as { add_bos_token?: unknown } | undefined)?.add_bos_token;
  if (typeof stated === "boolean") return stated;
  const processor = (tokenizer as { post_processor?: unknown } | null)?.post_processor;
  if (beginsWith(processor, begin)) return true;
  const kind = (config as { tokenizer_class?: unknown } | undefined)?.tokenizer_class;
  return kind === "LlamaTokenizer" || kind === "LlamaTokenizerFast";
}

const templateSchema = z.looseObject({
  type: z.literal("TemplateProcessing"),
  single: z.array(z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }).optional() })),
  special_tokens: z.record(z.string(), z.looseObject({ ids: z.array(z.number()) })),
});

function beginsWith(processor: unknown, begin: number): boolean {
  const parts = (processor as { processors?: unknown } | null)?.processors;
  if (Array.isArray(parts)) return parts.some((part) => beginsWith(part, begin));
  const template = templateSchema.safeParse(processor);
  if (!template.success) return false;
  const first = template.data.single[0]?.SpecialToken?.id;
  if (first === undefined || !Object.hasOwn(template.data.special_tokens, first)) return false;
  return template.data.special_tokens[first]!.ids[0] === begin;
}
