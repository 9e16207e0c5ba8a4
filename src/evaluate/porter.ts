// The Porter stemmer with the deviations of nltk's default mode (NLTK_EXTENSIONS): METEOR and
// others are defined by it. No npm package has just these. Source: Porter 1980, An algorithm for
// suffix stripping; nltk 3.8 stem/porter.py for the deviations, which are marked "nltk" below.

/** [suffix, replacement]; the first that fits is taken. */
type Rules = readonly (readonly [suffix: string, replacement: string])[];

/** nltk: forms that the rules get wrong. */
const irregular = new Map([
  ...["sky", "skies"].map((form) => [form, "sky"] as const),
  ["dying", "die"],
  ["lying", "lie"],
  ["tying", "tie"],
  ["news", "news"],
  ...["inning", "innings"].map((form) => [form, "inning"] as const),
  ...["outing", "outings"].map((form) => [form, "outing"] as const),
  ...["canning", "cannings"].map((form) => [form, "canning"] as const),
  ...["howe", "proceed", "exceed", "succeed"].map((form) => [form, form] as const),
]);

const plurals: Rules = [
  ["sses", "ss"],
  ["ies", "i"],
  ["ss", "ss"],
  ["s", ""],
];

const secondRules: Rules = [
  ["ational", "ate"],
  ["tional", "tion"],
  ["enci", "ence"],
  ["anci", "ance"],
  ["izer", "ize"],
  ["bli", "ble"],
  ["alli", "al"],
  ["entli", "ent"],
  ["eli", "e"],
  ["ousli", "ous"],
  ["ization", "ize"],
  ["ation", "ate"],
  ["ator", "ate"],
  ["alism", "al"],
  ["iveness", "ive"],
  ["fulness", "ful"],
  ["ousness", "ous"],
  ["aliti", "al"],
  ["iviti", "ive"],
  ["biliti", "ble"],
  ["fulli", "ful"], // nltk
];

const thirdRules: Rules = [
  ["icate", "ic"],
  ["ative", ""],
  ["alize", "al"],
  ["iciti", "ic"],
  ["ical", "ic"],
  ["ful", ""],
  ["ness", ""],
];

const fourthSuffixes = [
  ...["al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion"],
  ...["ou", "ism", "ate", "iti", "ous", "ive", "ize"],
];

/** The stem of a word in lower case. */
export function porterStem(word: string): string {
  const known = irregular.get(word);
  if (known !== undefined) return known;
  if (word.length <= 2) return word;
  let stem = pasts(plural(word));
  // nltk: y after a consonant that is not the first letter; Porter asks for a vowel before it.
  if (/..y$/su.test(stem) && isConsonant(stem, stem.length - 2)) stem = `${stem.slice(0, -1)}i`;
  stem = byMeasure(second(stem), thirdRules);
  return doubleL(finalE(fourth(stem)));
}

function plural(word: string): string {
  // nltk: dies -> die, but flies -> fli
  if (word.length === 4 && word.endsWith("ies")) return word.slice(0, -1);
  const rule = plurals.find(([suffix]) => word.endsWith(suffix));
  return rule ? word.slice(0, word.length - rule[0].length) + rule[1] : word;
}

/** -eed, -ed and -ing. */
function pasts(word: string): string {
  // nltk: died -> die, but spied -> spi
  if (word.endsWith("ied")) return word.slice(0, word.length === 4 ? -1 : -2);
  if (word.endsWith("eed")) return measure(word.slice(0, -3)) > 0 ? word.slice(0, -1) : word;
  const suffix = ["ed", "ing"].find(
    (each) => word.endsWith(each) && hasVowel(word.slice(0, -each.length)),
  );
  if (suffix === undefined) return word;
  const stem = word.slice(0, -suffix.length);
  if (/(?:at|bl|iz)$/.test(stem)) return `${stem}e`;
  if (endsDouble(stem)) return /[lsz]$/.test(stem) ? stem : stem.slice(0, -1);
  return measure(stem) === 1 && endsShort(stem) ? `${stem}e` : stem;
}

function second(word: string): string {
  // nltk: -alli first, and what it leaves goes through the rules again
  if (word.endsWith("alli") && measure(word.slice(0, -4)) > 0) return second(word.slice(0, -2));
  const rule = secondRules.find(([suffix]) => word.endsWith(suffix));
  if (rule) return byMeasure(word, secondRules);
  // nltk: the l counts as part of what must have a vowel and a consonant
  return word.endsWith("logi") && measure(word.slice(0, -3)) > 0 ? word.slice(0, -1) : word;
}

/** Applies the first rule that fits, if what stands before the suffix has a measure over 0. */
function byMeasure(word: string, rules: Rules): string {
  const rule = rules.find(([suffix]) => word.endsWith(suffix));
  if (!rule) return word;
  const stem = word.slice(0, word.length - rule[0].length);
  return measure(stem) > 0 ? stem + rule[1] : word;
}

function fourth(word: string): string {
  const suffix = fourthSuffixes.find((each) => word.endsWith(each));
  if (suffix === undefined) return word;
  const stem = word.slice(0, -suffix.length);
  const fits = measure(stem) > 1 && (suffix !== "ion" || /[st]$/.test(stem));
  return fits ? stem : word;
}

function finalE(word: string): string {
  if (!word.endsWith("e")) return word;
  const stem = word.slice(0, -1);
  const vowelGroups = measure(stem);
  return vowelGroups > 1 || (vowelGroups === 1 && !endsShort(stem)) ? stem : word;
}

function doubleL(word: string): string {
  return word.endsWith("ll") && measure(word.slice(0, -1)) > 1 ? word.slice(0, -1) : word;
}

/** Of each letter: not a, e, i, o, u, and not y after a consonant. */
function consonants(word: string): boolean[] {
  const found: boolean[] = [];
  for (let i = 0; i < word.length; i++) {
    const letter = word[i];
    found.push(letter === "y" ? i === 0 || !found[i - 1] : !"aeiou".includes(letter));
  }
  return found;
}

function isConsonant(word: string, index: number): boolean {
  return consonants(word)[index];
}

function hasVowel(word: string): boolean {
  return consonants(word).includes(false);
}

/** How often a vowel is followed by a consonant: Porter's m. */
function measure(word: string): number {
  return consonants(word).filter((consonant, i, all) => i > 0 && consonant && !all[i - 1]).length;
}

/** The same consonant twice at the end. */
function endsDouble(word: string): boolean {
  const last = word.length - 1;
  return last > 0 && word[last] === word[last - 1] && isConsonant(word, last);
}

/** Consonant, vowel, consonant other than w, x, y: hop, fil; nltk: or just vowel, consonant. */
function endsShort(word: string): boolean {
  const last = word.length - 1;
  if (last < 1 || !isConsonant(word, last) || isConsonant(word, last - 1)) return false;
  if (last === 1) return true;
  return isConsonant(word, last - 2) && !/[wxy]$/.test(word);
}
