// The product of an opened wire y [rows, columns] with an opened column g [rows, 1], entry by
// entry. Each is a + h with a public and h shared, h = m 2^u b - r1 (share/opened.ts):
//   y g = a_y a_g + a_y h_g + a_g h_y + h_y h_g,
// and h_y h_g is a sum of the dealt r1_y r1_g, b_y r1_g, r1_y b_g and b_y b_g, each times public
// factors that push some of its bits out of the w bits that are needed.
// Cost: offline D to S w, w - u_y, w - u_g and w - u_y - u_g bits an entry; no message. Reveals
// nothing. Source: Beaver products on masked wires (Boyle, Gilboa, Ishai, TCC 2019).

import { ensure } from "../errors.ts";
import { joinBytes, packedBytes } from "../ring/pack.ts";
import type { Place, Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { hiddenShare, liftBits } from "../share/opened.ts";
import type { OpenedWire } from "../share/wires.ts";
import { openedOf, wire } from "./access.ts";
import { type Gate, type GateBase, local, noCost, placeOf, widthOf } from "./gate.ts";

export interface Product extends GateBase {
  readonly kind: "product";
  /** u_y and u_g: bits of t with which y and g were opened. */
  readonly upperBits: readonly [number, number];
}

/** Shares of the four mask products, [rows * columns] each. */
interface MaskProducts {
  /** r1_y r1_g. */
  readonly rr: Words;
  /** b_y r1_g. */
  readonly br: Words;
  /** r1_y b_g. */
  readonly rb: Words;
  /** b_y b_g. */
  readonly bb: Words;
}

/** Bits of the four that matter, in their order. */
function shareBits(gate: Product, ringBits: number): readonly [number, number, number, number] {
  const bits = widthOf(gate, ringBits);
  const [y, g] = gate.upperBits;
  return [bits, liftBits(bits, y), liftBits(bits, g), liftBits(bits, y + g)];
}

function clientProducts(gate: Product, random: Randomness, place: Place, ring: Ring): MaskProducts {
  const size = gate.rows * gate.columns;
  const bits = shareBits(gate, ring.bits);
  return {
    rr: random.words(place, "shareA", size, bits[0]),
    br: random.words(place, "shareB", size, bits[1]),
    rb: random.words(place, "shareC", size, bits[2]),
    bb: random.words(place, "shareD", size, bits[3]),
  };
}

function unpackProducts(gate: Product, ring: Ring, bytes: Uint8Array): MaskProducts {
  const size = gate.rows * gate.columns;
  let at = 0;
  const parts = shareBits(gate, ring.bits).map((bits) => {
    if (bits === 0) return ring.zeros(size);
    const end = at + packedBytes(size, bits);
    const words = ring.unpack(bytes.subarray(at, end), size, bits);
    at = end;
    return words;
  });
  ensure(at === bytes.length, "E_CORRELATION", "a correlation has the wrong length");
  return { rr: parts[0]!, br: parts[1]!, rb: parts[2]!, bb: parts[3]! };
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
  const liftY = 1n << BigInt(gate.upperBits[0]);
  const liftG = 1n << BigInt(gate.upperBits[1]);
  let out = ring.add(ring.mul(y.a, hG), ring.mul(aG, hiddenShare(ring, y)));
  if (isServer) out = ring.add(out, ring.mul(y.a, aG));
  out = ring.add(out, masks.rr);
  out = ring.addScaled(out, ring.mul(y.m, masks.br), -liftY);
  out = ring.addScaled(out, ring.mul(mG, masks.rb), -liftG);
  if (shareBits(gate, ring.bits)[3] === 0) return out;
  return ring.addScaled(out, ring.mul(ring.mul(y.m, mG), masks.bb), liftY * liftG);
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
    const fits = y.upperBits === gate.upperBits[0] && g.upperBits === gate.upperBits[1];
    ensure(fits, "E_INTERNAL", "a product's operands were opened with other widths");
    const bG = ring.spread(g.b, gate.columns);
    const rG = ring.spread(g.r1, gate.columns);
    const c = clientProducts(gate, context.client, placeOf(gate, context), ring);
    const bits = shareBits(gate, ring.bits);
    const pairs = [
      [ring.mul(y.r1, rG), c.rr],
      [ring.mul(y.b, rG), c.br],
      [ring.mul(y.r1, bG), c.rb],
      [ring.mul(y.b, bG), c.bb],
    ] as const;
    const parts = pairs.flatMap(([whole, part], i) =>
      bits[i] === 0 ? [] : [ring.pack(ring.sub(whole, part), bits[i]!)],
    );
    context.toServer(gate, joinBytes(parts));
    context.wires.set(gate.output, { form: "shared" });
  },
  prepare() {},
  client: (gate, context) =>
    local(() => {
      const { ring } = context;
      const masks = clientProducts(gate, context.client, placeOf(gate, context), ring);
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
    const bits = shareBits(gate, ringBits);
    const dealerToServer = bits.reduce((sum, width) => sum + packedBytes(size, width), 0);
    return { ...noCost, dealerToServer };
  },
};
