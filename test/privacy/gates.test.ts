// Privacy of every gate, exactly: on rings of 2 to 4 bits all randomness of all parties is
// enumerated, and each party's whole view (its own seed's words, its input share or masked wire,
// all that D deals it and all that the peer sends it) must have the same distribution whatever the
// other party's secret is. C's view is compared given the value that the gate computes, which C may
// learn in the end: it must not say more than that. S's view must not depend on any input. Where a
// gate's words or an opening's t have fewer bits than the ring, so have masks and messages.
//
// Left out of an enumeration, and said there: C's shares of correlations of gates whose dealt
// shares an earlier test has shown to be uniform and independent.

import { describe, expect, test } from "vitest";
import type { SplineTable } from "../../src/gate/spline.ts";
import type { Ring } from "../../src/ring/ring.ts";
import { type Experiment, type Explored, explore } from "./explore.ts";
import { gate, matrixMap, openGate, splineGate } from "./gates.ts";
import { type InputWire, makeTensors } from "./harness.ts";
import { greatestDistance, type Lanes } from "./lanes.ts";

/** Neither party learns anything: exactly equal distributions. */
function expectPrivate({ client, server }: Explored): void {
  expect(greatestDistance(client), "C's view given the result").toBe(0);
  expect(greatestDistance(server), "S's view").toBe(0);
}

/** A shared wire of the same words in every lane, C's share uniform. */
function shared(lanes: Lanes, ring: Ring, wire: number, values: readonly bigint[]): InputWire {
  return {
    form: "shared",
    values: lanes.constant(values, ring.residue(-1n)),
    clientShare: lanes.variables(`input/${wire}`, ring.bits, values.length),
  };
}

/** A client-masked wire with a uniform mask, of which `bits` bits are needed. */
function masked(
  { lanes, ring, bits = ring.bits }: { lanes: Lanes; ring: Ring; bits?: number | undefined },
  wire: number,
  values: readonly bigint[],
): InputWire {
  return {
    form: "client",
    values: lanes.constant(values, ring.residue(-1n)),
    mask: lanes.variables(`input/${wire}`, bits, values.length),
    bits,
  };
}

const oneShared = (lanes: Lanes, z: bigint, ring: Ring) =>
  new Map([[0, shared(lanes, ring, 0, [z])]]);

/**
 * The same with one party's share held, which leaves more randomness to enumerate: its view is then
 * the view given that share.
 */
function held(
  { lanes, ring, party }: { lanes: Lanes; ring: Ring; party: Party },
  value: bigint,
  share = 5n,
): InputWire {
  const words = (word: bigint) => lanes.constant([word], ring.residue(-1n));
  const clientShare = words(party === "client" ? share : value - share);
  return { form: "shared", values: words(value), clientShare };
}

type Party = "client" | "server";
const bothParties: readonly Party[] = ["client", "server"];

/** Inputs that an opening of so many bits allows, the ends of the range among them. */
const allowed: Record<3 | 4, readonly bigint[]> = { 3: [-1n, 0n, 1n], 4: [-3n, 0n, 2n] };

