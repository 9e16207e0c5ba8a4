import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate, matrixMap } from "../../test/privacy/gates.ts";
import { makeTensors, type RunOptions, seeded } from "../../test/privacy/harness.ts";
import { maskedWire, uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";
import { type LinearMap, linear, multiplyAdds } from "./linear.ts";

const reference = referenceRingKernels();
const wasm = await loadRingKernels();

/** A linear layer over random words; weights and masks are `size` words. */
function layer(
  ring: Ring,
  map: LinearMap,
  shape: { inputs: number; rows: number; columns: number; tensor: readonly [number, number] },
  seed: number,
): RunOptions {
  const [rows, columns] = shape.tensor;
  const tensor = (number: number) => uniform(number, rows * columns, ring.bits);
  const weights = { rows, columns, weights: tensor(seed + 1), mask: tensor(seed + 2) };
  return {
    ring,
    gates: [gate("linear", { from: [0], to: 1 }, [shape.rows, shape.columns], { map })],
    inputs: new Map([[0, maskedWire(ring, uniform(seed, shape.inputs, ring.bits), seed + 3)]]),
    random: seeded(reference, seed),
    tensors: makeTensors(ring, new Map([["w", weights]])),
  };
}

const size = fc.integer({ min: 1, max: 6 });
const rings = [
  new Ring(wasm),
  new Ring(reference),
  ...[2, 3, 7, 13].map((bits) => new Ring(reference, bits)),
];

describe("linear", () => {
  test("a matrix: secure equals reference", () => {
    fc.assert(
      fc.property(fc.constantFrom(...rings), size, size, size, fc.nat(), (ring, m, k, n, seed) => {
        const shape = { inputs: m * k, rows: m, columns: n, tensor: [k, n] as const };
        checkGates(layer(ring, matrixMap("w", k), shape, seed));
      }),
      { numRuns: 60 },
    );
  });

  test("a diagonal: secure equals reference", () => {
    fc.assert(
      fc.property(fc.constantFrom(...rings), size, size, fc.nat(), (ring, m, n, seed) => {
        const shape = { inputs: m * n, rows: m, columns: n, tensor: [1, n] as const };
        checkGates(layer(ring, { type: "diagonal", weight: "w" }, shape, seed));
      }),
      { numRuns: 40 },
    );
  });

  test("constant attention, with and without earlier rows: secure equals reference", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...rings),
        size,
        size,
        size,
        fc.nat(),
        (ring, m, heads, width, seed) => {
          const start = seed % m;
          const columns = heads * width;
          const dims = { heads, positions: m + (seed % 3), start, columns };
          const shape = {
            inputs: m * columns,
            rows: m - start,
            columns,
            tensor: [heads * dims.positions, dims.positions] as const,
          };
          checkGates(layer(ring, { type: "attention", weight: "w", dims }, shape, seed));
        },
      ),
      { numRuns: 40 },
    );
  });

  test("16-bit weights at S, as in the engine", () => {
    const weights = Int16Array.from({ length: 12 }, (_, i) => (i === 5 ? -32768 : 32767 - 999 * i));
    const ring = new Ring(wasm);
    const shape = { inputs: 8, rows: 2, columns: 3, tensor: [4, 3] as const };
    const options = layer(ring, matrixMap("w", 4), shape, 9);
    const words = BigUint64Array.from(weights, (weight) => BigInt.asUintN(64, BigInt(weight)));
    const tensors = makeTensors(
      ring,
      new Map([["w", { rows: 4, columns: 3, weights: words, mask: uniform(11, 12, 64) }]]),
    );
    const server = { ...tensors.server, matrix: () => wasm.loadInt16(weights, 4, 3) };
    checkGates({ ...options, tensors: { ...tensors, server } });
  });

  test("multiply-adds count every row of constant attention up to its own position", () => {
    const dims = { heads: 2, positions: 7, start: 3, columns: 6 };
    let counted = 0;
    for (let row = 3; row < 7; row++) for (let j = 0; j <= row; j++) counted += 6;
    const map: LinearMap = { type: "attention", weight: "w", dims };
    expect(multiplyAdds({ rows: 4, columns: 6 }, map)).toBe(counted);
    expect(multiplyAdds({ rows: 4, columns: 6 }, matrixMap("w", 5))).toBe(120);
    expect(multiplyAdds({ rows: 4, columns: 6 }, { type: "diagonal", weight: "w" })).toBe(24);
  });

  test("C's share exists before the input, and no message is sent", () => {
    const ring = new Ring(reference, 8);
    const shape = { inputs: 4, rows: 2, columns: 3, tensor: [2, 3] as const };
    const { messages } = checkGates(layer(ring, matrixMap("w", 2), shape, 4));
    expect(messages.map(({ channel }) => channel)).toEqual(["dealer-server"]);
    const spec = gate("linear", { from: [0], to: 1 }, [1, 1], { map: matrixMap("w", 1) });
    expect(linear.cost(spec, 64).online).toEqual([]);
  });
});
