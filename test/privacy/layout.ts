// What the bytes of a message are, written down once more beside the gates' own formulas: vectors
// of words, each vector a dense string of bits. A wire is needed modulo 2^w; an opening has t of l
// bits, of which u = l - shift are sent.

import type { GateSpec } from "../../src/gate/index.ts";
import type { Words } from "../../src/ring/ring.ts";
import type { Channel, Message } from "./harness.ts";

/** One vector of a message. */
export interface Part {
  readonly count: number;
  readonly bits: number;
}

/** Keys of one shape that each party is dealt for a gate, one after the other. */
export interface KeyBatch {
  readonly kind: "dcf" | "dpf";
  readonly domainBits: number;
  readonly words: number;
  readonly count: number;
}

/** What the bytes of such keys are. */
export type KeyParts = (batch: KeyBatch) => readonly Part[];

type Spec<K extends GateSpec["kind"]> = Extract<GateSpec, { kind: K }>;

/** Parts of a message; what a row's key of a comparison is made of, the caller says. */
export function partsOf(
  { channel, gate, bytes, turn = 0 }: Message,
  ringBits: number,
  keys: KeyParts,
): readonly Part[] {
  const parts = listParts({ channel, gate, turn }, ringBits, keys).filter(({ bits }) => bits > 0);
  const size = parts.reduce((sum, part) => sum + bytesOf(part), 0);
  if (size !== bytes.length) {
    throw new Error(`${gate.kind} on ${channel}: ${bytes.length} bytes, ${size} expected`);
  }
  return parts;
}

const bytesOf = ({ count, bits }: Part) => Math.ceil((count * bits) / 8);

function listParts(
  { channel, gate, turn }: { channel: Channel; gate: GateSpec; turn: number },
  ringBits: number,
  keys: KeyParts,
): readonly Part[] {
  const count = gate.rows * gate.columns;
  const bits = gate.bits ?? ringBits;
  switch (gate.kind) {
    case "open":
      return partsOfOpening(channel, gate, ringBits);
    case "product": {
      const [y, g] = gate.upperBits;
      return [bits, bits - y, bits - g, bits - y - g].map((width) => ({ count, bits: width }));
    }
    case "spline": {
      const { shift, domainBits } = gate.table;
      const argument = { count, bits: Math.min(ringBits, shift + domainBits) };
      const key = keys({ kind: "dcf", domainBits: gate.table.domainBits, words: 2, count });
      if (channel === "dealer-client") return key;
      return channel === "dealer-server" ? [...key, { count, bits }] : [argument];
    }
    case "argmax":
      return partsOfArgmax(channel, gate, { ringBits, turn, keys });
    case "indexOneHot": {
      const domainBits = gate.indexBits;
      const index = { count: gate.rows, bits: domainBits };
      if (channel === "server-client") return [index];
      if (channel === "client-server") return [index, { count, bits }];
      return keys({ kind: "dpf", domainBits, words: 1, count: gate.rows });
    }
    case "max": {
      const { domainBits } = gate;
      const sizes = comparisonsOf(gate.lengths, gate.heads);
      const all = sizes.reduce((sum, size) => sum + size, 0);
      const whole = Math.max(domainBits, bits);
      const words = whole > 32 ? 2 : 1;
      const key = keys({ kind: "dcf", domainBits: domainBits - 1, words, count: all });
      if (channel === "dealer-client") return key;
      const share = { count: all, bits: whole };
      if (channel === "dealer-server") return [...key, share, share];
      return [part(sizes[turn], whole)];
    }
    case "logits": {
      if (channel === "server-client") return [{ count, bits: gate.sentBits }];
      return [{ count, bits: Math.min(ringBits, gate.shift + gate.sentBits) }];
    }
    case "piecewise": {
      const { domainBits, blockBits, coefficients } = gate.table;
      const words = coefficients[0]!.length;
      const key = keys({ kind: "dcf", domainBits: domainBits - blockBits, words, count });
      if (channel === "dealer-client") return key;
      return [...key, ...new Array(words - 1).fill({ count, bits })];
    }
    case "exchange":
      return [{ count, bits: Math.min(ringBits, gate.openBits) }];
    case "linear":
    case "mix":
    case "oneHot":
    case "remask":
    case "scores":
      return [{ count, bits }];
    case "reveal":
      return [{ count, bits: gate.wordBits }];
    default:
      throw new Error(`unknown bytes of ${gate.kind} on ${channel}`);
  }
}

