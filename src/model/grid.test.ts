import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { columnGrid, roundToColumnGrid } from "./grid.ts";
import { randomWeights } from "./random-weights.ts";
import { parseSafetensors, type Weights, writeSafetensors } from "./safetensors.ts";
import { shapeConfig } from "./shapes.ts";

describe("a column grid", () => {
  it("has the finest column's bits, and shifts for the others", () => {
    const grid = columnGrid(Float32Array.of(0.1, -3, 0, 0.05, 20, 0), 3, 30);
    // 0.1 2^18 = 26214, 3 2^13 = 24576, 20 2^10 = 20480.
    expect(grid).toEqual({ fracBits: 18, shifts: Uint8Array.of(0, 8, 0) });
    expect(columnGrid(Float32Array.of(0.1, -20), 2, 12).shifts).toEqual(Uint8Array.of(0, 2));
    expect(columnGrid(Float32Array.of(0.1, 0.2), 2, 9)).toMatchObject({ fracBits: 9 });
    expect(columnGrid(new Float32Array(2), 2, 9)).toMatchObject({ fracBits: 9 });
    expect(columnGrid(Float32Array.of(100_000), 1, 9)).toMatchObject({ fracBits: -2 });
    // 0.99999 2^15 rounds to 32768.
    expect(columnGrid(Float32Array.of(0.99999), 1, 15)).toMatchObject({ fracBits: 14 });
  });
});

describe("a rounded model", () => {
  it("with a value beyond all others has no grid", () => {
    const { weights } = randomWeights(base, 1);
    weights.get("layers.0.u.weight")!.data[0] = 1e30;
    const { message } = errorOf("E_MODEL", () => roundToColumnGrid({ config: base, weights }));
    expect(message).toMatch(/tensor layers\.0\.u\.weight: its columns are too far apart in size/);
  });

  const base = shapeConfig({ shape: "tiny", recipe: "vanilla", positions: 8 });
  const spread = (weights: Weights) => {
    for (const { shape, data } of weights.values()) {
      const columns = shape.at(-1)!;
      for (let i = 0; i < data.length; i++) data[i] *= 1.37 * 4 ** ((i % columns) % 5);
    }
    return weights;
  };
  const { weights: raw } = randomWeights(base, 3);
  const exact = new Map(
    [...spread(raw)].map(([name, { shape, data }]) => [name, { shape, data: data.slice() }]),
  );
  const { config, weights } = roundToColumnGrid({ config: base, weights: raw });

  it("differs from the model by half a unit of each column", () => {
    for (const [name, { shape, data, columnShifts }] of weights) {
      const bits = config.weightFracBits![name];
      const columns = shape.at(-1)!;
      for (const [i, value] of data.entries()) {
        const unit = bits === undefined ? 0 : 2 ** ((columnShifts?.[i % columns] ?? 0) - bits);
        const error = Math.abs(value - exact.get(name)!.data[i]!);
        expect(error, name).toBeLessThanOrEqual(unit / 2);
      }
    }
  });

  it("has shifts where columns differ, but none in biases, positions or a tied table", () => {
    expect(weights.get("layers.0.u.weight")!.columnShifts).toContain(8);
    for (const name of ["layers.0.u.bias", "position.weight"]) {
      expect([name, config.weightFracBits![name]]).toEqual([name, undefined]);
    }
    const tied = { ...base, tiedHead: true };
    const table = new Map([["embedding.weight", exact.get("embedding.weight")!]]);
    const rounded = roundToColumnGrid({ config: tied, weights: table });
    expect(rounded.weights.get("embedding.weight")!.columnShifts).toBeUndefined();
  });

  it("comes back from its int16 file, and needs its shifts there", () => {
    const options = { fracBits: config.weightFracBits };
    const file = writeSafetensors(weights, options);
    expect(parseSafetensors(file, "f", options)).toEqual(weights);
    const bare = new Map(
      [...weights].map(([name, { shape, data }]) => [name, { shape, data }] as const),
    );
    errorOf("E_RANGE", () => writeSafetensors(bare, options));
  });

  it("is refused with shifts that fit nothing", () => {
    const options = { fracBits: { "a.columnShifts": 0, a: 3 } };
    const shifts = (...values: number[]) => ({
      shape: [values.length],
      data: Float32Array.from(values),
    });
    const a = { shape: [1, 2], data: Float32Array.of(1, 2) };
    for (const wrong of [shifts(1), shifts(0, -1), shifts(0, 25), shifts(0, 1, 2)]) {
      const file = writeSafetensors(
        new Map(Object.entries({ a, "a.columnShifts": wrong })),
        options,
      );
      const { message } = errorOf("E_MODEL", () => parseSafetensors(file, "f", options));
      expect(message).toContain('"a.columnShifts"');
    }
    const alone = writeSafetensors(new Map([["a.columnShifts", shifts(1)]]), options);
    errorOf("E_MODEL", () => parseSafetensors(alone, "f", options));
  });
});
