// Opening with exact truncation by `shift` bits. z is shared, |z| < 2^(l-2), its mask is
// r = r_C + r_S, both of l = openBits bits. C sends z_C + r_C (ahead of the input where z_C is
// known then); S forms t = z_S + r_S + (z_C + r_C) + 2^(l-2) mod 2^l and sends t >> shift: never
// the low bits, which would reveal the dither. With u = l - shift, r1 = r >> shift, b = msb(r) and
// m = 1 - msb(t), exactly, as integers and without wrap
//   y = (t >> shift) - 2^(u-2) - r1 + m 2^u b = (z + (r mod 2^shift)) >> shift.
// D deals shares of r1 and b, and of b r1 and r1^2 where y is to be squared: modulo 2^w for a y
// that is needed modulo 2^w, and b and b r1 without the bits that their factors push out.
// Cost: one message S to C of u bits an entry; C's part, l bits, is offline, or one message before.
// Reveals nothing: t is uniform. Source: docs/protocol.md, "Open with exact truncation";
// masked-wire lineage: Boyle, Gilboa, Ishai (TCC 2019), SIGMA (Gupta et al., PoPETs 2024).

import { ensure } from "../errors.ts";
import { joinBytes, packedBytes } from "../ring/pack.ts";
import { byParts, type Part, packByParts, unpackPart } from "../ring/parts.ts";
import type { Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { crossBits, fromUpper, liftBits, offset } from "../share/opened.ts";
import type { OpenedWire } from "../share/wires.ts";
import { shareOf, wire } from "./access.ts";
import {
  type DealerContext,
  type Gate,
  type GateBase,
  noCost,
  type OfflineClientContext,
  type OnlineClientContext,
  placeOf,
  type ServerContext,
  widthOf,
} from "./gate.ts";

export interface Open extends GateBase {
  readonly kind: "open";
  readonly shift: number;
  /** l, the width of t: |z| < 2^(l-2). Default the ring's. */
  readonly openBits?: number | undefined;
  /** Whether y^2 will be wanted: of each entry, or summed over rows. */
  readonly squares: "none" | "each" | "rows";
  /** Whether C's share is known before the input. */
  readonly offline: boolean;
  /** What the wire is, for messages about bounds. */
  readonly wireName: string;
}

const sizeOf = (gate: Open) => gate.rows * gate.columns;
const squareCount = (gate: Open) => (gate.squares === "rows" ? gate.rows : sizeOf(gate));

/** l. */
export const openBitsOf = (gate: Open, ringBits: number) =>
  Math.min(gate.openBits ?? ringBits, ringBits);

/** u: bits of t that are sent. */
const upperBitsOf = (gate: Open, ringBits: number) => openBitsOf(gate, ringBits) - gate.shift;

/** Bits of the shares that D deals, by what they are of. */
function shareBits(gate: Open, ringBits: number) {
  const bits = widthOf(gate, ringBits);
  const upper = upperBitsOf(gate, ringBits);
  return { r1: bits, b: liftBits(bits, upper), br: crossBits(bits, upper), squares: bits };
}

/** r_C or r_S. */
function maskPart(gate: Open, context: { segment: number; ring: Ring }, of: Randomness): Words {
  const bits = openBitsOf(gate, context.ring.bits);
  return of.words(placeOf(gate, context), "mask", sizeOf(gate), bits);
}

/** r = r_C + r_S. */
function wholeMask(
  gate: Open,
  context: { segment: number; ring: Ring },
  { client, server }: { client: Randomness; server: Randomness },
): Words {
  const { ring } = context;
  const whole = ring.add(maskPart(gate, context, client), maskPart(gate, context, server));
  return ring.lowBits(whole, openBitsOf(gate, ring.bits));
}

function checkBound(ring: Ring, values: Words, gate: Open): void {
  const bound = 1n << BigInt(openBitsOf(gate, ring.bits) - 2);
  for (const word of values) {
    const value = ring.signed(word);
    ensure(value < bound && value > -bound, "E_RANGE", `wire ${gate.wireName} left its bound`);
  }
}

/** What D knows of the mask. */
function dealMask(gate: Open, context: DealerContext): { r1: Words; b: Words } {
  const { ring } = context;
  const bits = openBitsOf(gate, ring.bits);
  const r = wholeMask(gate, context, context);
  return { r1: ring.shiftRight(r, gate.shift), b: ring.shiftRight(r, bits - 1) };
}

/** C's shares of the mask's parts, from its seed. */
function clientShares(gate: Open, random: Randomness, ring: Ring, segment: number) {
  const place = { segment, gate: gate.id };
  const size = sizeOf(gate);
  const bits = shareBits(gate, ring.bits);
  const squared = gate.squares !== "none";
  return {
    r1: random.words(place, "shareA", size, bits.r1),
    b: random.words(place, "shareB", size, bits.b),
    br: squared ? random.words(place, "shareC", size, bits.br) : undefined,
    squares: squared ? random.words(place, "shareD", squareCount(gate), bits.squares) : undefined,
  };
}

/** S's shares, dealt explicitly: the parts less C's shares. */
function packServerShares(gate: Open, context: DealerContext, r1: Words, b: Words): Uint8Array {
  const { ring } = context;
  const c = clientShares(gate, context.client, ring, context.segment);
  const bits = shareBits(gate, ring.bits);
  const parts = [ring.pack(ring.sub(r1, c.r1), bits.r1)];
  if (bits.b > 0) parts.push(ring.pack(ring.sub(b, c.b), bits.b));
  if (c.br && c.squares) {
    if (bits.br > 0) parts.push(ring.pack(ring.sub(ring.mul(b, r1), c.br), bits.br));
    const each = ring.mul(r1, r1);
    const squares = gate.squares === "rows" ? ring.sumRows(each, gate.columns) : each;
    parts.push(ring.pack(ring.sub(squares, c.squares), bits.squares));
  }
  return joinBytes(parts);
}

function unpackServerShares(gate: Open, ring: Ring, bytes: Uint8Array) {
  const size = sizeOf(gate);
  const bits = shareBits(gate, ring.bits);
  let at = 0;
  const next = (count: number, width: number) => {
    if (width === 0) return ring.zeros(count);
    const end = at + packedBytes(count, width);
    const words = ring.unpack(bytes.subarray(at, end), count, width);
    at = end;
    return words;
  };
  const r1 = next(size, bits.r1);
  const b = next(size, bits.b);
  const squared = gate.squares !== "none";
  const br = squared ? next(size, bits.br) : undefined;
  const squares = squared ? next(squareCount(gate), bits.squares) : undefined;
  ensure(at === bytes.length, "E_CORRELATION", "a correlation has the wrong length");
  return { r1, b, br, squares };
}

/** z_C + r_C, what C sends for this opening. */
function clientPart(gate: Open, context: OfflineClientContext | OnlineClientContext): Uint8Array {
  const { ring } = context;
  const mask = maskPart(gate, context, context.client);
  const share = shareOf(context, gate.inputs[0]!);
  const bits = openBitsOf(gate, ring.bits);
  return packByParts(ring, { count: sizeOf(gate), bits }, (part) =>
    part.ring.add(part.of(share), part.of(mask)),
  );
}

/** The upper bits of t, at S. */
function upperOfT(gate: Open, context: ServerContext, fromClient: Uint8Array): Words {
  const bits = openBitsOf(gate, context.ring.bits);
  const share = shareOf(context, gate.inputs[0]!);
  const mask = maskPart(gate, context, context.server);
  const made = byParts(context.ring, { count: sizeOf(gate) }, (part) => {
    const { ring } = part;
    const own = ring.add(part.of(share), part.of(mask));
    const masked = ring.add(own, unpackPart(part, fromClient, bits));
    const t = ring.lowBits(ring.addConstant(masked, offset(bits)), bits);
    return { upper: ring.shiftRight(t, gate.shift) };
  });
  return made.upper;
}

function opened(
  gate: Open,
  ring: Ring,
  upper: (part: Part) => Words,
  shares: Omit<OpenedWire, "form" | "upperBits" | "a" | "m">,
): OpenedWire {
  const upperBits = upperBitsOf(gate, ring.bits);
  const known = byParts(ring, { count: sizeOf(gate) }, (part) =>
    fromUpper(part.ring, upper(part), upperBits),
  );
  return { form: "opened", upperBits, ...known, ...shares };
}

export const open: Gate<Open> = {
  reference(gate, context) {
    const { ring } = context;
    const { values } = wire(context, gate.inputs[0]!);
    checkBound(ring, values, gate);
    const { shift } = gate;
    const opened = (dither: Words) => ring.shiftRightSigned(ring.add(values, dither), shift);
    if (!context.parties) {
      // Rounds to the nearest.
      const half = new BigUint64Array(values.length).fill(1n << BigInt(shift - 1));
      context.wires.set(gate.output, { values: opened(half) });
      return;
    }
    const r = wholeMask(gate, context, context.parties);
    const r1 = () => ring.shiftRight(r, shift);
    context.wires.set(gate.output, { values: opened(ring.lowBits(r, shift)), r1 });
  },
  deal(gate, context) {
    const { r1, b } = dealMask(gate, context);
    context.toServer(gate, packServerShares(gate, context, r1, b));
    const upperBits = upperBitsOf(gate, context.ring.bits);
    context.wires.set(gate.output, { form: "opened", upperBits, r1, b });
  },
  prepare(gate, context) {
    if (gate.offline) context.upload(gate, clientPart(gate, context));
  },
  *client(gate, context) {
    const { ring } = context;
    if (!gate.offline) yield { send: clientPart(gate, context) };
    const bits = upperBitsOf(gate, ring.bits);
    const bytes = yield { receive: packedBytes(sizeOf(gate), bits) };
    const shares = clientShares(gate, context.client, ring, context.segment);
    const upper = (part: Part) => unpackPart(part, bytes, bits);
    context.wires.set(gate.output, opened(gate, ring, upper, shares));
  },
  *server(gate, context) {
    const { ring } = context;
    const size = packedBytes(sizeOf(gate), openBitsOf(gate, ring.bits));
    const fromClient = gate.offline ? context.fromClient(gate) : yield { receive: size };
    const upper = upperOfT(gate, context, fromClient);
    yield { send: ring.pack(upper, upperBitsOf(gate, ring.bits)) };
    const shares = unpackServerShares(gate, ring, context.fromDealer(gate));
    context.wires.set(
      gate.output,
      opened(gate, ring, (part) => part.of(upper), shares),
    );
  },
  cost(gate, ringBits) {
    const size = sizeOf(gate);
    const word = packedBytes(size, openBitsOf(gate, ringBits));
    const bits = shareBits(gate, ringBits);
    const squares =
      gate.squares === "none"
        ? 0
        : packedBytes(size, bits.br) + packedBytes(squareCount(gate), bits.squares);
    const bytes = packedBytes(size, upperBitsOf(gate, ringBits));
    const reply = { from: "server" as const, bytes };
    return {
      ...noCost,
      online: gate.offline ? [reply] : [{ from: "client", bytes: word }, reply],
      dealerToServer: packedBytes(size, bits.r1) + packedBytes(size, bits.b) + squares,
      clientToServer: gate.offline ? word : 0,
    };
  },
};
