import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { checkGates } from "../../test/privacy/check.ts";
import { gate, openGate } from "../../test/privacy/gates.ts";
import { type AllRandomness, runReference, seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring, type Words } from "../ring/ring.ts";
import { inTheClear, type PiecewiseTable, topOf } from "./piecewise.ts";

const reference = referenceRingKernels();
const loaded = await loadRingKernels();

/** A table with random knots and coefficients; pieces of one step or block and long ones. */
function tableOf(
  domainBits: number,
  degree: number,
  knotCount: number,
  seed: number,
  blockBits = 0,
) {
  const random = uniform(seed, knotCount * (degree + 2), 64);
  const knots = new Set([0n]);
  for (const word of random.subarray(1, knotCount)) {
    knots.add(BigInt.asUintN(domainBits - blockBits, word) << BigInt(blockBits));
  }
  const sorted = [...knots].sort((a, b) => (a < b ? -1 : 1));
  const coefficients = sorted.map((_, k) =>
    Array.from({ length: degree + 1 }, (_, j) =>
      BigInt.asIntN(64, random[knotCount + k * (degree + 1) + j]!),
    ),
  );
  const least = -(1n << BigInt(domainBits - 1)) + BigInt(seed % 3);
  const shape = { domainBits, blockBits, least, fracBits: 0 };
  return { ...shape, knots: sorted, coefficients } satisfies PiecewiseTable;
}

/** Both sides of every knot, and the ends of the domain. */
function argumentsOf(table: PiecewiseTable, ring: Ring): Words {
  const { knots, least } = table;
  const top = topOf(table);
  const near = knots.flatMap((knot) => [knot - 1n, knot, knot + 1n]);
  const inside = [0n, top, ...near].filter((v) => v >= 0n && v <= top);
  return BigUint64Array.from(inside, (v) => ring.residue(v + least));
}

function exchanged(
  ring: Ring,
  options: { table: PiecewiseTable; values: Words; random: AllRandomness; bits?: number },
) {
  const { table, values, random, bits = ring.bits } = options;
  const shape = [1, values.length] as const;
  const { domainBits: openBits } = table;
  return {
    ring,
    gates: [
      gate("exchange", { from: [0], to: 1 }, shape, { openBits, bits: openBits }),
      gate("piecewise", { from: [1], to: 2 }, shape, { table, wireName: "x", bits }),
    ],
    inputs: new Map([[0, sharedWire(ring, values, 77)]]),
    random,
  };
}

