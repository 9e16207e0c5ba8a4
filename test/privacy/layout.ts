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

type Spec<K extends GateSpec["kind"]> = Extract<GateSpec, { kind: K }>;

/** Parts of a message; what a row's key of a comparison is made of, the caller says. */
export function partsOf(
  { channel, gate, bytes }: Message,
  ringBits: number,
  keys: (gate: Spec<"spline">) => readonly Part[],
): readonly Part[] {
  const parts = listParts(channel, gate, ringBits, keys).filter(({ bits }) => bits > 0);
  const size = parts.reduce((sum, part) => sum + bytesOf(part), 0);
  if (size !== bytes.length) {
    throw new Error(`${gate.kind} on ${channel}: ${bytes.length} bytes, ${size} expected`);
  }
  return parts;
}

const bytesOf = ({ count, bits }: Part) => Math.ceil((count * bits) / 8);

function listParts(
  channel: Channel,
  gate: GateSpec,
  ringBits: number,
  keys: (gate: Spec<"spline">) => readonly Part[],
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
      if (channel === "dealer-client") return keys(gate);
      return channel === "dealer-server" ? [...keys(gate), { count, bits }] : [argument];
    }
    case "logits": {
      if (channel === "server-client") return [{ count, bits: gate.sentBits }];
      return [{ count, bits: Math.min(ringBits, gate.shift + gate.sentBits) }];
    }
    case "linear":
    case "oneHot":
    case "remask":
      return [{ count, bits }];
    default:
      throw new Error(`unknown bytes of ${gate.kind} on ${channel}`);
  }
}

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
