// Slot rules for E2E, whose inputs are `name[The Vaults], eatType[pub], ...`.
//
// - name, near: the value word by word; a leading "The" may be missing. Names that other inputs of
//   the data set have are invented.
// - eatType, food, priceRange, customer rating, area: the words of `classes` below. Values that
//   mean the same are one class (cheap and less than £20; high and 5 out of 5; and so on).
// - familyFriendly: whether families, children or kids are spoken of, and with a "no", "not" or the
//   like in the words before, or a word that keeps them away.

import { ensure } from "../errors.ts";
import { plainValue, Searched } from "./plain-words.ts";
import type { SlotReport, SlotRules } from "./slot-error.ts";

interface ValueClass {
  readonly slot: string;
  /** Values of the input that mean this, in plain words. */
  readonly values: readonly string[];
  /** Says it. */
  readonly says: RegExp;
  /** Enough where the input asks for it, but too vague to count as invented. */
  readonly enough?: RegExp;
}

/** One of some expressions, between blanks. */
function words(...expressions: string[]): RegExp {
  return new RegExp(` (?:${expressions.join("|")}) `);
}

const price = "pric\\w*";
const rating = "(?:rat\\w+|review\\w*|scor\\w*|stars?)";
const guests = "(?: (?:customer|customers|user|consumer|guest))?";
/** Up to three words of one statement, none of them a figure. */
const few = "(?: (?!\\.|\\d|out |and |but )\\S+){0,3}";
const notRated = `(?!${guests} (?:${rating}|quality))`;
const notPriced = `(?! (?:${price}|cost))`;
const ofFive = "(?:out )?of (?:a possible )?5";

const classes: readonly ValueClass[] = [
  {
    slot: "eatType",
    values: ["pub"],
    says: words("pubs?", "public house"),
    enough: words("bar", "tavern"),
  },
  {
    slot: "eatType",
    values: ["coffee shop"],
    says: words("coffee ?(?:shop|house|bar|place)s?", "coffee", "cafes?"),
  },
  {
    slot: "eatType",
    values: ["restaurant"],
    says: /(?!)/, // Said of pubs and coffee shops, too.
    enough: words("restaurants?", "eater(?:y|ies)", "diners?", "bistro", "dining", "place to eat"),
  },
  { slot: "food", values: ["chinese"], says: words("chinese"), enough: words("noodles?") },
  {
    slot: "food",
    values: ["english"],
    says: words("english", "british"),
    enough: words("fish and chips"),
  },
  {
    slot: "food",
    values: ["fast food"],
    says: words("fast ?foods?"),
    enough: words("burgers?", "junk"),
  },
  { slot: "food", values: ["french"], says: words("french") },
  { slot: "food", values: ["indian"], says: words("indian"), enough: words("curr(?:y|ies)") },
  {
    slot: "food",
    values: ["italian"],
    says: words("italian"),
    enough: words("pasta", "pizza", "spaghetti"),
  },
  { slot: "food", values: ["japanese"], says: words("japanese"), enough: words("sushi") },
  {
    slot: "priceRange",
    values: ["cheap", "less than £20"],
    says: words(
      "cheap\\w*",
      "inexpensive\\w*",
      "affordabl[ey]",
      "budget",
      `low(?:er|est)? ?(?:cost|${price}|budget)`,
      "(?:less|lower|cheaper) th[ae]n £?20",
      "(?:under|below|up to|maximum of) £?20",
      `${price}${few} (?:low|lower|under|below|less)${notRated}`,
    ),
  },
  {
    slot: "priceRange",
    values: ["moderate", "£20 25"],
    says: words(
      "(?:moderate|moderately|mid|medium|average|reasonable|reasonably|fair|fairly|decent)" +
        `(?: range)? ?(?:cost\\w*|${price})`,
      `${price}${few} (?:moderate|average|reasonable|medium)${notRated}`,
      "£?20(?: to| and| or)? £?25",
      "(?:mid|moderate) range",
    ),
    enough: words("moderate", "moderately", "reasonabl[ey]"),
  },
  {
    slot: "priceRange",
    values: ["high", "more than £30"],
    says: words(
      "expensive\\w*",
      "costly",
      "pricey",
      "upscale",
      `high(?:er|ly|est)? ?(?:end|cost|${price})`,
      `${price}${few} high(?:er)?${notRated}`,
      "(?:more|higher|greater) th[ae]n £?30",
      "(?:over|above|at least) £?30",
      "£?30 (?:or|and|plus)",
    ),
  },
  {
    slot: "customer rating",
    values: ["low", "1 out of 5"],
    says: words(
      `1 ${ofFive}`,
      "1 stars?",
      `(?:low|lowly|poor|poorly|bad|badly)${guests} ${rating}`,
      `not (?:well|highly|very well)${guests} ${rating}`,
      `${rating}${few} (?:low|poor|bad|1)${notPriced}`,
    ),
  },
  {
    slot: "customer rating",
    values: ["average", "3 out of 5"],
    says: words(
      `3 ${ofFive}`,
      "3 stars?",
      `(?:average|averagely|moderate|moderately|decent|mid)${guests} ${rating}`,
      `${rating}${few} (?:average|3|mediocre)${notPriced}`,
    ),
    enough: words("average", "mediocre", "decent"),
  },
  {
    slot: "customer rating",
    values: ["high", "5 out of 5"],
    says: words(
      `5 ${ofFive}`,
      "(?<! of )5 stars?",
      `(?<! not )(?:high|highly|well|top|best|excellent|perfect)${guests} ` +
        `(?:${rating}|recommended|regarded)`,
      `${rating}${few} (?:high|highly|excellent|5)${notPriced}`,
    ),
    enough: words("highly", "excellent", "great", "good", "perfect"),
  },
  {
    slot: "area",
    values: ["riverside"],
    says: words("river ?sides?", "river ?banks?", "rivers?", "thames", "waterfront", "waterside"),
  },
  {
    slot: "area",
    values: ["city centre"],
    says: words(
      "(?:city |town |inner )?cent(?:re|er)",
      "(?:heart|middle) of(?: the| a)?(?: \\S+)? (?:city|town)",
      "downtown",
      "inner city",
      "central",
    ),
    enough: words("city", "town", "centrally"),
  },
];

