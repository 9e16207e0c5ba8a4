// Tokens found under masks, in place of logits: a head's last gate, which shows C truncated logits,
// gives way to gates that leave them shared, find the greatest, and show C its index alone. Where
// the next step looks the token up, the index also becomes a one-hot row, carried to that step in
// the place of the row that C would send.

import { ensure } from "../errors.ts";
import type { GateBase, GateSpec } from "../gate/index.ts";
import { RING_BITS } from "./format.ts";

/** Under which C finds the tokens of a head. */
export const TOKENS = "tokens";

type Body = DistributiveOmit<GateSpec, keyof GateBase>;
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** Bits of an index below `count`. */
export function indexBits(count: number): number {
  return Math.max(1, Math.ceil(Math.log2(count)));
}

/** How a head's token goes on to the step that follows. */
export interface Fed {
  /** Name of the carried row, and of the one that it replaces. */
  readonly name: string;
  readonly replaces: string | undefined;
  /** Bits after the point of a one-hot row: those of the prompt's. */
  readonly fracBits: number;
}

/**
 * The gates of a head [rows, V] that opens tokens to C, from those of one that shows it logits.
 * The logits are opened with an exact truncation to the bits that C would see, with a dither that
 * the mask hides from both, and compared as such.
 */
export function withTokens(
  gates: readonly GateSpec[],
  { fed, calibratedBounds }: { fed: Fed | undefined; calibratedBounds: boolean | undefined },
): GateSpec[] {
  const last = gates.at(-1);
  ensure(last?.kind === "logits", "E_INTERNAL", "a head does not end in logits");
  const out = gates.slice(0, -1);
  const { rows, columns, map, bias, shift, sentBits } = last;
  let [id, wire] = [last.id, last.output];
  const emit = (body: Body, inputs: readonly number[], width: number): number => {
    const output = wire++;
    out.push({ ...body, id: id++, inputs, output, rows, columns: width } as GateSpec);
    return output;
  };
  let logits = emit({ kind: "linear", map }, last.inputs, columns);
  if (bias !== undefined) {
    const constant = { constant: bias, from: undefined, offline: true };
    logits = emit({ kind: "bias", form: "shared", ...constant }, [logits], columns);
  }
  // |logit| < 2^(sentBits - 1 + shift) by the head's bound; an unproven one narrows no opening.
  const openBits = calibratedBounds ? RING_BITS : Math.min(RING_BITS, shift + sentBits + 1);
  const wireName = last.name;
  const how = { shift, openBits, squares: "none", offline: true, wireName } as const;
  const opened = emit({ kind: "open", ...how }, [logits], columns);
  const domainBits = sentBits + 1;
  const sizes = { entries: columns, domainBits, wireName };
  const index = emit({ kind: "argmax", ...sizes }, [opened], 1);
  emit({ kind: "reveal", name: TOKENS, wordBits: indexBits(columns) }, [index], 1);
  if (!fed) return out;
  const { name, replaces, fracBits } = fed;
  const body = { kind: "indexOneHot", indexBits: indexBits(columns), fracBits } as const;
  const row = emit(body, [index], columns);
  emit({ kind: "store", name, replaces }, [row], columns);
  return out;
}

/** A step's gates with the row of that name in the place of the one that C would send. */
export function withLookup(gates: readonly GateSpec[], name: string): GateSpec[] {
  return gates.map((gate) => {
    if (gate.kind !== "oneHot") return gate;
    const { id, inputs, output, rows, columns } = gate;
    return { kind: "load", name, id, inputs, output, rows, columns };
  });
}

/** Bits after the point of the one-hot rows of a segment that takes ids. */
export function oneHotBits(gates: readonly GateSpec[]): number {
  const found = gates.find((gate) => gate.kind === "oneHot");
  ensure(found?.kind === "oneHot", "E_INTERNAL", "the segment takes no ids");
  return found.fracBits;
}
