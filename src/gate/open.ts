// Opening with exact truncation by `shift` bits. z is shared, |z| < 2^(l-2), its mask is
// r = r_C + r_S. C sends z_C + r_C (ahead of the input where z_C is known then); S forms
// t = z_S + r_S + (z_C + r_C) + 2^(l-2) and sends t >> shift: never the low bits, which would
// reveal the dither. With r1 = r >> shift, b = msb(r), m = 1 - msb(t), exactly and without wrap
//   y = (t >> shift) - 2^(l-2-shift) - r1 + m 2^(l-shift) b = (z + (r mod 2^shift)) >> shift.
// D deals shares of r1 and b, and of b r1 and r1^2 where y is to be squared.
// Cost: one message S to C of l - shift bits an entry; C's part is offline, or one message before.
// Reveals nothing: t is uniform. Source: docs/protocol.md, "Open with exact truncation";
// masked-wire lineage: Boyle, Gilboa, Ishai (TCC 2019), SIGMA (Gupta et al., PoPETs 2024).

import { ensure } from "../errors.ts";
import { joinBytes, pack, packedBytes, unpack } from "../ring/pack.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { fromUpper, offset } from "../share/opened.ts";
import type { OpenedWire } from "../share/wires.ts";
import { shareOf, wire } from "./access.ts";
import {
  type ClientContext,
  type DealerContext,
  type FixedContext,
  type Gate,
  type GateBase,
  noCost,
  placeOf,
  type ServerContext,
} from "./gate.ts";

export interface Open extends GateBase {
  readonly kind: "open";
  readonly shift: number;
  /** Whether y^2 will be wanted: of each entry, or summed over rows. */
  readonly squares: "none" | "each" | "rows";
  /** Whether C's share is known before the input. */
  readonly offline: boolean;
  /** What the wire is, for messages about bounds. */
  readonly wireName: string;
}

const sizeOf = (gate: Open) => gate.rows * gate.columns;
const squareCount = (gate: Open) => (gate.squares === "rows" ? gate.rows : sizeOf(gate));

/** The low `shift` bits of r_C + r_S, or half a unit where there are no parties. */
function dither(gate: Open, context: FixedContext): Words {
  const { ring, parties } = context;
  const size = sizeOf(gate);
  if (!parties) return new BigUint64Array(size).fill(1n << BigInt(gate.shift - 1));
  const place = placeOf(gate, context);
  const own = parties.client.words(place, "mask", size, ring.bits);
  const other = parties.server.words(place, "mask", size, ring.bits);
  return ring.lowBits(ring.add(own, other), gate.shift);
}

function checkBound(ring: Ring, values: Words, wireName: string): void {
  const bound = 1n << BigInt(ring.bits - 2);
  for (const word of values) {
    const value = ring.signed(word);
    ensure(value < bound && value > -bound, "E_RANGE", `wire ${wireName} left its bound`);
  }
}

/** What D knows of the mask, and S's shares of it. */
function dealMask(gate: Open, context: DealerContext): { r1: Words; b: Words } {
  const { ring } = context;
  const place = placeOf(gate, context);
  const size = sizeOf(gate);
  const r = ring.add(
    context.client.words(place, "mask", size, ring.bits),
    context.server.words(place, "mask", size, ring.bits),
  );
  return { r1: ring.shiftRight(r, gate.shift), b: ring.shiftRight(r, ring.bits - 1) };
}

/** C's shares of the mask's parts, from its seed. */
function clientShares(gate: Open, random: ClientContext["random"], ring: Ring, segment: number) {
  const place = { segment, gate: gate.id };
  const size = sizeOf(gate);
  const squared = gate.squares !== "none";
  return {
    r1: random.words(place, "shareA", size, ring.bits),
    b: random.words(place, "shareB", size, gate.shift),
    br: squared ? random.words(place, "shareC", size, gate.shift) : undefined,
    squares: squared ? random.words(place, "shareD", squareCount(gate), ring.bits) : undefined,
  };
}

/** S's shares, dealt explicitly: the parts less C's shares. */
function packServerShares(gate: Open, context: DealerContext, r1: Words, b: Words): Uint8Array {
  const { ring } = context;
  const c = clientShares(gate, context.client, ring, context.segment);
  const parts = [
    pack(ring.sub(r1, c.r1), ring.bits),
    pack(ring.lowBits(ring.sub(b, c.b), gate.shift), gate.shift),
  ];
  if (c.br && c.squares) {
    const br = ring.sub(ring.mul(b, r1), c.br);
    const each = ring.mul(r1, r1);
    const squares = gate.squares === "rows" ? ring.sumRows(each, gate.columns) : each;
    parts.push(pack(ring.lowBits(br, gate.shift), gate.shift));
    parts.push(pack(ring.sub(squares, c.squares), ring.bits));
  }
  return joinBytes(parts);
}

