// Where the greatest of a row's V entries stands, lowest index on ties. x [rows, V] is shared or
// opened, the result [rows, 1] shared modulo 2^m, m the bits of the output. Entries are signed with
// -2^(n-2) <= x < 2^(n-2), so a difference has n = domainBits bits.
//
// An entry travels with its index as one word Y = index 2^n + (x + 2^(n-2)) modulo 2^(n+m). For a
// pair, D = Y_a - Y_b has the difference d of the values in its low n bits, and the better of the
// two is Y_b + [d >= 0] D. Both parties learn D^ = D + R; with a DCF key on R mod 2^n and payload
// (1, R), [d >= 0] D = [d >= 0] D^ - [d >= 0] R is local (compare.ts), so an index costs no key
// bytes. The pairing is arranged so that a's indices all lie below b's: d = 0 keeps the lower one.
//   first level  indices are public, only d is opened (n bits); payload (1, r), r = R mod 2^n
//   others       D is opened (n + m bits); payload (1, R)
//   last level   payload (1, R, r): with [d >= 0] d too, [d >= 0] (index_a - index_b) 2^n is the
//                difference of two shared words, a multiple of 2^n, and so divided share by share:
//                C adds 1 where its low n bits are not 0. Y_b is opened beside D and its index
//                split off as share/opened.ts does it: index_b = (Y^ >> n) - (R' >> n) - M b, with
//                b = bit n - 1 of R' and M = 1 - bit n - 1 of Y^, since Y_b mod 2^n < 2^(n-1).
// Cost: ceil(log2 V) levels, one one-way latency each; a comparison takes n bits (first level) or
// n + m bits each way; V - 1 keys a row of about 32 n bytes to each party; D to S besides n + m
// bits for each pair of the first level. Reveals nothing: all that is opened is uniform.
// Source: as compare.ts; packing index and value is ours.

