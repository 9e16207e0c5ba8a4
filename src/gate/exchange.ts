// Opening without truncation: both parties learn z^ = z + r mod 2^n, r = r_C + r_S, and hold the
// parts of the mask that are their own. Nobody speaks first: each sends as soon as it has its
// share, so an exchange takes one way, not a round trip, and a chain of them one way each.
// What comes of it is an opened wire of n bits with no truncation: z = z^ - r modulo 2^n. It has
// no lift (see OpenedWire): it feeds gates that work modulo 2^n.
// Cost: n bits an entry, each way; nothing is dealt. Reveals nothing: z^ is uniform to both.
// Source: masked wires (Boyle, Gilboa, Ishai, TCC 2019).

import { packedBytes } from "../ring/pack.ts";
import type { Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { narrowWire } from "../share/opened.ts";
import { shareOf, wire } from "./access.ts";
import {
  type Gate,
  type GateBase,
  noCost,
  type OnlineClientContext,
  placeOf,
  type ServerContext,
} from "./gate.ts";

export interface Exchange extends GateBase {
  readonly kind: "exchange";
  /** n. */
  readonly openBits: number;
}

const sizeOf = (gate: Exchange) => gate.rows * gate.columns;

/** n, no more than the ring has. */
export const exchangedBits = (gate: Exchange, ringBits: number) =>
  Math.min(gate.openBits, ringBits);

function maskPart(gate: Exchange, context: { segment: number; ring: Ring }, of: Randomness): Words {
  const bits = exchangedBits(gate, context.ring.bits);
  return of.words(placeOf(gate, context), "mask", sizeOf(gate), bits);
}

/** r = r_C + r_S. */
function wholeMask(
  gate: Exchange,
  context: { segment: number; ring: Ring },
  { client, server }: { client: Randomness; server: Randomness },
): Words {
  const { ring } = context;
  const whole = ring.add(maskPart(gate, context, client), maskPart(gate, context, server));
  return ring.lowBits(whole, exchangedBits(gate, ring.bits));
}

/** Sends this party's part, and waits for the other's. */
function* run(gate: Exchange, context: OnlineClientContext | ServerContext, mask: Words) {
  const { ring } = context;
  const bits = exchangedBits(gate, ring.bits);
  const own = ring.add(shareOf(context as OnlineClientContext, gate.inputs[0]!), mask);
  yield { send: ring.pack(own, bits) };
  const bytes: Uint8Array = yield { receive: packedBytes(sizeOf(gate), bits) };
  const a = ring.lowBits(ring.add(own, ring.unpack(bytes, sizeOf(gate), bits)), bits);
  return narrowWire(bits, a, mask);
}

export const exchange: Gate<Exchange> = {
  reference(gate, context) {
    const { parties } = context;
    const { values } = wire(context, gate.inputs[0]!);
    const r1 = parties && (() => wholeMask(gate, context, parties));
    context.wires.set(gate.output, { values, ...(r1 && { r1 }) });
  },
  deal(gate, context) {
    const bits = exchangedBits(gate, context.ring.bits);
    const r1 = wholeMask(gate, context, context);
    context.wires.set(gate.output, {
      form: "opened",
      upperBits: bits,
      r1,
      b: context.ring.zeros(0),
    });
  },
  prepare() {},
  *client(gate, context) {
    const mask = maskPart(gate, context, context.client);
    context.wires.set(gate.output, yield* run(gate, context, mask));
  },
  *server(gate, context) {
    const mask = maskPart(gate, context, context.server);
    context.wires.set(gate.output, yield* run(gate, context, mask));
  },
  cost(gate, ringBits) {
    const bytes = packedBytes(sizeOf(gate), exchangedBits(gate, ringBits));
    return {
      ...noCost,
      online: [
        { from: "client", bytes },
        { from: "server", bytes },
      ],
      crossed: true,
    };
  },
};
