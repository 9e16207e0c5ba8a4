// A shared word a row, of w = wordBits bits, opened to C alone: a token's number, so that C can
// write the text and finds the end. S sends its share; C adds its own.
// Cost: one message of w bits a row S to C. Reveals to C: the words. Reveals to S: nothing.

import { packedBytes } from "../ring/pack.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { shareOf, wire } from "./access.ts";
import { type Gate, type GateBase, noCost } from "./gate.ts";

export interface Reveal extends GateBase {
  readonly kind: "reveal";
  /** Under which C finds the words. */
  readonly name: string;
  /** w: at most 31. */
  readonly wordBits: number;
}

/** Words of at most 32 bits as plain numbers. */
function toNumbers(gate: Reveal, ring: Ring, words: Words): Int32Array {
  const low = ring.lowBits(words, gate.wordBits);
  return Int32Array.from(low, Number);
}

export const reveal: Gate<Reveal> = {
  reference(gate, context) {
    const { values } = wire(context, gate.inputs[0]!);
    context.revealed.set(gate.name, toNumbers(gate, context.ring, values));
  },
  deal() {},
  prepare() {},
  *client(gate, context) {
    const { ring } = context;
    const { rows, wordBits } = gate;
    const other = ring.unpack(yield { receive: packedBytes(rows, wordBits) }, rows, wordBits);
    const words = ring.add(shareOf(context, gate.inputs[0]!), other);
    context.revealed.set(gate.name, toNumbers(gate, ring, words));
  },
  *server(gate, context) {
    const share = shareOf(context, gate.inputs[0]!);
    yield { send: context.ring.pack(share, gate.wordBits) };
  },
  cost: ({ rows, wordBits }) => ({
    ...noCost,
    online: [{ from: "server", bytes: packedBytes(rows, wordBits) }],
  }),
};
