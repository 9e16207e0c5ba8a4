// Privacy of the gates that compare, exactly, as in gates.test.ts: one level of a tournament with
// all randomness, more with one party's input share and values of keys held. Then what the
// comparison must flag, and two levels on a larger ring by sampling.

import { describe, expect, test } from "vitest";
import type { GateBase } from "../../src/gate/gate.ts";
import { type GateSpec, gateOf } from "../../src/gate/index.ts";
import { indexOneHot } from "../../src/gate/index-one-hot.ts";
import { max } from "../../src/gate/max.ts";
import type { Randomness } from "../../src/ring/prg.ts";
import type { Ring } from "../../src/ring/ring.ts";
import { worstDeviation } from "./chi-square.ts";
import { type Experiment, explore } from "./explore.ts";
import { argmaxGate, gate, maxGate } from "./gates.ts";
import type { InputWire } from "./harness.ts";
import { type Fault, greatestDistance, type Lanes } from "./lanes.ts";

type Party = "client" | "server";
const bothParties: readonly Party[] = ["client", "server"];
type Entries = readonly bigint[];

/** A leak that deserves the name: far from any rounding of counts. */
const CLEAR = 0.1;
/** Chance alone takes none of some thousand comparisons this far. */
const LIMIT = 5.5;

/** Entries of a row, the same in every lane; one party's share is held where one is named. */
function entriesOf(lanes: Lanes, ring: Ring, values: Entries, party?: Party): InputWire {
  const mask = ring.residue(-1n);
  const words = lanes.constant(values, mask);
  if (!party) {
    const clientShare = lanes.variables("input/0", ring.bits, values.length);
    return { form: "shared", values: words, clientShare };
  }
  const held = values.map((_, i) => BigInt(2 * i + 1));
  const clientShare = party === "client" ? held : values.map((value, i) => value - held[i]!);
  return { form: "shared", values: words, clientShare: lanes.constant(clientShare, mask) };
}

/** One gate on one row of entries a lane. */
function experimentOf(
  bits: number,
  gateFor: (lanes: number) => GateSpec,
  changes: Partial<Experiment<Entries>> & { party?: Party } = {},
): Experiment<Entries> {
  const { party, ...rest } = changes;
  return {
    bits,
    outputs: [1],
    gates: (lanes) => [gateFor(lanes)],
    inputs: (lanes, values, ring) => new Map([[0, entriesOf(lanes, ring, values, party)]]),
    ...rest,
  };
}

const ends = { from: 0, to: 1 };
const rowsOf = <T>(count: number, row: T): T[] => new Array(count).fill(row);

const maxOf = (entries: number, options: { domainBits: number; bits?: number }) => (rows: number) =>
  maxGate(ends, rowsOf(rows, entries), options);
const argmaxOf =
  (entries: number, options: { domainBits: number; bits: number }) => (rows: number) =>
    argmaxGate(ends, [rows, entries], options);

const without =
  (owner: Party, wanted: string): Fault =>
  (party, _place, purpose) =>
    party === owner && purpose === wanted ? "zero" : undefined;

describe("max", () => {
  const secrets: readonly Entries[] = [
    [0n, 0n],
    [1n, 0n],
    [0n, 1n],
    [-1n, 0n],
    [1n, 1n],
  ];

  test.each([2, 1])("one level, domain and ring of 2 bits, %i bits of the result", (bits) => {
    const { client, server } = explore(experimentOf(2, maxOf(2, { domainBits: 2, bits })), secrets);
    expect(greatestDistance(client)).toBe(0);
    expect(greatestDistance(server)).toBe(0);
  });

  for (const party of bothParties) {
    test(`one level, ring of 3 bits: ${party}'s view given its share and values of keys`, () => {
      const gateFor = maxOf(2, { domainBits: 2, bits: 3 });
      const changes = { party, heldFunctions: party };
      const explored = explore(experimentOf(3, gateFor, changes), secrets);
      expect(greatestDistance(explored[party])).toBe(0);
    });

    test(`two levels, ring of 3 bits: ${party}'s view, C's shares of correlations left out too`, () => {
      const triples: readonly Entries[] = [
        [0n, 0n, 0n],
        [0n, -1n, -1n],
        [-1n, 0n, 0n],
        [-1n, -1n, 0n],
        [1n, 0n, 1n],
        [0n, 1n, 0n],
      ];
      const gateFor = maxOf(3, { domainBits: 2, bits: 3 });
      const changes = { party, heldFunctions: party, withoutShares: [1] };
      const explored = explore(experimentOf(3, gateFor, changes), triples);
      expect(greatestDistance(explored[party])).toBe(0);
    });
  }
});

