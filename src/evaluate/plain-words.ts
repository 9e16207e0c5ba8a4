// Texts and slot values brought to one spelling, so that rules can look for words: what the slot
// error rate compares.

const numberWords = [
  ...["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
  ...["eleven", "twelve"],
];
const numbers = new Map(numberWords.map((word, number) => [word, String(number)]));
numbers.set("twenty", "20");
numbers.set("thirty", "30");

/**
 * Lower case without accents; words parted by single blanks, with one at either end. Hyphens and
 * marks part words, a dot at a sentence's end is a word, "n't" is "not", numbers up to twelve are
 * digits. Times, amounts and pound signs keep their form.
 */
export function plainWords(text: string): string {
  const spelt = text
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .toLowerCase()
    .replace(/[\u2018\u2019`]/g, "'")
    .replace(/n't\b/g, " not")
    .replace(/ '(?=s\b)/g, "")
    .replace(/\s'|'\s|'/g, (quote) => (quote === "'" ? "" : " "))
    .replace(/£\s+/g, "£")
    .replace(/[.!?](?=\s|$)/g, " . ")
    .replace(/(?<![0-9])[.:]|[.:](?![0-9])/g, (mark, at: number, all: string) =>
      mark === "." && all[at - 1] === " " && all[at + 1] === " " ? "." : " ",
    )
    .replace(/[^\p{L}\p{N}£.:&]+/gu, " ");
  const words = spelt.split(" ").filter((word) => word !== "");
  return ` ${words
    .map((word) => numbers.get(word) ?? word)
    .join(" ")
    .replace(/\b20 5\b/g, "25")} `;
}

/** The words of a value alone. */
export function plainValue(value: string): string {
  return plainWords(value)
    .replace(/ \.(?= )/g, "")
    .trim();
}

/** A text in which what has been found is blanked out step by step. */
export class Searched {
  #rest: string;

  constructor(text: string) {
    this.#rest = plainWords(text);
  }

  /** What has not been taken yet. */
  get rest(): string {
    return this.#rest;
  }

  /** Whether the words stand in what is left. */
  has(words: string): boolean {
    return words !== "" && this.#rest.includes(` ${words} `);
  }

  /** Blanks out all places of the words; whether there was one. */
  take(words: string): boolean {
    if (!this.has(words)) return false;
    // Two places may share the blank between them.
    while (this.has(words)) this.#rest = this.#rest.replace(` ${words} `, " _ ");
    return true;
  }
}
