// Synonyms from a folder of WordNet's data base files (index.*, data.*, *.exc), found as nltk's
// reader finds them: the words of all synsets of a word's base forms, in all parts of speech.
// Source: WordNet manual pages wndb(5WN) and morphy(7WN); nltk 3.8 corpus/reader/wordnet.py.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ensure, MergenError } from "../errors.ts";
import type { Synonyms } from "./meteor.ts";

/** [ending, replacement]: how an inflected form may become a base form. */
type Endings = readonly (readonly [ending: string, replacement: string])[];

const partsOfSpeech: Readonly<Record<string, Endings>> = {
  noun: [
    ["s", ""],
    ["ses", "s"],
    ["ves", "f"],
    ["xes", "x"],
    ["zes", "z"],
    ["ches", "ch"],
    ["shes", "sh"],
    ["men", "man"],
    ["ies", "y"],
  ],
  verb: [
    ["s", ""],
    ["ies", "y"],
    ["es", "e"],
    ["es", ""],
    ["ed", "e"],
    ["ed", ""],
    ["ing", "e"],
    ["ing", ""],
  ],
  adj: [
    ["er", ""],
    ["est", ""],
    ["er", "e"],
    ["est", "e"],
  ],
  adv: [],
};

interface PartOfSpeech {
  readonly endings: Endings;
  /** Byte offsets of the synsets of a base form. */
  readonly offsets: ReadonlyMap<string, readonly number[]>;
  /** Base forms of irregular forms. */
  readonly exceptions: ReadonlyMap<string, readonly string[]>;
  /** Synsets' words by offset. */
  readonly synsets: ReadonlyMap<number, readonly string[]>;
}

/**
 * The synonyms of words by a WordNet folder, which is read whole (about 35 MB of text).
 * @throws E_DATA naming the file and line that is missing or malformed
 */
export async function loadWordnet(dir: string): Promise<Synonyms> {
  const parts: PartOfSpeech[] = [];
  for (const [name, endings] of Object.entries(partsOfSpeech)) {
    parts.push({
      endings,
      offsets: await readLines(join(dir, `index.${name}`), indexLine),
      exceptions: await readLines(join(dir, `${name}.exc`), exceptionLine),
      synsets: await readLines(join(dir, `data.${name}`), dataLine),
    });
  }
  const known = new Map<string, ReadonlySet<string>>();
  return (word) => {
    let synonyms = known.get(word);
    if (!synonyms) {
      synonyms = new Set(parts.flatMap((part) => wordsOf(part, word)));
      known.set(word, synonyms);
    }
    return synonyms;
  };
}

function wordsOf(part: PartOfSpeech, word: string): string[] {
  return baseForms(part, word.toLowerCase())
    .flatMap((form) => part.offsets.get(form)!)
    .flatMap((offset) => part.synsets.get(offset) ?? []);
}

/** Known forms; endings are taken off again and again until there is one. */
function baseForms({ endings, offsets, exceptions }: PartOfSpeech, word: string): string[] {
  const known = (forms: readonly string[]) => [
    ...new Set(forms.filter((form) => offsets.has(form))),
  ];
  const irregular = exceptions.get(word);
  if (irregular) return known([word, ...irregular]);
  const shorten = (forms: readonly string[]) =>
    forms.flatMap((form) =>
      endings
        .filter(([ending]) => form.endsWith(ending))
        .map(([ending, replacement]) => form.slice(0, form.length - ending.length) + replacement),
    );
  let forms = shorten([word]);
  let found = known([word, ...forms]);
  while (found.length === 0 && forms.length > 0) {
    // Different endings often leave the same form.
    forms = [...new Set(shorten(forms))];
    found = known(forms);
  }
  return found;
}

type ReadLine<K, V> = (line: string) => readonly [K, V] | undefined;

/** The entries of a file, without its licence (lines that begin with blanks). */
async function readLines<K, V>(path: string, read: ReadLine<K, V>): Promise<Map<K, V>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    const { code = "unknown reason" } = cause as NodeJS.ErrnoException;
    const remedy = "give the folder of WordNet 3's files index.noun, data.noun, noun.exc and so on";
    throw new MergenError("E_DATA", `${path}: cannot be read: ${code}; ${remedy}`, { cause });
  }
  const entries = new Map<K, V>();
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "" || line.startsWith(" ")) continue;
    const entry = read(line);
    ensure(entry, "E_DATA", `${path}:${index + 1}: is no line of WordNet; fetch the file again`);
    entries.set(entry[0], entry[1]);
  }
  return entries;
}

/** `lemma pos synsets pointers [symbol...] senses tagged offset...` */
function indexLine(line: string): readonly [string, readonly number[]] | undefined {
  const fields = line.split(" ").filter((field) => field !== "");
  const count = Number(fields[2]);
  const offsets = fields.slice(6 + Number(fields[3])).map(Number);
  const whole = count > 0 && offsets.length === count && offsets.every(Number.isSafeInteger);
  return whole ? [fields[0], offsets] : undefined;
}

/** `form base...` */
function exceptionLine(line: string): readonly [string, readonly string[]] | undefined {
  const [form, ...bases] = line.split(" ").filter((field) => field !== "");
  return bases.length > 0 ? [form, bases] : undefined;
}

/** `offset file type words(hex) [word id]... pointers...`; words that are several are left out. */
function dataLine(line: string): readonly [number, readonly string[]] | undefined {
  const fields = line.slice(0, line.indexOf("|")).split(" ");
  const offset = Number(fields[0]);
  const count = Number.parseInt(fields[3], 16);
  if (!Number.isSafeInteger(offset) || !(count > 0) || fields.length < 4 + 2 * count) {
    return undefined;
  }
  const words = Array.from({ length: count }, (_, i) => fields[4 + 2 * i]);
  const marked = /\(.*\)$/; // as in `galore(ip)`: how an adjective stands
  return [offset, words.map((word) => word.replace(marked, "")).filter((w) => !w.includes("_"))];
}
