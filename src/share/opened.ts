// The algebra of a wire opened with exact truncation (DESIGN of the protocol: docs/protocol.md,
// "Open with exact truncation"). All functions are local: no message, no randomness.

import type { Ring, Words } from "../ring/ring.ts";
import type { OpenedWire } from "./wires.ts";

/** The constant part of t: |z| < 2^(l-2) becomes t = z + r + 2^(l-2). */
export function offset(ring: Ring): bigint {
  return 1n << BigInt(ring.bits - 2);
}

/** a and m of an opened wire from the upper bits of t, [n] words of l - shift bits. */
export function fromUpper(ring: Ring, upper: Words, shift: number): { a: Words; m: Words } {
  const a = ring.addConstant(upper, -(1n << BigInt(ring.bits - 2 - shift)));
  const msb = ring.shiftRight(upper, ring.bits - 1 - shift);
  const m = ring.addConstant(ring.negate(msb), 1n);
  return { a, m };
}

/** What y differs from the public a by: this party's share of y - a = m 2^(l-shift) b - r1. */
export function hiddenShare(ring: Ring, wire: OpenedWire): Words {
  const lift = ring.mul(wire.m, wire.b);
  return ring.addScaled(ring.negate(wire.r1), lift, 1n << BigInt(ring.bits - wire.shift));
}

/** This party's share of y; the server adds the public part. */
export function valueShare(ring: Ring, wire: OpenedWire, isServer: boolean): Words {
  const hidden = hiddenShare(ring, wire);
  return isServer ? ring.add(hidden, wire.a) : hidden;
}

/**
 * This party's share of y^2 without the dealt r1^2:
 * a^2 - 2 a r1 + m [2^(l+1-shift) (a b - b r1) + 2^(2l-2 shift) b].
 */
function crossTerms(ring: Ring, wire: OpenedWire, br: Words, isServer: boolean): Words {
  const { a, m, r1, b, shift } = wire;
  const l = ring.bits;
  const inner = ring.sub(ring.mul(a, b), br);
  let wrap = ring.scale(inner, 1n << BigInt(l + 1 - shift));
  if (2 * shift > l) wrap = ring.addScaled(wrap, b, 1n << BigInt(2 * l - 2 * shift));
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
