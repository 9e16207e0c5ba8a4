import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate, matrixMap } from "../../test/privacy/gates.ts";
import { makeTensors, type RunOptions, runParties, seeded } from "../../test/privacy/harness.ts";
import { maskedWire, uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";
import { type LinearMap, linear, multiplyAdds } from "./linear.ts";

const reference = referenceRingKernels();
const wasm = await loadRingKernels();

/** A linear layer over random words, of which the result needs `bits` bits, default all. */
function layer(
  ring: Ring,
  map: LinearMap,
  shape: { inputs: number; rows: number; columns: number; tensor: readonly [number, number] },
  seed: number,
  bits = ring.bits,
): RunOptions {
  const [rows, columns] = shape.tensor;
  const tensor = (number: number) => uniform(number, rows * columns, ring.bits);
  const weights = { rows, columns, weights: tensor(seed + 1), mask: tensor(seed + 2) };
  return {
    ring,
    gates: [gate("linear", { from: [0], to: 1 }, [shape.rows, shape.columns], { map, bits })],
    inputs: new Map([
      [0, maskedWire(ring, uniform(seed, shape.inputs, ring.bits), seed + 3, bits)],
    ]),
    random: seeded(reference, seed),
    tensors: makeTensors(ring, new Map([["w", weights]])),
  };
}

const size = fc.integer({ min: 1, max: 6 });
/** A ring, and how many bits of its words are needed: all, or some. */
const ringAndBits = () =>
  fc
    .tuple(fc.constantFrom(...rings), fc.oneof(fc.constant(0), fc.nat()))
    .map(([ring, by]) => [ring, by === 0 ? ring.bits : 1 + (by % ring.bits)] as const);
const rings = [
  new Ring(wasm),
  new Ring(reference),
  ...[2, 3, 7, 13].map((bits) => new Ring(reference, bits)),
];

describe("linear", () => {
  test("a matrix: secure equals reference", () => {
    fc.assert(
      fc.property(ringAndBits(), size, size, size, fc.nat(), ([ring, bits], m, k, n, seed) => {
        const shape = { inputs: m * k, rows: m, columns: n, tensor: [k, n] as const };
        checkGates(layer(ring, matrixMap("w", k), shape, seed, bits));
      }),
      { numRuns: 100 },
    );
  });

  test("a diagonal: secure equals reference", () => {
    fc.assert(
      fc.property(ringAndBits(), size, size, fc.nat(), ([ring, bits], m, n, seed) => {
        const shape = { inputs: m * n, rows: m, columns: n, tensor: [1, n] as const };
        checkGates(layer(ring, { type: "diagonal", weight: "w" }, shape, seed, bits));
      }),
      { numRuns: 60 },
    );
  });

  test("constant attention, with and without earlier rows: secure equals reference", () => {
    fc.assert(
      fc.property(
        ringAndBits(),
        size,
        size,
        size,
        fc.nat(),
        ([ring, bits], m, heads, width, seed) => {
          const start = seed % m;
          const columns = heads * width;
          const dims = { heads, positions: m + (seed % 3), start, columns };
          const shape = {
            inputs: m * columns,
            rows: m - start,
            columns,
            tensor: [heads * dims.positions, dims.positions] as const,
          };
          checkGates(layer(ring, { type: "attention", weight: "w", dims }, shape, seed, bits));
        },
      ),
      { numRuns: 60 },
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

  test("two layers that read one matrix: their products are made together", () => {
    const ring = new Ring(reference, 9);
    const map = matrixMap("w", 3);
    const shape = { inputs: 6, rows: 2, columns: 4, tensor: [3, 4] as const };
    const options = layer(ring, map, shape, 8);
    const asked: string[] = [];
    const { client } = options.tensors!;
    const counted = {
      ...client,
      matrix: (key: string) => {
        asked.push(key);
        return client.matrix(key);
      },
    };
    const gates = [
      ...options.gates,
      gate("linear", { from: [2], to: 3 }, [5, 4], { map, bits: 4 }),
      gate("linear", { from: [0], to: 4 }, [2, 4], { map }),
    ];
    const second = maskedWire(ring, uniform(1, 15, 9), 2);
    const inputs = new Map([...options.inputs!, [2, second] as const]);
    const tensors = { ...options.tensors!, client: counted };
    const run = runParties({ ...options, gates, inputs, tensors });
    expect(asked).toEqual(["w"]);
    expect(run.messages.map(({ bytes }) => bytes.length)).toEqual([9, 10, 9]); // 8, 20, 8 words
    checkGates({ ...options, gates, inputs });
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
