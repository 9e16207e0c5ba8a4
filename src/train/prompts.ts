// Training inputs of the slot form: reading, values, synthetic ones.

import type { PromptLayout } from "../model/config.ts";
import { parseSlots } from "../model/prompt.ts";
import { Random } from "../model/random.ts";

type SlotLayout = Extract<PromptLayout, { kind: "slots" }>;

/** All values of each slot, in a fixed order. */
export function slotValues(
  inputs: Iterable<string>,
  layout: SlotLayout,
): Map<string, readonly string[]> {
  const values = new Map(layout.slots.map(({ name }) => [name, new Set<string>()]));
  for (const input of inputs) {
    for (const [name, value] of parseSlots(input, layout)) values.get(name)!.add(value);
  }
  return new Map([...values].map(([name, set]) => [name, [...set].sort()]));
}

export function slotText(values: ReadonlyMap<string, string>): string {
  return [...values].map(([name, value]) => `${name}[${value}]`).join(", ");
}

/**
 * Made-up inputs: the slots of some real input, each with a value drawn anew. None equals one of
 * `known` or another one.
 */
export function syntheticInputs(
  inputs: readonly string[],
  options: { layout: SlotLayout; known: Iterable<string>; count: number; seed: number },
): string[] {
  const { layout, count, seed } = options;
  const random = new Random(seed, 4);
  const values = slotValues(inputs, layout);
  const canonical = (input: string) => slotText(inLayoutOrder(parseSlots(input, layout), layout));
  const taken = new Set([...inputs, ...options.known].map(canonical));
  const made: string[] = [];
  // Small slot sets have few combinations, so the number of draws is bounded.
  for (let draw = 0; made.length < count && draw < 20 * count; draw++) {
    const names = parseSlots(inputs[random.below(inputs.length)], layout).keys();
    const drawn = new Map<string, string>();
    for (const name of names) {
      const list = values.get(name)!;
      drawn.set(name, list[random.below(list.length)]);
    }
    const text = slotText(inLayoutOrder(drawn, layout));
    if (taken.has(text)) continue;
    taken.add(text);
    made.push(text);
  }
  return made;
}

function inLayoutOrder(values: Map<string, string>, layout: SlotLayout): Map<string, string> {
  const kept = layout.slots.filter(({ name }) => values.has(name));
  return new Map(kept.map(({ name }) => [name, values.get(name)!]));
}
