// A piecewise linear function of one word a row, evaluated under a mask. V is shared,
// 0 <= V < 2^(domainBits + shift); v = (V + (r mod 2^shift)) >> shift is its truncation. Both
// parties learn V^ = V + r; with A = V^ >> shift mod 2^domainBits and rn = r >> shift likewise,
//   v = A - rn, or A - rn + 2^domainBits where rn > A (it wrapped).
// D deals one DCF key a row for F(x) = [rn > x] (1, rn). v lies at or above knot a exactly if
// rn <= A - a (not wrapped) or rn <= A + 2^domainBits - a (wrapped), so one evaluation of F a
// knot, at (A - a) mod 2^domainBits, gives shares of every segment's indicator, times 1 and rn,
// and with them of c0 + c1 v, locally.
// C learns V^ first and answers with its own part at once, so its next gate rides along.
// Cost: one word S to C and one C to S a row; a key of about (16 + 16) domainBits bytes to each.
// Reveals nothing with shift 0, as all plans have it: V^ is uniform and the result is shared. With
// a shift, V^ and an opened result together would tell how V's low bits were rounded.
// Source: Boyle, Chandran, Gilboa,
// Gupta, Ishai, Kumar, Rathee (EUROCRYPT 2021), spline gate; wrap by a second indicator set:
// docs/protocol.md.

import { ensure } from "../errors.ts";
import { keyLayout } from "../kernel/function-key.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import { packedBytes } from "../ring/pack.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { shareOf, wire } from "./access.ts";
import { type FixedContext, type Gate, type GateBase, noCost, placeOf, widthOf } from "./gate.ts";

/** Knots 0 = a_0 < a_1 < ... < 2^domainBits; c0[k] + c1[k] v holds on a_k <= v < a_(k+1). */
export interface SplineTable {
  readonly shift: number;
  readonly domainBits: number;
  /** Bits after the point of the function's value. */
  readonly fracBits: number;
  readonly knots: readonly bigint[];
  readonly c0: readonly bigint[];
  readonly c1: readonly bigint[];
}

export interface Spline extends GateBase {
  readonly kind: "spline";
  readonly table: SplineTable;
  readonly wireName: string;
}

const PAYLOAD_WORDS = 2;
const ROOT_BYTES = 32;

/** c0 + c1 v of the segment that holds v. */
function inTheClear(table: SplineTable, v: bigint): bigint {
  let k = 0;
  while (k + 1 < table.knots.length && v >= table.knots[k + 1]!) k++;
  return table.c0[k]! + table.c1[k]! * v;
}

/** Bits of V, and of V^, that matter. */
export const argumentBits = ({ table }: Spline, ringBits: number) =>
  Math.min(ringBits, table.shift + table.domainBits);

function dither(gate: Spline, context: FixedContext): Words {
  const { ring, parties } = context;
  const { shift } = gate.table;
  const half = shift === 0 ? 0n : 1n << BigInt(shift - 1);
  if (!parties) return new BigUint64Array(gate.rows).fill(half);
  const place = placeOf(gate, context);
  const bits = argumentBits(gate, ring.bits);
  const own = parties.client.words(place, "mask", gate.rows, bits);
  const other = parties.server.words(place, "mask", gate.rows, bits);
  return ring.lowBits(ring.add(own, other), shift);
}

/** rn: what of the mask the truncated argument sees. */
function truncatedMask(ring: Ring, table: SplineTable, r: Words): Words {
  return ring.lowBits(ring.shiftRight(r, table.shift), table.domainBits);
}

/**
 * What is public about the spline, laid out so that every row is a run of it. A row with n knots
 * at or below A takes the entries n .. n + K - 1 of 2K: knots n .. K - 1 as wrapped (A < knot),
 * then knots 0 .. n - 1 as plain; so the points A - knot fall from entry to entry and share the
 * prefixes that they can. The row's value is, with both shares of F at entry e,
 *   sum over e of (base_e + slope_e A) [..] - slope_e [..] rn, and the last term of evaluateRows.
 */
interface SplineRun {
  /** -knot_k mod 2^domainBits, [2K]. */
  readonly offsets: Words;
  /** Factors of the two words of F: [2K, 2]. */
  readonly base: Words;
  readonly slope: Words;
}

