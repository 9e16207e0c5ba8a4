// The algebra of a wire opened with exact truncation (DESIGN of the protocol: docs/protocol.md,
// "Open with exact truncation"). All functions are local: no message, no randomness.

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
export function hiddenShare(ring: Ring, wire: OpenedWire): Words {
  const lift = ring.mul(wire.m, wire.b);
  return ring.addScaled(ring.negate(wire.r1), lift, 1n << BigInt(wire.upperBits));
}

/** This party's share of y; the server adds the public part. */
export function valueShare(ring: Ring, wire: OpenedWire, isServer: boolean): Words {
  const hidden = hiddenShare(ring, wire);
  return isServer ? ring.add(hidden, wire.a) : hidden;
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
export function squareShare(ring: Ring, wire: OpenedWire, isServer: boolean): Words {
  return ring.add(crossTerms(ring, wire, wire.br!, isServer), wire.squares!);
}

/** Share of the sum of y^2 over rows of `columns`; opened with squares "rows". */
export function sumSquaresShare(
  ring: Ring,
  wire: OpenedWire,
  options: { columns: number; isServer: boolean },
): Words {
  const cross = crossTerms(ring, wire, wire.br!, options.isServer);
  return ring.add(ring.sumRows(cross, options.columns), wire.squares!);
}
