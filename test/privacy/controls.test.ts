// Positive controls: gates with a known fault, each of which the exhaustive comparison must flag.
// A test that never fails on these would prove nothing about the others.

import { describe, expect, test } from "vitest";
import { shareOf } from "../../src/gate/access.ts";
import type { Gate } from "../../src/gate/gate.ts";
import { type GateSpec, gateOf } from "../../src/gate/index.ts";
import { type Open, open, openBitsOf } from "../../src/gate/open.ts";
import { type Remask, remask } from "../../src/gate/remask.ts";
import { packedBytes } from "../../src/ring/pack.ts";
import type { Randomness } from "../../src/ring/prg.ts";
import type { Ring } from "../../src/ring/ring.ts";
import { offset } from "../../src/share/opened.ts";
import {
  exchangeGate,
  oneRow,
  piecewiseGate,
  type Secret,
  scoresGate,
  sharedInputs,
  tableOf,
} from "./attention.ts";
import { type Experiment, explore } from "./explore.ts";
import { gate, matrixMap, openGate, splineGate } from "./gates.ts";
import { type InputWire, type Message, makeTensors } from "./harness.ts";
import { type Fault, greatestDistance, type Lanes } from "./lanes.ts";

/** A leak that deserves the name: far from any rounding of counts. */
const CLEAR = 0.1;

function shared(lanes: Lanes, ring: Ring, wire: number, z: bigint): InputWire {
  return {
    form: "shared",
    values: lanes.constant([z], ring.residue(-1n)),
    clientShare: lanes.variable(`input/${wire}`, ring.bits),
  };
}

function masked(lanes: Lanes, ring: Ring, x: bigint): InputWire {
  return {
    form: "client",
    values: lanes.constant([x], ring.residue(-1n)),
    mask: lanes.variable("input/0", ring.bits),
  };
}

/** Makes one gate's words of one purpose zero, at everybody who draws them. */
const zeroed =
  (gateId: number, purpose: string): Fault =>
  (party, place, drawn) =>
    party === "client" && place.gate === gateId && drawn === purpose ? "zero" : undefined;

/** Where t and the result have all bits of the ring, and where they have fewer. */
const widths = [
  { bits: 3, openBits: 3, needed: 3 },
  { bits: 4, openBits: 3, needed: 3 },
];

const openingOf = ({ bits, openBits, needed }: (typeof widths)[number]): Experiment<bigint> => ({
  bits,
  outputs: [1],
  gates: (lanes) => [openGate({ from: 0, to: 1 }, [lanes, 1], 1, { openBits, bits: needed })],
  inputs: (lanes, z, ring) => new Map([[0, shared(lanes, ring, 0, z)]]),
});
const oneOpening = openingOf(widths[0]!);

/** An opening that sends t whole: its low bits say how the dither fell. */
const untruncated: Gate<Open> = {
  ...open,
  *client(spec, context) {
    const { ring } = context;
    const size = spec.rows * spec.columns;
    const bits = openBitsOf(spec, ring.bits);
    const inner = open.client(spec, context);
    inner.next();
    const t = ring.unpack(yield { receive: packedBytes(size, bits) }, size, bits);
    inner.next(ring.pack(ring.shiftRight(t, spec.shift), bits - spec.shift));
  },
  *server(spec, context) {
    const { ring } = context;
    const size = spec.rows * spec.columns;
    const bits = openBitsOf(spec, ring.bits);
    const upload = context.fromClient(spec);
    const inner = open.server(spec, { ...context, fromClient: () => upload });
    inner.next();
    const place = { segment: context.segment, gate: spec.id };
    const mask = context.server.words(place, "mask", size, bits);
    const own = ring.add(shareOf(context, spec.inputs[0]!), mask);
    const sum = ring.add(own, ring.unpack(upload, size, bits));
    yield { send: ring.pack(ring.addConstant(sum, offset(bits)), bits) };
    inner.next();
  },
};

