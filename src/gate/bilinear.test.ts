import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate } from "../../test/privacy/gates.ts";
import { seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring, type Words } from "../ring/ring.ts";
import { type CausalDims, mixOf, rowSums, scoreCount, scoresOf, spreadOverRows } from "./causal.ts";

const reference = referenceRingKernels();
const loaded = await loadRingKernels();

const dimsOf = fc
  .record({
    rows: fc.integer({ min: 1, max: 4 }),
    start: fc.integer({ min: 0, max: 5 }),
    keyHeads: fc.integer({ min: 1, max: 3 }),
    groups: fc.integer({ min: 1, max: 3 }),
    width: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ groups, ...rest }): CausalDims => ({ ...rest, heads: groups * rest.keyHeads }));

const words = (seed: number, count: number) => uniform(seed, count, 64);

/** Scores by their definition. */
function plainScores({ rows, start, heads, keyHeads, width }: CausalDims, q: Words, k: Words) {
  const out: bigint[] = [];
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= start + i; j++) {
      for (let h = 0; h < heads; h++) {
        const group = Math.floor(h / (heads / keyHeads));
        let sum = 0n;
        for (let c = 0; c < width; c++) {
          sum += q[(i * heads + h) * width + c]! * k[(j * keyHeads + group) * width + c]!;
        }
        out.push(BigInt.asUintN(64, sum));
      }
    }
  }
  return out;
}

function plainMix({ rows, start, heads, keyHeads, width }: CausalDims, p: Words, v: Words) {
  const out = new Array<bigint>(rows * heads * width).fill(0n);
  let at = 0;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= start + i; j++) {
      for (let h = 0; h < heads; h++, at++) {
        const group = Math.floor(h / (heads / keyHeads));
        for (let c = 0; c < width; c++) {
          const place = (i * heads + h) * width + c;
          const term = p[at]! * v[(j * keyHeads + group) * width + c]!;
          out[place] = BigInt.asUintN(64, out[place]! + term);
        }
      }
    }
  }
  return out;
}

describe("the layout of scores", () => {
  const ring = new Ring(loaded);

  test("scores and weighted sums are those of their definitions, also with shared key heads", () => {
    fc.assert(
      fc.property(dimsOf, fc.nat(), (dims, seed) => {
        const { rows, start, heads, keyHeads, width } = dims;
        const q = words(seed, rows * heads * width);
        const k = words(seed + 1, (start + rows) * keyHeads * width);
        const p = words(seed + 2, scoreCount(dims));
        expect([...scoresOf(ring, dims, q, k)]).toEqual(plainScores(dims, q, k));
        expect([...mixOf(ring, dims, p, k)]).toEqual(plainMix(dims, p, k));
      }),
      { numRuns: 60 },
    );
  });

  test("sums over rows, and a row's word at each of its positions", () => {
    fc.assert(
      fc.property(dimsOf, fc.nat(), (dims, seed) => {
        const { rows, start, heads } = dims;
        const x = words(seed, scoreCount(dims));
        const row = words(seed + 1, rows * heads);
        const sums = new Array<bigint>(rows * heads).fill(0n);
        const spread: bigint[] = [];
        let at = 0;
        for (let i = 0; i < rows; i++) {
          for (let j = 0; j <= start + i; j++) {
            for (let h = 0; h < heads; h++, at++) {
              sums[i * heads + h] = BigInt.asUintN(64, sums[i * heads + h]! + x[at]!);
              spread.push(row[i * heads + h]!);
            }
          }
        }
        expect([...rowSums(ring, dims, x)]).toEqual(sums);
        expect([...spreadOverRows(ring, dims, row)]).toEqual(spread);
      }),
      { numRuns: 40 },
    );
  });
});

describe("scores and mix", () => {
  test("secure equals reference, of all widths", () => {
    fc.assert(
      fc.property(dimsOf, fc.constantFrom(64, 50, 17, 3), fc.nat(), (dims, openBits, seed) => {
        const ring = new Ring(loaded);
        const { rows, start, heads, keyHeads, width } = dims;
        const size = scoreCount(dims);
        const [d, e] = [heads * width, keyHeads * width];
        const all = start + rows;
        const bits = openBits;
        const q = words(seed, rows * d);
        const k = words(seed + 1, all * e);
        checkGates({
          ring,
          gates: [
            gate("exchange", { from: [0], to: 2 }, [rows, d], { openBits, bits }),
            gate("exchange", { from: [1], to: 3 }, [all, e], { openBits, bits }),
            gate("scores", { from: [2, 3], to: 4 }, [1, size], { dims, bits }),
            gate("exchange", { from: [4], to: 5 }, [1, size], { openBits, bits }),
            gate("mix", { from: [5, 3], to: 6 }, [rows, d], { dims, bits }),
          ],
          inputs: new Map([
            [0, sharedWire(ring, q, seed)],
            [1, sharedWire(ring, k, seed + 1)],
          ]),
          random: seeded(reference, seed),
        });
      }),
      { numRuns: 40 },
    );
  });

  test("a row's sum and difference on shares, and an opened wire as shares", () => {
    const ring = new Ring(loaded);
    const dims: CausalDims = { rows: 3, start: 2, heads: 2, keyHeads: 2, width: 1 };
    const size = scoreCount(dims);
    checkGates({
      ring,
      gates: [
        gate("rowSum", { from: [0], to: 1 }, [3, 2], { dims }),
        gate("rowDifference", { from: [0, 1], to: 2 }, [1, size], { dims }),
        gate("exchange", { from: [2], to: 3 }, [1, size], { openBits: 40, bits: 40 }),
        gate("unmask", { from: [3], to: 4 }, [1, size], { lift: false, bits: 40 }),
      ],
      inputs: new Map([[0, sharedWire(ring, words(1, size), 5)]]),
      random: seeded(reference, 2),
    });
  });
});
