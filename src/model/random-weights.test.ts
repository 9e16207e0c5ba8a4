import { describe, expect, it } from "vitest";
import { weightShapes } from "./decoder.ts";
import { randomWeights } from "./random-weights.ts";
import type { WeightTensor } from "./safetensors.ts";
import { type ShapeOptions, shapeConfig } from "./shapes.ts";

const tiny: ShapeOptions = { shape: "tiny", recipe: "merge", positions: 70, layers: 3 };
const kinds: [name: string, options: ShapeOptions][] = [
  ["merged, layernorm", tiny],
  ["merged, affine", { ...tiny, norm: "affine" }],
  ["ordinary", { ...tiny, recipe: "vanilla" }],
];

function deviation({ data }: WeightTensor): number {
  return Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length);
}

describe.each(kinds)("random weights, %s", (_name, options) => {
  const made = randomWeights(shapeConfig(options), 5);

  it("have the shapes of the model, and fit the grid that they name", () => {
    const shapes = weightShapes(made.config);
    expect([...made.weights.keys()]).toEqual([...shapes.keys()]);
    for (const [name, { shape, data }] of made.weights) {
      expect(shape).toEqual(shapes.get(name));
      const unit = 2 ** made.config.weightFracBits![name]!;
      const integers = data.every((value) => Number.isInteger(value * unit));
      const greatest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect([name, integers, greatest * unit <= 32767]).toEqual([name, true, true]);
    }
  });

  it("are the same for the same seed, and others for another", () => {
    const again = randomWeights(shapeConfig(options), 5).weights;
    expect(again).toEqual(made.weights);
    const other = randomWeights(shapeConfig(options), 6).weights;
    for (const [name, { data }] of made.weights) {
      const constant = name.endsWith("norm.scale") && options.norm !== "affine";
      expect([name, String(other.get(name)!.data) === String(data)]).toEqual([name, constant]);
    }
  });
});

describe("their sizes", () => {
  const { weights } = randomWeights(shapeConfig({ ...tiny, shape: "e2e", layers: 1 }), 1);

  it("are those of trained models", () => {
    expect(deviation(weights.get("embedding.weight")!)).toBeCloseTo(1 / 16, 3);
    expect(deviation(weights.get("layers.0.u.weight")!)).toBeCloseTo(0.7 / Math.sqrt(192), 3);
    expect(deviation(weights.get("layers.0.o.weight")!)).toBeCloseTo(4.1 / Math.sqrt(768), 2);
  });

  it("are those of GPT-2's start in an ordinary decoder, norms and scores folded", () => {
    const options = { ...tiny, shape: "e2e", recipe: "vanilla", layers: 2 } as const;
    const { weights: ordinary, config } = randomWeights(shapeConfig(options), 1);
    const [width, branches] = [192 / 6, 4];
    for (const [name, expected] of [
      ["embedding", 0.02],
      ["layers.1.attention.query", 1 / Math.sqrt(192 * width)],
      ["layers.1.attention.key", 1 / Math.sqrt(192)],
      ["layers.1.o", 0.2 / Math.sqrt(768 * branches)],
      ["head", 2.5 / Math.sqrt(192)],
    ] as const) {
      const ratio = deviation(ordinary.get(`${name}.weight`)!) / expected;
      expect([name, Math.abs(ratio - 1) < 0.02]).toEqual([name, true]);
    }
    const greatest = ordinary.get("head.weight")!.data.reduce((a, b) => Math.max(a, Math.abs(b)));
    expect(greatest * 2 ** config.weightFracBits!["head.weight"]!).toBeGreaterThan(8192);
  });

  it("attention is causal, positive, and sums to exactly 1", () => {
    const { shape, data } = weights.get("layers.0.attention.constant")!;
    const [heads, positions] = shape as [number, number];
    for (let at = 0; at < heads * positions; at++) {
      const row = data.subarray(at * positions, (at + 1) * positions);
      const own = at % positions;
      expect(row.reduce((sum, value) => sum + value, 0)).toBe(1);
      expect(row.every((value) => value >= 0)).toBe(true);
      expect(row[own]).toBeGreaterThan(0.4);
      expect(row.subarray(own + 1).every((value) => value === 0)).toBe(true);
    }
  });
});
