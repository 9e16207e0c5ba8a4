// A piecewise polynomial of an opened wire, entry by entry and locally. With u = domainBits, at
// most those of the opened word, both parties know a = y + r1 mod 2^u, D knows r1. Let v = y -
// least, 0 <= v < 2^u, A = a - least mod 2^u, so v = A - r1, or A + 2^u - r1 where r1 > A (it
// wrapped). D deals one DCF key an entry for F(x) = [r1 > x] (1, r1, .., r1^d). For knot a_k let
// x_k = (A - a_k) mod 2^u. F(x_k) decides whether v lies at or above the knot, and in every case in
// which it is not certain,
//   v - a_k = x_k - r1,
// whether v wrapped or not. So with D_k the polynomial of the piece before the knot less that of
// the piece after it, in v - a_k, and D_0 that of the last piece less that of the first,
//   f(v) = p_0(A - r1) + sum over k of (F(x_k) - [k > 0 and a_k <= A]) D_k(x_k - r1),
// and each D_k(x - r1) is a sum of r1^j times a polynomial in the public x.
//
// Coarse tables: all knots are multiples of 2^e (blockBits). D takes rho, 0 <= rho < 2^e, from both
// parties' seeds, and puts v + rho and r' = r1 - rho mod 2^u in the place of v and r1: their sum is
// A as well. The key is for floor(r' / 2^e), over u - e bits, its words are powers of r' + rho, and
// F is taken at floor(x_k / 2^e). The piece is then that of the block
//   s = floor(A / 2^e) - floor(r' / 2^e) mod 2^(u - e) = floor((v + rho + c) / 2^e),
// c = 2^e - 1 - (A mod 2^e): a public shift and a dither that nobody knows. So pieces are fitted
// from 2^(e+1) - 2 below their knot on, and v is at most 2^u - 2^(e+1). Keys and walks are shorter
// by e levels, and neighbouring knots share most of a walk. Without rho whoever knows A and, in the
// end, the result would learn how v mod 2^e compares with A mod 2^e. The fixed run takes r1 and rho
// from the parties' randomness, as it takes dither, or is without both.
// Cost: no message; D to both a key of about (16 + 8 (d + 1)) (u - e) bytes an entry, D to S d
// words.
// Reveals nothing: keys hide r1, and shares of its powers are uniform.
// Source: spline gate of Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee (EUROCRYPT 2021);
// wrap by x_k: docs/protocol.md.

