// Where the greatest of a row's V entries stands, lowest index on ties. x [rows, V] is shared or
// opened, the result [rows, 1] shared modulo 2^m, m the bits of the output. Entries are signed with
// -2^(n-2) <= x < 2^(n-2), so a difference has n = domainBits bits.
//
// An entry travels with its index as one word Y = index 2^n + (x + 2^(n-2)) modulo 2^k, k = n + m.
// For a pair, D = Y_a - Y_b has the difference d of the values in its low n bits, and the better of
// the two is Y_b + [d >= 0] D. Both parties learn D^ = D + R; with a DCF key on R's low n - 1 bits
// and p = (1, R), [d >= 0] D = [d >= 0] D^ - [d >= 0] R is local (compare.ts), so an index costs no
// key bytes. The pairing is arranged so that a's indices all lie below b's: d = 0 keeps the lower.
//
// On the last level Y_a and Y_b are opened themselves, so that their indices can be split off as
// share/opened.ts does it: since Y mod 2^n < 2^(n-1), with Y^ = Y + R, b = bit n - 1 of R and
// M = 1 - bit n - 1 of Y^,
//   index = (Y^ >> n) - (R >> n) - M b,
// and with p = (1, (R_a >> n) - (R_b >> n), b_a, b_b) and R = R_a - R_b,
//   result = index_b + [d >= 0] (index_a - index_b)
// is local too.
// Cost: ceil(log2 V) levels, one one-way latency each; a comparison takes k bits each way, 2 k on
// the last level; V - 1 keys a row of about 24 n bytes to each party (32 n where k > 32); D to S
// besides 2 k bits a comparison. Reveals nothing: all that is opened is uniform.
// Source: as compare.ts; packing index and value is ours.

