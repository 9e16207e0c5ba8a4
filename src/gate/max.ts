// The maximum over the entries of each row, word by word of an entry. x is shared or opened, laid
// out [row][entry][head]; the result is [rows, heads]. A tournament: on each level the first half
// of a row's entries meets the second, max(a, b) = b + relu(a - b), an odd entry passes. With
// d = a - b, -2^(n-1) <= d < 2^(n-1), both parties learn d + r mod 2^n and evaluate one DCF key a
// comparison, payload (1, r): shares of [d >= 0] and of [d >= 0] d (compare.ts), exactly, with no
// chance of failure. Each party sends its part as soon as it has its share, so a level takes one
// one-way latency.
// Cost: a comparison n bits C to S and n bits S to C online; a key of about 32 n bytes to each;
// w bits more to S where w > n. Comparisons of a row: heads (entries - 1), in ceil(log2 entries)
// levels. Reveals nothing: d + r is uniform to each party, since the other's part of r is.
// Source: as compare.ts; tournament as in CrypTen.

import { keyBytesOf } from "../kernel/function-key.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import { joinBytes, packedBytes } from "../ring/pack.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { valueShareOf, wire } from "./access.ts";
import {
  checkSigned,
  compareMasked,
  comparisonKeys,
  isPositive,
  KEY_ROOT_BYTES,
  type Level,
  Tournament,
} from "./compare.ts";
import { type Exchange, type Gate, type GateBase, noCost, placeOf, widthOf } from "./gate.ts";

export interface Max extends GateBase {
  readonly kind: "max";
  /** Entries of each row. */
  readonly lengths: readonly number[];
  /** Words of an entry: the columns of the result. */
  readonly heads: number;
  /** n: any two entries of a row differ by less than 2^(n-1). */
  readonly domainBits: number;
  readonly wireName: string;
}

const PAYLOAD_WORDS = 2;

const tournamentOf = ({ lengths, heads }: Max) => new Tournament(lengths, heads);

const shapeOf = ({ domainBits }: Max) => ({ domainBits, words: PAYLOAD_WORDS });

/** Whether r is needed to more bits than are opened: then D deals shares of it as an integer. */
const dealsShares = (gate: Max, ringBits: number) => widthOf(gate, ringBits) > gate.domainBits;

/** What a party brings to the comparisons, all levels together. */
interface Held {
  readonly party: 0 | 1;
  readonly prg: FunctionPrg;
  /** Its part of the masks. */
  readonly mask: Words;
  /** Its shares of the masks, as integers of n bits. */
  readonly r: Words;
  readonly keys: Uint8Array;
}

/** Shares of relu(d), from its own part of the masked d and the peer's. */
function rectified(gate: Max, ring: Ring, masked: Words, held: Held, level: Taken): Words {
  const { domainBits } = gate;
  const keys = { ...held, bytes: level.keys, words: PAYLOAD_WORDS };
  const found = compareMasked(ring, domainBits, masked, keys);
  const a = ring.lowBits(masked, domainBits);
  const r = ring.add(found.products[0]!, ring.mul(found.low, level.r));
  const d = ring.sub(ring.mul(a, found.positive), r);
  return ring.addScaled(d, found.wrapped, 1n << BigInt(domainBits));
}

/** What of the held belongs to one level. */
interface Taken {
  readonly mask: Words;
  readonly r: Words;
  readonly keys: Uint8Array;
}

/** Plays the levels at either party. */
function* play(
  gate: Max,
  ring: Ring,
  share: Words,
  held: Held,
): Generator<Exchange, Words, Uint8Array> {
  const tournament = tournamentOf(gate);
  const bits = gate.domainBits;
  const keyBytes = ring.kernels.dcfKeyBytes(shapeOf(gate));
  let x = share;
  let at = 0;
  for (const level of tournament.levels) {
    const count = level.comparisons;
    const end = at + count * keyBytes;
    const taken = {
      mask: tournament.wordsOf(ring, level, held.mask),
      r: tournament.wordsOf(ring, level, held.r),
      keys: held.keys.subarray(at, end),
    };
    at = end;
    const { a, b } = tournament.sides(ring, level, x);
    const own = ring.add(ring.sub(a, b), taken.mask);
    yield { send: ring.pack(own, bits) };
    const bytes = yield { receive: packedBytes(count, bits) };
    const masked = ring.add(own, ring.unpack(bytes, count, bits));
    const best = ring.add(b, rectified(gate, ring, masked, held, taken));
    x = tournament.next(ring, level, x, best);
  }
  return x;
}

