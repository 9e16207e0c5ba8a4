// The product of an opened wire y [rows, columns] with an opened column g [rows, 1], entry by
// entry. Each is a + h with a public and h shared, h = m 2^(l-shift) b - r1 (share/opened.ts):
//   y g = a_y a_g + a_y h_g + a_g h_y + h_y h_g,
// and h_y h_g is a sum of the dealt r1_y r1_g, b_y r1_g, r1_y b_g and b_y b_g, each times public
// factors; the last vanishes modulo 2^l unless the two shifts exceed l together.
// Cost: offline D to S one word and shift_y + shift_g bits an entry; no message. Reveals nothing.
// Source: Beaver products on masked wires (Boyle, Gilboa, Ishai, TCC 2019).

import { ensure } from "../errors.ts";
import { joinBytes, pack, packedBytes, unpack } from "../ring/pack.ts";
import type { Place, Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { hiddenShare } from "../share/opened.ts";
import type { OpenedWire } from "../share/wires.ts";
import { openedOf, wire } from "./access.ts";
import { type Gate, type GateBase, local, noCost, placeOf } from "./gate.ts";

export interface Product extends GateBase {
  readonly kind: "product";
  /** Truncations with which y and g were opened. */
  readonly shifts: readonly [number, number];
}

/** Shares of the four mask products, [rows * columns] each; `bb` only where it matters. */
interface MaskProducts {
  /** r1_y r1_g. */
  readonly rr: Words;
  /** b_y r1_g modulo 2^shift_y. */
  readonly br: Words;
  /** r1_y b_g modulo 2^shift_g. */
  readonly rb: Words;
  /** b_y b_g modulo 2^(shift_y + shift_g - l). */
  readonly bb: Words | undefined;
}

/** Bits of the share of b_y b_g; 0 where its factor is a multiple of 2^l. */
const bothBits = (gate: Product, ringBits: number) =>
  Math.max(0, gate.shifts[0] + gate.shifts[1] - ringBits);

function clientProducts(gate: Product, random: Randomness, place: Place, ring: Ring): MaskProducts {
  const size = gate.rows * gate.columns;
  const both = bothBits(gate, ring.bits);
  return {
    rr: random.words(place, "shareA", size, ring.bits),
    br: random.words(place, "shareB", size, gate.shifts[0]),
    rb: random.words(place, "shareC", size, gate.shifts[1]),
    bb: both > 0 ? random.words(place, "shareD", size, both) : undefined,
  };
}

function unpackProducts(gate: Product, ring: Ring, bytes: Uint8Array): MaskProducts {
  const size = gate.rows * gate.columns;
  const both = bothBits(gate, ring.bits);
  const widths = [ring.bits, gate.shifts[0], gate.shifts[1], ...(both > 0 ? [both] : [])];
  let at = 0;
  const parts = widths.map((bits) => {
    const end = at + packedBytes(size, bits);
    const words = unpack(bytes.subarray(at, end), size, bits);
    at = end;
    return words;
  });
  ensure(at === bytes.length, "E_CORRELATION", "a correlation has the wrong length");
  return { rr: parts[0]!, br: parts[1]!, rb: parts[2]!, bb: parts[3] };
}

function productShare(
  gate: Product,
  ring: Ring,
  operands: { y: OpenedWire; g: OpenedWire; isServer: boolean },
  masks: MaskProducts,
): Words {
  const { y, isServer } = operands;
  const width = gate.columns;
  const aG = ring.spread(operands.g.a, width);
  const mG = ring.spread(operands.g.m, width);
  const hG = ring.spread(hiddenShare(ring, operands.g), width);
  const liftY = 1n << BigInt(ring.bits - y.shift);
  const liftG = 1n << BigInt(ring.bits - operands.g.shift);
  let out = ring.add(ring.mul(y.a, hG), ring.mul(aG, hiddenShare(ring, y)));
  if (isServer) out = ring.add(out, ring.mul(y.a, aG));
  out = ring.add(out, masks.rr);
  out = ring.addScaled(out, ring.mul(y.m, masks.br), -liftY);
  out = ring.addScaled(out, ring.mul(mG, masks.rb), -liftG);
  if (masks.bb) out = ring.addScaled(out, ring.mul(ring.mul(y.m, mG), masks.bb), liftY * liftG);
  return out;
}

export const product: Gate<Product> = {
  reference(gate, context) {
    const { ring } = context;
    const [y, g] = gate.inputs.map((id) => wire(context, id).values);
    const values = ring.mul(y!, ring.spread(g!, gate.columns));
    context.wires.set(gate.output, { values });
  },
  deal(gate, context) {
    const { ring } = context;
    const [y, g] = gate.inputs.map((id) => wire(context, id));
    const known = y!.form === "opened" && g!.form === "opened";
    ensure(known, "E_INTERNAL", "a product takes opened wires");
    const shiftsFit = y.shift === gate.shifts[0] && g.shift === gate.shifts[1];
    ensure(shiftsFit, "E_INTERNAL", "a product's shifts are not those of its operands");
    const bG = ring.spread(g.b, gate.columns);
    const rG = ring.spread(g.r1, gate.columns);
    const c = clientProducts(gate, context.client, placeOf(gate, context), ring);
    const difference = (whole: Words, part: Words, bits: number) =>
      pack(ring.lowBits(ring.sub(whole, part), bits), bits);
    const parts = [
      difference(ring.mul(y.r1, rG), c.rr, ring.bits),
      difference(ring.mul(y.b, rG), c.br, gate.shifts[0]),
      difference(ring.mul(y.r1, bG), c.rb, gate.shifts[1]),
    ];
    const both = bothBits(gate, ring.bits);
    if (c.bb) parts.push(difference(ring.mul(y.b, bG), c.bb, both));
    context.toServer(gate, joinBytes(parts));
    context.wires.set(gate.output, { form: "shared" });
  },
  prepare() {},
  client: (gate, context) =>
    local(() => {
      const { ring } = context;
      const masks = clientProducts(gate, context.random, placeOf(gate, context), ring);
      const [y, g] = gate.inputs.map((id) => openedOf(context, id));
      const share = productShare(gate, ring, { y: y!, g: g!, isServer: false }, masks);
      context.wires.set(gate.output, { form: "shared", share });
    }),
  server: (gate, context) =>
    local(() => {
      const { ring } = context;
      const masks = unpackProducts(gate, ring, context.fromDealer(gate));
      const [y, g] = gate.inputs.map((id) => openedOf(context, id));
      const share = productShare(gate, ring, { y: y!, g: g!, isServer: true }, masks);
      context.wires.set(gate.output, { form: "shared", share });
    }),
  cost(gate, ringBits) {
    const size = gate.rows * gate.columns;
    const widths = [ringBits, gate.shifts[0], gate.shifts[1], bothBits(gate, ringBits)];
    const dealerToServer = widths.reduce((sum, bits) => sum + packedBytes(size, bits), 0);
    return { ...noCost, dealerToServer };
  },
};