import { ensure } from "../errors.ts";
import { keyBytesOf } from "../kernel/function-key.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import { joinBytes, packedBytes } from "../ring/pack.ts";
import type { Place, Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { valueShareOf, wire } from "./access.ts";
import {
  type Compared,
  checkSigned,
  columnOf,
  compareMasked,
  comparisonKeys,
  interleave,
  isPositive,
  KEY_ROOT_BYTES,
  type Level,
  reordered,
  Tournament,
} from "./compare.ts";
import { type Exchange, type Gate, type GateBase, noCost, placeOf, widthOf } from "./gate.ts";

export interface Argmax extends GateBase {
  readonly kind: "argmax";
  /** V: entries of a row. */
  readonly entries: number;
  /** n: entries lie in [-2^(n-2), 2^(n-2)). */
  readonly domainBits: number;
  readonly wireName: string;
}

/** Where a level stands among a tournament's: a lone one is the last. */
type Turn = "first" | "middle" | "last";

/** Sizes that follow from a gate's description. */
class Shape {
  readonly tournament: Tournament;
  /** n. */
  readonly low: number;
  /** n + m. */
  readonly whole: number;
  /** m. */
  readonly index: number;
  readonly rows: number;
  /** Words of a row that D deals shares of r for: the first level's pairs, then the last's. */
  readonly liftedPairs: number;

  constructor(gate: Argmax, ringBits: number) {
    const { rows, entries, domainBits } = gate;
    this.rows = rows;
    this.tournament = new Tournament(new Array(rows).fill(entries), 1, 1);
    this.low = domainBits;
    this.index = widthOf(gate, ringBits);
    this.whole = domainBits + this.index;
    ensure(this.whole <= ringBits, "E_INTERNAL", "a value and its index exceed the ring");
    const { length } = this.tournament.levels;
    this.liftedPairs = (length > 1 ? entries >> 1 : 0) + (length > 0 ? 1 : 0);
  }

  get levels(): readonly Level[] {
    return this.tournament.levels;
  }

  turnOf(level: number): Turn {
    if (level === this.levels.length - 1) return "last";
    return level === 0 ? "first" : "middle";
  }

  /** What a level opens, row by row: words and their bits. */
  opened(level: number): { count: number; bits: number } {
    const { comparisons } = this.levels[level]!;
    const turn = this.turnOf(level);
    if (turn === "last") return { count: 2 * comparisons, bits: this.whole };
    return { count: comparisons, bits: turn === "first" ? this.low : this.whole };
  }

  /** Payload words of a level's keys. */
  words(level: number): number {
    return this.turnOf(level) === "last" ? 3 : 2;
  }

  /** Bytes of each level's keys, as `keyBytes` has one's. */
  keyBytes(keyBytes: (words: number) => number): number[] {
    return this.levels.map(({ comparisons }, i) => comparisons * keyBytes(this.words(i)));
  }
}

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

/** Shares of the masks' parts, beside the keys. */
interface MaskShares {
  /** r of the first and the last level, n + m bits: see Shape.liftedPairs. */
  readonly r: Words;
  /** R' >> n and bit n - 1 of R', of the opened Y_b: m bits. */
  readonly upper: Words;
  readonly b: Words;
}

function clientShares(shape: Shape, place: Place, random: Randomness): MaskShares {
  const { rows, index, whole, liftedPairs } = shape;
  return {
    r: random.words(place, "shareA", rows * liftedPairs, whole),
    upper: random.words(place, "shareB", rows, index),
    b: random.words(place, "shareC", rows, index),
  };
}

/** Bytes of a party's dealt shares. */
function shareBytes({ rows, index, whole, liftedPairs }: Shape): number {
  return packedBytes(rows * liftedPairs, whole) + 2 * packedBytes(rows, index);
}

function unpackShares(shape: Shape, ring: Ring, bytes: Uint8Array): MaskShares {
  const { rows, index, whole, liftedPairs } = shape;
  let at = 0;
  const next = (count: number, bits: number) => {
    const end = at + packedBytes(count, bits);
    const words = ring.unpack(bytes.subarray(at, end), count, bits);
    at = end;
    return words;
  };
  const shares = {
    r: next(rows * liftedPairs, whole),
    upper: next(rows, index),
    b: next(rows, index),
  };
  ensure(at === bytes.length, "E_CORRELATION", "a correlation has the wrong length");
  return shares;
}

/** One party's side of a tournament. */
interface Held extends MaskShares {
  readonly party: 0 | 1;
  readonly prg: FunctionPrg;
  /** Its part of R, [row][comparison], then of R': n + m bits. */
  readonly mask: Words;
  readonly keys: Uint8Array;
}

class Player {
  readonly #gate: Argmax;
  readonly #ring: Ring;
  readonly #shape: Shape;
  readonly #held: Held;

  constructor(gate: Argmax, ring: Ring, shape: Shape, held: Held) {
    this.#gate = gate;
    this.#ring = ring;
    this.#shape = shape;
    this.#held = held;
  }

  /** Plays the levels and gives this party's share of the index. */
  *play(share: Words): Generator<Exchange, Words, Uint8Array> {
    const ring = this.#ring;
    const shape = this.#shape;
    const { tournament, levels } = shape;
    const order = leafOrder(this.#gate.entries);
    const indices = indexWords(ring, shape.rows, order);
    const sizes = shape.keyBytes((words) =>
      ring.kernels.dcfKeyBytes({ domainBits: shape.low, words }),
    );
    let y = this.#numbered(reordered(ring, share, order), indices);
    let at = 0;
    for (const [i, level] of levels.entries()) {
      const end = at + sizes[i]!;
      const keys = this.#held.keys.subarray(at, end);
      at = end;
      const turn = shape.turnOf(i);
      const { a, b } = tournament.sides(ring, level, y);
      const mask = tournament.wordsOf(ring, level, this.#held.mask);
      const own = ring.add(ring.sub(a, b), mask);
      const sent = turn === "last" ? interleave(ring, [own, ring.add(b, this.#lastMask())]) : own;
      const { count, bits } = shape.opened(i);
      yield { send: ring.pack(sent, bits) };
      const bytes = yield { receive: packedBytes(count, bits) };
      const opened = ring.lowBits(ring.add(sent, ring.unpack(bytes, count, bits)), bits);
      const masked = turn === "last" ? columnOf(ring, opened, 2, 0) : opened;
      const found = this.#compare(masked, keys, shape.words(i));
      if (turn === "last") {
        const index = this.#indexOf(columnOf(ring, opened, 2, 1));
        return ring.add(index, this.#indexDifference(masked, found, mask));
      }
      const gain =
        turn === "first"
          ? this.#firstGain(masked, found, tournament.sides(ring, level, indices))
          : this.#gain(masked, found, mask);
      y = tournament.next(ring, level, y, ring.add(b, gain));
    }
    return ring.zeros(shape.rows); // a row of one entry
  }

  /** Shares of Y = index 2^n + x + 2^(n-2): S adds what is public. */
  #numbered(share: Words, indices: Words): Words {
    const { low } = this.#shape;
    if (this.#held.party === 0) return share;
    const lifted = this.#ring.addConstant(share, 1n << BigInt(low - 2));
    return this.#ring.addScaled(lifted, indices, 1n << BigInt(low));
  }

  /** This party's part of R', [rows]. */
  #lastMask(): Words {
    const { entries } = this.#gate;
    return block(this.#ring, this.#held.mask, entries, entries - 1, 1);
  }

  #compare(masked: Words, bytes: Uint8Array, words: number): Compared {
    const { party, prg } = this.#held;
    return compareMasked(this.#ring, this.#shape.low, masked, { party, bytes, words, prg });
  }

  /** [d >= 0] D of D modulo 2^(n+m), whole in the payload's second word. */
  #gain(masked: Words, { positive, products, low }: Compared, mask: Words): Words {
    const ring = this.#ring;
    const masks = ring.add(products[0]!, ring.mul(low, mask));
    return ring.sub(ring.mul(masked, positive), masks);
  }

  /** [d >= 0] d, lifted to n + m bits, where r is in the payload's word `at`. */
  #rectified(masked: Words, found: Compared, at: number, r: Words): Words {
    const ring = this.#ring;
    const { low } = this.#shape;
    const a = ring.lowBits(masked, low);
    const masks = ring.add(found.products[at]!, ring.mul(found.low, r));
    const d = ring.sub(ring.mul(a, found.positive), masks);
    return ring.addScaled(d, found.wrapped, 1n << BigInt(low));
  }

  /** [d >= 0] D of the first level, where the difference of the indices is public. */
  #firstGain(masked: Words, found: Compared, indices: { a: Words; b: Words }): Words {
    const ring = this.#ring;
    const { liftedPairs, low } = this.#shape;
    const r = block(ring, this.#held.r, liftedPairs, 0, liftedPairs - 1);
    const d = this.#rectified(masked, found, 0, r);
    const difference = ring.mul(found.positive, ring.sub(indices.a, indices.b));
    return ring.addScaled(d, difference, 1n << BigInt(low));
  }

  /** [d >= 0] (index_a - index_b) of the last level. */
  #indexDifference(masked: Words, found: Compared, mask: Words): Words {
    const ring = this.#ring;
    const { liftedPairs, low, whole } = this.#shape;
    const r = block(ring, this.#held.r, liftedPairs, liftedPairs - 1, 1);
    const d = this.#rectified(masked, found, 1, r);
    const multiple = ring.lowBits(ring.sub(this.#gain(masked, found, mask), d), whole);
    if (this.#held.party === 1) return ring.shiftRight(multiple, low);
    // Low parts that are not 0 add up to 2^n: rounding C's up makes the carry.
    const up = ring.lowBits(ring.addConstant(multiple, (1n << BigInt(low)) - 1n), whole);
    return ring.shiftRight(up, low);
  }

  /** Shares of the index in Y_b, of which Y^ is known. */
  #indexOf(opened: Words): Words {
    const ring = this.#ring;
    const { low } = this.#shape;
    const { party, upper, b } = this.#held;
    const sign = ring.shiftRight(ring.lowBits(opened, low), low - 1);
    const m = ring.addConstant(ring.negate(sign), 1n);
    const hidden = ring.add(upper, ring.mul(m, b));
    if (party === 0) return ring.negate(hidden);
    return ring.sub(ring.shiftRight(opened, low), hidden);
  }
}

/** The index in the clear. */
function inTheClear(gate: Argmax, ring: Ring, values: Words): Words {
  const { tournament } = new Shape(gate, ring.bits);
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

/** D's part: keys of all levels for both, and S's shares. */
function deal(
  shape: Shape,
  ring: Ring,
  place: Place,
  random: { client: Randomness; server: Randomness; own: Randomness; prg: FunctionPrg },
): { forClient: Uint8Array; forServer: Uint8Array } {
  const { tournament, levels, low, whole, rows, liftedPairs } = shape;
  const parts = [random.client, random.server].map((source) =>
    source.words(place, "mask", tournament.size, whole),
  );
  const masks = ring.lowBits(ring.add(parts[0]!, parts[1]!), whole);
  const small = ring.lowBits(masks, low);
  const roots = random.own.bytes(place, "keys", tournament.comparisons * KEY_ROOT_BYTES);
  let at = 0;
  const keys = levels.map((level, i) => {
    const end = at + level.comparisons * KEY_ROOT_BYTES;
    const how = { prg: random.prg, random: roots.subarray(at, end) };
    at = end;
    const [all, r] = [masks, small].map((words) => tournament.wordsOf(ring, level, words));
    const payload = { first: [r!], middle: [all!], last: [all!, r!] }[shape.turnOf(i)];
    return comparisonKeys(ring, low, all!, payload, how);
  });
  const c = clientShares(shape, place, random.client);
  const stride = tournament.size / rows;
  const pairs = (from: number, count: number) => block(ring, small, stride, from, count);
  const last = pairs(stride - 2, 1);
  const r = liftedPairs === 1 ? last : sideBySide(ring, [pairs(0, liftedPairs - 1), last], rows);
  const extra = block(ring, masks, stride, stride - 1, 1);
  const b = ring.shiftRight(ring.lowBits(extra, low), low - 1);
  const shares = [
    ring.pack(ring.sub(r, c.r), whole),
    ring.pack(ring.sub(ring.shiftRight(extra, low), c.upper), shape.index),
    ring.pack(ring.sub(b, c.b), shape.index),
  ];
  return {
    forClient: joinBytes(keys.map(([client]) => client)),
    forServer: joinBytes([...keys.map(([, server]) => server), ...shares]),
  };
}

/** Rows of several blocks: the first block's words, then the next one's. */
function sideBySide(ring: Ring, blocks: readonly Words[], rows: number): Words {
  const out = ring.words(blocks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (let row = 0; row < rows; row++) {
    for (const words of blocks) {
      const count = words.length / rows;
      out.set(words.subarray(row * count, (row + 1) * count), at);
      at += count;
    }
  }
  return out;
}

const nothing = new Uint8Array(0);

export const argmax: Gate<Argmax> = {
  reference(gate, context) {
    const { values } = wire(context, gate.inputs[0]!);
    context.wires.set(gate.output, { values: inTheClear(gate, context.ring, values) });
  },
  deal(gate, context) {
    const { ring, client, server, own, functionPrg: prg } = context;
    context.wires.set(gate.output, { form: "shared" });
    if (gate.entries === 1) return;
    const shape = new Shape(gate, ring.bits);
    const dealt = deal(shape, ring, placeOf(gate, context), { client, server, own, prg });
    context.toClient(gate, dealt.forClient);
    context.toServer(gate, dealt.forServer);
  },
  prepare() {},
  *client(gate, context) {
    const { ring } = context;
    const place = placeOf(gate, context);
    const shape = new Shape(gate, ring.bits);
    const keys = gate.entries === 1 ? nothing : context.fromDealer(gate);
    const mask = context.client.words(place, "mask", shape.tournament.size, shape.whole);
    const shares = clientShares(shape, place, context.client);
    const held = { ...shares, party: 0, prg: context.functionPrg, mask, keys } as const;
    const player = new Player(gate, ring, shape, held);
    const share = yield* player.play(valueShareOf(context, gate.inputs[0]!, false));
    context.wires.set(gate.output, { form: "shared", share });
  },
  *server(gate, context) {
    const { ring } = context;
    const place = placeOf(gate, context);
    const shape = new Shape(gate, ring.bits);
    const mask = context.server.words(place, "mask", shape.tournament.size, shape.whole);
    let held: Held = {
      ...{ party: 1, prg: context.functionPrg, mask, keys: nothing },
      ...{ r: mask, upper: mask, b: mask },
    };
    if (gate.entries > 1) {
      const dealt = context.fromDealer(gate);
      const split = dealt.length - shareBytes(shape);
      const shares = unpackShares(shape, ring, dealt.subarray(split));
      held = { ...held, ...shares, keys: dealt.subarray(0, split) };
    }
    const player = new Player(gate, ring, shape, held);
    const share = yield* player.play(valueShareOf(context, gate.inputs[0]!, true));
    context.wires.set(gate.output, { form: "shared", share });
  },
  cost(gate, ringBits) {
    if (gate.entries === 1) return noCost;
    const shape = new Shape(gate, ringBits);
    const sizes = shape.keyBytes((words) =>
      keyBytesOf("dcf", { domainBits: gate.domainBits, words }),
    );
    const keys = sizes.reduce((sum, size) => sum + size, 0);
    return {
      ...noCost,
      online: shape.levels.flatMap((_, i) => {
        const { count, bits } = shape.opened(i);
        const bytes = packedBytes(count, bits);
        return [
          { from: "client" as const, bytes },
          { from: "server" as const, bytes },
        ];
      }),
      crossed: true,
      dealerToServer: keys + shareBytes(shape),
      dealerToClient: keys,
    };
  },
};
