// Trains a superword byte-pair tokenizer: merges inside words first, then across blanks, so that a
// frequent phrase is one token and a text few positions. Punctuation and isolated phrases (names)
// are pieces of their own that no merge crosses. Source: Sennrich et al. 2016; Liu et al. 2025
// (SuperBPE, arXiv 2503.13423) for the two stages. Our own loop, as the trainer of the tokenizers
// package knows neither two stages nor a limit of words. The result is an ordinary tokenizer.json.

import { ensure } from "../errors.ts";
import { byteCharacters } from "../model/filler-tokenizer.ts";

export interface TokenizerOptions {
  /** Tokens in all, special ones and the 256 bytes included. */
  readonly vocabSize: number;
  /** Merges inside words, before those across blanks. */
  readonly wordMerges: number;
  /** Least count of a pair to be merged across blanks. */
  readonly minCount: number;
  /** Blanks in a token at most. */
  readonly maxBlanks: number;
  /** Phrases that are pieces of their own, each with the blank before it. */
  readonly isolated: readonly string[];
}

export const specialTokens = { pad: 0, begin: 1, end: 2 } as const;
const SPECIALS = ["<pad>", "<bos>", "<eos>"];
const PUNCTUATION = '[.,;:!?()"]';
const PAIR_BASE = 1 << 16;

/** One blank before the text and between words: the form that the tokenizer is trained on. */
export function normaliseText(text: string): string {
  return ` ${text.trim().replace(/\s+/g, " ")}`;
}

/** The pattern whose matches stand alone; what lies between them are pieces, too. */
export function piecePattern(isolated: readonly string[]): string {
  if (isolated.length === 0) return PUNCTUATION;
  const longestFirst = [...new Set(isolated)].sort(
    (a, b) => b.length - a.length || (a < b ? -1 : 1),
  );
  const phrases = longestFirst.map((phrase) => phrase.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
  return ` (?:${phrases.join("|")})(?![A-Za-z0-9])|${PUNCTUATION}`;
}

/** Matches of the pattern and what lies between them, in order. */
export function splitPieces(text: string, pattern: RegExp): string[] {
  const pieces: string[] = [];
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > from) pieces.push(text.slice(from, match.index));
    pieces.push(match[0]);
    from = match.index + match[0].length;
  }
  if (from < text.length) pieces.push(text.slice(from));
  return pieces;
}

/** The parsed tokenizer.json from texts with their counts. @throws E_CONFIG when too small */
export function trainTokenizer(
  texts: ReadonlyMap<string, number>,
  options: TokenizerOptions,
): object {
  ensure(options.vocabSize >= SPECIALS.length + 256, "E_CONFIG", "vocabSize is below 259");
  const pattern = piecePattern(options.isolated);
  const pieces = countPieces(texts, new RegExp(pattern, "gu"));
  const merger = new Merger(SPECIALS.length);
  const words = new Map<string, number>();
  for (const [piece, count] of pieces) {
    for (const word of wordsOf(piece)) words.set(word, (words.get(word) ?? 0) + count);
  }
  const wordLimit = Math.min(options.vocabSize, merger.size + options.wordMerges);
  const byWord = merger.run(
    [...words].map(([word, count]) => ({ ids: merger.bytes(word), count })),
    { size: wordLimit, minCount: 2, maxBlanks: 1 },
  );
  const idsOfWord = new Map([...words.keys()].map((word, index) => [word, byWord[index]]));
  merger.run(
    [...pieces].map(([piece, count]) => ({
      ids: wordsOf(piece).flatMap((word) => idsOfWord.get(word)!),
      count,
    })),
    { size: options.vocabSize, minCount: options.minCount, maxBlanks: options.maxBlanks },
  );
  return tokenizerJson(merger, pattern);
}

function countPieces(texts: ReadonlyMap<string, number>, pattern: RegExp): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [text, count] of texts) {
    for (const piece of splitPieces(text, pattern)) {
      counts.set(piece, (counts.get(piece) ?? 0) + count);
    }
  }
  return counts;
}

