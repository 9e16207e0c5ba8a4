// MultiWOZ's inputs: acts, `Hotel-Inform(Area=east, Stars=4, Internet); Booking-Request(Day=?)`.

import { ensure } from "../errors.ts";

export interface ActSlot {
  readonly name: string;
  /** Absent where the slot stands by its name alone. */
  readonly value?: string;
}

export interface Act {
  /** `Domain-Act`. */
  readonly name: string;
  readonly slots: readonly ActSlot[];
}

/** Slots that may stand without a value. */
const bare = new RegExp(
  "^(?:Internet|Parking|" +
    "(?:Time|Day|Stay|People|Ref|Name|Area|Price|Food|Type|Choice|Fee|Open)(?:-none)?)$",
);

/**
 * The acts of an input. A piece without `=` that is no slot's name goes on with the value before
 * it.
 * @throws E_DATA when it is not written as acts
 */
export function parseActs(input: string): Act[] {
  const message =
    "the input is not written as Domain-Act(Slot=value, ...); check --task and --data";
  return input
    .trim()
    .split(/(?<=\)); (?=[A-Za-z]+-[A-Za-z]+\()/)
    .map((text) => {
      const match = /^([A-Za-z]+-[A-Za-z]+)\((.*)\)$/s.exec(text);
      ensure(match, "E_DATA", message);
      return { name: match[1], slots: parseActSlots(match[2]) };
    });
}

function parseActSlots(text: string): ActSlot[] {
  const slots: ActSlot[] = [];
  for (const piece of text.split(", ")) {
    const [, name, value] = /^([A-Za-z]+)=(.*)$/s.exec(piece) ?? [];
    const last = slots.at(-1);
    if (name !== undefined) slots.push({ name, value });
    else if (bare.test(piece)) slots.push({ name: piece });
    else if (last?.value !== undefined) {
      slots[slots.length - 1] = { name: last.name, value: `${last.value}, ${piece}` };
    }
  }
  return slots;
}

/** As parseActs reads it. */
export function actsText(acts: readonly Act[]): string {
  const slot = ({ name, value }: ActSlot) => (value === undefined ? name : `${name}=${value}`);
  return acts.map(({ name, slots }) => `${name}(${slots.map(slot).join(", ")})`).join("; ");
}
