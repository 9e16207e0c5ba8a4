// The head: a linear layer whose result C learns, truncated. S sends (z_S >> shift) mod 2^16 and C
// adds its own share shifted likewise. The sum is floor(z / 2^shift), or one less where the low
// bits of the shares carry: right to 2 units while |z / 2^shift| < 2^15, and no mask is needed,
// since C's share is uniform and S's message is a function of it and of what C is to learn.
// Full precision would reveal the column space of the head.
// Cost: one message of 2 bytes an entry S to C; offline D to S one word an entry.
// Reveals to C: the truncated logits. Reveals to S: nothing.

import { packedBytes } from "../ring/pack.ts";
import type { Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { maskedOf, shareOf, wire } from "./access.ts";
import { type FixedContext, type Gate, type GateBase, noCost, placeOf } from "./gate.ts";
import {
  applyMap,
  clientShare,
  type LinearMap,
  mapOfMask,
  maskProduct,
  multiplyAdds,
} from "./linear.ts";

export interface Logits extends GateBase {
  readonly kind: "logits";
  readonly map: LinearMap;
  /** Key of S's bias words [columns], where there is one. */
  readonly bias: string | undefined;
  readonly shift: number;
  /** Bits that are sent: 16 in the engine. */
  readonly sentBits: number;
  /** Bits after the point of what C gets. */
  readonly fracBits: number;
  readonly name: string;
}

/** Bits of z that matter: those that are sent, and all below them. */
function productBits(gate: Logits, ringBits: number): number {
  return Math.min(ringBits, gate.shift + gate.sentBits);
}

interface Placed {
  readonly ring: Ring;
  readonly segment: number;
}

/** Words modulo 2^bits, bits <= 32, as signed integers. */
function toSigned(words: Words, bits: number): Int32Array {
  const out = new Int32Array(words.length);
  // The low halves alone: bigint elements would be made one by one.
  const halves = new Int32Array(words.buffer, words.byteOffset, 2 * words.length);
  const unused = 32 - bits;
  for (let i = 0; i < out.length; i++) out[i] = (halves[2 * i]! << unused) >> unused;
  return out;
}

function rhoOf(gate: Logits, context: Placed, random: Randomness): Words {
  const size = gate.rows * gate.columns;
  return random.words(placeOf(gate, context), "rho", size, productBits(gate, context.ring.bits));
}

/** z without and with the rounding that the parties' shares bring. */
function truncated(gate: Logits, context: FixedContext, z: Words, maskOfX: Words | undefined) {
  const { ring, parties } = context;
  if (!parties || !maskOfX) {
    const half = 1n << BigInt(gate.shift - 1);
    return ring.shiftRightSigned(ring.addConstant(z, half), gate.shift);
  }
  const rho = rhoOf(gate, context, parties.client);
  const own = clientShare(ring, applyMap(ring, parties.weightMasks, gate.map, maskOfX), rho);
  const low = ring.lowBits(z, gate.shift);
  const ownLow = ring.lowBits(own, gate.shift);
  const carry = ownLow.map((word, i) => (word > low[i]! ? 1n : 0n));
  return ring.sub(ring.shiftRightSigned(z, gate.shift), carry);
}

export const logits: Gate<Logits> = {
  reference(gate, context) {
    const { ring } = context;
    const x = wire(context, gate.inputs[0]!);
    let z = applyMap(ring, context.tensors, gate.map, x.values);
    if (gate.bias !== undefined) z = ring.addRow(z, context.tensors.words(gate.bias));
    const words = truncated(gate, context, z, x.mask?.());
    context.logits.set(gate.name, toSigned(words, gate.sentBits));
  },
  product: (gate, context) => maskProduct(gate.map, context, gate.inputs[0]!),
  deal(gate, context) {
    const { ring } = context;
    const c = ring.sub(mapOfMask(gate, context), rhoOf(gate, context, context.client));
    context.toServer(gate, ring.pack(c, productBits(gate, ring.bits)));
  },
  prepare(gate, context) {
    const { ring } = context;
    const rho = rhoOf(gate, context, context.client);
    const share = clientShare(ring, mapOfMask(gate, context), rho);
    const upper = ring.shiftRight(ring.lowBits(share, productBits(gate, ring.bits)), gate.shift);
    context.wires.set(gate.output, { form: "shared", share: upper });
  },
  *client(gate, context) {
    const { ring } = context;
    const size = gate.rows * gate.columns;
    const bytes = yield { receive: packedBytes(size, gate.sentBits) };
    const own = shareOf(context, gate.output);
    const sum = ring.add(own, ring.unpack(bytes, size, gate.sentBits));
    context.logits.set(gate.name, toSigned(sum, gate.sentBits));
  },
  *server(gate, context) {
    const { ring } = context;
    const size = gate.rows * gate.columns;
    const bits = productBits(gate, ring.bits);
    const c = ring.unpack(context.fromDealer(gate), size, bits);
    const x = maskedOf(context, gate.inputs[0]!);
    let z = ring.sub(applyMap(ring, context.tensors, gate.map, x), c);
    if (gate.bias !== undefined) z = ring.addRow(z, context.tensors.words(gate.bias));
    yield { send: ring.pack(ring.shiftRight(ring.lowBits(z, bits), gate.shift), gate.sentBits) };
  },
  cost(gate, ringBits) {
    const size = gate.rows * gate.columns;
    return {
      ...noCost,
      online: [{ from: "server", bytes: packedBytes(size, gate.sentBits) }],
      dealerToServer: packedBytes(size, productBits(gate, ringBits)),
      multiplyAdds: multiplyAdds(gate, gate.map),
    };
  },
};
