// Why one run over all lanes may stand for one run a lane: gates work row by row.

import { describe, expect, test } from "vitest";
import { keyLayout } from "../../src/kernel/function-key.ts";
import { referenceRingKernels } from "../../src/kernel/reference.ts";
import type { Randomness } from "../../src/ring/prg.ts";
import { Ring } from "../../src/ring/ring.ts";
import { gate, openGate, splineGate } from "./gates.ts";
import {
  type AllRandomness,
  type InputWire,
  type Message,
  type RunOptions,
  runParties,
} from "./harness.ts";
import { greatestDistance, keysOf, Lanes, type Observation } from "./lanes.ts";
import { partsOf, unpackParts } from "./layout.ts";
import { uniform } from "./values.ts";

const kernels = referenceRingKernels();
const ring = new Ring(kernels, 5);
const ROWS = 24;

const gates = (rows: number) => [
  openGate({ from: 0, to: 1 }, [rows, 2], 1, { squares: "rows" }),
  gate("sumSquares", { from: [1], to: 2 }, [rows, 1], { width: 2 }),
  splineGate({ from: 2, to: 3 }, rows, {
    shift: 0,
    domainBits: 4,
    fracBits: 0,
    knots: [0n, 2n, 5n],
    c0: [6n, 4n, 2n],
    c1: [-1n, 0n, 0n],
  }),
  openGate({ from: 3, to: 4 }, [rows, 1], 1, { offline: false }),
  gate("product", { from: [1, 4], to: 5 }, [rows, 2], { upperBits: [4, 4] }),
  gate("remask", { from: [5], to: 6 }, [rows, 2], { offline: false }),
];

/** Words that depend on party, gate, purpose, row and entry alone, for rows from.. of ROWS. */
function rowWise(party: number, from: number, rows: number): Randomness {
  return {
    words({ gate: id }, purpose, count, bits) {
      const each = count / rows;
      const all = uniform(party * 1000 + id * 50 + purpose.length, 4 * ROWS, bits);
      return all.slice(from * each, (from + rows) * each);
    },
    bytes: (_place, _purpose, count) => new Uint8Array(count).fill(7),
  };
}

function runRows(from: number, rows: number) {
  const cut = (seed: number) => uniform(seed, 2 * ROWS, 2).slice(2 * from, 2 * (from + rows));
  const input: InputWire = { form: "shared", values: cut(1), clientShare: cut(2) };
  const random: AllRandomness = {
    client: rowWise(1, from, rows),
    server: rowWise(2, from, rows),
    own: rowWise(3, from, rows),
  };
  const options: RunOptions = { ring, gates: gates(rows), inputs: new Map([[0, input]]), random };
  return runParties(options);
}

/** A message's words, vector by vector; a key is a run of bytes. */
function vectors(message: Message) {
  const parts = partsOf(message, ring.bits, ({ kind, domainBits, words, count }) => [
    { count: count * keyLayout(kind, domainBits, words).keyBytes, bits: 8 },
  ]);
  return unpackParts(message.bytes, parts);
}

describe("lanes", () => {
  test("a row of a run over many is what a run of its own is, in messages and in wires", () => {
    const whole = runRows(0, ROWS);
    for (let row = 0; row < ROWS; row++) {
      const alone = runRows(row, 1);
      expect(alone.messages.length).toBe(whole.messages.length);
      alone.messages.forEach((message, i) => {
        const all = whole.messages[i]!;
        expect(message.channel).toBe(all.channel);
        const columns = vectors(all);
        for (const [part, words] of vectors(message).entries()) {
          const each = words.length;
          expect(columns[part]).toHaveLength(ROWS * each);
          expect(words).toEqual(columns[part]!.slice(row * each, (row + 1) * each));
        }
      });
      for (const wire of [2, 3, 5, 6]) {
        for (const party of ["client", "server"] as const) {
          const words = (run: typeof whole) => {
            const held = run[party].wires.get(wire)!;
            if (held.form === "shared") return held.share;
            if (held.form === "opened") throw new Error("not compared");
            return "mask" in held ? held.mask : held.masked;
          };
          const own = words(alone);
          const all = words(whole);
          expect(own).toEqual(all.slice(row * own.length, (row + 1) * own.length));
        }
      }
    }
  });

  test("every combination of values occurs exactly once", () => {
    const lanes = new Lanes();
    const draw = () => [lanes.variable("a", 2), lanes.variables("b", 3, 2)];
    draw();
    lanes.freeze();
    const [a, b] = draw();
    expect(lanes.count).toBe(2 ** 8);
    const { keys, bits } = keysOf(
      [
        { name: "a", words: a!, bits: 2 },
        { name: "b", words: b!, bits: 3 },
      ],
      lanes.count,
    );
    expect(bits).toBe(8);
    expect([...keys].sort((x, y) => x - y)).toEqual(Array.from({ length: 256 }, (_, i) => i));
  });

  test("the distance of distributions is exact", () => {
    const seen = (values: readonly bigint[], given: readonly bigint[]): Observation => ({
      lanes: values.length,
      view: [{ name: "v", words: BigUint64Array.from(values), bits: 4 }],
      given: [{ name: "g", words: BigUint64Array.from(given), bits: 4 }],
    });
    const zeros = [0n, 0n, 0n, 0n];
    const even = seen([1n, 1n, 2n, 2n], zeros);
    expect(greatestDistance([even, seen([2n, 1n, 2n, 1n], zeros)])).toBe(0);
    expect(greatestDistance([even, seen([1n, 2n], [0n, 0n])])).toBe(0);
    expect(greatestDistance([even, seen([1n, 2n, 2n, 2n], zeros)])).toBe(0.25);
    expect(greatestDistance([even, seen([3n, 3n, 4n, 4n], zeros)])).toBe(1);
    expect(greatestDistance([even, seen([3n, 3n, 4n, 4n], [1n, 1n, 1n, 1n])])).toBe(0);
  });
});
