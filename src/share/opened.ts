// The algebra of a wire opened with exact truncation (DESIGN of the protocol: docs/protocol.md,
// "Open with exact truncation"). All functions are local: no message, no randomness.

import { byParts, type Part } from "../ring/parts.ts";
import type { Ring, Words } from "../ring/ring.ts";
import type { OpenedWire } from "./wires.ts";

/** The constant part of t, of `bits` bits: |z| < 2^(bits-2) becomes t = z + r + 2^(bits-2). */
export function offset(bits: number): bigint {
  return 1n << BigInt(bits - 2);
}

/** a and m of an opened wire from the upper bits of t, [n] words of `upperBits`. */
export function fromUpper(ring: Ring, upper: Words, upperBits: number): { a: Words; m: Words } {
  const a = ring.addConstant(upper, -(1n << BigInt(upperBits - 2)));
  const msb = ring.shiftRight(upper, upperBits - 1);
  const m = ring.addConstant(ring.negate(msb), 1n);
  return { a, m };
}

/** Bits of a share of b that matter to y modulo 2^bits. */
export const liftBits = (bits: number, upperBits: number) => Math.max(0, bits - upperBits);

/** Bits of a share of b r1 that matter to y^2 modulo 2^bits. */
export const crossBits = (bits: number, upperBits: number) => Math.max(0, bits - upperBits - 1);

/** What an opened wire has of a part. */
export function partOfWire(wire: OpenedWire, { of }: Part): OpenedWire {
  const { a, m, r1, b, br, squares } = wire;
  const cut = { a: of(a), m: of(m), r1: of(r1), b: of(b) };
  return { ...wire, ...cut, br: br && of(br), squares: squares && of(squares) };
}

/** A function of an opened wire's entries, long wires part by part. */
function entrywise(
  ring: Ring,
  wire: OpenedWire,
  compute: (ring: Ring, wire: OpenedWire) => Words,
): Words {
  const made = byParts(ring, { count: wire.a.length }, (part) => ({
    share: compute(part.ring, partOfWire(wire, part)),
  }));
  return made.share;
}

const nothing = new BigUint64Array(0);

/** An opened wire that was not truncated and is right modulo 2^upperBits only: z = a - r. */
export function narrowWire(upperBits: number, a: Words, r1: Words): OpenedWire {
  const none = { m: nothing, b: nothing, br: undefined, squares: undefined };
  return { form: "opened", upperBits, a, r1, ...none };
}

/** This party's share of y modulo 2^upperBits, which needs no lift. */
export function narrowShare(ring: Ring, wire: OpenedWire, isServer: boolean): Words {
  return isServer ? ring.sub(wire.a, wire.r1) : ring.negate(wire.r1);
}

/** What y differs from the public a by: this party's share of y - a = m 2^u b - r1. */
export function hiddenShare(whole: Ring, wires: OpenedWire): Words {
  return entrywise(whole, wires, (ring, { m, b, r1, upperBits }) =>
    ring.addScaled(ring.negate(r1), ring.mul(m, b), 1n << BigInt(upperBits)),
  );
}

/** This party's share of y; the server adds the public part. */
export function valueShare(whole: Ring, wires: OpenedWire, isServer: boolean): Words {
  return entrywise(whole, wires, (ring, wire) => {
    const hidden = hiddenShare(ring, wire);
    return isServer ? ring.add(hidden, wire.a) : hidden;
  });
}

/**
 * This party's share of y^2 without the dealt r1^2:
 * a^2 - 2 a r1 + m [2^(u+1) (a b - b r1) + 2^(2u) b].
 */
function crossTerms(ring: Ring, wire: OpenedWire, br: Words, isServer: boolean): Words {
  const { a, m, r1, b, upperBits } = wire;
  const inner = ring.sub(ring.mul(a, b), br);
  let wrap = ring.scale(inner, 1n << BigInt(upperBits + 1));
  if (2 * upperBits < 64) wrap = ring.addScaled(wrap, b, 1n << BigInt(2 * upperBits));
  let out = ring.addScaled(ring.mul(m, wrap), ring.mul(a, r1), -2n);
  if (isServer) out = ring.add(out, ring.mul(a, a));
  return out;
}

/** Share of y^2, [n] -> [n]; the wire must have been opened with squares "each". */
export function squareShare(whole: Ring, wires: OpenedWire, isServer: boolean): Words {
  return entrywise(whole, wires, (ring, wire) =>
    ring.add(crossTerms(ring, wire, wire.br!, isServer), wire.squares!),
  );
}

/** Share of the sum of y^2 over rows of `columns`; opened with squares "rows". */
export function sumSquaresShare(
  ring: Ring,
  wires: OpenedWire,
  { columns, isServer }: { columns: number; isServer: boolean },
): Words {
  const made = byParts(ring, { count: wires.a.length, unit: columns }, (part) => {
    const wire = partOfWire(wires, part);
    const cross = crossTerms(part.ring, wire, wire.br!, isServer);
    return { share: part.ring.add(part.ring.sumRows(cross, columns), wire.squares!) };
  });
  return made.share;
}
