// Gates of softmax attention on lanes: a lane is a head, so that words of several positions lie
// plane by plane. What the exact tests and the positive controls share.

import type { CausalDims } from "../../src/gate/causal.ts";
import type { PiecewiseTable } from "../../src/gate/piecewise.ts";
import type { Ring } from "../../src/ring/ring.ts";
import { gate } from "./gates.ts";
import type { InputWire } from "./harness.ts";
import type { Lanes } from "./lanes.ts";

export type Party = "client" | "server";
export const bothParties: readonly Party[] = ["client", "server"];
export type Secret = readonly bigint[];

/**
 * One shared wire for each entry of `values`, its number the entry's, of as many words a lane as
 * the entry has. Shares are uniform, or one party's are held, which leaves more randomness to
 * enumerate: its view is then the view given them.
 */
export function sharedInputs(
  { lanes, ring, party }: { lanes: Lanes; ring: Ring; party?: Party | undefined },
  values: readonly Secret[],
): Map<number, InputWire> {
  const every = ring.residue(-1n);
  return new Map(
    values.map((words, wire) => {
      const held = words.map((_, k) => BigInt(3 * wire + 2 * k + 1));
      const ofClient = party === "client" ? held : words.map((word, k) => word - held[k]!);
      const clientShare = party
        ? lanes.constant(ofClient, every)
        : lanes.variables(`input/${wire}`, ring.bits, words.length);
      return [wire, { form: "shared", values: lanes.constant(words, every), clientShare }];
    }),
  );
}

/** One row that sees `start` positions before its own; every lane a head of width 1. */
export const oneRow = (lanes: number, start = 0): CausalDims => ({
  rows: 1,
  start,
  heads: lanes,
  keyHeads: lanes,
  width: 1,
});

export const exchangeGate = (from: number, to: number, columns: number, bits: number) =>
  gate("exchange", { from: [from], to }, [1, columns], { openBits: bits, bits });

export const scoresGate = (
  from: readonly [query: number, keys: number],
  to: number,
  dims: CausalDims,
  bits: number,
) => gate("scores", { from, to }, [1, dims.heads * (dims.start + 1)], { dims, bits });

export const piecewiseGate = (
  from: number,
  to: number,
  columns: number,
  options: { readonly table: PiecewiseTable; readonly bits: number },
) => gate("piecewise", { from: [from], to }, [1, columns], { ...options, wireName: "x" });

/** Pieces that no two knots or powers share; all arguments of the domain are its least on. */
export function tableOf(
  domainBits: number,
  degree: number,
  knots: readonly bigint[] = [0n],
  least = 0n,
  blockBits = 0,
): PiecewiseTable {
  const coefficients = knots.map((_, k) =>
    Array.from({ length: degree + 1 }, (_, j) => BigInt((j + 1) * (k + 1) + (j === 1 ? k : 0))),
  );
  return { domainBits, blockBits, least, fracBits: 0, knots, coefficients };
}