import { ensure } from "../errors.ts";
import { keyBytesOf } from "../kernel/function-key.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import { packedBytes } from "../ring/pack.ts";
import type { Place, Purpose, Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { openedOf, wire } from "./access.ts";
import {
  type Gate,
  type GateBase,
  local,
  noCost,
  type OnlineClientContext,
  placeOf,
  type ServerContext,
  widthOf,
} from "./gate.ts";

/** On a_k <= v < a_(k+1): the sum over j of coefficients[k][j] (v - a_k)^j. */
export interface PiecewiseTable {
  /** u: the argument's bits, no more than those with which its wire was opened. */
  readonly domainBits: number;
  /** e: all knots are multiples of 2^e, and pieces hold from 2^(e+1) - 2 below theirs on. */
  readonly blockBits: number;
  /** The least argument: v = y - least, at most `topOf` the table. */
  readonly least: bigint;
  /** Bits after the point of the value. */
  readonly fracBits: number;
  /** 0 = a_0 < a_1 < .. < 2^u. */
  readonly knots: readonly bigint[];
  /** [pieces][degree + 1], all of one degree, 1 to 3. */
  readonly coefficients: readonly (readonly bigint[])[];
}

export interface Piecewise extends GateBase {
  readonly kind: "piecewise";
  readonly table: PiecewiseTable;
  readonly wireName: string;
}

const ROOT_BYTES = 32;
const powerPurposes = ["shareA", "shareB", "shareC"] as const satisfies readonly Purpose[];

const sizeOf = (gate: Piecewise) => gate.rows * gate.columns;
export const degreeOf = (table: PiecewiseTable) => table.coefficients[0]!.length - 1;

const shapeOf = (table: PiecewiseTable) => ({
  domainBits: table.domainBits - table.blockBits,
  words: degreeOf(table) + 1,
});

/** Bytes of one party's key for one entry. */
export function piecewiseKeyBytes(table: PiecewiseTable): number {
  return keyBytesOf("dcf", shapeOf(table));
}

/** The greatest v. */
export function topOf({
  domainBits,
  blockBits,
}: Pick<PiecewiseTable, "domainBits" | "blockBits">): bigint {
  return (1n << BigInt(domainBits)) - (blockBits > 0 ? 2n << BigInt(blockBits) : 1n);
}

/** What decides on the block of an argument: r1 of its wire, and rho. */
export interface Dither {
  readonly r1: bigint;
  readonly rho: bigint;
}

/** The value at v, 0 <= v <= topOf(table). */
export function inTheClear(
  table: PiecewiseTable,
  v: bigint,
  { r1, rho }: Dither = { r1: 0n, rho: 0n },
): bigint {
  const { knots, coefficients, domainBits, blockBits } = table;
  const e = BigInt(blockBits);
  const a = BigInt.asUintN(domainBits, v + r1);
  const r = BigInt.asUintN(domainBits, r1 - rho);
  const block = BigInt.asUintN(domainBits - blockBits, (a >> e) - (r >> e)) << e;
  let [low, high] = [0, knots.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (knots[middle]! <= block) low = middle;
    else high = middle - 1;
  }
  const x = v - knots[low]!;
  return coefficients[low]!.reduceRight((sum, c) => sum * x + c, 0n);
}

// ---- the table's layout ------------------------------------------------------------------------

/** Coefficients of p(x + step). */
function moved(p: readonly bigint[], step: bigint): bigint[] {
  const out = p.slice();
  for (let i = 0; i < p.length; i++) {
    for (let j = p.length - 2; j >= i; j--) out[j]! += out[j + 1]! * step;
  }
  return out;
}

function binomial(n: number, k: number): bigint {
  let out = 1n;
  for (let i = 0; i < k; i++) out = (out * BigInt(n - i)) / BigInt(i + 1);
  return out;
}

/**
 * p(x - r) as a sum over j of r^j g_j(x): the coefficient of x^i in g_j stands at [i][j]. All j
 * have d + 1 powers of x, most of them zero for large j.
 */
function inPowersOfMask(p: readonly bigint[]): bigint[][] {
  return p.map((_, i) =>
    p.map((_, j) => {
      if (i + j >= p.length) return 0n;
      const term = p[i + j]! * binomial(i + j, j);
      return j % 2 === 0 ? term : -term;
    }),
  );
}

interface Layout {
  /** -a_k mod 2^u, [K]. */
  readonly offsets: Words;
  /** Coefficients of x^i of the factors of F, [K, d + 1], by i from 0 to d. */
  readonly coefficients: readonly Words[];
  /** The same of p_0, [d + 1] each. */
  readonly first: readonly Words[];
}

const layouts = new WeakMap<PiecewiseTable, Layout>();

function layoutOf(table: PiecewiseTable): Layout {
  const known = layouts.get(table);
  if (known) return known;
  const { knots, coefficients, domainBits } = table;
  const last = knots.length - 1;
  const differences = knots.map((knot, k) => {
    const before = k === 0 ? last : k - 1;
    const step = k === 0 ? (1n << BigInt(domainBits)) - knots[last]! : knot - knots[before]!;
    return moved(coefficients[before]!, step).map((c, j) => c - coefficients[k]![j]!);
  });
  const factors = differences.map(inPowersOfMask);
  const words = (values: readonly bigint[]) =>
    BigUint64Array.from(values, (value) => BigInt.asUintN(64, value));
  const made: Layout = {
    offsets: words(knots.map((knot) => BigInt.asUintN(domainBits, -knot))),
    coefficients: coefficients[0]!.map((_, i) => words(factors.flatMap((factor) => factor[i]!))),
    first: inPowersOfMask(coefficients[0]!).map(words),
  };
  layouts.set(table, made);
  return made;
}

// ---- evaluation --------------------------------------------------------------------------------

interface Keys {
  readonly party: 0 | 1;
  readonly keys: Uint8Array;
  /** Shares of r1, r1^2, .. [size] each. */
  readonly powers: readonly Words[];
  readonly prg: FunctionPrg;
}

function run(gate: Piecewise, context: OnlineClientContext | ServerContext, keys: Keys): void {
  const { ring } = context;
  const { table } = gate;
  const opened = openedOf(context as OnlineClientContext, gate.inputs[0]!);
  ensure(opened.upperBits >= table.domainBits, "E_INTERNAL", "opened with fewer bits");
  const a = ring.lowBits(ring.addConstant(opened.a, -table.least), table.domainBits);
  const share = ring.words(sizeOf(gate));
  const { domainBits, blockBits } = table;
  ring.kernels.piecewise({ ...keys, ...layoutOf(table), domainBits, blockBits, a, out: share });
  context.wires.set(gate.output, { form: "shared", share: ring.reduce(share) });
}

/** rho, of both parties' randomness: neither knows it. */
function dither(
  gate: Piecewise,
  context: { readonly segment: number; readonly ring: Ring },
  { client, server }: { readonly client: Randomness; readonly server: Randomness },
): Words {
  const { ring } = context;
  const { blockBits } = gate.table;
  const place = placeOf(gate, context);
  const parts = [client, server].map((of) => of.words(place, "mask", sizeOf(gate), blockBits));
  return ring.lowBits(ring.add(parts[0]!, parts[1]!), blockBits);
}

function clientPowers(gate: Piecewise, random: Randomness, place: Place, bits: number): Words[] {
  const degree = degreeOf(gate.table);
  return powerPurposes
    .slice(0, degree)
    .map((purpose) => random.words(place, purpose, sizeOf(gate), bits));
}

export const piecewise: Gate<Piecewise> = {
  reference(gate, context) {
    const { ring } = context;
    const { table } = gate;
    const top = topOf(table);
    const opened = wire(context, gate.inputs[0]!);
    const masks = table.blockBits > 0 ? opened.r1?.() : undefined;
    const rho = masks && context.parties ? dither(gate, context, context.parties) : undefined;
    const values = opened.values.map((word, i) => {
      const v = ring.signed(word) - table.least;
      ensure(v >= 0n && v <= top, "E_RANGE", `wire ${gate.wireName} left its bound`);
      const by = masks && rho ? { r1: masks[i]!, rho: rho[i]! } : undefined;
      return ring.residue(inTheClear(table, v, by));
    });
    context.wires.set(gate.output, { values });
  },
  deal(gate, context) {
    const { ring } = context;
    const place = placeOf(gate, context);
    const { table } = gate;
    const opened = wire(context, gate.inputs[0]!);
    const fits = opened.form === "opened" && opened.upperBits >= table.domainBits;
    ensure(fits, "E_INTERNAL", "a piecewise polynomial takes an opened wire of its domain's bits");
    const degree = degreeOf(table);
    const size = sizeOf(gate);
    const { domainBits, blockBits } = table;
    const rho = blockBits > 0 ? dither(gate, context, context) : ring.zeros(size);
    const r = ring.lowBits(ring.sub(opened.r1, rho), domainBits);
    const powers = [ring.add(r, rho)];
    while (powers.length < degree) powers.push(ring.mul(powers.at(-1)!, powers[0]!));
    const [forClient, forServer] = ring.kernels.dcfGenerateMany({
      ...shapeOf(table),
      prg: context.functionPrg,
      alphas: ring.shiftRight(r, blockBits),
      payloads: ring.interleave([new BigUint64Array(size).fill(1n), ...powers]),
      random: context.own.bytes(place, "keys", size * ROOT_BYTES),
      room: context.room,
    });
    const bits = widthOf(gate, ring.bits);
    const client = clientPowers(gate, context.client, place, bits);
    const shares = powers.map((power, j) => ring.pack(ring.sub(power, client[j]!), bits));
    context.toClient(gate, forClient);
    context.toServer(gate, forServer, ...shares);
    context.wires.set(gate.output, { form: "shared" });
  },
  prepare() {},
  client: (gate, context) =>
    local(() => {
      const { ring, functionPrg: prg } = context;
      const bits = widthOf(gate, ring.bits);
      const powers = clientPowers(gate, context.client, placeOf(gate, context), bits);
      run(gate, context, { party: 0, keys: context.fromDealer(gate), powers, prg });
    }),
  server: (gate, context) =>
    local(() => {
      const { ring, functionPrg: prg } = context;
      const bits = widthOf(gate, ring.bits);
      const size = sizeOf(gate);
      const dealt = context.fromDealer(gate);
      const keysEnd = size * ring.kernels.dcfKeyBytes(shapeOf(gate.table));
      const step = packedBytes(size, bits);
      const powers = Array.from({ length: degreeOf(gate.table) }, (_, j) => {
        const at = keysEnd + j * step;
        return ring.unpack(dealt.subarray(at, at + step), size, bits);
      });
      run(gate, context, { party: 1, keys: dealt.subarray(0, keysEnd), powers, prg });
    }),
  cost(gate, ringBits) {
    const keys = sizeOf(gate) * piecewiseKeyBytes(gate.table);
    const powers = degreeOf(gate.table) * packedBytes(sizeOf(gate), widthOf(gate, ringBits));
    return { ...noCost, dealerToServer: keys + powers, dealerToClient: keys };
  },
};
