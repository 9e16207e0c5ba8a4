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
// Reveals nothing: V^ is uniform. Source: Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee
// (EUROCRYPT 2021), spline gate; wrap by a second indicator set: docs/protocol.md.

import { ensure } from "../errors.ts";
import { keyLayout } from "../kernel/function-key.ts";
import { pack, packedBytes, unpack } from "../ring/pack.ts";
import type { Place } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { shareOf, wire } from "./access.ts";
import {
  type ClientContext,
  type FixedContext,
  type Gate,
  type GateBase,
  noCost,
  placeOf,
  type ServerContext,
} from "./gate.ts";

/** Knots 0 = a_0 < a_1 < ... < 2^domainBits; c0[k] + c1[k] v holds on a_k <= v < a_(k+1). */
export interface SplineTable {
  readonly shift: number;
  readonly domainBits: number;
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

function dither(gate: Spline, context: FixedContext): Words {
  const { ring, parties } = context;
  const { shift } = gate.table;
  const half = shift === 0 ? 0n : 1n << BigInt(shift - 1);
  if (!parties) return new BigUint64Array(gate.rows).fill(half);
  const place = placeOf(gate, context);
  const own = parties.client.words(place, "mask", gate.rows, ring.bits);
  const other = parties.server.words(place, "mask", gate.rows, ring.bits);
  return ring.lowBits(ring.add(own, other), shift);
}

/** rn: what of the mask the truncated argument sees. */
function truncatedMask(ring: Ring, table: SplineTable, r: Words): Words {
  return ring.lowBits(ring.shiftRight(r, table.shift), table.domainBits);
}

/** One party's view of F at every knot of one row. */
interface RowKey {
  readonly party: 0 | 1;
  readonly key: Uint8Array;
  /** Share of rn. */
  readonly rn: bigint;
}

/** Share of the spline at one row, given the public A. */
function evaluateRow(ring: Ring, table: SplineTable, row: RowKey, a: bigint): bigint {
  const { knots, domainBits } = table;
  const domain = 1n << BigInt(domainBits);
  const points = BigUint64Array.from(knots, (knot) => (a - knot) & (domain - 1n));
  const out = new BigUint64Array(points.length * PAYLOAD_WORDS);
  const { party, key } = row;
  ring.kernels.dcfEvaluate({ party, key, domainBits, words: PAYLOAD_WORDS, points, out });
  const always: readonly [bigint, bigint] = [party === 1 ? 1n : 0n, row.rn];
  const never: readonly [bigint, bigint] = [0n, 0n];
  // [rn > A - a] and [rn > A + 2^n - a] at knot k; the end of the domain stands as one more knot.
  const plainAt = (k: number) => {
    if (k === knots.length || a < knots[k]!) return always;
    return [out[2 * k]!, out[2 * k + 1]!] as const;
  };
  const wrappedAt = (k: number) => {
    if (k === knots.length) return [out[0]!, out[1]!] as const; // A + 2^n - 2^n = A - a_0
    if (a >= knots[k]!) return never;
    return [out[2 * k]!, out[2 * k + 1]!] as const;
  };
  let sum = 0n;
  for (let k = 0; k < knots.length; k++) {
    const c0 = table.c0[k]!;
    const c1 = table.c1[k]!;
    const [plainLow, plainHigh] = [plainAt(k), plainAt(k + 1)];
    const [wrapLow, wrapHigh] = [wrappedAt(k), wrappedAt(k + 1)];
    sum += (c0 + c1 * a) * (plainHigh[0] - plainLow[0]) - c1 * (plainHigh[1] - plainLow[1]);
    sum += (c0 + c1 * (a + domain)) * (wrapHigh[0] - wrapLow[0]);
    sum -= c1 * (wrapHigh[1] - wrapLow[1]);
  }
  return ring.residue(sum);
}

function evaluateRows(
  gate: Spline,
  ring: Ring,
  masked: Words,
  keys: { party: 0 | 1; bytes: Uint8Array; rn: Words },
): Words {
  const { table } = gate;
  const size = keys.bytes.length / gate.rows;
  const a = ring.lowBits(ring.shiftRight(masked, table.shift), table.domainBits);
  return a.map((word, row) => {
    const key = keys.bytes.subarray(row * size, (row + 1) * size);
    return evaluateRow(ring, table, { party: keys.party, key, rn: keys.rn[row]! }, word);
  });
}

const rnShare = (context: ClientContext, place: Place, rows: number): Words =>
  context.random.words(place, "shareA", rows, context.ring.bits);

/** V_party + r_party. */
function maskedPart(gate: Spline, context: ClientContext | ServerContext): Words {
  const { ring } = context;
  const mask = context.random.words(placeOf(gate, context), "mask", gate.rows, ring.bits);
  return ring.add(shareOf(context as ClientContext, gate.inputs[0]!), mask);
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
      context.client.words(place, "mask", rows, ring.bits),
      context.server.words(place, "mask", rows, ring.bits),
    );
    const rn = truncatedMask(ring, table, r);
    const roots = context.own.bytes(place, "keys", rows * ROOT_BYTES);
    const { domainBits } = table;
    const size = ring.kernels.dcfKeyBytes({ domainBits, words: PAYLOAD_WORDS });
    const forClient = new Uint8Array(rows * size);
    const share = ring.sub(rn, context.client.words(place, "shareA", rows, ring.bits));
    const forServer = new Uint8Array(rows * size + packedBytes(rows, ring.bits));
    for (let row = 0; row < rows; row++) {
      const [first, second] = ring.kernels.dcfGenerate({
        domainBits,
        alpha: rn[row]!,
        payload: BigUint64Array.of(1n, rn[row]!),
        random: roots.subarray(row * ROOT_BYTES, (row + 1) * ROOT_BYTES),
      });
      forClient.set(first, row * size);
      forServer.set(second, row * size);
    }
    forServer.set(pack(share, ring.bits), rows * size);
    context.toClient(gate, forClient);
    context.toServer(gate, forServer);
    context.wires.set(gate.output, { form: "shared" });
  },
  prepare() {},
  *client(gate, context) {
    const { ring } = context;
    const own = maskedPart(gate, context);
    const bytes = yield { receive: packedBytes(gate.rows, ring.bits) };
    const masked = ring.add(own, unpack(bytes, gate.rows, ring.bits));
    yield { send: pack(own, ring.bits) };
    const keys = {
      party: 0 as const,
      bytes: context.fromDealer(gate),
      rn: rnShare(context, placeOf(gate, context), gate.rows),
    };
    const share = evaluateRows(gate, ring, masked, keys);
    context.wires.set(gate.output, { form: "shared", share });
  },
  *server(gate, context) {
    const { ring } = context;
    const own = maskedPart(gate, context);
    yield { send: pack(own, ring.bits) };
    const bytes = yield { receive: packedBytes(gate.rows, ring.bits) };
    const masked = ring.add(own, unpack(bytes, gate.rows, ring.bits));
    const dealt = context.fromDealer(gate);
    const split = dealt.length - packedBytes(gate.rows, ring.bits);
    const rn = unpack(dealt.subarray(split), gate.rows, ring.bits);
    const keys = { party: 1 as const, bytes: dealt.subarray(0, split), rn };
    const share = evaluateRows(gate, ring, masked, keys);
    context.wires.set(gate.output, { form: "shared", share });
  },
  cost(gate, ringBits) {
    const word = packedBytes(gate.rows, ringBits);
    const keys = gate.rows * keyLayout("dcf", gate.table.domainBits, PAYLOAD_WORDS).keyBytes;
    return {
      ...noCost,
      online: [
        { from: "server", bytes: word },
        { from: "client", bytes: word },
      ],
      dealerToServer: keys + word,
      dealerToClient: keys,
    };
  },
};
