// Back to client-masked: C sends its share plus a fresh mask from its seed, S adds its own share.
// Offline, without a round, where C's share does not depend on the input; else one message.
// Cost: C to S one word an entry. Reveals nothing: the mask is fresh and uniform.

import { pack, packedBytes, unpack } from "../ring/pack.ts";
import type { Words } from "../ring/ring.ts";
import { valueShare } from "../share/opened.ts";
import type { ClientWire, ServerWire } from "../share/wires.ts";
import { shareOf, wire } from "./access.ts";
import {
  type ClientContext,
  type Gate,
  type GateBase,
  noCost,
  placeOf,
  type ServerContext,
} from "./gate.ts";

export interface Remask extends GateBase {
  readonly kind: "remask";
  readonly offline: boolean;
}

/** This party's share of a shared or an opened wire. */
function anyShare<W extends ClientWire | ServerWire>(
  context: { ring: ClientContext["ring"]; wires: Map<number, W> },
  id: number,
  isServer: boolean,
): Words {
  const found = wire(context, id);
  if (found.form === "opened") return valueShare(context.ring, found, isServer);
  return shareOf(context, id);
}

function freshMask(gate: Remask, context: ClientContext): Words {
  const size = gate.rows * gate.columns;
  return context.random.words(placeOf(gate, context), "mask", size, context.ring.bits);
}

function maskedShare(gate: Remask, context: ClientContext): Uint8Array {
  const { ring } = context;
  const share = anyShare(context, gate.inputs[0]!, false);
  return pack(ring.add(share, freshMask(gate, context)), ring.bits);
}

function finish(gate: Remask, context: ServerContext, bytes: Uint8Array): void {
  const { ring } = context;
  const share = anyShare(context, gate.inputs[0]!, true);
  const masked = ring.add(share, unpack(bytes, gate.rows * gate.columns, ring.bits));
  context.wires.set(gate.output, { form: "client", masked });
}

export const remask: Gate<Remask> = {
  reference(gate, context) {
    const { ring, parties } = context;
    const size = gate.rows * gate.columns;
    context.wires.set(gate.output, {
      values: wire(context, gate.inputs[0]!).values,
      ...(parties && {
        mask: () => parties.client.words(placeOf(gate, context), "mask", size, ring.bits),
      }),
    });
  },
  deal(gate, context) {
    const size = gate.rows * gate.columns;
    const mask = context.client.words(placeOf(gate, context), "mask", size, context.ring.bits);
    context.wires.set(gate.output, { form: "client", mask });
  },
  prepare(gate, context) {
    if (gate.offline) context.upload(gate, maskedShare(gate, context));
    context.wires.set(gate.output, { form: "client", mask: freshMask(gate, context) });
  },
  *client(gate, context) {
    if (!gate.offline) yield { send: maskedShare(gate, context) };
  },
  *server(gate, context) {
    const size = packedBytes(gate.rows * gate.columns, context.ring.bits);
    const bytes = gate.offline ? context.fromClient(gate) : yield { receive: size };
    finish(gate, context, bytes);
  },
  cost(gate, ringBits) {
    const bytes = packedBytes(gate.rows * gate.columns, ringBits);
    if (gate.offline) return { ...noCost, clientToServer: bytes };
    return { ...noCost, online: [{ from: "client", bytes }] };
  },
};