import { ensure } from "../errors.ts";
import { keyBytesOf } from "../kernel/function-key.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import { packedBytes } from "../ring/pack.ts";
import type { Place, Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { valueShareOf, wire } from "./access.ts";
import {
  checkSigned,
  columnOf,
  compareMasked,
  type DealtComparisons,
  dealComparisons,
  interleave,
  isPositive,
  KEY_ROOT_BYTES,
  type KeyMaking,
  keyShape,
  type Level,
  reordered,
  Tournament,
} from "./compare.ts";
import {
  type DealerContext,
  type Exchange,
  type Gate,
  type GateBase,
  noCost,
  placeOf,
  widthOf,
} from "./gate.ts";

export interface Argmax extends GateBase {
  readonly kind: "argmax";
  /** V: entries of a row. */
  readonly entries: number;
  /** n: entries lie in [-2^(n-2), 2^(n-2)). */
  readonly domainBits: number;
  readonly wireName: string;
}

/** Words of p on all levels but the last, and on that. */
const PAYLOAD_WORDS = 2;
const LAST_WORDS = 4;
/** Words of a row that D deals shares of for the last level: p, rho p, and R_b >> n. */
const LAST_SHARES = 8;

/** A row's masks: those of its comparisons, of which the last one's is Y_a's, then Y_b's. */
function tournamentOf({ rows, entries }: Argmax): Tournament {
  return new Tournament(new Array(rows).fill(entries), 1, 1);
}

/** k. */
function openedBits(gate: Argmax, ringBits: number): number {
  const bits = gate.domainBits + widthOf(gate, ringBits);
  ensure(bits <= ringBits, "E_INTERNAL", "a value and its index exceed the ring");
  return bits;
}

/** Comparisons of all levels but the last. */
const earlyCount = ({ rows, entries }: Argmax) => rows * (entries - 2);

/** `count` words from `from` on of every row of `stride` words. */
function block(ring: Ring, words: Words, stride: number, from: number, count: number): Words {
  const rows = words.length / stride;
  const out = ring.words(rows * count);
  for (let row = 0; row < rows; row++) {
    const start = row * stride + from;
    out.set(words.subarray(start, start + count), row * count);
  }
  return out;
}

/**
 * Which index stands where before the first level, so that on every level all indices behind an
 * entry of the first half are lower than those behind its partner of the second.
 */
export function leafOrder(entries: number): Int32Array {
  /** How many leaves are behind each entry, level by level. */
  const sizes = [new Int32Array(entries).fill(1)];
  for (let last = sizes[0]!; last.length > 1; last = sizes.at(-1)!) {
    const half = last.length >> 1;
    const next = last.slice(0, last.length - half);
    for (let i = 0; i < half; i++) next[i] = last[i]! + last[half + i]!;
    if (last.length % 2 === 1) next[half] = last[2 * half]!;
    sizes.push(next);
  }
  let starts = Int32Array.of(0);
  for (const size of sizes.slice(0, -1).toReversed()) {
    const half = size.length >> 1;
    const below = new Int32Array(size.length);
    for (let i = 0; i < half; i++) {
      below[i] = starts[i]!;
      below[half + i] = starts[i]! + size[i]!;
    }
    if (size.length % 2 === 1) below[2 * half] = starts[half]!;
    starts = below;
  }
  return starts;
}

/** The public indices of all rows, as words. */
function indexWords(ring: Ring, rows: number, order: Int32Array): Words {
  const out = ring.zeros(rows * order.length);
  const halves = new Uint32Array(out.buffer, out.byteOffset, 2 * out.length);
  for (let i = 0; i < out.length; i++) halves[2 * i] = order[i % order.length]!;
  return ring.reduce(out);
}

/** Shares of what D knows of the masks. */
interface MaskShares {
  /** rho and rho R of the comparisons before the last level: [row][level][pair], k bits. */
  readonly rho: Words;
  readonly rhoR: Words;
  /** Of the last level, [row][LAST_SHARES], m bits: see lastColumns. */
  readonly last: Words;
}

/** Counts and bits of these, in order. */
function shareSizes(gate: Argmax, ringBits: number) {
  const early = { count: earlyCount(gate), bits: openedBits(gate, ringBits) };
  const last = { count: gate.rows * LAST_SHARES, bits: widthOf(gate, ringBits) };
  return [early, early, last] as const;
}

function clientShares(gate: Argmax, place: Place, random: Randomness, bits: number): MaskShares {
  const [rho, rhoR, last] = shareSizes(gate, bits);
  return {
    rho: random.words(place, "shareA", rho.count, rho.bits),
    rhoR: random.words(place, "shareB", rhoR.count, rhoR.bits),
    last: random.words(place, "shareC", last.count, last.bits),
  };
}

const shareBytes = (gate: Argmax, ringBits: number) =>
  shareSizes(gate, ringBits).reduce((sum, { count, bits }) => sum + packedBytes(count, bits), 0);

function unpackShares(gate: Argmax, ring: Ring, bytes: Uint8Array): MaskShares {
  let at = 0;
  const [rho, rhoR, last] = shareSizes(gate, ring.bits).map(({ count, bits }) => {
    const end = at + packedBytes(count, bits);
    const words = ring.unpack(bytes.subarray(at, end), count, bits);
    at = end;
    return words;
  });
  ensure(at === bytes.length, "E_CORRELATION", "a correlation has the wrong length");
  return { rho: rho!, rhoR: rhoR!, last: last! };
}

/** One party's side of a tournament. */
interface Held extends MaskShares {
  readonly party: 0 | 1;
  readonly prg: FunctionPrg;
  /** Its part of the masks, [row][V], k bits. */
  readonly mask: Words;
  readonly keys: Uint8Array;
}

class Player {
  readonly #gate: Argmax;
  readonly #ring: Ring;
  readonly #held: Held;
  readonly #tournament: Tournament;
  /** Bytes of keys that have been used. */
  #used = 0;

  constructor(gate: Argmax, ring: Ring, held: Held) {
    this.#gate = gate;
    this.#ring = ring;
    this.#held = held;
    this.#tournament = tournamentOf(gate);
  }

  /** Plays the levels and gives this party's share of the index. */
  *play(share: Words): Generator<Exchange, Words, Uint8Array> {
    const ring = this.#ring;
    const tournament = this.#tournament;
    const order = leafOrder(this.#gate.entries);
    let y = this.#numbered(reordered(ring, share, order), order);
    for (const level of tournament.levels.slice(0, -1)) {
      const { a, b } = tournament.sides(ring, level, y);
      const mask = tournament.wordsOf(ring, level, this.#held.mask);
      const masked = yield* this.#open(ring.add(ring.sub(a, b), mask));
      const { rho, rhoR } = this.#held;
      const signed = [rho, rhoR].map((words) => this.#early(level, words));
      const [positive, masks] = this.#compare(masked, [mask], signed);
      const gain = ring.sub(ring.mul(masked, positive!), masks!);
      y = tournament.next(ring, level, y, ring.add(b, gain));
    }
    return yield* this.#last(y);
  }

  /** Shares of Y = index 2^n + x + 2^(n-2): S adds what is public. */
  #numbered(share: Words, order: Int32Array): Words {
    const ring = this.#ring;
    const { rows, domainBits } = this.#gate;
    if (this.#held.party === 0) return share;
    const lifted = ring.addConstant(share, 1n << BigInt(domainBits - 2));
    return ring.addScaled(lifted, indexWords(ring, rows, order), 1n << BigInt(domainBits));
  }

  /** Opens words of k bits: sends this party's parts and takes the other's. */
  *#open(own: Words): Generator<Exchange, Words, Uint8Array> {
    const ring = this.#ring;
    const bits = openedBits(this.#gate, ring.bits);
    yield { send: ring.pack(own, bits) };
    const bytes = yield { receive: packedBytes(own.length, bits) };
    return ring.lowBits(ring.add(own, ring.unpack(bytes, own.length, bits)), bits);
  }

  /** A level's words of those that belong to all levels but the last. */
  #early({ starts, lengths }: Level, words: Words): Words {
    const { entries } = this.#gate;
    const [start, count] = [starts[0]!, lengths[0]! >> 1];
    return block(this.#ring, words, entries - 2, start, count);
  }

  #compare(masked: Words, payload: readonly Words[], signed: readonly Words[]): Words[] {
    const ring = this.#ring;
    const { domainBits } = this.#gate;
    const bits = openedBits(this.#gate, ring.bits);
    const size =
      ring.kernels.dcfKeyBytes(keyShape(domainBits, signed.length, bits)) * masked.length;
    const keys = this.#held.keys.subarray(this.#used, this.#used + size);
    this.#used += size;
    const { party, prg } = this.#held;
    return compareMasked(ring, { domainBits, bits }, masked, { party, prg, keys, payload, signed });
  }

  /** The level of two entries a row: gives the index alone. */
  *#last(y: Words): Generator<Exchange, Words, Uint8Array> {
    const ring = this.#ring;
    const { entries } = this.#gate;
    const mask = block(ring, this.#held.mask, entries, entries - 2, 2);
    const opened = yield* this.#open(ring.add(y, mask));
    const [a, b] = [0, 1].map((side) => columnOf(ring, opened, 2, side));
    const columns = Array.from({ length: LAST_SHARES }, (_, k) =>
      columnOf(ring, this.#held.last, LAST_SHARES, k),
    );
    const [upperB, difference, bitA, bitB, ...signed] = columns;
    const payload = [difference!, bitA!, bitB!];
    const found = this.#compare(ring.sub(a!, b!), payload, signed);
    const [ofA, ofB] = [this.#split(a!), this.#split(b!)];
    // [d >= 0] (index_a - index_b)
    let index = ring.mul(found[0]!, ring.sub(ofA.upper, ofB.upper));
    index = ring.sub(index, found[1]!);
    index = ring.sub(index, ring.mul(ofA.m, found[2]!));
    index = ring.add(index, ring.mul(ofB.m, found[3]!));
    // index_b
    if (this.#held.party === 1) index = ring.add(index, ofB.upper);
    return ring.sub(index, ring.add(upperB!, ring.mul(ofB.m, bitB!)));
  }

  /** Y^ >> n and M, public. */
  #split(opened: Words): { upper: Words; m: Words } {
    const ring = this.#ring;
    const { domainBits } = this.#gate;
    const sign = ring.shiftRight(ring.lowBits(opened, domainBits), domainBits - 1);
    const m = ring.addConstant(ring.negate(sign), 1n);
    return { upper: ring.shiftRight(opened, domainBits), m };
  }
}

/** The index in the clear. */
function inTheClear(gate: Argmax, ring: Ring, values: Words): Words {
  const tournament = tournamentOf(gate);
  checkSigned(ring, values, gate.domainBits - 1, gate.wireName);
  const order = leafOrder(gate.entries);
  let x = reordered(ring, values, order);
  let indices = indexWords(ring, gate.rows, order);
  for (const level of tournament.levels) {
    const [value, index] = [x, indices].map((words) => tournament.sides(ring, level, words));
    const d = ring.sub(value!.a, value!.b);
    const positive = isPositive(ring, d);
    const better = ring.add(value!.b, ring.mul(positive, d));
    const its = ring.add(index!.b, ring.mul(positive, ring.sub(index!.a, index!.b)));
    x = tournament.next(ring, level, x, better);
    indices = tournament.next(ring, level, indices, its);
  }
  return indices;
}

/** Keys and shares of all levels, from the masks [row][V] of k bits. */
function dealLevels(
  gate: Argmax,
  ring: Ring,
  masks: Words,
  { prg, roots, room }: { roots: Uint8Array } & Pick<KeyMaking, "prg" | "room">,
): { dealt: DealtComparisons[]; shares: MaskShares } {
  const { entries, domainBits } = gate;
  const bits = openedBits(gate, ring.bits);
  const tournament = tournamentOf(gate);
  let at = 0;
  const rootsOf = (count: number) => {
    const random = roots.subarray(at, at + count * KEY_ROOT_BYTES);
    at += random.length;
    return { prg, random, room };
  };
  const early = tournament.levels.slice(0, -1).map((level) => {
    const own = tournament.wordsOf(ring, level, masks);
    return dealComparisons(ring, { domainBits, bits }, own, [own], rootsOf(level.comparisons));
  });
  const [a, b] = [entries - 2, entries - 1].map((from) => block(ring, masks, entries, from, 1));
  const [upperA, upperB] = [a!, b!].map((words) => ring.shiftRight(words, domainBits));
  const [bitA, bitB] = [a!, b!].map((words) =>
    ring.shiftRight(ring.lowBits(words, domainBits), domainBits - 1),
  );
  const payload = [ring.sub(upperA!, upperB!), bitA!, bitB!];
  const both = ring.lowBits(ring.sub(a!, b!), bits);
  const last = dealComparisons(ring, { domainBits, bits }, both, payload, rootsOf(gate.rows));
  const whole = [0, 1].map((k) => {
    const parts = early.map(({ signed }) => signed[k]!);
    return block(ring, tournament.together(ring, parts), entries, 0, entries - 2);
  });
  const shares = {
    rho: whole[0]!,
    rhoR: whole[1]!,
    last: interleave(ring, [upperB!, ...payload, ...last.signed]),
  };
  return { dealt: [...early, last], shares };
}

function deal(gate: Argmax, context: DealerContext): void {
  const { ring } = context;
  const place = placeOf(gate, context);
  const size = gate.rows * gate.entries;
  const bits = openedBits(gate, ring.bits);
  const [own, other] = [context.client, context.server].map((random) =>
    random.words(place, "mask", size, bits),
  );
  const masks = ring.lowBits(ring.add(own!, other!), bits);
  const roots = context.own.bytes(place, "keys", (size - gate.rows) * KEY_ROOT_BYTES);
  const { dealt, shares } = dealLevels(gate, ring, masks, {
    prg: context.functionPrg,
    roots,
    room: context.room,
  });
  const c = clientShares(gate, place, context.client, ring.bits);
  const pairs = [
    [shares.rho, c.rho],
    [shares.rhoR, c.rhoR],
    [shares.last, c.last],
  ] as const;
  const sizes = shareSizes(gate, ring.bits);
  const packed = pairs.map(([whole, part], i) => ring.pack(ring.sub(whole, part), sizes[i]!.bits));
  context.toClient(gate, ...dealt.map(({ forClient }) => forClient));
  context.toServer(gate, ...dealt.map(({ forServer }) => forServer), ...packed);
}

/** The index of a lone entry. */
function alone(gate: Argmax, ring: Ring) {
  return { form: "shared", share: ring.zeros(gate.rows) } as const;
}

export const argmax: Gate<Argmax> = {
  reference(gate, context) {
    const { values } = wire(context, gate.inputs[0]!);
    context.wires.set(gate.output, { values: inTheClear(gate, context.ring, values) });
  },
  deal(gate, context) {
    context.wires.set(gate.output, { form: "shared" });
    if (gate.entries > 1) deal(gate, context);
  },
  prepare() {},
  *client(gate, context) {
    const { ring } = context;
    if (gate.entries === 1) {
      context.wires.set(gate.output, alone(gate, ring));
      return;
    }
    const place = placeOf(gate, context);
    const bits = openedBits(gate, ring.bits);
    const mask = context.client.words(place, "mask", gate.rows * gate.entries, bits);
    const shares = clientShares(gate, place, context.client, ring.bits);
    const keys = context.fromDealer(gate);
    const held = { ...shares, party: 0, prg: context.functionPrg, mask, keys } as const;
    const player = new Player(gate, ring, held);
    const share = yield* player.play(valueShareOf(context, gate.inputs[0]!, false));
    context.wires.set(gate.output, { form: "shared", share });
  },
  *server(gate, context) {
    const { ring } = context;
    if (gate.entries === 1) {
      context.wires.set(gate.output, alone(gate, ring));
      return;
    }
    const place = placeOf(gate, context);
    const bits = openedBits(gate, ring.bits);
    const mask = context.server.words(place, "mask", gate.rows * gate.entries, bits);
    const dealt = context.fromDealer(gate);
    const split = dealt.length - shareBytes(gate, ring.bits);
    const shares = unpackShares(gate, ring, dealt.subarray(split));
    const keys = dealt.subarray(0, split);
    const held = { ...shares, party: 1, prg: context.functionPrg, mask, keys } as const;
    const player = new Player(gate, ring, held);
    const share = yield* player.play(valueShareOf(context, gate.inputs[0]!, true));
    context.wires.set(gate.output, { form: "shared", share });
  },
  cost(gate, ringBits) {
    const { rows, entries, domainBits } = gate;
    if (entries === 1) return noCost;
    const bits = openedBits(gate, ringBits);
    const keyBytes = (words: number) => keyBytesOf("dcf", keyShape(domainBits, words, bits));
    const keys = earlyCount(gate) * keyBytes(PAYLOAD_WORDS) + rows * keyBytes(LAST_WORDS);
    const { levels } = tournamentOf(gate);
    return {
      ...noCost,
      online: levels.flatMap(({ comparisons }, i) => {
        const count = i === levels.length - 1 ? 2 * rows : comparisons;
        const bytes = packedBytes(count, bits);
        return [
          { from: "client" as const, bytes },
          { from: "server" as const, bytes },
        ];
      }),
      crossed: true,
      dealerToServer: keys + shareBytes(gate, ringBits),
      dealerToClient: keys,
    };
  },
};