function unpackServerShares(gate: Open, ring: Ring, bytes: Uint8Array) {
  const size = sizeOf(gate);
  let at = 0;
  const next = (count: number, bits: number) => {
    const end = at + packedBytes(count, bits);
    const words = unpack(bytes.subarray(at, end), count, bits);
    at = end;
    return words;
  };
  const r1 = next(size, ring.bits);
  const b = next(size, gate.shift);
  const squared = gate.squares !== "none";
  const br = squared ? next(size, gate.shift) : undefined;
  const squares = squared ? next(squareCount(gate), ring.bits) : undefined;
  ensure(at === bytes.length, "E_CORRELATION", "a correlation has the wrong length");
  return { r1, b, br, squares };
}

/** z_C + r_C, what C sends for this opening. */
function clientPart(gate: Open, context: ClientContext): Uint8Array {
  const { ring } = context;
  const mask = context.random.words(placeOf(gate, context), "mask", sizeOf(gate), ring.bits);
  return pack(ring.add(shareOf(context, gate.inputs[0]!), mask), ring.bits);
}

/** The upper bits of t, at S. */
function upperBits(gate: Open, context: ServerContext, fromClient: Uint8Array): Words {
  const { ring } = context;
  const mask = context.random.words(placeOf(gate, context), "mask", sizeOf(gate), ring.bits);
  const own = ring.add(shareOf(context, gate.inputs[0]!), mask);
  const masked = ring.add(own, unpack(fromClient, sizeOf(gate), ring.bits));
  return ring.shiftRight(ring.addConstant(masked, offset(ring)), gate.shift);
}

function opened(
  gate: Open,
  ring: Ring,
  upper: Words,
  shares: Omit<OpenedWire, "form" | "shift" | "a" | "m">,
): OpenedWire {
  return { form: "opened", shift: gate.shift, ...fromUpper(ring, upper, gate.shift), ...shares };
}

export const open: Gate<Open> = {
  reference(gate, context) {
    const { ring } = context;
    const { values } = wire(context, gate.inputs[0]!);
    checkBound(ring, values, gate.wireName);
    const dithered = ring.add(values, dither(gate, context));
    context.wires.set(gate.output, { values: ring.shiftRightSigned(dithered, gate.shift) });
  },
  deal(gate, context) {
    const { r1, b } = dealMask(gate, context);
    context.toServer(gate, packServerShares(gate, context, r1, b));
    context.wires.set(gate.output, { form: "opened", shift: gate.shift, r1, b });
  },
  prepare(gate, context) {
    if (gate.offline) context.upload(gate, clientPart(gate, context));
  },
  *client(gate, context) {
    const { ring } = context;
    if (!gate.offline) yield { send: clientPart(gate, context) };
    const bits = ring.bits - gate.shift;
    const bytes = yield { receive: packedBytes(sizeOf(gate), bits) };
    const upper = unpack(bytes, sizeOf(gate), bits);
    const shares = clientShares(gate, context.random, ring, context.segment);
    context.wires.set(gate.output, opened(gate, ring, upper, shares));
  },
  *server(gate, context) {
    const { ring } = context;
    const size = packedBytes(sizeOf(gate), ring.bits);
    const fromClient = gate.offline ? context.fromClient(gate) : yield { receive: size };
    const upper = upperBits(gate, context, fromClient);
    yield { send: pack(upper, ring.bits - gate.shift) };
    const shares = unpackServerShares(gate, ring, context.fromDealer(gate));
    context.wires.set(gate.output, opened(gate, ring, upper, shares));
  },
  cost(gate, ringBits) {
    const size = sizeOf(gate);
    const word = packedBytes(size, ringBits);
    const short = packedBytes(size, gate.shift);
    const squares = gate.squares === "none" ? 0 : short + packedBytes(squareCount(gate), ringBits);
    const reply = { from: "server" as const, bytes: packedBytes(size, ringBits - gate.shift) };
    return {
      ...noCost,
      online: gate.offline ? [reply] : [{ from: "client", bytes: word }, reply],
      dealerToServer: word + short + squares,
      clientToServer: gate.offline ? word : 0,
    };
  },
};