describe("opening with truncation", () => {
  // The ring's bits, those of t and those that are needed of the result.
  for (const [ringBits, openBits, bits, shift, squares, offline] of [
    [3, 3, 3, 1, "none", true],
    [3, 3, 3, 1, "none", false],
    [3, 3, 3, 1, "each", true],
    [4, 4, 4, 1, "none", true],
    [4, 4, 4, 2, "none", false],
    [4, 3, 4, 1, "none", true],
    [4, 4, 3, 2, "none", false],
    [4, 3, 3, 1, "none", false],
    [4, 3, 3, 1, "each", true],
    [4, 4, 2, 1, "each", true],
    [5, 3, 2, 1, "each", false],
    [5, 4, 1, 2, "each", true],
  ] as const) {
    const widths = `${ringBits} bits, t of ${openBits}, result of ${bits}`;
    test(`${widths}, shift ${shift}, squares ${squares}, offline ${offline}`, () => {
      const gates = (lanes: number) => [
        openGate({ from: 0, to: 1 }, [lanes, 1], shift, { squares, offline, openBits, bits }),
      ];
      const experiment = { bits: ringBits, outputs: [1], gates, inputs: oneShared };
      expectPrivate(explore(experiment, allowed[openBits]));
    });
  }

  test("two columns, one dealt square a row; C's shares of r1, b and b r1 left out for S", () => {
    const experiment: Experiment<readonly [bigint, bigint]> = {
      bits: 3,
      outputs: [1, 2],
      gates: (lanes) => [
        openGate({ from: 0, to: 1 }, [lanes, 2], 1, { squares: "rows" }),
        gate("sumSquares", { from: [1], to: 2 }, [lanes, 1], { width: 2 }),
      ],
      inputs: (lanes, [a, b], ring) => new Map([[0, shared(lanes, ring, 0, [a, b])]]),
      withoutShares: [1],
    };
    expectPrivate(
      explore(experiment, [
        [0n, 0n],
        [1n, -1n],
      ]),
    );
  });
});

describe("re-masking", () => {
  for (const offline of [true, false]) {
    for (const bits of [4, 3, 1]) {
      test(`a shared wire of 4 bits, ${bits} needed, offline ${offline}`, () => {
        const experiment = {
          bits: 4,
          outputs: [1],
          gates: (lanes: number) => [
            gate("remask", { from: [0], to: 1 }, [lanes, 1], { offline, bits }),
          ],
          inputs: oneShared,
        };
        expectPrivate(explore(experiment, [0n, 1n, 7n, -8n]));
      });
    }
  }

  for (const [ringBits, bits] of [
    [3, 3],
    [4, 3],
    [4, 2],
  ] as const) {
    test(`an opened wire: opening and re-masking together, ${bits} bits of ${ringBits}`, () => {
      const experiment = {
        bits: ringBits,
        outputs: [2],
        gates: (lanes: number) => [
          openGate({ from: 0, to: 1 }, [lanes, 1], 1, { openBits: 3, bits }),
          gate("remask", { from: [1], to: 2 }, [lanes, 1], { offline: false, bits }),
        ],
        inputs: oneShared,
      };
      expectPrivate(explore(experiment, allowed[3]));
    });
  }
});

describe("the one-hot input", () => {
  test.each([2, 1])("S sees the same for every token, %i bits of 2", (bits) => {
    const views = [0, 1, 2].map((id) => {
      const fracBits = id === 0 ? 0 : 1;
      const experiment: Experiment<number> = {
        bits: 2,
        outputs: [],
        gates: (lanes) => [
          gate("oneHot", { from: [], to: 0 }, [lanes, 3], { name: "ids", fracBits, bits }),
        ],
        inputs: () => new Map(),
        ids: (lanes) => new Map([["ids", new Array(lanes).fill(id)]]),
      };
      return explore(experiment, [id]).server[0]!;
    });
    expect(greatestDistance(views)).toBe(0);
  });
});

/** Weights of S and the value that the masking matrix D_W takes in one run. */
interface LinearSecret {
  readonly x: readonly bigint[];
  readonly weights: readonly bigint[];
}

/**
 * Views of a linear layer [1, inner] to [1, columns] under D_W = mask. D_W is the same for all
 * rows of a run, so the caller runs all its values; C and S know it, D does not.
 */
function exploreLinear(
  options: { bits: number; inner: number; columns: number; remasked?: boolean; needed?: number },
  mask: readonly bigint[],
  secrets: readonly LinearSecret[],
): Explored {
  const { bits, inner, columns, needed } = options;
  const map = matrixMap("w", inner);
  const experiment: Experiment<LinearSecret> = {
    bits,
    outputs: [options.remasked ? 2 : 1],
    gates: (lanes) => [
      gate("linear", { from: [0], to: 1 }, [lanes, columns], { map, bits: needed }),
      ...(options.remasked
        ? [gate("remask", { from: [1], to: 2 }, [lanes, columns], { offline: true, bits: needed })]
        : []),
    ],
    inputs: (lanes, { x }, ring) => new Map([[0, masked({ lanes, ring, bits: needed }, 0, x)]]),
    tensors: (_lanes, { weights }, ring) => {
      const words = BigUint64Array.from(weights, (weight) => ring.residue(weight));
      const shape = { rows: inner, columns, weights: words };
      return makeTensors(ring, new Map([["w", { ...shape, mask: BigUint64Array.from(mask) }]]));
    },
  };
  return explore(experiment, secrets);
}

