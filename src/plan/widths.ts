// How many low bits of each wire matter. A product, a sum or a mask modulo 2^64 is also right
// modulo 2^w, so a wire whose readers need w bits is masked, sent and dealt with w bits. What a
// reader needs follows from where the value ends: in an opening of l bits, or in logits of 16.

import { ensure } from "../errors.ts";
import type { GateSpec } from "../gate/index.ts";
import { openBitsOf } from "../gate/open.ts";
import { argumentBits } from "../gate/spline.ts";
import { RING_BITS } from "./format.ts";

/** Bits that a gate needs of each of its inputs, when `bits` of its output are needed. */
function neededInputs(gate: GateSpec, bits: number): number[] {
  switch (gate.kind) {
    case "argmax":
      return [gate.domainBits + bits];
    case "indexOneHot":
      return [gate.indexBits];
    case "logits":
      return [Math.min(RING_BITS, gate.shift + gate.sentBits)];
    case "open":
      return [openBitsOf(gate, RING_BITS)];
    case "exchange":
      return [gate.openBits];
    case "max":
      return [Math.max(bits, gate.domainBits)];
    case "reveal":
      return [gate.wordBits];
    case "spline":
      return [argumentBits(gate, RING_BITS)];
    case "piecewise":
      return [gate.table.domainBits];
    case "sum":
      return gate.shifts.map((shift) => Math.max(1, bits - shift));
    case "bias":
    case "cache":
    case "center":
    case "concat":
    case "linear":
    case "mix":
    case "product":
    case "quad":
    case "remask":
    case "rope":
    case "rowDifference":
    case "rowShift":
    case "rowSum":
    case "scores":
    case "share":
    case "slice":
    case "store":
    case "sumSquares":
    case "unmask":
      return gate.inputs.map(() => bits);
    case "load":
    case "oneHot":
      return [];
    default:
      return gate satisfies never;
  }
}

/**
 * States the width of every wire of a plan's segments, in the order of computation. A carried wire
 * has the bits that all later segments need of it.
 */
export function withWidths<S extends { readonly gates: readonly GateSpec[] }>(
  segments: readonly S[],
): S[] {
  const carried = new Map<string, number>();
  const out: S[] = [];
  for (const segment of segments.toReversed()) {
    const needed = new Map<number, number>();
    const gates = segment.gates.toReversed().map((gate) => {
      const keeps = gate.kind === "store" || gate.kind === "cache";
      const later = Math.max(
        (keeps && carried.get(gate.name)) || 0,
        (gate.kind !== "store" && needed.get(gate.output)) || 0,
      );
      const bits = Math.max(1, later);
      if (gate.kind === "load") raise(carried, gate.name, bits);
      if (gate.kind === "cache" && gate.after !== undefined) raise(carried, gate.after, bits);
      const inputs = neededInputs(gate, bits);
      for (const [i, wire] of gate.inputs.entries()) raise(needed, wire, inputs[i]!);
      return { ...gate, bits };
    });
    out.push({ ...segment, gates: gates.toReversed() });
  }
  return out.toReversed();
}

function raise<K>(map: Map<K, number>, key: K, bits: number): void {
  ensure(bits <= RING_BITS, "E_INTERNAL", "a wire needs more bits than the ring has");
  map.set(key, Math.max(bits, map.get(key) ?? 0));
}