describe("argmax", () => {
  const pairs: readonly Entries[] = [
    [0n, 0n],
    [0n, -1n],
    [-1n, 0n],
  ];
  const triples: readonly Entries[] = [
    [0n, 0n, 0n],
    [0n, -1n, 0n],
    [-1n, 0n, -1n],
    [-1n, -1n, 0n],
  ];

  for (const party of bothParties) {
    test(`two entries: ${party}'s view given its share and values, C's shares left out`, () => {
      const gateFor = argmaxOf(2, { domainBits: 2, bits: 1 });
      const changes = { party, heldFunctions: party, withoutShares: [1] };
      const explored = explore(experimentOf(3, gateFor, changes), pairs);
      expect(greatestDistance(explored[party])).toBe(0);
    });

    test(`two entries: ${party}'s view given its share, values and masks`, () => {
      const gateFor = argmaxOf(2, { domainBits: 2, bits: 1 });
      const changes = { party, heldFunctions: party, fault: without(party, "mask") };
      const explored = explore(experimentOf(3, gateFor, changes), pairs);
      expect(greatestDistance(explored[party])).toBe(0);
    });

    test(`three entries, two levels: ${party}'s view, C's shares left out too`, () => {
      const gateFor = argmaxOf(3, { domainBits: 2, bits: 1 });
      const held = { party, heldFunctions: party, withoutShares: [1] };
      const changes = { ...held, fault: without(party, "mask") };
      const explored = explore(experimentOf(3, gateFor, changes), triples);
      expect(greatestDistance(explored[party])).toBe(0);
    });
  }
});

describe("revealing a word", () => {
  test("C's view is its share and the word, S has none", () => {
    const gateFor = (rows: number) =>
      gate("reveal", { from: [0], to: 1 }, [rows, 1], { name: "tokens", wordBits: 2 });
    // The result is no wire: it is the input's two low bits.
    const experiment = experimentOf(3, gateFor, { outputs: [] });
    const { client, server } = explore(experiment, [[1n], [5n], [2n]]);
    expect(greatestDistance(client.slice(0, 2))).toBe(0);
    expect(greatestDistance(client.slice(1))).toBeGreaterThan(CLEAR);
    expect(greatestDistance(server)).toBe(0);
  });
});

describe("one-hot rows of a shared index", () => {
  const body = { fracBits: 0, indexBits: 1, bits: 2 };
  const twoColumns = (rows: number) => gate("indexOneHot", { from: [0], to: 1 }, [rows, 2], body);

  test("two columns on 2 bits: neither party's view depends on the index", () => {
    const experiment = experimentOf(2, twoColumns, { outputs: [] });
    const { client, server } = explore(experiment, [[0n], [1n]]);
    expect(greatestDistance(client)).toBe(0);
    expect(greatestDistance(server)).toBe(0);
  });

  for (const party of bothParties) {
    test(`three columns on 2 bits: ${party}'s view given its share`, () => {
      const gateFor = (rows: number) =>
        gate("indexOneHot", { from: [0], to: 1 }, [rows, 3], {
          fracBits: 0,
          indexBits: 2,
          bits: 2,
        });
      const experiment = experimentOf(2, gateFor, { party, outputs: [] });
      const explored = explore(experiment, [[0n], [1n], [2n]]);
      expect(greatestDistance(explored[party])).toBe(0);
    });
  }
});

/** Another gate's implementation in one kind's stead. */
const inStead = (kind: GateSpec["kind"], implementation: object) =>
  ((spec: GateSpec) => (spec.kind === kind ? implementation : gateOf(spec))) as typeof gateOf;

/** Gives the first of a row's masks to all its comparisons. */
function repeating<C extends object>(context: C, { rows }: GateBase, name: "client" | "server"): C {
  const source = (context as Record<typeof name, Randomness>)[name];
  const random: Randomness = {
    bytes: (...wanted) => source.bytes(...wanted),
    words: (place, purpose, count, bits) => {
      if (purpose !== "mask") return source.words(place, purpose, count, bits);
      const first = source.words(place, purpose, rows, bits);
      return BigUint64Array.from(
        { length: count },
        (_, i) => first[Math.floor(i / (count / rows))]!,
      );
    },
  };
  return { ...context, [name]: random };
}

