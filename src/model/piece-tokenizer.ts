// tokenizer.json of a vocabulary of pieces with scores, as SentencePiece's BPE has: of all
// neighbours, those are merged first whose union has the best score; what no piece can write is
// written in bytes, <0x00> to <0xFF>.

import { MergenError } from "../errors.ts";

export interface Piece {
  /** Blanks are blanks. */
  readonly text: string;
  readonly score: number;
}

/** What stands for a blank, so that pieces may be parted by blanks. */
const BLANK = "\u2581";

/**
 * A blank is put before a text. Decoding keeps a leading blank, since what is decoded is a text's
 * continuation.
 * @throws E_TOKENIZER when a piece stands twice, or pieces for bytes are missing
 */
export function pieceTokenizerJson(
  pieces: readonly Piece[],
  { specials, origin }: { specials: readonly string[]; origin: string },
): object {
  const vocab = new Map<string, number>();
  for (const [id, { text }] of pieces.entries()) {
    const written = text.replaceAll(" ", BLANK);
    if (vocab.has(written)) {
      const message = `${origin}: tokens ${vocab.get(written)} and ${id} are the same`;
      throw new MergenError("E_TOKENIZER", `${message}; take the file that the model came with`);
    }
    vocab.set(written, id);
  }
  if (!vocab.has("<0x00>") || !vocab.has("<0xFF>")) {
    const message = `${origin}: has no tokens <0x00> to <0xFF> for single bytes`;
    throw new MergenError("E_TOKENIZER", `${message}; take the file that the model came with`);
  }
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: BLANK },
        { type: "Replace", pattern: { String: " " }, content: BLANK },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: BLANK }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: specials[0],
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(vocab),
      merges: mergesOf(pieces, vocab, specials.length),
    },
  };
}

/** Every way to make a piece of two others, best score first. */
function mergesOf(
  pieces: readonly Piece[],
  vocab: ReadonlyMap<string, number>,
  specialCount: number,
): [string, string][] {
  const found: { pair: [string, string]; score: number }[] = [];
  for (const [text, id] of vocab) {
    if (id < specialCount || /^<0x[0-9A-F]{2}>$/.test(text)) continue;
    const letters = [...text];
    for (let cut = 1; cut < letters.length; cut++) {
      const pair: [string, string] = [letters.slice(0, cut).join(""), letters.slice(cut).join("")];
      const made = pair.every((part) => (vocab.get(part) ?? -1) >= specialCount);
      if (made) found.push({ pair, score: pieces[id]!.score });
    }
  }
  found.sort((a, b) => b.score - a.score);
  return found.map(({ pair }) => pair);
}
