// Privacy of the gates of ordinary decoders, exactly, as in gates.test.ts. Enumerated: all masks of
// exchanges and openings, C's shares of correlations, values of function keys. Said by each test:
// a party's input shares where they are held (its view is then the view given them), values of keys
// that are held, shares of an opening's correlations that are left out because gates.test.ts has
// shown them to be uniform and independent. The maximum's own tests are in compare.test.ts; whole
// softmax attention is too large and sampled, by chi-square, in softmax.test.ts.

import { describe, expect, test } from "vitest";
import type { CausalDims } from "../../src/gate/causal.ts";
import type { GateSpec } from "../../src/gate/index.ts";
import {
  bothParties,
  exchangeGate,
  oneRow,
  type Party,
  piecewiseGate,
  type Secret,
  scoresGate,
  sharedInputs,
  tableOf,
} from "./attention.ts";
import { type Experiment, type Explored, explore } from "./explore.ts";
import { gate, openGate } from "./gates.ts";
import { greatestDistance } from "./lanes.ts";

/** Neither party learns anything: exactly equal distributions. */
function expectPrivate({ client, server }: Explored): void {
  expect(greatestDistance(client), "C's view given the result").toBe(0);
  expect(greatestDistance(server), "S's view").toBe(0);
}

type Changes = Partial<Experiment<readonly Secret[]>> & { readonly party?: Party };

/** Gates on shared wires 0, 1, ..; a secret is the words of each. */
function experimentOf(
  bits: number,
  gates: (lanes: number) => readonly GateSpec[],
  { party, ...changes }: Changes,
): Experiment<readonly Secret[]> {
  return {
    bits,
    gates,
    outputs: [],
    inputs: (lanes, values, ring) => sharedInputs({ lanes, ring, party }, values),
    ...changes,
  };
}

function expectPrivateTo(
  party: Party,
  experiment: Experiment<readonly Secret[]>,
  secrets: readonly (readonly Secret[])[],
): void {
  expect(greatestDistance(explore(experiment, secrets)[party]), `${party}'s view`).toBe(0);
}

const words = (...values: bigint[]): Secret[] => values.map((value) => [value]);

describe("exchange", () => {
  test.each([
    [3, 3],
    [4, 3],
    [4, 2],
    [5, 1],
  ])("ring of %i bits, %i of them opened: everything enumerated", (ringBits, bits) => {
    const gates = (lanes: number) => [exchangeGate(0, 1, lanes, bits)];
    const experiment = experimentOf(ringBits, gates, { outputs: [1] });
    expectPrivate(explore(experiment, [words(0n), words(1n), words(-1n), words(3n)]));
  });

  test("two exchanges of one wire, each with masks of its own: input shares held", () => {
    for (const party of bothParties) {
      const gates = (lanes: number) => [exchangeGate(0, 1, lanes, 3), exchangeGate(0, 2, lanes, 2)];
      const experiment = experimentOf(3, gates, { party, outputs: [1] });
      expectPrivateTo(party, experiment, [words(0n), words(1n), words(5n)]);
    }
  });
});

describe("piecewise after an exchange", () => {
  const gatesOf = (table: ReturnType<typeof tableOf>, bits: number) => (lanes: number) => [
    exchangeGate(0, 1, lanes, table.domainBits),
    piecewiseGate(1, 2, lanes, { table, bits }),
  ];

  for (const [degree, knots] of [
    [1, [0n]],
    [1, [0n, 1n]],
    [2, [0n]],
  ] as const) {
    test(`ring of 2 bits, degree ${degree}, ${knots.length} knots: everything enumerated`, () => {
      const experiment = experimentOf(2, gatesOf(tableOf(1, degree, knots), 2), { outputs: [2] });
      expectPrivate(explore(experiment, [words(0n), words(1n)]));
    });
  }

  for (const party of bothParties) {
    for (const [degree, knots, bits, isHeld] of [
      [1, [0n], 3, false],
      [1, [0n, 2n], 2, true],
      [1, [0n, 2n], 3, true],
      [2, [0n], 3, true],
      [2, [0n, 1n, 2n], 3, true],
      [3, [0n, 3n], 3, true],
    ] as const) {
      const values = isHeld ? " and values of keys" : "";
      const name = `ring of 3 bits, ${bits} needed, degree ${degree}, ${knots.length} knots`;
      test(`${name}: ${party}'s view given its input share${values}`, () => {
        const table = tableOf(2, degree, knots, -1n);
        const heldFunctions = isHeld ? party : undefined;
        const changes = { party, outputs: [2], heldFunctions };
        const experiment = experimentOf(3, gatesOf(table, bits), changes);
        expectPrivateTo(party, experiment, [words(-1n), words(0n), words(1n), words(2n)]);
      });
    }
  }
});

