// The client's private token ids, as one-hot rows under C's masks: what the embedding, a linear
// layer with the table as its matrix, takes in.
// Cost: online C to S one word an entry; no round of its own. Reveals nothing.

import { ensure } from "../errors.ts";
import { pack, packedBytes, unpack } from "../ring/pack.ts";
import type { Words } from "../ring/ring.ts";
import { type Gate, type GateBase, noCost, placeOf } from "./gate.ts";

export interface OneHot extends GateBase {
  readonly kind: "oneHot";
  /** Name of the ids in the graph. */
  readonly name: string;
  readonly fracBits: number;
}

function oneHotWords(gate: OneHot, ids: readonly number[] | undefined): Words {
  ensure(ids?.length === gate.rows, "E_INTERNAL", `${gate.rows} ids were expected`);
  const words = new BigUint64Array(gate.rows * gate.columns);
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
    context.wires.set(gate.output, {
      values: oneHotWords(gate, context.ids.get(gate.name)),
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
    const size = gate.rows * gate.columns;
    const mask = context.random.words(placeOf(gate, context), "mask", size, context.ring.bits);
    context.wires.set(gate.output, { form: "client", mask });
  },
  *client(gate, context) {
    const { ring } = context;
    const size = gate.rows * gate.columns;
    const mask = context.random.words(placeOf(gate, context), "mask", size, ring.bits);
    const masked = ring.add(oneHotWords(gate, context.ids.get(gate.name)), mask);
    yield { send: pack(masked, ring.bits) };
  },
  *server(gate, context) {
    const size = gate.rows * gate.columns;
    const bytes = yield { receive: packedBytes(size, context.ring.bits) };
    const masked = unpack(bytes, size, context.ring.bits);
    context.wires.set(gate.output, { form: "client", masked });
  },
  cost(gate, ringBits) {
    const bytes = packedBytes(gate.rows * gate.columns, ringBits);
    return { ...noCost, online: [{ from: "client", bytes }] };
  },
};
