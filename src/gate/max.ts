// The maximum over the entries of each row, word by word of an entry. x is shared or opened, laid
// out [row][entry][head]; the result is [rows, heads]. A tournament: on each level the first half
// of a row's entries meets the second, max(a, b) = b + [a - b >= 0] (a - b), an odd entry passes.
// With d = a - b, -2^(n-1) <= d < 2^(n-1), both parties learn d + R mod 2^k, k the greater of n and
// the width w of the result, and evaluate one DCF key a comparison, p = (1, R): shares of [d >= 0]
// and [d >= 0] R (compare.ts), and so of [d >= 0] d modulo 2^k, exactly, with no chance of failure.
// Each party sends its part as soon as it has its share, so a level takes one one-way latency.
// Cost: a comparison k bits C to S and k bits S to C online; a key of about 24 n bytes to each
// (32 n if k > 32), 2 k bits more to S. Comparisons of a row: heads (entries - 1), in
// ceil(log2 entries) levels.
// Reveals nothing: d + R is uniform to each party, since the other's part of R is.
// Source: as compare.ts; tournament as in CrypTen.

import { keyBytesOf } from "../kernel/function-key.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import { packedBytes } from "../ring/pack.ts";
import type { Place, Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { valueShareOf, wire } from "./access.ts";
import {
  checkSigned,
  compareMasked,
  dealComparisons,
  isPositive,
  KEY_ROOT_BYTES,
  keyShape,
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
  /** n: at least 2; any two entries of a row differ by d with -2^(n-1) <= d < 2^(n-1). */
  readonly domainBits: number;
  readonly wireName: string;
}

const PAYLOAD_WORDS = 2;

const tournamentOf = ({ lengths, heads }: Max) => new Tournament(lengths, heads);

/** k: what is not the last level's has to be right to n bits. */
const openedBits = (gate: Max, ringBits: number) =>
  Math.min(ringBits, Math.max(gate.domainBits, widthOf(gate, ringBits)));

const shapeOf = (gate: Max, ringBits: number) =>
  keyShape(gate.domainBits, PAYLOAD_WORDS, openedBits(gate, ringBits));

/** What a party brings to the comparisons, all levels together: [row][level][pair][head]. */
interface Held {
  readonly party: 0 | 1;
  readonly prg: FunctionPrg;
  /** Its part of R. */
  readonly mask: Words;
  /** Its shares of rho and of rho R. */
  readonly signed: readonly Words[];
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
  const { domainBits } = gate;
  const bits = openedBits(gate, ring.bits);
  const keyBytes = ring.kernels.dcfKeyBytes(shapeOf(gate, ring.bits));
  let x = share;
  let at = 0;
  for (const level of tournament.levels) {
    const count = level.comparisons;
    const end = at + count * keyBytes;
    const keys = held.keys.subarray(at, end);
    at = end;
    const mask = tournament.wordsOf(ring, level, held.mask);
    const { a, b } = tournament.sides(ring, level, x);
    const own = ring.add(ring.sub(a, b), mask);
    yield { send: ring.pack(own, bits) };
    const bytes = yield { receive: packedBytes(count, bits) };
    const masked = ring.add(own, ring.unpack(bytes, count, bits));
    const [positive, masks] = compareMasked(ring, { domainBits, bits }, masked, {
      ...held,
      keys,
      payload: [mask],
      signed: held.signed.map((words) => tournament.wordsOf(ring, level, words)),
    });
    const gain = ring.sub(ring.mul(masked, positive!), masks!);
    x = tournament.next(ring, level, x, ring.add(b, gain));
  }
  return x;
}

/** C's shares of rho and rho R. */
function clientShares(gate: Max, place: Place, random: Randomness, ringBits: number): Words[] {
  const { size } = tournamentOf(gate);
  const bits = openedBits(gate, ringBits);
  return (["shareA", "shareB"] as const).map((name) => random.words(place, name, size, bits));
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
    const bits = openedBits(gate, ring.bits);
    context.wires.set(gate.output, { form: "shared" });
    if (size === 0) return;
    const [own, other] = [context.client, context.server].map((random) =>
      random.words(place, "mask", size, bits),
    );
    const r = ring.lowBits(ring.add(own!, other!), bits);
    const roots = context.own.bytes(place, "keys", size * KEY_ROOT_BYTES);
    let at = 0;
    const dealt = levels.map((level) => {
      const end = at + level.comparisons * KEY_ROOT_BYTES;
      const { functionPrg: prg, room } = context;
      const how = { prg, random: roots.subarray(at, end), room };
      at = end;
      const masks = tournament.wordsOf(ring, level, r);
      return dealComparisons(ring, { domainBits, bits }, masks, [masks], how);
    });
    const shares = clientShares(gate, place, context.client, ring.bits).map((share, k) => {
      const whole = tournament.together(
        ring,
        dealt.map(({ signed }) => signed[k]!),
      );
      return ring.pack(ring.sub(whole, share), bits);
    });
    context.toClient(gate, ...dealt.map(({ forClient }) => forClient));
    context.toServer(gate, ...dealt.map(({ forServer }) => forServer), ...shares);
  },
  prepare() {},
  *client(gate, context) {
    const { ring } = context;
    const place = placeOf(gate, context);
    const { size } = tournamentOf(gate);
    const mask = context.client.words(place, "mask", size, openedBits(gate, ring.bits));
    const signed = clientShares(gate, place, context.client, ring.bits);
    const keys = size === 0 ? new Uint8Array(0) : context.fromDealer(gate);
    const held = { party: 0, prg: context.functionPrg, mask, signed, keys } as const;
    const share = yield* play(gate, ring, valueShareOf(context, gate.inputs[0]!, false), held);
    context.wires.set(gate.output, { form: "shared", share });
  },
  *server(gate, context) {
    const { ring } = context;
    const { size } = tournamentOf(gate);
    const bits = openedBits(gate, ring.bits);
    const place = placeOf(gate, context);
    const mask = context.server.words(place, "mask", size, bits);
    const dealt = size === 0 ? new Uint8Array(0) : context.fromDealer(gate);
    const keyBytes = ring.kernels.dcfKeyBytes(shapeOf(gate, ring.bits));
    const [split, each] = [size * keyBytes, packedBytes(size, bits)];
    const signed = [split, split + each].map((from) =>
      ring.unpack(dealt.subarray(from, from + each), size, bits),
    );
    const keys = dealt.subarray(0, split);
    const held = { party: 1, prg: context.functionPrg, mask, signed, keys } as const;
    const share = yield* play(gate, ring, valueShareOf(context, gate.inputs[0]!, true), held);
    context.wires.set(gate.output, { form: "shared", share });
  },
  cost(gate, ringBits) {
    const { size, levels } = tournamentOf(gate);
    const keys = size * keyBytesOf("dcf", shapeOf(gate, ringBits));
    return {
      ...noCost,
      online: levels.flatMap(({ comparisons }) => {
        const bytes = packedBytes(comparisons, openedBits(gate, ringBits));
        return [
          { from: "client" as const, bytes },
          { from: "server" as const, bytes },
        ];
      }),
      crossed: true,
      dealerToServer: keys + 2 * packedBytes(size, openedBits(gate, ringBits)),
      dealerToClient: keys,
    };
  },
};
