// LayerNorm's chain of gates on a ring of 8 bits: its randomness is too large to enumerate, so
// pseudo-random lanes with a fixed seed are compared by chi-square: every field of a view, and sums
// and differences of every two (a missing mask shows in a sum of shares).

import { describe, expect, test } from "vitest";
import type { Ring } from "../../src/ring/ring.ts";
import { worstDeviation } from "./chi-square.ts";
import { type Experiment, explore } from "./explore.ts";
import { gate, openGate, splineGate } from "./gates.ts";
import type { InputWire } from "./harness.ts";
import type { Fault, Lanes } from "./lanes.ts";

const BITS = 8;
const LANES = 1 << 13;
/** Of some thousand comparisons, chance alone takes none this far. */
const LIMIT = 5.5;

type Pair = readonly [bigint, bigint];

/** What of the chain's words is needed, where it is less than the ring. */
interface Widths {
  /** t of the centred deviation, of the factor. */
  readonly openBits: readonly [number, number];
  /** Results: the deviation, the sum of squares, the factor before and after its opening. */
  readonly bits: readonly [number, number, number, number];
  /** The product and its re-masking. */
  readonly product: number;
}

const whole: Widths = { openBits: [8, 8], bits: [8, 8, 8, 8], product: 8 };
const narrow: Widths = { openBits: [6, 8], bits: [6, 6, 8, 5], product: 5 };

function chain({ openBits, bits, product }: Widths, fault?: Fault): Experiment<Pair> {
  const table = {
    shift: 0,
    domainBits: 6,
    fracBits: 0,
    knots: [0n, 8n, 20n],
    c0: [40n, 36n, 20n],
    c1: [-1n, 0n, 0n],
  };
  const upperBits = [openBits[0] - 1, openBits[1] - 2] as const;
  const first = { squares: "rows", openBits: openBits[0], bits: bits[0] } as const;
  const second = { offline: false, openBits: openBits[1], bits: bits[3] };
  return {
    bits: BITS,
    outputs: [],
    gates: (lanes) => [
      gate("center", { from: [0], to: 1 }, [lanes, 2], { offline: true, bits: openBits[0] }),
      openGate({ from: 1, to: 2 }, [lanes, 2], 1, first),
      gate("sumSquares", { from: [2], to: 3 }, [lanes, 1], { width: 2, bits: bits[1] }),
      splineGate({ from: 3, to: 4 }, lanes, table, bits[2]),
      openGate({ from: 4, to: 5 }, [lanes, 1], 2, second),
      gate("product", { from: [2, 5], to: 6 }, [lanes, 2], { upperBits, bits: product }),
      gate("remask", { from: [6], to: 7 }, [lanes, 2], { offline: false, bits: product }),
    ],
    inputs: (lanes: Lanes, z: Pair, ring: Ring) => {
      const values = lanes.constant(z, ring.residue(-1n));
      const clientShare = lanes.variables("input/0", ring.bits, 2);
      return new Map<number, InputWire>([[0, { form: "shared", values, clientShare }]]);
    },
    fault,
    sampled: LANES,
  };
}

const secrets: readonly Pair[] = [
  [1n, 1n],
  [4n, -3n],
];

describe.each([
  ["of whole words", whole],
  ["of as many bits as matter", narrow],
])("center, open, sumSquares, spline, open, product, remask %s", (_name, widths) => {
  test("neither party's view tells two inputs apart", () => {
    const { client, server } = explore(chain(widths), secrets);
    expect(worstDeviation(client[0]!, client[1]!)).toBeLessThan(LIMIT);
    expect(worstDeviation(server[0]!, server[1]!)).toBeLessThan(LIMIT);
  });

  test("the comparison flags a re-masking without C's mask, to S", () => {
    const fault: Fault = (party, { gate: id }, purpose) =>
      party === "client" && purpose === "mask" && id === 7 ? "zero" : undefined;
    const { server } = explore(chain(widths, fault), secrets);
    expect(worstDeviation(server[0]!, server[1]!)).toBeGreaterThan(4 * LIMIT);
  });

  test("the comparison flags a spline without S's mask, to C", () => {
    const fault: Fault = (party, { gate: id }, purpose) =>
      party === "server" && purpose === "mask" && id === 4 ? "zero" : undefined;
    const { client } = explore(chain(widths, fault), secrets);
    expect(worstDeviation(client[0]!, client[1]!)).toBeGreaterThan(4 * LIMIT);
  });
});
