// A byte-level BPE tokenizer of any size, for models that no text was ever trained on: the 256
// bytes, then made-up words of two-letter syllables, then one special token. Each word is a merge
// of two earlier entries, as in a trained tokenizer, so that one of GPT-2's size weighs as much.
// Words have no two vowels in a row: a text of vowels has as many tokens as letters.

import { MergenError } from "../errors.ts";
import { byteLevelTokenizerJson } from "./byte-level-tokenizer.ts";

const CONSONANTS = [..."bcdfghjklmnpqrstvwxz"];
const VOWELS = [..."aeiou"];
/** What a blank becomes in a byte-level vocabulary. */
const BLANK = "\u0120";
export const FILLER_END = "<|endoftext|>";

/**
 * tokenizer.json of exactly this many tokens, the special one last.
 * @throws E_CONFIG when there is no room for the bytes, or for want of made-up words
 */
export function fillerTokenizerJson(vocabSize: number): object {
  const bytes = byteCharacters();
  const room = vocabSize - bytes.length - 1;
  if (room < 0) {
    const message = `a byte-level tokenizer has at least ${bytes.length + 1} tokens; ask for more`;
    throw new MergenError("E_CONFIG", message);
  }
  const vocab = Object.fromEntries(bytes.map((character, id) => [character, id]));
  const merges: string[] = [];
  for (const [left, right] of wordMerges(room)) {
    vocab[left + right] = bytes.length + merges.length;
    merges.push(`${left} ${right}`);
  }
  const special = [[FILLER_END, vocabSize - 1]] as const;
  return byteLevelTokenizerJson({ vocab, merges, special });
}

/** Syllables, then words of two, then those after a blank, then words of three. */
function wordMerges(count: number): [string, string][] {
  const syllables = pairs(CONSONANTS, VOWELS, count);
  const words = syllables.map((parts) => parts.join(""));
  const found = [...syllables];
  const add = (left: readonly string[], right: readonly string[]) => {
    const made = pairs(left, right, count - found.length);
    for (const merge of made) found.push(merge);
    return made.map((parts) => parts.join(""));
  };
  const twos = add(words, words);
  add([BLANK], [...words, ...twos]);
  add(twos, words);
  const message = `there are made-up words for ${found.length + 257} tokens`;
  if (found.length < count) throw new MergenError("E_CONFIG", `${message}; ask for fewer`);
  return found;
}

function pairs(left: readonly string[], right: readonly string[], most: number) {
  const made: [string, string][] = [];
  for (const first of left) {
    for (const second of right) {
      if (made.length >= most) return made;
      made.push([first, second]);
    }
  }
  return made;
}

/** The characters that stand for bytes in byte-level vocabularies (Radford et al. 2019). */
export function byteCharacters(): string[] {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let other = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(printable(byte) ? byte : other++),
  );
}
