// Softmax attention whole, on a ring of 8 bits: two positions, heads of width 1, with small tables
// in the place of the exponential function and the reciprocal. Its randomness is too large to
// enumerate, so pseudo-random lanes with a fixed seed are compared by chi-square, as in
// composition.test.ts: every field of a view, and sums and differences of every two. A lane is a
// head. Nothing is given: all ends re-masked, so no view may tell two inputs apart.

import { describe, expect, test } from "vitest";
import type { CausalDims } from "../../src/gate/causal.ts";
import type { PiecewiseTable } from "../../src/gate/piecewise.ts";
import { type Secret, sharedInputs } from "./attention.ts";
import { worstDeviation } from "./chi-square.ts";
import { type Experiment, explore } from "./explore.ts";
import { gate, maxGate, openGate } from "./gates.ts";
import type { Fault } from "./lanes.ts";

const BITS = 8;
const LANES = 1 << 13;
/** Of some thousand comparisons, chance alone takes none this far. */
const LIMIT = 5.5;

/** v - least in 0..3, a weight of 0..3 that grows. */
const weightTable: PiecewiseTable = {
  domainBits: 2,
  blockBits: 0,
  least: -3n,
  fracBits: 0,
  knots: [0n, 1n],
  coefficients: [
    [0n, 0n, 0n],
    [0n, 1n, 0n],
  ],
};
/** A sum of weights, 0..6, to a factor that falls. */
const factorTable: PiecewiseTable = {
  domainBits: 3,
  blockBits: 0,
  least: 0n,
  fracBits: 0,
  knots: [0n, 3n],
  coefficients: [
    [12n, -2n],
    [5n, -1n],
  ],
};

const shape = (count: number, lanes: number) => [1, count * lanes] as const;

/** Queries, keys and values on wires 0, 1 and 2, of two positions each. */
function attention(lanes: number) {
  const dims: CausalDims = { rows: 2, start: 0, heads: lanes, keyHeads: lanes, width: 1 };
  const exchange = (from: number, to: number, count: number, bits: number) =>
    gate("exchange", { from: [from], to }, shape(count, lanes), { openBits: bits, bits });
  return [
    exchange(0, 3, 2, 5),
    exchange(1, 4, 2, 5),
    exchange(2, 5, 2, 6),
    gate("scores", { from: [3, 4], to: 6 }, shape(3, lanes), { dims, bits: 5 }),
    openGate({ from: 6, to: 7 }, shape(3, lanes), 1, { openBits: 5, bits: 4, offline: false }),
    gate("unmask", { from: [7], to: 8 }, shape(3, lanes), { lift: false, bits: 4 }),
    maxGate({ from: 8, to: 9 }, [1, 2], { heads: lanes, domainBits: 3, bits: 3 }),
    gate("rowDifference", { from: [8, 9], to: 10 }, shape(3, lanes), { dims, bits: 2 }),
    exchange(10, 11, 3, 2),
    gate("piecewise", { from: [11], to: 12 }, shape(3, lanes), {
      table: weightTable,
      wireName: "score",
      bits: 6,
    }),
    exchange(12, 13, 3, 6),
    gate("mix", { from: [13, 5], to: 14 }, [2 * lanes, 1], { dims, bits: 6 }),
    openGate({ from: 14, to: 15 }, [2 * lanes, 1], 1, { openBits: 6, bits: 8, offline: false }),
    gate("rowSum", { from: [12], to: 16 }, [2, lanes], { dims, bits: 3 }),
    exchange(16, 17, 2, 3),
    gate("piecewise", { from: [17], to: 18 }, shape(2, lanes), {
      table: factorTable,
      wireName: "sum",
      bits: 6,
    }),
    openGate({ from: 18, to: 19 }, [2 * lanes, 1], 1, { openBits: 6, bits: 8, offline: false }),
    gate("product", { from: [15, 19], to: 20 }, [2 * lanes, 1], { upperBits: [5, 5], bits: 8 }),
    gate("remask", { from: [20], to: 21 }, [2 * lanes, 1], { offline: false, bits: 8 }),
  ];
}

const experimentOf = (fault?: Fault): Experiment<readonly Secret[]> => ({
  bits: BITS,
  outputs: [],
  gates: attention,
  inputs: (lanes, values, ring) => sharedInputs({ lanes, ring }, values),
  fault,
  sampled: LANES,
  planes: true,
});

const secrets: readonly (readonly Secret[])[] = [
  [
    [0n, 0n],
    [0n, 0n],
    [0n, 0n],
  ],
  [
    [1n, 1n],
    [1n, -1n],
    [1n, -1n],
  ],
];

/** One party's randomness of one gate and purpose held at zero. */
const without =
  (owner: "client" | "server", id: number, wanted: string): Fault =>
  (party, place, purpose) =>
    party === owner && place.gate === id && purpose === wanted ? "zero" : undefined;

describe("softmax attention, sampled", () => {
  test("neither party's view tells two inputs apart", () => {
    const { client, server } = explore(experimentOf(), secrets);
    expect(worstDeviation(client[0]!, client[1]!)).toBeLessThan(LIMIT);
    expect(worstDeviation(server[0]!, server[1]!)).toBeLessThan(LIMIT);
  });

  test.each([
    ["values under C's mask alone", "client", without("server", 5, "mask")],
    ["keys under S's mask alone", "server", without("client", 4, "mask")],
    ["arguments of weights under C's mask alone", "client", without("server", 11, "mask")],
    ["sums under S's mask alone", "server", without("client", 17, "mask")],
    ["scores whose product of masks S is dealt whole", "server", without("client", 6, "shareA")],
  ] as const)("the statistic flags %s", (_name, party, fault) => {
    const explored = explore(experimentOf(fault), secrets)[party];
    expect(worstDeviation(explored[0]!, explored[1]!)).toBeGreaterThan(2 * LIMIT);
  });
});