const withUntruncated = ((spec: GateSpec) =>
  spec.kind === "open" ? untruncated : gateOf(spec)) as typeof gateOf;

/** Re-masking with a mask that is a bit short. */
const narrow: Gate<Remask> = {
  ...remask,
  mask(spec, context) {
    const client: Randomness = {
      ...context.client,
      words: (place, purpose, count, bits) => context.client.words(place, purpose, count, bits - 1),
    };
    remask.mask!(spec, { ...context, client });
  },
};

const withNarrow = ((spec: GateSpec) =>
  spec.kind === "remask" ? narrow : gateOf(spec)) as typeof gateOf;

describe.each(widths)("the comparison flags, %j", (given) => {
  const opening = openingOf(given);
  const { needed } = given;
  const remasking = (lanes: number) => [
    gate("remask", { from: [0], to: 1 }, [lanes, 1], { offline: false, bits: needed }),
  ];

  test("re-masking without a fresh mask", () => {
    const experiment = { ...opening, gates: remasking, fault: zeroed(1, "mask") };
    expect(greatestDistance(explore(experiment, [0n, 1n]).server)).toBeGreaterThan(CLEAR);
  });

  test("re-masking with a mask that is one bit short", () => {
    const experiment = { ...opening, gates: remasking, implementation: withNarrow };
    const top = 1n << BigInt(needed - 1);
    expect(greatestDistance(explore(experiment, [0n, top]).server)).toBeGreaterThan(CLEAR);
  });

  test("an opening that sends t untruncated, seen together with the result", () => {
    const layout = ({ channel, gate: { rows: count } }: Message) =>
      channel === "server-client" ? [{ count, bits: given.openBits }] : undefined;
    const experiment = { ...opening, implementation: withUntruncated, layout };
    const { client } = explore(experiment, [-1n, 0n, 1n]);
    expect(greatestDistance(client)).toBeGreaterThan(CLEAR);
    // Without the result the same view says nothing: only the joint comparison finds the fault.
    expect(greatestDistance(client.map((one) => ({ ...one, given: [] })))).toBe(0);
  });

  test("S learning the top bit of an opening's mask", () => {
    const experiment = { ...opening, fault: zeroed(1, "shareB") };
    expect(greatestDistance(explore(experiment, [-1n, 1n]).server)).toBeGreaterThan(CLEAR);
  });

  test("an upload without a mask", () => {
    const experiment = { ...opening, fault: zeroed(1, "mask") };
    expect(greatestDistance(explore(experiment, [-1n, 1n]).server)).toBeGreaterThan(CLEAR);
  });

  test("an opening without S's mask, seen by C", () => {
    const fault: Fault = (party, _place, purpose) =>
      party === "server" && purpose === "mask" ? "zero" : undefined;
    const experiment = { ...opening, outputs: [], fault };
    expect(greatestDistance(explore(experiment, [-1n, 1n]).client)).toBeGreaterThan(CLEAR);
  });
});