function layOut(table: SplineTable): SplineRun {
  const { knots, c0, c1, domainBits } = table;
  const count = knots.length;
  const domain = 1n << BigInt(domainBits);
  const run = {
    offsets: new BigUint64Array(2 * count),
    base: new BigUint64Array(4 * count),
    slope: new BigUint64Array(4 * count),
  };
  for (let e = 0; e < 2 * count; e++) {
    const k = e % count;
    const wrapped = e < count;
    const before = (k + count - 1) % count;
    // The indicator of the segment before the knot gains what that of the knot's loses.
    const slope = c1[before]! - c1[k]!;
    let base = c0[before]! - c0[k]!;
    if (wrapped) base += slope * domain;
    else if (k === 0) base += c1[before]! * domain; // the last segment ends wrapped, at 2^n = a_0
    run.offsets[e] = BigInt.asUintN(domainBits, -knots[k]!);
    run.base.set([BigInt.asUintN(64, base), BigInt.asUintN(64, -slope)], 2 * e);
    run.slope[2 * e] = BigInt.asUintN(64, slope);
  }
  return run;
}

/** Layouts by table: all tokens of a plan share a layer's table. */
const layouts = new WeakMap<SplineTable, SplineRun>();

function layoutOf(table: SplineTable): SplineRun {
  const known = layouts.get(table);
  if (known) return known;
  const made = layOut(table);
  layouts.set(table, made);
  return made;
}