describe("piecewise", () => {
  test("secure equals reference after an exchange: knots, their neighbours, the domain's ends", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 40 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom(64, 64, 63, 33, 9, 1),
        fc.constantFrom(0, 1, 5, 20),
        fc.nat(),
        (domainBits, degree, knots, bits, block, seed) => {
          const ring = new Ring(loaded);
          const blockBits = Math.max(0, Math.min(block, domainBits - 2));
          const table = tableOf(domainBits, degree, knots, seed, blockBits);
          const values = argumentsOf(table, ring);
          checkGates(exchanged(ring, { table, values, random: seeded(reference, seed), bits }));
        },
      ),
      { numRuns: 60 },
    );
  });

  test("more entries than are evaluated at one time", () => {
    const ring = new Ring(loaded);
    const table = tableOf(9, 2, 4, 5);
    const values = Array.from(uniform(3, 1500, 9), (word) => ring.residue(word + table.least));
    const random = seeded(reference, 4);
    checkGates(exchanged(ring, { table, values: BigUint64Array.from(values), random }));
  });

  test("after a truncating opening: every residue of 6 bits, with the parties' dither", () => {
    const ring = new Ring(reference, 16);
    const [shift, openBits] = [3, 9];
    const table = { ...tableOf(openBits - shift, 2, 5, 11), least: -(1n << 5n) };
    const top = 1n << 7n;
    const values = BigUint64Array.from({ length: 2 * 127 + 1 }, (_, i) =>
      ring.residue(BigInt(i) - top + 1n),
    );
    const shape = [1, values.length] as const;
    for (let seed = 0; seed < 8; seed++) {
      checkGates({
        ring,
        gates: [
          openGate({ from: 0, to: 1 }, shape, shift, {
            openBits,
            bits: openBits - shift,
            offline: false,
          }),
          gate("piecewise", { from: [1], to: 2 }, shape, { table, wireName: "x" }),
        ],
        inputs: new Map([[0, sharedWire(ring, values, seed)]]),
        random: seeded(reference, seed),
      });
    }
  });

  test("all arguments and many masks of a ring of 5 bits", () => {
    const ring = new Ring(reference, 5);
    for (let seed = 0; seed < 40; seed++) {
      const table = tableOf(4, 1 + (seed % 3), 3, seed, seed % 3);
      const values = BigUint64Array.from({ length: Number(topOf(table)) + 1 }, (_, v) =>
        ring.residue(BigInt(v) + table.least),
      );
      checkGates(exchanged(ring, { table, values, random: seeded(reference, seed) }));
    }
  });

  test("the value in the clear is that of the piece", () => {
    const table: PiecewiseTable = {
      domainBits: 4,
      blockBits: 0,
      least: 0n,
      fracBits: 0,
      knots: [0n, 5n, 9n],
      coefficients: [
        [1n, 2n, 0n],
        [10n, 0n, 1n],
        [-3n, -1n, 0n],
      ],
    };
    const values = Array.from({ length: 16 }, (_, v) => inTheClear(table, BigInt(v)));
    expect(values.slice(0, 5)).toEqual([1n, 3n, 5n, 7n, 9n]);
    expect(values.slice(5, 9)).toEqual([10n, 11n, 14n, 19n]);
    expect(values.slice(9)).toEqual([-3n, -4n, -5n, -6n, -7n, -8n, -9n]);
  });

  test("in the clear, a coarse table's pieces part where the dither says", () => {
    const coefficients = [0n, 1n, 2n].map((k) => [100n * k, k]);
    const shape = { domainBits: 5, blockBits: 2, least: 0n, fracBits: 0 };
    const table: PiecewiseTable = { ...shape, knots: [0n, 8n, 12n], coefficients };
    const at = (r1: bigint, rho = 0n) =>
      [5n, 7n, 8n, 9n, 11n, 12n].map((v) => inTheClear(table, v, { r1, rho }));
    expect(at(0n)).toEqual([0n, 0n, 100n, 101n, 103n, 200n]);
    // With a mask of 3 modulo 4 pieces part 3 below their knots, whatever its upper bits.
    for (const r1 of [3n, 15n, 31n]) expect(at(r1)).toEqual([97n, 99n, 100n, 194n, 198n, 200n]);
  });

  test("given the opened word, each block is taken as often as a hidden dither takes it", () => {
    const shape = { domainBits: 6, blockBits: 3, least: 0n, fracBits: 0 };
    const knots = Array.from({ length: 8 }, (_, k) => 8n * BigInt(k));
    const coefficients = knots.map((_, k) => [BigInt(k), 0n]);
    const table: PiecewiseTable = { ...shape, knots, coefficients };
    for (let v = 0n; v <= topOf(table); v++) {
      for (let a = 0n; a < 64n; a++) {
        const c = 7n - (a % 8n);
        const r1 = BigInt.asUintN(6, a - v);
        const blocks = Array.from({ length: 8 }, (_, rho) =>
          inTheClear(table, v, { r1, rho: BigInt(rho) }),
        );
        const wanted = Array.from({ length: 8 }, (_, rho) => (v + BigInt(rho) + c) / 8n);
        expect(blocks).toEqual(wanted);
      }
    }
  });

  test("a hidden dither moves blocks: of a knot's own argument, 7 of 16 take the next block", () => {
    const ring = new Ring(loaded);
    const knots = Array.from({ length: 8 }, (_, k) => 8n * BigInt(k));
    const coefficients = knots.map((_, k) => [BigInt(k), 0n]);
    const shape = { domainBits: 6, blockBits: 3, least: 0n, fracBits: 0 };
    const table: PiecewiseTable = { ...shape, knots, coefficients };
    const values = new BigUint64Array(4096).fill(16n);
    const run = exchanged(ring, { table, values, random: seeded(reference, 8) });
    checkGates(run);
    // By the opened word alone, without a dither, all would take their own block.
    const blocks = runReference(run).wires.get(2)!.values;
    const next = blocks.filter((block) => block === 3n).length;
    expect(blocks.filter((block) => block === 2n).length + next).toBe(values.length);
    expect(next / values.length).toBeGreaterThan(0.4);
    expect(next / values.length).toBeLessThan(0.475);
  });

  test("the reference refuses what leaves the domain", () => {
    const ring = new Ring(reference);
    for (const blockBits of [0, 3]) {
      const table = tableOf(6, 1, 2, 9, blockBits);
      const highest = table.least + topOf(table);
      const random = seeded(reference, 1);
      const of = (y: bigint) => () =>
        runReference(
          exchanged(ring, { table, values: BigUint64Array.of(ring.residue(y)), random }),
        );
      errorOf("E_RANGE", of(table.least - 1n));
      errorOf("E_RANGE", of(highest + 1n));
      expect(of(highest)).not.toThrow();
    }
  });
});
