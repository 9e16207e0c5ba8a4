// From a shared index a row, modulo 2^m, to the client-masked one-hot row [V] times 2^fracBits that
// the embedding takes in: what one-hot.ts makes of ids that C knows. Both parties learn
// index^ = index + r; D deals a DPF key for the point r, payload 2^fracBits. At the points
// (index^ - j) mod 2^m, j = 0 .. V - 1, it gives shares of the row, since index^ - j = r exactly
// for j = index. C adds its mask to its share and sends that along with its part of index^.
// Cost: m bits S to C and m + V w bits C to S a row; a key of about 16 m + 32 bytes to each.
// Reveals nothing: index^ and what C sends are uniform to the other, the key hides r.
// Source: DPF of Boyle, Gilboa, Ishai (CCS 2016), look-up by rotation as in Pika (Wagh, PoPETs
// 2022).

import { keyBytesOf, rootBytes } from "../kernel/function-key.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import { joinBytes, packedBytes } from "../ring/pack.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { maskOf, shareOf, wire } from "./access.ts";
import { type Gate, type GateBase, noCost, placeOf, widthOf } from "./gate.ts";

export interface IndexOneHot extends GateBase {
  readonly kind: "indexOneHot";
  /** m: V <= 2^m. */
  readonly indexBits: number;
  readonly fracBits: number;
}

/** This party's share of all rows, at the public index^. */
function rowsAt(
  gate: IndexOneHot,
  ring: Ring,
  masked: Words,
  key: { party: 0 | 1; bytes: Uint8Array; prg: FunctionPrg },
): Words {
  const { rows, columns, indexBits: domainBits } = gate;
  const { kernels } = ring;
  // -j for each column, rows after each other, plus index^ spread over each row.
  const points = ring.words(rows * columns);
  const halves = new Uint32Array(points.buffer, points.byteOffset, 2 * points.length);
  for (let row = 0, at = 0; row < rows; row++) {
    const start = Number(masked[row]!);
    for (let j = 0; j < columns; j++, at += 2) {
      halves[at] = start - j;
      halves[at + 1] = 0;
    }
  }
  kernels.lowBits(points, points, domainBits);
  const out = ring.words(points.length);
  const { party, bytes, prg } = key;
  kernels.dpfEvaluateMany({ domainBits, words: 1, prg, party, keys: bytes, points, out });
  return ring.reduce(out);
}

export const indexOneHot: Gate<IndexOneHot> = {
  reference(gate, context) {
    const { ring, parties } = context;
    const { rows, columns, indexBits } = gate;
    const size = rows * columns;
    const bits = widthOf(gate, ring.bits);
    const values = ring.zeros(size);
    const indices = ring.lowBits(wire(context, gate.inputs[0]!).values, indexBits);
    indices.forEach((index, row) => {
      if (index < BigInt(columns))
        values[row * columns + Number(index)] = 1n << BigInt(gate.fracBits);
    });
    context.wires.set(gate.output, {
      values: ring.reduce(values),
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
  deal(gate, context) {
    const { ring } = context;
    const place = placeOf(gate, context);
    const { rows, indexBits } = gate;
    const r = ring.add(
      context.client.words(place, "shareA", rows, indexBits),
      context.server.words(place, "shareA", rows, indexBits),
    );
    const [forClient, forServer] = ring.kernels.dpfGenerateMany({
      domainBits: indexBits,
      words: 1,
      prg: context.functionPrg,
      alphas: ring.lowBits(r, indexBits),
      payloads: ring.words(rows).fill(1n << BigInt(gate.fracBits)),
      random: context.own.bytes(place, "keys", rows * rootBytes),
    });
    context.toClient(gate, forClient);
    context.toServer(gate, forServer);
  },
  prepare() {},
  *client(gate, context) {
    const { ring } = context;
    const { rows, indexBits } = gate;
    const part = context.client.words(placeOf(gate, context), "shareA", rows, indexBits);
    const own = ring.add(shareOf(context, gate.inputs[0]!), part);
    const bytes = yield { receive: packedBytes(rows, indexBits) };
    const masked = ring.lowBits(ring.add(own, ring.unpack(bytes, rows, indexBits)), indexBits);
    const key = { party: 0, bytes: context.fromDealer(gate), prg: context.functionPrg } as const;
    const share = ring.add(rowsAt(gate, ring, masked, key), maskOf(context, gate.output));
    const sent = [ring.pack(own, indexBits), ring.pack(share, widthOf(gate, ring.bits))];
    yield { send: joinBytes(sent) };
  },
  *server(gate, context) {
    const { ring } = context;
    const { rows, columns, indexBits } = gate;
    const bits = widthOf(gate, ring.bits);
    const part = context.server.words(placeOf(gate, context), "shareA", rows, indexBits);
    const own = ring.add(shareOf(context, gate.inputs[0]!), part);
    yield { send: ring.pack(own, indexBits) };
    const split = packedBytes(rows, indexBits);
    const bytes = yield { receive: split + packedBytes(rows * columns, bits) };
    const other = ring.unpack(bytes.subarray(0, split), rows, indexBits);
    const masked = ring.lowBits(ring.add(own, other), indexBits);
    const key = { party: 1, bytes: context.fromDealer(gate), prg: context.functionPrg } as const;
    const fromClient = ring.unpack(bytes.subarray(split), rows * columns, bits);
    const share = ring.add(rowsAt(gate, ring, masked, key), fromClient);
    context.wires.set(gate.output, { form: "client", masked: share });
  },
  cost(gate, ringBits) {
    const { rows, columns, indexBits } = gate;
    const index = packedBytes(rows, indexBits);
    const row = packedBytes(rows * columns, widthOf(gate, ringBits));
    const keys = rows * keyBytesOf("dpf", { domainBits: indexBits, words: 1 });
    return {
      ...noCost,
      online: [
        { from: "server", bytes: index },
        { from: "client", bytes: index + row },
      ],
      dealerToServer: keys,
      dealerToClient: keys,
    };
  },
};