describe("the comparison also flags", () => {
  test("two openings under one mask", () => {
    const experiment: Experiment<readonly [bigint, bigint]> = {
      bits: 3,
      outputs: [],
      gates: (lanes) => [
        openGate({ from: 0, to: 2 }, [lanes, 1], 1),
        openGate({ from: 1, to: 3 }, [lanes, 1], 1),
      ],
      inputs: (lanes, [a, b], ring) =>
        new Map([
          [0, shared(lanes, ring, 0, a)],
          [1, shared(lanes, ring, 1, b)],
        ]),
      fault: (party, _place, purpose) => (purpose === "mask" ? `${party}/reused` : undefined),
      withoutShares: [2, 3],
    };
    const { server, client } = explore(experiment, [
      [0n, 0n],
      [0n, 1n],
    ]);
    expect(greatestDistance(server)).toBeGreaterThan(CLEAR);
    expect(greatestDistance(client)).toBeGreaterThan(CLEAR);
  });

  test("a spline whose rn S knows", () => {
    const table = { shift: 0, domainBits: 1, fracBits: 0, knots: [0n], c0: [1n], c1: [1n] };
    const experiment: Experiment<bigint> = {
      ...oneOpening,
      bits: 2,
      gates: (lanes) => [splineGate({ from: 0, to: 1 }, lanes, table)],
      fault: zeroed(1, "shareA"),
    };
    expect(greatestDistance(explore(experiment, [0n, 1n]).server)).toBeGreaterThan(CLEAR);
  });

  test("a linear layer without rho", () => {
    const experiment: Experiment<bigint> = {
      bits: 3,
      outputs: [],
      gates: (lanes) => [
        gate("linear", { from: [0], to: 1 }, [lanes, 1], { map: matrixMap("w", 1) }),
      ],
      inputs: (lanes, x, ring) => new Map([[0, masked(lanes, ring, x)]]),
      tensors: (_lanes, _x, ring) => {
        const one = { rows: 1, columns: 1, weights: BigUint64Array.of(5n) };
        return makeTensors(ring, new Map([["w", { ...one, mask: BigUint64Array.of(6n) }]]));
      },
      fault: zeroed(1, "rho"),
    };
    expect(greatestDistance(explore(experiment, [0n, 1n]).server)).toBeGreaterThan(CLEAR);
  });

  test("logits at full precision, where C is entitled to the upper bits", () => {
    const experiment: Experiment<bigint> = {
      bits: 4,
      outputs: [],
      gates: (lanes) => [
        gate("logits", { from: [0], to: 1 }, [lanes, 1], {
          map: matrixMap("w", 1),
          bias: undefined,
          shift: 0,
          sentBits: 4,
          fracBits: 1,
          name: "logits",
        }),
      ],
      inputs: (lanes, _w, ring) => new Map([[0, masked(lanes, ring, 1n)]]),
      tensors: (_lanes, w, ring) => {
        const one = { rows: 1, columns: 1, mask: BigUint64Array.of(6n) };
        return makeTensors(ring, new Map([["w", { ...one, weights: BigUint64Array.of(w) }]]));
      },
      logits: { name: "logits", bits: 4 },
    };
    const { client } = explore(experiment, [2n, 3n]);
    const entitled = client.map((one) => ({
      ...one,
      given: one.given.map((field) => ({ ...field, words: field.words.map((word) => word >> 1n) })),
    }));
    expect(greatestDistance(entitled)).toBeGreaterThan(CLEAR);
  });
});

