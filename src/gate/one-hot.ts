// The client's private token ids, as one-hot rows under C's masks: what the embedding, a linear
// layer with the table as its matrix, takes in.
// Cost: online C to S one word an entry; no round of its own. Reveals nothing.

import { ensure } from "../errors.ts";
import { packedBytes } from "../ring/pack.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { maskOf } from "./access.ts";
import { type Gate, type GateBase, noCost, placeOf, widthOf } from "./gate.ts";

export interface OneHot extends GateBase {
  readonly kind: "oneHot";
  /** Name of the ids in the graph. */
  readonly name: string;
  readonly fracBits: number;
}

function oneHotWords(gate: OneHot, ring: Ring, ids: readonly number[] | undefined): Words {
  ensure(ids?.length === gate.rows, "E_INTERNAL", `${gate.rows} ids were expected`);
  const words = ring.zeros(gate.rows * gate.columns);
  ids.forEach((id, row) => {
    ensure(id >= 0 && id < gate.columns, "E_TOKENIZER", "a token id exceeds the vocabulary");
    words[row * gate.columns + id] = 1n << BigInt(gate.fracBits);
  });
  return words;
}

export const oneHot: Gate<OneHot> = {
  reference(gate, context) {
    const { ring, parties } = context;
    const size = gate.rows * gate.columns;
    const bits = widthOf(gate, ring.bits);
    context.wires.set(gate.output, {
      values: oneHotWords(gate, ring, context.ids.get(gate.name)),
      ...(parties && {
        mask: () => parties.client.words(placeOf(gate, context), "mask", size, bits),
      }),
    });
  },
  mask(gate, context) {
    const size = gate.rows * gate.columns;
    const bits = widthOf(gate, context.ring.bits);
    const mask = context.client.words(placeOf(gate, context), "mask", size, bits);
    context.wires.set(gate.output, { form: "client", mask });
  },
  deal() {},
  prepare() {},
  *client(gate, context) {
    const { ring } = context;
    const hot = oneHotWords(gate, ring, context.ids.get(gate.name));
    const masked = ring.add(hot, maskOf(context, gate.output));
    yield { send: ring.pack(masked, widthOf(gate, ring.bits)) };
  },
  *server(gate, context) {
    const { ring } = context;
    const size = gate.rows * gate.columns;
    const bits = widthOf(gate, ring.bits);
    const bytes = yield { receive: packedBytes(size, bits) };
    const masked = ring.unpack(bytes, size, bits);
    context.wires.set(gate.output, { form: "client", masked });
  },
  cost(gate, ringBits) {
    const bytes = packedBytes(gate.rows * gate.columns, widthOf(gate, ringBits));
    return { ...noCost, online: [{ from: "client", bytes }] };
  },
};