/** Words, each with the blank before it. */
function wordsOf(piece: string): string[] {
  return piece.match(/ ?[^ ]+| /gu) ?? [];
}

interface Sequence {
  readonly ids: number[];
  readonly count: number;
}

class Merger {
  readonly merges: (readonly [number, number])[] = [];
  /** Bytes of each token behind the special ones. */
  readonly #tokens: Uint8Array[];
  readonly #offset: number;

  constructor(offset: number) {
    this.#offset = offset;
    this.#tokens = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  }

  get size(): number {
    return this.#offset + this.#tokens.length;
  }

  bytes(text: string): number[] {
    return Array.from(new TextEncoder().encode(text), (byte) => this.#offset + byte);
  }

  token(id: number): Uint8Array {
    return this.#tokens[id - this.#offset];
  }

  /** Merges the most frequent pair until the vocabulary has `size` tokens; the sequences' ids. */
  run(
    sequences: readonly Sequence[],
    limits: { size: number; minCount: number; maxBlanks: number },
  ): number[][] {
    const ids = sequences.map((sequence) => sequence.ids);
    const counts = new Map<number, number>();
    const places = new Map<number, Set<number>>();
    const note = (index: number, sign: number) => {
      const list = ids[index];
      for (let i = 0; i + 1 < list.length; i++) {
        const pair = list[i] * PAIR_BASE + list[i + 1];
        counts.set(pair, (counts.get(pair) ?? 0) + sign * sequences[index].count);
        if (sign > 0) {
          const known = places.get(pair);
          if (known) known.add(index);
          else places.set(pair, new Set([index]));
        }
      }
    };
    for (let index = 0; index < ids.length; index++) note(index, 1);
    while (this.size < limits.size) {
      const pair = this.#best(counts, limits);
      if (pair === undefined) break;
      const [a, b] = [Math.floor(pair / PAIR_BASE), pair % PAIR_BASE];
      const merged = this.#add(a, b);
      for (const index of places.get(pair)!) {
        note(index, -1);
        ids[index] = replacePair(ids[index], a, b, merged);
        note(index, 1);
      }
      places.delete(pair);
      counts.delete(pair);
    }
    return ids;
  }

  #add(a: number, b: number): number {
    const id = this.size;
    this.merges.push([a, b]);
    this.#tokens.push(Uint8Array.of(...this.token(a), ...this.token(b)));
    return id;
  }

  #best(
    counts: ReadonlyMap<number, number>,
    { minCount, maxBlanks }: { minCount: number; maxBlanks: number },
  ): number | undefined {
    let best: number | undefined;
    let bestCount = minCount - 1;
    for (const [pair, count] of counts) {
      if (count < bestCount || (count === bestCount && (best === undefined || pair > best)))
        continue;
      if (this.#blanks(Math.floor(pair / PAIR_BASE)) + this.#blanks(pair % PAIR_BASE) > maxBlanks) {
        continue;
      }
      best = pair;
      bestCount = count;
    }
    return best;
  }

  #blanks(id: number): number {
    return this.token(id).reduce((sum, byte) => sum + Number(byte === 32), 0);
  }
}

function replacePair(ids: readonly number[], a: number, b: number, merged: number): number[] {
  const out: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === a && ids[i + 1] === b) {
      out.push(merged);
      i++;
    } else out.push(ids[i]);
  }
  return out;
}

function tokenizerJson(merger: Merger, pattern: string): object {
  const letters = byteCharacters();
  const spell = (id: number) => Array.from(merger.token(id), (byte) => letters[byte]).join("");
  const vocab: Record<string, number> = {};
  for (const [id, content] of SPECIALS.entries()) vocab[content] = id;
  for (let id = SPECIALS.length; id < merger.size; id++) vocab[spell(id)] = id;
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIALS.map((content, id) => ({ id, content, ...special, special: true })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: null,
    // Texts are trained with a blank before them, which is no part of what is generated.
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 1 },
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: merger.merges.map(([a, b]) => [spell(a), spell(b)]),
    },
  };
}
