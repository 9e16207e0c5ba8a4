// Slot rules for MultiWOZ, whose inputs are acts, `Hotel-Inform(Area=east, Stars=4);
// Booking-Request(Day=?)`.
//
// - A value must stand in the text, word by word. Numbers may be digits or words; amounts need
//   their number only; "centre" and "center", "guesthouse" and "guest house", "moderate" and
//   "moderately" are the same; a leading "the" may be missing.
// - Requested slots (`?`) and values that say that it does not matter or is not known are not
//   looked for. Internet and Parking must be spoken of, whatever their value.
// - Invented are, where no value of the input has them: times, telephone numbers, postcodes, train
//   numbers, amounts with pence, booking references; days, areas, price ranges; names and kinds of
//   food that other inputs of the data set have; internet and parking where no act has the slot.

import { parseActs } from "./acts.ts";
import { plainValue, Searched } from "./plain-words.ts";
import type { SlotReport, SlotRules } from "./slot-error.ts";

interface Slot {
  readonly name: string;
  readonly value: string;
}

/** Slots that a text speaks of in other words than their value. */
const topics: Readonly<Record<string, RegExp>> = {
  Internet: / (?:internet|wi ?fi|wireless) /,
  Parking: / (?:parking|car park) /,
};
const unchecked = new RegExp(
  "^(?:|none|any|unknown|not mentioned|" +
    "(?:do not|dont|does not|doesnt) (?:care|matter|know|have).*)$",
);
const closed: readonly (readonly [slot: string, words: readonly string[]])[] = [
  ["Area", ["north", "south", "east", "west"]],
  ["Price", ["cheap", "moderate", "expensive"]],
  ["Day", ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]],
];
/** Tokens whose form tells what they are. */
const shapes: readonly (readonly [slot: string, shape: RegExp])[] = [
  ["Time", /(?<= )\d{1,2}:\d{2}(?= |[ap]m)/g],
  ["Phone", /(?<= )\d{9,11}(?= )/g],
  ["Post", /(?<= )cb\d{1,2} ?\d\w{2}(?= )/g],
  ["Id", /(?<= )tr\d{4}(?= )/g],
  ["Ticket", /(?<= £?)\d+\.\d{2}(?= |gbp|pounds)/g],
  ["Ref", /(?<= )(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{8}(?= )/g],
];
/** Slots whose values other inputs lend to the search for inventions. */
const lexical = ["Name", "Food"];
/** Shorter or vaguer values are words of any sentence. */
const LEAST_LETTERS = 4;
const vague = new Set([
  "international",
  "world",
  "hotel",
  "restaurant",
  "museum",
  "college",
  "many",
]);

/** @throws E_DATA when an input is not written as acts */
export function multiwozSlots(inputs: readonly string[]): SlotRules {
  const values = new Map<string, string>();
  for (const { name, value } of inputs.flatMap(parse)) {
    const words = same(plainValue(value));
    const telling = words.length >= LEAST_LETTERS && !vague.has(words) && !unchecked.test(words);
    if (lexical.includes(name) && telling && !values.has(words)) values.set(words, name);
  }
  const lexicon = [...values].sort(([a], [b]) => b.length - a.length);
  return (input, text) => check(parse(input), text, lexicon);
}

function check(
  slots: readonly Slot[],
  text: string,
  lexicon: readonly (readonly [words: string, slot: string])[],
): SlotReport {
  const searched = new Searched(same(text));
  const looked = slots.filter(({ name, value }) => name in topics || isChecked(value));
  const missing = looked.filter((slot) => !speaksOf(searched, slot));
  // What the input gives is no invention; its longest values first, since others are parts of them.
  const given = slots.map(({ value }) => wordsOf(value)).sort((a, b) => b.length - a.length);
  for (const words of given) for (const end of ["", "s"]) searched.take(words + end);
  const invented: string[] = [];
  for (const [name, topic] of Object.entries(topics)) {
    if (topic.test(searched.rest) && !slots.some((slot) => slot.name === name)) {
      invented.push(name);
    }
  }
  const all = ` ${given.join(" ")} `;
  for (const [slot, shape] of shapes) {
    for (const [found] of searched.rest.matchAll(shape)) {
      if (!all.includes(found)) invented.push(`${slot}=${found}`);
    }
  }
  const words = closed.flatMap(([slot, list]) => list.map((word) => [word, slot] as const));
  for (const [word, slot] of [...lexicon, ...words]) {
    if (!all.includes(` ${word} `) && searched.take(word)) invented.push(`${slot}=${word}`);
  }
  return {
    total: looked.length,
    missing: missing.map(({ name, value }) => `${name}=${value}`),
    invented,
  };
}

function isChecked(value: string): boolean {
  return value.trim() !== "?" && !unchecked.test(plainValue(value));
}

function speaksOf(searched: Searched, { name, value }: Slot): boolean {
  if (name in topics) return topics[name].test(searched.rest);
  const words = wordsOf(value);
  return searched.has(words) || searched.has(`${words}s`);
}

/** A value's words as they are looked for: amounts without their currency, no leading "the". */
function wordsOf(value: string): string {
  return plainValue(same(value))
    .replace(/^£?(\d+(?:\.\d+)?)(?: ?(?:pounds?|gbp|gb))?$/, "$1")
    .replace(/^the (?=\S)/, "");
}

/** Spellings that count as one. */
function same(text: string): string {
  return text
    .replace(/\bcenter\b/gi, "centre")
    .replace(/\bguest[ -]houses?\b/gi, "guesthouse")
    .replace(/\bmoderately\b/gi, "moderate")
    .replace(/£\s*(?=\d)/g, " ")
    .replace(/(\d)(pounds?|gbp|gb|am|pm)\b/gi, "$1 $2");
}

/** All slots of all acts that a text can be searched for, in order. */
function parse(input: string): Slot[] {
  return parseActs(input).flatMap(({ slots }) =>
    slots.flatMap(({ name, value = name in topics ? "yes" : undefined }) =>
      value === undefined ? [] : { name, value },
    ),
  );
}
