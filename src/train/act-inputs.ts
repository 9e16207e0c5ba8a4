// Made-up inputs of dialogue acts.

import { ensure, MergenError } from "../errors.ts";
import { type Act, actsText, parseActs } from "../evaluate/acts.ts";
import { Random } from "../model/random.ts";

/** How many acts a made-up input has, as shares of one that add up to 1: one, two, three. */
const ACTS = [0.45, 0.5, 0.05];
/** How often an act is drawn by its name, each alike. */
const BY_NAME = 0.5;
/** How often a value is drawn anew. */
const ANEW = 0.8;
/** Values that are no slot's own. */
const common = new Set(["?", "none", "yes", "no", "do n't care", "dont care", "don't care"]);

/**
 * Acts of different real inputs together, with values of the same slots of others. None equals one
 * of `known`, a real one or another. Inputs that were cut to a model's length lend nothing.
 * @throws E_DATA when no input is written as acts
 */
export function syntheticActs(
  inputs: readonly string[],
  { known, count, seed }: { known: Iterable<string>; count: number; seed: number },
): string[] {
  const random = new Random(seed, 6);
  const real = inputs.flatMap(actsOf);
  ensure(real.length > 0, "E_DATA", "syntheticFrom=acts: no input is written as dialogue acts");
  const values = valuesOf(real);
  const byName = [...Map.groupBy(real, ({ name }) => name).values()];
  const taken = new Set([...inputs, ...known]);
  const drawn = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const renewed = ({ name, slots }: Act): Act => ({
    name,
    slots: slots.map((slot) => {
      const own = slot.value !== undefined && !common.has(slot.value);
      if (!own || random.uniform() >= ANEW) return slot;
      return { name: slot.name, value: drawn(values.get(slot.name)!) };
    }),
  });
  const made: string[] = [];
  // Small sets have few combinations, so the number of draws is bounded.
  for (let draw = 0; made.length < count && draw < 20 * count; draw++) {
    const acts = new Map<string, Act>();
    for (let wanted = actCount(random.uniform()); wanted > 0; wanted--) {
      // Acts without slots stand in few different inputs, and in many texts.
      const act = renewed(drawn(random.uniform() < BY_NAME ? drawn(byName) : real));
      acts.set(act.name, act);
    }
    const text = actsText([...acts.values()]);
    if (taken.has(text)) continue;
    taken.add(text);
    made.push(text);
  }
  return made;
}

function actsOf(input: string): Act[] {
  try {
    return parseActs(input);
  } catch (error) {
    if (error instanceof MergenError && error.code === "E_DATA") return [];
    throw error;
  }
}

function actCount(at: number): number {
  let [count, sum] = [0, 0];
  for (const share of ACTS) {
    sum += share;
    count++;
    if (at < sum) break;
  }
  return count;
}

/** Each slot's different values, in a fixed order. */
function valuesOf(acts: readonly Act[]): Map<string, readonly string[]> {
  const values = new Map<string, Set<string>>();
  for (const { name, value } of acts.flatMap(({ slots }) => slots)) {
    if (value === undefined || common.has(value)) continue;
    values.set(name, (values.get(name) ?? new Set()).add(value));
  }
  return new Map([...values].map(([name, set]) => [name, [...set].sort()]));
}
