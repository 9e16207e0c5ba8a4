// Words as the WMT script mteval-v13a parts them, and so sacrebleu's `13a`, BLEU and METEOR here;
// the e2e-metrics tool has the same rules. Source: mteval-v13a.pl (NIST), sub NormalizeText.

/** What Python's str.split takes for a blank; JavaScript's \s differs in U+FEFF and controls. */
const BLANK =
  "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const BLANKS = new RegExp(BLANK);
const TRAILING_BLANKS = new RegExp(`${BLANK}$`);

/** Symbols that are words of their own: all of ASCII's but the apostrophe, comma, hyphen, dot. */
const SYMBOL = /[{-~[-` -&(-+:-@/]/g;

const entities: readonly [entity: string, character: string][] = [
  ["&quot;", '"'],
  ["&amp;", "&"],
  ["&lt;", "<"],
  ["&gt;", ">"],
];

/** The words between blanks; none of an empty text. */
export function blankSeparated(text: string): string[] {
  return text.split(BLANKS).filter((word) => word !== "");
}

/** The words of a text, case kept. */
export function tokens13a(text: string): string[] {
  let line = text
    .replace(TRAILING_BLANKS, "")
    .replaceAll("<skipped>", "")
    .replaceAll("-\n", "")
    .replaceAll("\n", " ");
  for (const [entity, character] of entities) line = line.replaceAll(entity, character);
  line = ` ${line} `
    .replace(SYMBOL, " $& ")
    .replace(/([^0-9])([.,])/gu, "$1 $2 ") // dot and comma, unless behind a digit
    .replace(/([.,])([^0-9])/gu, " $1 $2") // the same, unless before one
    .replace(/([0-9])-/g, "$1 - "); // hyphen behind a digit
  return blankSeparated(line);
}

/** The same in lower case. */
export function lowerTokens13a(text: string): string[] {
  return tokens13a(text).map((token) => token.toLowerCase());
}