describe("piecewise with blocks after an exchange", () => {
  for (const party of bothParties) {
    for (const [degree, knots] of [
      [1, [0n, 4n]],
      [2, [0n, 2n, 6n]],
    ] as const) {
      test(`degree ${degree}: ${party}'s view given its input share and values of keys`, () => {
        const table = tableOf(3, degree, knots, -1n, 1);
        const gates = (lanes: number) => [
          exchangeGate(0, 1, lanes, 3),
          piecewiseGate(1, 2, lanes, { table, bits: 3 }),
        ];
        const experiment = experimentOf(3, gates, { party, outputs: [2], heldFunctions: party });
        expectPrivateTo(party, experiment, [words(-1n), words(0n), words(2n), words(3n)]);
      });
    }
  }
});

describe("an opening, piecewise, and re-masking: an activation", () => {
  const gatesOf =
    (table: ReturnType<typeof tableOf>, isRemasked: boolean) =>
    (lanes: number): GateSpec[] => [
      openGate({ from: 0, to: 1 }, [1, lanes], 1, { openBits: 3, bits: 2, offline: false }),
      piecewiseGate(1, 2, lanes, { table, bits: 3 }),
      ...(isRemasked
        ? [gate("remask", { from: [2], to: 3 }, [1, lanes], { offline: false, bits: 3 })]
        : []),
    ];

  for (const party of bothParties) {
    for (const [degree, isRemasked, isHeld] of [
      [1, false, false],
      [1, true, false],
      [2, false, true],
      [2, true, true],
      [3, true, true],
    ] as const) {
      const values = isHeld ? " and values of keys" : "";
      const end = isRemasked ? ", re-masked" : "";
      test(`degree ${degree}${end}: ${party}'s view given its input share${values}`, () => {
        const table = tableOf(2, degree, degree === 1 ? [0n] : [0n, 2n], -2n);
        const experiment = experimentOf(
          3,
          gatesOf(isHeld ? table : { ...table, ...one(table) }, isRemasked),
          {
            party,
            outputs: [isRemasked ? 3 : 2],
            // The shares of r1 that the opening deals: gates.test.ts has them.
            withoutShares: [1],
            heldFunctions: isHeld ? party : undefined,
          },
        );
        expectPrivateTo(party, experiment, [words(-1n), words(0n), words(1n)]);
      });
    }
  }

  const one = ({ knots, coefficients }: ReturnType<typeof tableOf>) => ({
    knots: knots.slice(0, 1),
    coefficients: coefficients.slice(0, 1),
  });
});

describe("scores", () => {
  const gatesOf = (bits: number) => (lanes: number) => [
    exchangeGate(0, 2, lanes, bits),
    exchangeGate(1, 3, lanes, bits),
    scoresGate([2, 3], 4, oneRow(lanes), bits),
  ];
  const pairs = [words(0n, 0n), words(1n, 0n), words(0n, 1n), words(1n, 3n), words(3n, 1n)];

  test.each([2, 1])(
    "one query and one key, ring of 2 bits, %i opened: everything enumerated",
    (bits) => {
      expectPrivate(explore(experimentOf(2, gatesOf(bits), { outputs: [4] }), pairs));
    },
  );

  for (const party of bothParties) {
    test(`one query and one key, ring of 3 bits: ${party}'s view given its input shares`, () => {
      const experiment = experimentOf(3, gatesOf(3), { party, outputs: [4] });
      expectPrivateTo(party, experiment, pairs);
    });

    test(`heads of two columns: ${party}'s view given its input shares`, () => {
      const gates = (lanes: number) => {
        const dims: CausalDims = { ...oneRow(lanes), width: 2 };
        return [
          exchangeGate(0, 2, 2 * lanes, 2),
          exchangeGate(1, 3, 2 * lanes, 2),
          scoresGate([2, 3], 4, dims, 2),
        ];
      };
      expectPrivateTo(party, experimentOf(2, gates, { party, outputs: [4] }), [
        [
          [0n, 0n],
          [0n, 0n],
        ],
        [
          [1n, 2n],
          [2n, 1n],
        ],
        [
          [3n, 1n],
          [1n, 1n],
        ],
      ]);
    });

    test(`two queries on one key head: ${party}'s view given its input shares`, () => {
      const gates = (lanes: number) => {
        const dims: CausalDims = { ...oneRow(lanes), heads: 2 * lanes };
        return [
          exchangeGate(0, 2, 2 * lanes, 2),
          exchangeGate(1, 3, lanes, 2),
          scoresGate([2, 3], 4, dims, 2),
        ];
      };
      expectPrivateTo(party, experimentOf(2, gates, { party, outputs: [4] }), [
        [[0n, 0n], [1n]],
        [[0n, 0n], [2n]],
        [[1n, 2n], [0n]],
      ]);
    });
  }
});

