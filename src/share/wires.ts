// What each party holds of a wire. A wire is in one of three forms:
//   shared         x = x_C + x_S
//   client-masked  S holds x^ = x + r, C holds r            (what a linear layer takes in)
//   opened         both hold the truncated public-masked t, and shares of what its mask hides
//                                                           (what a nonlinear gate takes in)
// D never holds a value, only masks. See docs/protocol.md.

import type { Words } from "../ring/ring.ts";

export type Form = "shared" | "client" | "opened";

/**
 * A wire opened with truncation by `shift` bits, as C or S sees it: y = (z + (r mod 2^shift)) >>
 * shift. With t of l bits and u = l - shift, it is written with a = (t >> shift) - 2^(u-2) and
 * m = 1 - msb(t), both public to C and S, and shares of r1 = r >> shift and b = msb(r), known
 * whole to D only. Modulo 2^u, y is a - r1: a mask that no message decides, so D can deal any
 * correlation of it. A wire that is read modulo 2^u alone has no m and no b.
 */
export interface OpenedWire {
  readonly form: "opened";
  /** u. */
  readonly upperBits: number;
  readonly a: Words;
  readonly m: Words;
  readonly r1: Words;
  /** Share of b, of as many bits as matter. */
  readonly b: Words;
  /** Share of b r1, of as many bits as matter, where squares are asked for. */
  readonly br: Words | undefined;
  /** Share of r1^2, each or summed over a row, where squares are asked for. */
  readonly squares: Words | undefined;
}

export type ClientWire =
  | { readonly form: "shared"; readonly share: Words }
  | { readonly form: "client"; readonly mask: Words }
  | OpenedWire;

export type ServerWire =
  | { readonly form: "shared"; readonly share: Words }
  | { readonly form: "client"; readonly masked: Words }
  | OpenedWire;

export type DealerWire =
  | { readonly form: "shared" }
  | { readonly form: "client"; readonly mask: Words }
  | { readonly form: "opened"; readonly upperBits: number; readonly r1: Words; readonly b: Words };

/** The value itself: the fixed interpreter's wire. */
export interface FixedWire {
  readonly values: Words;
  /** C's mask of a client-masked wire, made on demand: the dither source of the logits. */
  readonly mask?: () => Words;
  /** r1 of an opened wire, made on demand: where a coarse table's pieces part, see piecewise.ts. */
  readonly r1?: () => Words;
}