/** How many knots lie at or below a: at least one, since the first is 0. */
function knotsUpTo(knots: readonly bigint[], a: bigint): number {
  let [low, high] = [1, knots.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (knots[middle - 1]! <= a) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** One party's share of the spline at every row, given the public V^. */
function evaluateRows(
  gate: Spline,
  ring: Ring,
  masked: Words,
  keys: { party: 0 | 1; bytes: Uint8Array; rn: Words; prg: FunctionPrg },
): Words {
  const { table, rows } = gate;
  const { knots, domainBits } = table;
  const { party, rn } = keys;
  const { kernels } = ring;
  const count = knots.length;
  const run = layoutOf(table);
  const a = ring.lowBits(ring.shiftRight(masked, table.shift), domainBits);
  const offsets = ring.words(rows * count);
  const factors = ring.words(rows * count * PAYLOAD_WORDS);
  const slopes = ring.words(factors.length);
  // The indicator of the segment that holds A ends at a knot where F counts as 1 without a key.
  const ends = ring.words(rows);
  for (let row = 0; row < rows; row++) {
    const word = a[row]!;
    const plain = knotsUpTo(knots, word);
    offsets.set(run.offsets.subarray(plain, plain + count), row * count);
    factors.set(run.base.subarray(2 * plain, 2 * (plain + count)), 2 * row * count);
    slopes.set(run.slope.subarray(2 * plain, 2 * (plain + count)), 2 * row * count);
    const [c0, c1] = [table.c0[plain - 1]!, table.c1[plain - 1]!];
    ends[row] = BigInt.asUintN(64, (party === 1 ? c0 + c1 * word : 0n) - c1 * rn[row]!);
  }
  const points = ring.words(rows * count);
  kernels.add(points, offsets, ring.spread(a, count));
  kernels.lowBits(points, points, domainBits);
  const out = ring.words(factors.length);
  const shape = { domainBits, words: PAYLOAD_WORDS, prg: keys.prg };
  kernels.dcfEvaluateMany({ ...shape, party, keys: keys.bytes, points, out });
  kernels.mul(slopes, slopes, ring.spread(a, PAYLOAD_WORDS * count));
  kernels.add(factors, factors, slopes);
  kernels.mul(factors, factors, out);
  return ring.add(ring.sumRows(factors, PAYLOAD_WORDS * count), ends);
}

/** V_party + r_party, and the part of the other that comes in bytes. */
class MaskedArgument {
  readonly #ring: Ring;
  readonly #bits: number;
  readonly #own: Words;

  constructor(gate: Spline, ring: Ring, { share, mask }: { share: Words; mask: Words }) {
    this.#ring = ring;
    this.#bits = argumentBits(gate, ring.bits);
    this.#own = ring.add(share, mask);
  }

  get packed(): Uint8Array {
    return this.#ring.pack(this.#own, this.#bits);
  }

  /** V^. */
  with(bytes: Uint8Array): Words {
    return this.#ring.add(this.#own, this.#ring.unpack(bytes, this.#own.length, this.#bits));
  }
}

export const spline: Gate<Spline> = {
  reference(gate, context) {
    const { ring } = context;
    const { table } = gate;
    const dithered = ring.add(wire(context, gate.inputs[0]!).values, dither(gate, context));
    const values = dithered.map((word) => {
      const v = ring.signed(word) >> BigInt(table.shift);
      const inside = v >= 0n && v < 1n << BigInt(table.domainBits);
      ensure(inside, "E_RANGE", `wire ${gate.wireName} left its bound`);
      return ring.residue(inTheClear(table, v));
    });
    context.wires.set(gate.output, { values });
  },
  deal(gate, context) {
    const { ring } = context;
    const place = placeOf(gate, context);
    const { rows, table } = gate;
    const r = ring.add(
      context.client.words(place, "mask", rows, argumentBits(gate, ring.bits)),
      context.server.words(place, "mask", rows, argumentBits(gate, ring.bits)),
    );
    const rn = truncatedMask(ring, table, r);
    const roots = context.own.bytes(place, "keys", rows * ROOT_BYTES);
    const payloads = ring.spread(rn, PAYLOAD_WORDS); // (1, rn) each
    for (let row = 0; row < rows; row++) payloads[PAYLOAD_WORDS * row] = 1n;
    const [forClient, second] = ring.kernels.dcfGenerateMany({
      domainBits: table.domainBits,
      words: PAYLOAD_WORDS,
      prg: context.functionPrg,
      alphas: rn,
      payloads,
      random: roots,
    });
    const bits = widthOf(gate, ring.bits);
    const share = ring.sub(rn, context.client.words(place, "shareA", rows, bits));
    context.toClient(gate, forClient);
    context.toServer(gate, second, ring.pack(share, bits));
    context.wires.set(gate.output, { form: "shared" });
  },
  prepare() {},
  *client(gate, context) {
    const { ring } = context;
    const place = placeOf(gate, context);
    const bits = argumentBits(gate, ring.bits);
    const mask = context.client.words(place, "mask", gate.rows, bits);
    const own = new MaskedArgument(gate, ring, { share: shareOf(context, gate.inputs[0]!), mask });
    const masked = own.with(yield { receive: packedBytes(gate.rows, bits) });
    yield { send: own.packed };
    const keys = {
      party: 0 as const,
      bytes: context.fromDealer(gate),
      rn: context.client.words(place, "shareA", gate.rows, widthOf(gate, ring.bits)),
      prg: context.functionPrg,
    };
    const share = evaluateRows(gate, ring, masked, keys);
    context.wires.set(gate.output, { form: "shared", share });
  },
  *server(gate, context) {
    const { ring } = context;
    const bits = argumentBits(gate, ring.bits);
    const mask = context.server.words(placeOf(gate, context), "mask", gate.rows, bits);
    const own = new MaskedArgument(gate, ring, { share: shareOf(context, gate.inputs[0]!), mask });
    yield { send: own.packed };
    const masked = own.with(yield { receive: packedBytes(gate.rows, bits) });
    const dealt = context.fromDealer(gate);
    const width = widthOf(gate, ring.bits);
    const split = dealt.length - packedBytes(gate.rows, width);
    const rn = ring.unpack(dealt.subarray(split), gate.rows, width);
    const prg = context.functionPrg;
    const keys = { party: 1 as const, bytes: dealt.subarray(0, split), rn, prg };
    const share = evaluateRows(gate, ring, masked, keys);
    context.wires.set(gate.output, { form: "shared", share });
  },
  cost(gate, ringBits) {
    const word = packedBytes(gate.rows, argumentBits(gate, ringBits));
    const share = packedBytes(gate.rows, widthOf(gate, ringBits));
    const keys = gate.rows * keyLayout("dcf", gate.table.domainBits, PAYLOAD_WORDS).keyBytes;
    return {
      ...noCost,
      online: [
        { from: "server", bytes: word },
        { from: "client", bytes: word },
      ],
      dealerToServer: keys + share,
      dealerToClient: keys,
    };
  },
};