describe("a cache: a key that two later queries read", () => {
  // Keys on wires 0 and 1, queries on 2 and 3; the second query reads both keys.
  const gatesOf = (bits: number) => (lanes: number) => [
    exchangeGate(0, 4, lanes, bits),
    gate("cache", { from: [4], to: 5 }, [1, lanes], { after: undefined, name: "k:1", bits }),
    exchangeGate(2, 6, lanes, bits),
    scoresGate([6, 5], 7, oneRow(lanes), bits),
    exchangeGate(1, 8, lanes, bits),
    gate("cache", { from: [8], to: 9 }, [2, lanes], { after: "k:1", name: "k:2", bits }),
    exchangeGate(3, 10, lanes, bits),
    scoresGate([10, 9], 11, oneRow(lanes, 1), bits),
  ];
  const secrets = [
    words(0n, 0n, 0n, 0n),
    words(1n, 0n, 0n, 0n),
    words(1n, 1n, 0n, 0n),
    words(0n, 0n, 1n, 1n),
  ];

  for (const party of bothParties) {
    test(`modulo 2: ${party}'s view given its input shares`, () => {
      const changes = { party, planes: true, outputs: [7, 11] };
      expectPrivateTo(party, experimentOf(2, gatesOf(1), changes), secrets);
    });

    test(`modulo 4: ${party}'s view, the scores' dealt shares left out, too`, () => {
      const changes = { party, planes: true, outputs: [7, 11], withoutShares: [7, 11] };
      const more = [...secrets, words(2n, 3n, 0n, 0n)];
      expectPrivateTo(party, experimentOf(2, gatesOf(2), changes), more);
    });
  }
});

describe("mix", () => {
  const gatesOf = (bits: number) => (lanes: number) => [
    exchangeGate(0, 2, 2 * lanes, bits),
    exchangeGate(1, 3, 2 * lanes, bits),
    gate("mix", { from: [2, 3], to: 4 }, [1, lanes], { dims: oneRow(lanes, 1), bits }),
  ];

  for (const party of bothParties) {
    test.each([1, 2])(
      `two weights and values, modulo 2^%i: ${party}'s view given its input shares`,
      (bits) => {
        const experiment = experimentOf(2, gatesOf(bits), { party, planes: true, outputs: [4] });
        expectPrivateTo(party, experiment, [
          [
            [0n, 0n],
            [0n, 0n],
          ],
          [
            [1n, 1n],
            [0n, 0n],
          ],
          [
            [1n, 1n],
            [1n, 3n],
          ],
        ]);
      },
    );
  }
});

describe("unmask", () => {
  for (const party of bothParties) {
    test.each([
      ["narrow", 3, 2],
      ["lifted", 4, 3],
    ] as const)(
      `%s and exchanged, ring of %i bits: ${party}'s view given its input share`,
      (how, ringBits, bits) => {
        const lift = how === "lifted";
        const gates = (lanes: number) => [
          openGate({ from: 0, to: 1 }, [1, lanes], 1, { openBits: 3, bits, offline: false }),
          gate("unmask", { from: [1], to: 2 }, [1, lanes], { lift, bits }),
          exchangeGate(2, 3, lanes, bits),
        ];
        const experiment = experimentOf(ringBits, gates, { party, outputs: [3] });
        expectPrivateTo(party, experiment, [words(-1n), words(0n), words(1n)]);
      },
    );
  }
});

describe("rope", () => {
  for (const party of bothParties) {
    test(`turned and opened: ${party}'s view given its input shares, dealt shares left out`, () => {
      const gates = (lanes: number) => [
        gate("rope", { from: [0], to: 1 }, [1, 2 * lanes], {
          start: 1,
          base: 10,
          width: 2,
          fracBits: 1,
        }),
        openGate({ from: 1, to: 2 }, [1, 2 * lanes], 1, { openBits: 4, bits: 3, offline: false }),
      ];
      const experiment = experimentOf(4, gates, { party, outputs: [2], withoutShares: [2] });
      expectPrivateTo(party, experiment, [[[0n, 0n]], [[1n, -1n]], [[0n, 1n]]]);
    });
  }
});

describe("sums over a row and differences from its word", () => {
  for (const party of bothParties) {
    test(`each exchanged: ${party}'s view given its input shares`, () => {
      const gates = (lanes: number) => {
        const dims = oneRow(lanes, 1);
        return [
          gate("rowSum", { from: [0], to: 1 }, [1, lanes], { dims }),
          gate("rowDifference", { from: [0, 1], to: 2 }, [1, 2 * lanes], { dims }),
          exchangeGate(1, 3, lanes, 2),
          exchangeGate(2, 4, 2 * lanes, 2),
        ];
      };
      const experiment = experimentOf(2, gates, { party, planes: true, outputs: [1, 2] });
      expectPrivateTo(party, experiment, [[[0n, 0n]], [[1n, 3n]], [[3n, 1n]], [[2n, 2n]]]);
    });

    test(`a public constant added and exchanged: ${party}'s view given its input shares`, () => {
      const gates = (lanes: number) => [
        gate("rowShift", { from: [0], to: 1 }, [1, 2 * lanes], {
          dims: oneRow(lanes, 1),
          constants: [3],
        }),
        exchangeGate(1, 2, 2 * lanes, 2),
      ];
      const experiment = experimentOf(2, gates, { party, planes: true, outputs: [1] });
      expectPrivateTo(party, experiment, [[[0n, 0n]], [[1n, 3n]], [[3n, 1n]], [[2n, 2n]]]);
    });
  }
});