/** The maximum in the clear. */
function inTheClear(gate: Max, ring: Ring, values: Words): Words {
  const tournament = tournamentOf(gate);
  return tournament.levels.reduce((x: Words, level: Level) => {
    const { a, b } = tournament.sides(ring, level, x);
    const d = ring.sub(a, b);
    checkSigned(ring, d, gate.domainBits, gate.wireName);
    const best = ring.add(b, ring.mul(d, isPositive(ring, d)));
    return tournament.next(ring, level, x, best);
  }, values);
}

export const max: Gate<Max> = {
  reference(gate, context) {
    const { values } = wire(context, gate.inputs[0]!);
    context.wires.set(gate.output, { values: inTheClear(gate, context.ring, values) });
  },
  deal(gate, context) {
    const { ring } = context;
    const place = placeOf(gate, context);
    const tournament = tournamentOf(gate);
    const { size, levels } = tournament;
    const { domainBits } = gate;
    context.wires.set(gate.output, { form: "shared" });
    if (size === 0) return;
    const own = context.client.words(place, "mask", size, domainBits);
    const r = ring.lowBits(
      ring.add(own, context.server.words(place, "mask", size, domainBits)),
      domainBits,
    );
    const roots = context.own.bytes(place, "keys", size * KEY_ROOT_BYTES);
    let at = 0;
    const keys = levels.map((level) => {
      const end = at + level.comparisons * KEY_ROOT_BYTES;
      const random = roots.subarray(at, end);
      at = end;
      const masks = tournament.wordsOf(ring, level, r);
      return comparisonKeys(ring, domainBits, masks, [masks], { prg: context.functionPrg, random });
    });
    context.toClient(gate, joinBytes(keys.map(([client]) => client)));
    const forServer = keys.map(([, server]) => server);
    if (dealsShares(gate, ring.bits)) {
      const bits = widthOf(gate, ring.bits);
      const share = ring.sub(r, context.client.words(place, "shareA", size, bits));
      forServer.push(ring.pack(share, bits));
    }
    context.toServer(gate, joinBytes(forServer));
  },
  prepare() {},
  *client(gate, context) {
    const { ring } = context;
    const place = placeOf(gate, context);
    const { size } = tournamentOf(gate);
    const mask = context.client.words(place, "mask", size, gate.domainBits);
    const r = dealsShares(gate, ring.bits)
      ? context.client.words(place, "shareA", size, widthOf(gate, ring.bits))
      : mask;
    const keys = size === 0 ? new Uint8Array(0) : context.fromDealer(gate);
    const held = { party: 0, prg: context.functionPrg, mask, r, keys } as const;
    const share = yield* play(gate, ring, valueShareOf(context, gate.inputs[0]!, false), held);
    context.wires.set(gate.output, { form: "shared", share });
  },
  *server(gate, context) {
    const { ring } = context;
    const { size } = tournamentOf(gate);
    const mask = context.server.words(placeOf(gate, context), "mask", size, gate.domainBits);
    const dealt = size === 0 ? new Uint8Array(0) : context.fromDealer(gate);
    const split = size * ring.kernels.dcfKeyBytes(shapeOf(gate));
    const r = dealsShares(gate, ring.bits)
      ? ring.unpack(dealt.subarray(split), size, widthOf(gate, ring.bits))
      : mask;
    const keys = dealt.subarray(0, split);
    const held = { party: 1, prg: context.functionPrg, mask, r, keys } as const;
    const share = yield* play(gate, ring, valueShareOf(context, gate.inputs[0]!, true), held);
    context.wires.set(gate.output, { form: "shared", share });
  },
  cost(gate, ringBits) {
    const { size, levels } = tournamentOf(gate);
    const keys = size * keyBytesOf("dcf", shapeOf(gate));
    const shares = dealsShares(gate, ringBits) ? packedBytes(size, widthOf(gate, ringBits)) : 0;
    return {
      ...noCost,
      online: levels.flatMap(({ comparisons }) => {
        const bytes = packedBytes(comparisons, gate.domainBits);
        return [
          { from: "client" as const, bytes },
          { from: "server" as const, bytes },
        ];
      }),
      crossed: true,
      dealerToServer: keys + shares,
      dealerToClient: keys,
    };
  },
};