/** All vectors of `count` words of `bits` bits. */
function allVectors(bits: number, count: number): bigint[][] {
  const values = Array.from({ length: 2 ** bits }, (_, i) => BigInt(i));
  let out: bigint[][] = [[]];
  for (let k = 0; k < count; k++) {
    out = out.flatMap((head) => values.map((value) => [...head, value]));
  }
  return out;
}

describe("linear layers", () => {
  for (const [bits, needed] of [
    [3, 3],
    [4, 3],
    [4, 2],
  ] as const) {
    const shape = { bits, needed, inner: 1, columns: 1, remasked: true };
    const widths = `${needed} bits of ${bits}`;

    test(`one weight, ${widths}, re-masked: S sees the same for every x, for every D_W`, () => {
      for (const mask of allVectors(bits, 1)) {
        const secrets = [0n, 1n, 5n].map((x) => ({ x: [x], weights: [3n] }));
        expect(greatestDistance(exploreLinear(shape, mask, secrets).server)).toBe(0);
      }
    });

    test(`one weight, ${widths}: C sees the same for every weight, given the product`, () => {
      for (const mask of allVectors(bits, 1)) {
        const secrets = [0n, 1n, 3n, 6n].map((weight) => ({ x: [1n], weights: [weight] }));
        expect(greatestDistance(exploreLinear(shape, mask, secrets).client)).toBe(0);
      }
    });
  }

  test("a [2, 2] matrix on 2 bits, every fifth D_W", () => {
    for (const mask of allVectors(2, 4).filter((_, i) => i % 5 === 0)) {
      const weights = [1n, 2n, 3n, 0n];
      const secrets = [
        [0n, 0n],
        [1n, 3n],
        [2n, 1n],
      ].map((x) => ({ x, weights }));
      const { server } = exploreLinear({ bits: 2, inner: 2, columns: 2 }, mask, secrets);
      expect(greatestDistance(server)).toBe(0);
    }
  });

  test("two layers under one mask, each with its own rho", () => {
    const experiment: Experiment<bigint> = {
      bits: 3,
      outputs: [],
      gates: (lanes) => [
        gate("linear", { from: [0], to: 1 }, [lanes, 1], { map: matrixMap("w", 1) }),
        gate("linear", { from: [0], to: 2 }, [lanes, 1], { map: matrixMap("w", 1) }),
        gate("remask", { from: [1], to: 3 }, [lanes, 1], { offline: true }),
      ],
      inputs: (lanes, x, ring) => new Map([[0, masked({ lanes, ring }, 0, [x])]]),
      tensors: (_lanes, _x, ring) => {
        const one = { rows: 1, columns: 1, weights: BigUint64Array.of(5n) };
        return makeTensors(ring, new Map([["w", { ...one, mask: BigUint64Array.of(6n) }]]));
      },
    };
    expect(greatestDistance(explore(experiment, [0n, 1n, 4n]).server)).toBe(0);
  });

  test("D's only sight of the weights, B = W - D_W, is uniform for every W", () => {
    const masks = allVectors(2, 3);
    const distributions = [
      [0n, 0n, 0n],
      [1n, 2n, 3n],
      [3n, 3n, 0n],
    ].map((weights) =>
      masks.map((mask) => mask.map((d, i) => (weights[i]! - d) & 3n).join()).sort(),
    );
    for (const distribution of distributions) expect(distribution).toEqual(distributions[0]);
  });
});

