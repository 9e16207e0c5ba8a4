// Which part of a transformer each gate belongs to: the columns of tables that say where the cost
// of a private text lies. It follows from kinds of gates, names of wires, and who reads whom.

import type { GateSpec } from "../gate/index.ts";

/**
 * embed: ids, the table's product, positions. linear: products with weights, sums. attention: from
 * queries, keys and values to the weighted sum, or constant attention. next: from a head's logits
 * to the token that is shown, and its one-hot row.
 */
export const parts = ["embed", "linear", "attention", "activation", "norm", "next"] as const;

export type Part = (typeof parts)[number];

/**
 * The part of each of a segment's gates, by number. What only brings a wire into another form
 * (re-masking, joining rows) belongs to what reads it, all else without a part of its own to what
 * it reads.
 */
export function partsOf(gates: readonly GateSpec[]): ReadonlyMap<number, Part> {
  const byGate = new Map<number, Part>();
  const byWire = new Map<number, Part>();
  for (const gate of gates) {
    const found = ownPart(gate) ?? partOfInputs(gate, byWire);
    byGate.set(gate.id, found);
    byWire.set(gate.output, found);
  }
  const read = new Map<number, Part>();
  for (const gate of gates.toReversed()) {
    if (passesOn.has(gate.kind)) byGate.set(gate.id, read.get(gate.output) ?? "linear");
    if (gate.kind === "store") continue;
    for (const wire of gate.inputs) read.set(wire, byGate.get(gate.id)!);
  }
  return byGate;
}

const passesOn: ReadonlySet<GateSpec["kind"]> = new Set(["remask", "concat", "slice"]);

function partOfInputs(gate: GateSpec, byWire: ReadonlyMap<number, Part>): Part {
  return (gate.inputs.length > 0 && byWire.get(gate.inputs[0]!)) || "linear";
}

function ownPart(gate: GateSpec): Part | undefined {
  switch (gate.kind) {
    case "oneHot":
      return "embed";
    case "linear":
      if (gate.map.type === "attention") return "attention";
      return gate.map.weight === "embedding.weight" ? "embed" : "linear";
    case "load":
    case "store":
      return gate.name.startsWith("token.") ? "next" : "linear";
    case "sum":
      return "linear";
    case "argmax":
    case "indexOneHot":
    case "logits":
    case "reveal":
      return "next";
    case "mix":
    case "rowDifference":
    case "rowSum":
    case "scores":
      return "attention";
    case "center":
    case "sumSquares":
      return "norm";
    case "quad":
      return "activation";
    default:
      return "wireName" in gate ? partOfName(gate.wireName) : undefined;
  }
}

function partOfName(wireName: string): Part | undefined {
  const names = wireName.split(".");
  if (wireName.startsWith("logits")) return "next";
  if (names.some((name) => /norm$/i.test(name))) return "norm";
  if (names.includes("attention")) return "attention";
  return /^(?:u|gate|up)$/.test(names[2] ?? "") ? "activation" : undefined;
}
