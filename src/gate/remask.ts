// Back to client-masked: C sends its share plus a fresh mask from its seed, S adds its own share.
// Offline, without a round, where C's share does not depend on the input; else one message.
// Cost: C to S one word an entry. Reveals nothing: the mask is fresh and uniform.

import { packedBytes } from "../ring/pack.ts";
import { byParts, packByParts, unpackPart } from "../ring/parts.ts";
import { maskOf, valuePartsOf, wire } from "./access.ts";
import {
  type Gate,
  type GateBase,
  noCost,
  type OfflineClientContext,
  type OnlineClientContext,
  placeOf,
  type ServerContext,
  widthOf,
} from "./gate.ts";

export interface Remask extends GateBase {
  readonly kind: "remask";
  readonly offline: boolean;
}

function maskedShare(
  gate: Remask,
  context: OfflineClientContext | OnlineClientContext,
): Uint8Array {
  const { ring } = context;
  const share = valuePartsOf(context, gate.inputs[0]!, false);
  const mask = maskOf(context, gate.output);
  const shape = { count: gate.rows * gate.columns, bits: widthOf(gate, ring.bits) };
  return packByParts(ring, shape, (part) => part.ring.add(share(part), part.of(mask)));
}

function finish(gate: Remask, context: ServerContext, bytes: Uint8Array): void {
  const { ring } = context;
  const share = valuePartsOf(context, gate.inputs[0]!, true);
  const bits = widthOf(gate, ring.bits);
  const { masked } = byParts(ring, { count: gate.rows * gate.columns }, (part) => ({
    masked: part.ring.add(share(part), unpackPart(part, bytes, bits)),
  }));
  context.wires.set(gate.output, { form: "client", masked });
}

export const remask: Gate<Remask> = {
  reference(gate, context) {
    const { ring, parties } = context;
    const size = gate.rows * gate.columns;
    const bits = widthOf(gate, ring.bits);
    context.wires.set(gate.output, {
      values: wire(context, gate.inputs[0]!).values,
      ...(parties && {
        mask: () => parties.client.words(placeOf(gate, context), "mask", size, bits),
      }),
    });
  },
  mask(gate, context) {
    const bits = widthOf(gate, context.ring.bits);
    const size = gate.rows * gate.columns;
    const mask = context.client.words(placeOf(gate, context), "mask", size, bits);
    context.wires.set(gate.output, { form: "client", mask });
  },
  deal() {},
  prepare(gate, context) {
    if (gate.offline) context.upload(gate, maskedShare(gate, context));
  },
  idle: (gate) => gate.offline,
  *client(gate, context) {
    if (!gate.offline) yield { send: maskedShare(gate, context) };
  },
  *server(gate, context) {
    const size = packedBytes(gate.rows * gate.columns, widthOf(gate, context.ring.bits));
    const bytes = gate.offline ? context.fromClient(gate) : yield { receive: size };
    finish(gate, context, bytes);
  },
  cost(gate, ringBits) {
    const bytes = packedBytes(gate.rows * gate.columns, widthOf(gate, ringBits));
    if (gate.offline) return { ...noCost, clientToServer: bytes };
    return { ...noCost, online: [{ from: "client", bytes }] };
  },
};