describe.each([
  ["fill the ring", { bits: 4, shift: 1, sentBits: 3 }],
  ["leave bits of it out", { bits: 5, shift: 2, sentBits: 2 }],
])("logits whose bits %s", (_name, { bits, shift, sentBits }) => {
  /** Own randomness of C, the truncated result and S's message, lane by lane. */
  function transcripts(secret: LinearSecret, mask: bigint) {
    const shape = { rows: 1, columns: 1 };
    const needed = shift + sentBits;
    const experiment: Experiment<LinearSecret> = {
      bits,
      outputs: [],
      gates: (lanes) => [
        gate("logits", { from: [0], to: 1 }, [lanes, 1], {
          map: matrixMap("w", 1),
          bias: undefined,
          shift,
          sentBits,
          fracBits: 1,
          name: "logits",
        }),
      ],
      inputs: (lanes, { x }, ring) => new Map([[0, masked({ lanes, ring, bits: needed }, 0, x)]]),
      tensors: (_lanes, { weights }, ring) => {
        const words = BigUint64Array.from(weights, (weight) => ring.residue(weight));
        const tensor = { ...shape, weights: words, mask: BigUint64Array.of(mask) };
        return makeTensors(ring, new Map([["w", tensor]]));
      },
      logits: { name: "logits", bits: sentBits },
    };
    return explore(experiment, [secret]);
  }

  test("C's view is a function of its own randomness and the truncated result", () => {
    for (const mask of [0n, 3n, 9n]) {
      const seen = new Map<string, number>();
      for (let z = 0n; z < 1n << BigInt(bits); z++) {
        const [{ view, given, lanes }] = transcripts({ x: [1n], weights: [z] }, mask).client as [
          Explored["client"][0],
        ];
        const sent = view.find(({ name }) => name.startsWith("server-client"))!;
        const own = view.filter((field) => field !== sent);
        for (let lane = 0; lane < lanes; lane++) {
          const key = [...own, ...given].map(({ words }) => words[lane]).join();
          const known = seen.get(key) ?? Number(sent.words[lane]);
          expect(known).toBe(Number(sent.words[lane]));
          seen.set(key, known);
        }
      }
    }
  });

  test("S's view is independent of x", () => {
    const servers = [0n, 1n, 7n, 9n].map(
      (x) => transcripts({ x: [x], weights: [3n] }, 5n).server[0]!,
    );
    expect(greatestDistance(servers)).toBe(0);
  });
});

describe("products and squares of opened wires", () => {
  const small = [
    [0n, 0n],
    [1n, -1n],
    [-1n, 1n],
  ] as const;
  const large = [
    [3n, -3n],
    [-1n, 2n],
  ] as const;

  for (const party of bothParties) {
    for (const [ringBits, bits] of [
      [3, 3],
      [4, 3],
      [4, 2],
    ] as const) {
      const widths = `${bits} bits of ${ringBits}`;
      test(`quad and re-masking, ${widths}: ${party}'s view given its input share`, () => {
        const experiment: Experiment<bigint> = {
          bits: ringBits,
          outputs: [3],
          gates: (lanes) => [
            openGate({ from: 0, to: 1 }, [lanes, 1], 1, { squares: "each", openBits: 3, bits }),
            gate("quad", { from: [1], to: 2 }, [lanes, 1], { linear: 3n, constant: 1n, bits }),
            gate("remask", { from: [2], to: 3 }, [lanes, 1], { offline: false, bits }),
          ],
          inputs: (lanes, z, ring) => new Map([[0, held({ lanes, ring, party }, z)]]),
        };
        expect(greatestDistance(explore(experiment, allowed[3])[party])).toBe(0);
      });
    }

    for (const [ringBits, openBits, bits, shifts, left, secrets] of [
      [3, 3, 3, [1, 1], "the openings'", small],
      [4, 3, 3, [1, 1], "the openings'", small],
      [4, 3, 4, [1, 1], "all", small],
      [4, 3, 2, [1, 1], "the openings'", small],
      [4, 4, 4, [2, 2], "all", large],
      [5, 4, 3, [2, 2], "all", large],
    ] as const) {
      const widths = `${ringBits} bits, t of ${openBits}, result of ${bits}`;
      test(`product, ${widths}: ${party}'s view, shares of ${left} correlations left out`, () => {
        const opened = { openBits, bits };
        const upperBits = [openBits - shifts[0], openBits - shifts[1]] as const;
        const experiment: Experiment<readonly [bigint, bigint]> = {
          bits: ringBits,
          outputs: [4],
          gates: (lanes) => [
            openGate({ from: 0, to: 2 }, [lanes, 1], shifts[0], opened),
            openGate({ from: 1, to: 3 }, [lanes, 1], shifts[1], opened),
            gate("product", { from: [2, 3], to: 4 }, [lanes, 1], { upperBits, bits }),
          ],
          inputs: (lanes, [y, g], ring) =>
            new Map([
              [0, held({ lanes, ring, party }, y)],
              [1, held({ lanes, ring, party }, g, 2n)],
            ]),
          withoutShares: left === "all" ? [2, 3, 4] : [2, 3],
        };
        expect(greatestDistance(explore(experiment, secrets)[party])).toBe(0);
      });
    }
  }
});