const named = ["name", "near"];
const FAMILY = "familyFriendly";
const children = "(?:famil(?:y|ies)|kids?|child|children|childrens|childs)";
const families = words(children);
/** "No" and the like, at most five words before, in the same sentence. */
const negated = new RegExp(
  `(?: (?:not|no|non|isnt|doesnt|dont|never|nor|un|unfriendly|without|unsuitable|cannot)` +
    `(?: (?!\\.|but|and|it)\\S+){0,5} ${children} | ${children}(?: friendly)?` +
    `(?: (?:are|is|being|be|was))? (?:not|no|unfriendly|free|unsuitable|unwelcome) ` +
    `| adults? (?!and)| (?:lacks?|lacking|except|excluding|keep|leave)(?: \\S+){0,3} ${children} )`,
);

/** @throws E_DATA when an input is not written as `slot[value], ...` */
export function e2eSlots(inputs: readonly string[]): SlotRules {
  const values = inputs.flatMap((input) => [...parse(input)]);
  const names = new Set(values.filter(([slot]) => named.includes(slot)).map(([, value]) => value));
  const longestFirst = [...names].sort((a, b) => wordsOf(b).length - wordsOf(a).length);
  return (input, text) => check(parse(input), text, longestFirst);
}

function check(
  slots: ReadonlyMap<string, string>,
  text: string,
  names: readonly string[],
): SlotReport {
  const searched = new Searched(text);
  const spoken = new Set(names.filter((name) => takeName(searched, name)));
  const missing: string[] = [];
  const invented: string[] = [];
  for (const name of spoken) {
    const given = named.some((slot) => wordsOf(slots.get(slot) ?? "") === wordsOf(name));
    if (!given) invented.push(`name=${name}`);
  }
  for (const [slot, value] of slots) {
    const lacks = (): boolean => {
      if (named.includes(slot)) {
        return ![...spoken].some((name) => wordsOf(name) === wordsOf(value));
      }
      if (slot === FAMILY) return familyFriendly(searched.rest) !== value;
      return !says(searched.rest, slot, value);
    };
    if (lacks()) missing.push(`${slot}=${value}`);
  }
  for (const { slot, values, says: pattern } of classes) {
    const given = slots.get(slot);
    const asked = given !== undefined && values.includes(plainValue(given));
    if (!asked && pattern.test(searched.rest)) invented.push(`${slot}=${values[0]}`);
  }
  const family = familyFriendly(searched.rest);
  if (family !== undefined && family !== slots.get(FAMILY)) invented.push(`${FAMILY}=${family}`);
  return { total: slots.size, missing, invented };
}

/** A name's words without a leading "the". */
function wordsOf(name: string): string {
  return plainValue(name).replace(/^the (?=\S)/, "");
}

function takeName(searched: Searched, name: string): boolean {
  return searched.take(wordsOf(name));
}

function says(rest: string, slot: string, value: string): boolean {
  const known = classes.find((one) => one.slot === slot && one.values.includes(plainValue(value)));
  if (!known) return rest.includes(` ${plainValue(value)} `);
  return known.says.test(rest) || known.enough?.test(rest) === true;
}

/** What a text says about families; undefined where it says nothing. */
function familyFriendly(rest: string): "yes" | "no" | undefined {
  if (negated.test(rest)) return "no";
  return families.test(rest) ? "yes" : undefined;
}

/** Values by slot. Values may hold brackets that balance. */
function parse(input: string): Map<string, string> {
  const slots = new Map<string, string>();
  const one = /\s*([^[\],]+)\[((?:[^[\]]|\[[^[\]]*\])*)\]\s*(?:,|$)/y;
  while (one.lastIndex < input.length) {
    const match = one.exec(input);
    const message = "the input is not written as slot[value], slot[value]; check --task and --data";
    ensure(match, "E_DATA", message);
    slots.set(match[1].trim(), match[2].trim());
  }
  return slots;
}