describe("of the gates of attention and activations, the comparison flags", () => {
  type Party = "client" | "server";

  function experimentOf(
    bits: number,
    gates: Experiment<readonly Secret[]>["gates"],
    changes: Partial<Experiment<readonly Secret[]>> & { party?: Party } = {},
  ): Experiment<readonly Secret[]> {
    const { party, ...rest } = changes;
    const inputs: Experiment<readonly Secret[]>["inputs"] = (lanes, values, ring) =>
      sharedInputs({ lanes, ring, party }, values);
    return { bits, gates, inputs, outputs: [], ...rest };
  }

  const words = (...values: bigint[]): Secret[] => values.map((value) => [value]);

  /** Masks of these gates are drawn once for all of them. */
  const shared =
    (gates: readonly number[]): Fault =>
    (party, place, purpose) =>
      purpose === "mask" && gates.includes(place.gate) ? `${party}/reused` : undefined;

  const both = ["client", "server"] as const;

  test.each(both)("an exchange that has one mask for two wires, to the %s", (party) => {
    const gates = (lanes: number) => [exchangeGate(0, 2, lanes, 3), exchangeGate(1, 3, lanes, 3)];
    const secrets = [words(0n, 0n), words(0n, 1n)];
    const views = (fault?: Fault) =>
      explore(experimentOf(3, gates, { party, fault }), secrets)[party];
    expect(greatestDistance(views(shared([2, 3])))).toBeGreaterThan(CLEAR);
    expect(greatestDistance(views())).toBe(0);
  });

  test.each(both)("an exchange of one wire without the other's mask, to the %s", (party) => {
    const other = party === "client" ? "server" : "client";
    const fault: Fault = (drawer, _place, purpose) =>
      drawer === other && purpose === "mask" ? "zero" : undefined;
    const gates = (lanes: number) => [exchangeGate(0, 1, lanes, 3)];
    const views = explore(experimentOf(3, gates, { fault }), [words(0n), words(1n)])[party];
    expect(greatestDistance(views)).toBeGreaterThan(CLEAR);
  });

  test.each([
    ["the mask itself", "shareA"],
    ["the mask's square", "shareB"],
  ])("a piecewise polynomial of which S is dealt %s", (_name, purpose) => {
    const gates = (lanes: number) => [
      exchangeGate(0, 1, lanes, 2),
      piecewiseGate(1, 2, lanes, { table: tableOf(2, 2), bits: 3 }),
    ];
    const changes = { party: "server", heldFunctions: "server" } as const;
    const views = (fault?: Fault) =>
      explore(experimentOf(3, gates, { ...changes, fault }), [words(0n), words(1n), words(2n)]);
    expect(greatestDistance(views(zeroed(2, purpose)).server)).toBeGreaterThan(CLEAR);
    expect(greatestDistance(views().server)).toBe(0);
  });

  test("scores whose product of masks S is dealt whole", () => {
    const gates = (lanes: number) => [
      exchangeGate(0, 2, lanes, 2),
      exchangeGate(1, 3, lanes, 2),
      scoresGate([2, 3], 4, oneRow(lanes), 2),
    ];
    const secrets = [words(0n, 0n), words(1n, 1n), words(1n, 2n)];
    const experiment = experimentOf(2, gates, { party: "server", fault: zeroed(4, "shareA") });
    expect(greatestDistance(explore(experiment, secrets).server)).toBeGreaterThan(CLEAR);
  });

  test.each(both)("a cache that keeps one mask for two rows, to the %s", (party) => {
    const gates = (lanes: number) => [
      exchangeGate(0, 2, lanes, 2),
      gate("cache", { from: [2], to: 3 }, [1, lanes], { after: undefined, name: "k:1", bits: 2 }),
      exchangeGate(1, 4, lanes, 2),
      gate("cache", { from: [4], to: 5 }, [2, lanes], { after: "k:1", name: "k:2", bits: 2 }),
    ];
    const secrets = [words(0n, 0n), words(0n, 1n)];
    const views = (fault?: Fault) =>
      explore(experimentOf(2, gates, { party, planes: true, fault }), secrets)[party];
    expect(greatestDistance(views(shared([2, 4])))).toBeGreaterThan(CLEAR);
    expect(greatestDistance(views())).toBe(0);
  });

  test("an opening that sends its low bits before a piecewise polynomial, to C", () => {
    const gates = (lanes: number) => [
      openGate({ from: 0, to: 1 }, [1, lanes], 1, { openBits: 3, bits: 2 }),
      piecewiseGate(1, 2, lanes, { table: tableOf(2, 1, [0n], -2n), bits: 3 }),
    ];
    const layout = ({ channel, gate: spec }: Message) =>
      spec.kind === "open" && channel === "server-client"
        ? [{ count: spec.columns, bits: 3 }]
        : undefined;
    const changes = {
      party: "client",
      heldFunctions: "client",
      withoutShares: [1],
      outputs: [2],
    } as const;
    const secrets = [words(-1n), words(0n), words(1n)];
    const whole = explore(
      experimentOf(3, gates, { ...changes, implementation: withUntruncated, layout }),
      secrets,
    );
    expect(greatestDistance(whole.client)).toBeGreaterThan(CLEAR);
    expect(greatestDistance(explore(experimentOf(3, gates, changes), secrets).client)).toBe(0);
  });
});