describe("spline", () => {
  const table = (domainBits: number, shift: number, knots: bigint[]): SplineTable => ({
    shift,
    domainBits,
    fracBits: 0,
    knots,
    c0: knots.map((_, k) => BigInt(k + 1)),
    c1: knots.map((_, k) => BigInt(1 - k)),
  });

  /** A spline on all randomness and all values of ideal keys, or with a party's share held. */
  const experimentOf = (
    bits: number,
    spline: SplineTable,
    changes: { party?: Party; withoutShares?: readonly number[]; needed?: number } = {},
  ): Experiment<bigint> => ({
    bits,
    outputs: [1],
    gates: (lanes) => [splineGate({ from: 0, to: 1 }, lanes, spline, changes.needed)],
    inputs: (lanes, v, ring) => {
      const { party } = changes;
      return party ? new Map([[0, held({ lanes, ring, party }, v)]]) : oneShared(lanes, v, ring);
    },
    withoutShares: changes.withoutShares,
  });

  test.each([2, 1])("2 bits, two knots, %i bits of the result", (needed) => {
    const experiment = experimentOf(2, table(1, 0, [0n, 1n]), { needed });
    expectPrivate(explore(experiment, [0n, 1n]));
  });

  for (const party of bothParties) {
    for (const needed of [3, 2]) {
      const name = `3 bits, one knot, ${needed} bits of the result`;
      test(`${name}: ${party}'s view given its share of the argument`, () => {
        const experiment = experimentOf(3, table(2, 0, [0n]), { party, needed });
        expect(greatestDistance(explore(experiment, [0n, 1n, 3n])[party])).toBe(0);
      });
    }

    test(`with truncation: ${party}'s view by itself is independent of the argument`, () => {
      const explored = explore(experimentOf(3, table(1, 1, [0n]), { party }), [0n, 1n, 2n]);
      const views = explored[party].map((one) => ({ ...one, given: [] }));
      expect(greatestDistance(views)).toBe(0);
    });
  }

  test("3 bits, two knots: S's view given its share, shares of rn left out", () => {
    const changes = { party: "server", withoutShares: [1] } as const;
    const experiment = experimentOf(3, table(2, 0, [0n, 2n]), changes);
    expect(greatestDistance(explore(experiment, [1n, 3n]).server)).toBe(0);
  });

  test("with truncation: what C's view says besides the result is V's low bits alone", () => {
    // Both learn V^ = V + r to its last bit, so C knows how V's low bits stand to the dither, which
    // decides the rounding of the result: the leakage that the gate states. Arguments that agree
    // in the low bits cannot be told apart by it.
    const experiment = experimentOf(3, table(1, 1, [0n]), { party: "client" });
    expect(greatestDistance(explore(experiment, [0n, 1n, 2n]).client)).toBeGreaterThan(0);
    expect(greatestDistance(explore(experiment, [0n, 2n]).client)).toBe(0);
  });
});