/** n + m bits a comparison, two words a row on the last level; shares by level, then the last's. */
function partsOfArgmax(
  channel: Channel,
  gate: Spec<"argmax">,
  { ringBits, turn, keys }: { ringBits: number; turn: number; keys: KeyParts },
): readonly Part[] {
  const { rows, entries } = gate;
  const bits = gate.bits ?? ringBits;
  const whole = gate.domainBits + bits;
  const levels = comparisonsOf(new Array(rows).fill(entries), 1);
  const last = levels.length - 1;
  if (channel === "client-server" || channel === "server-client") {
    return [part(turn === last ? 2 * rows : levels[turn], whole)];
  }
  const domainBits = gate.domainBits - 1;
  const key = levels.flatMap((count, i) =>
    keys({ kind: "dcf", domainBits, words: i === last ? 4 : whole > 32 ? 2 : 1, count }),
  );
  if (channel === "dealer-client") return key;
  const early = { count: rows * (entries - 2), bits: whole };
  return [...key, early, early, { count: 8 * rows, bits }].filter(({ count }) => count > 0);
}

/** Comparisons of each level of a tournament. */
function comparisonsOf(lengths: readonly number[], heads: number): number[] {
  const out: number[] = [];
  for (let left = lengths; left.some((length) => length > 1); ) {
    out.push(left.reduce((sum, length) => sum + heads * Math.floor(length / 2), 0));
    left = left.map((length) => Math.ceil(length / 2));
  }
  return out;
}

const part = (count: number | undefined, bits: number): Part => {
  if (count === undefined) throw new Error("more messages than there are levels");
  return { count, bits };
};

function partsOfOpening(channel: Channel, gate: Spec<"open">, ringBits: number): readonly Part[] {
  const count = gate.rows * gate.columns;
  const bits = gate.bits ?? ringBits;
  const whole = gate.openBits ?? ringBits;
  const upper = whole - gate.shift;
  if (channel === "server-client") return [{ count, bits: upper }];
  if (channel !== "dealer-server") return [{ count, bits: whole }];
  const mask = [
    { count, bits },
    { count, bits: bits - upper },
  ];
  if (gate.squares === "none") return mask;
  const squares = { count: gate.squares === "rows" ? gate.rows : count, bits };
  return [...mask, { count, bits: bits - upper - 1 }, squares];
}

/** A message's words, vector by vector. @throws when a bit to spare is set */
export function unpackParts(bytes: Uint8Array, parts: readonly Part[]): Words[] {
  let at = 0;
  return parts.map((part) => {
    const end = at + bytesOf(part);
    const words = unpackWords(bytes.subarray(at, end), part);
    at = end;
    return words;
  });
}

/** Word by word in pieces of 24 bits: plain numbers hold them. */
function unpackWords(bytes: Uint8Array, { count, bits }: Part): Words {
  const words = new BigUint64Array(count);
  const view = new DataView(words.buffer);
  let [held, heldBits, at] = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    const pieces = [0, 0, 0];
    for (let taken = 0; taken < bits; ) {
      const width = Math.min(24, bits - taken);
      for (; heldBits < width; heldBits += 8) held += bytes[at++]! * 2 ** heldBits;
      pieces[taken / 24] = held % 2 ** width;
      held = Math.floor(held / 2 ** width);
      heldBits -= width;
      taken += width;
    }
    const [low, middle, high] = pieces as [number, number, number];
    view.setUint32(8 * i, (low + middle * 2 ** 24) % 2 ** 32, true);
    view.setUint32(8 * i + 4, Math.floor(middle / 2 ** 8) + high * 2 ** 16, true);
  }
  if (held !== 0) throw new Error("a vector's last byte has bits beyond its last word");
  return words;
}