/** A tournament whose levels all have one mask. */
const oneMask: typeof max = {
  ...max,
  deal: (spec, context) =>
    max.deal(spec, repeating(repeating(context, spec, "client"), spec, "server")),
  client: (spec, context) => max.client(spec, repeating(context, spec, "client")),
  server: (spec, context) => max.server(spec, repeating(context, spec, "server")),
};

describe("the comparison flags", () => {
  const triples: readonly Entries[] = [
    [1n, 1n, 1n],
    [1n, 0n, 0n],
    [1n, 0n, 1n],
  ];

  test.each(bothParties)("a mask that two levels share, seen by the %s", (party) => {
    const implementation = inStead("max", oneMask);
    const changes = { party, heldFunctions: party };
    const gateFor = maxOf(3, { domainBits: 2, bits: 2 });
    const faulty = explore(experimentOf(2, gateFor, { ...changes, implementation }), triples);
    expect(greatestDistance(faulty[party])).toBeGreaterThan(CLEAR);
    const right = explore(experimentOf(2, gateFor, changes), triples);
    expect(greatestDistance(right[party])).toBe(0);
  });

  test("a comparison without the other party's mask", () => {
    const gateFor = argmaxOf(2, { domainBits: 2, bits: 1 });
    for (const [party, other] of [bothParties, bothParties.toReversed()] as [Party, Party][]) {
      const changes = { party, heldFunctions: party, fault: without(other, "mask") };
      const explored = explore(experimentOf(3, gateFor, changes), [
        [0n, 0n],
        [0n, -1n],
      ]);
      expect(greatestDistance(explored[party])).toBeGreaterThan(CLEAR);
    }
  });

  test("a one-hot row without C's mask, and an index without S's part of r", () => {
    const body = { fracBits: 0, indexBits: 1, bits: 2 };
    const gateFor = (rows: number) => gate("indexOneHot", { from: [0], to: 1 }, [rows, 2], body);
    const withMask = (fault: Fault) =>
      explore(experimentOf(2, gateFor, { outputs: [], fault }), [[0n], [1n]]);
    expect(greatestDistance(withMask(without("server", "shareA")).client)).toBeGreaterThan(CLEAR);
    const unmasked: typeof indexOneHot = {
      ...indexOneHot,
      mask(spec, context) {
        const size = spec.rows * spec.columns;
        const mask = context.ring.zeros(size);
        context.wires.set(spec.output, { form: "client", mask });
      },
    };
    const implementation = inStead("indexOneHot", unmasked);
    const explored = explore(experimentOf(2, gateFor, { outputs: [], implementation }), [
      [0n],
      [1n],
    ]);
    expect(greatestDistance(explored.server)).toBeGreaterThan(CLEAR);
  });
});

describe("by sampling: six entries of 6 bits on a ring of 10, three levels", () => {
  const secrets: readonly Entries[] = [
    [0n, 0n, 0n, 0n, 0n, 0n],
    [-15n, 3n, 14n, -2n, -16n, 7n],
  ];
  const sampled = 1 << 13;
  // Of equal results, so that C's share of the result says nothing either.
  const sameIndex: readonly Entries[] = [
    [1n, 0n, 0n, 0n, 0n, 0n],
    [15n, -16n, 14n, -2n, 5n, 7n],
  ];

  test("max and argmax look the same to either party", () => {
    for (const [gateFor, values] of [
      [maxOf(6, { domainBits: 6, bits: 8 }), secrets],
      [argmaxOf(6, { domainBits: 6, bits: 3 }), sameIndex],
    ] as const) {
      const { client, server } = explore(
        experimentOf(10, gateFor, { sampled, outputs: [] }),
        values,
      );
      expect(worstDeviation(client[0]!, client[1]!)).toBeLessThan(LIMIT);
      expect(worstDeviation(server[0]!, server[1]!)).toBeLessThan(LIMIT);
    }
  });

  test.each(bothParties)("the statistic flags, to the %s, comparisons without masks", (party) => {
    const other = party === "client" ? "server" : "client";
    for (const gateFor of [
      maxOf(6, { domainBits: 6, bits: 8 }),
      argmaxOf(6, { domainBits: 6, bits: 3 }),
    ]) {
      const changes = { sampled, outputs: [], party, fault: without(other, "mask") };
      const seen = explore(experimentOf(10, gateFor, changes), secrets)[party];
      expect(worstDeviation(seen[0]!, seen[1]!)).toBeGreaterThan(4 * LIMIT);
    }
  });
});
