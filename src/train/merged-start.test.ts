import { describe, expect, it } from "vitest";
import { formulaWeights, kernels, teacher, tinyModel } from "../../test/training-tasks.ts";
import { initialWeights } from "../model/initial.ts";
import type { Weights } from "../model/safetensors.ts";
import { attentionPattern } from "../run/attention-pattern.ts";
import { averageAttention, type StartPart, startMerged } from "./merged-start.ts";

const { model, data } = teacher;
const config = { ...tinyModel("constant"), sharedAttention: true };
const [heads, positions] = [model.headCount, model.positionCount];
const taught = { config: model, weights: formulaWeights(teacher) };
const means = { data, kernels };

function started(...parts: StartPart[]): Weights {
  const weights = initialWeights(config, 3);
  startMerged({ teacher: taught, config, weights }, parts, means);
  return weights;
}

const data32 = (weights: Weights, name: string) => weights.get(name)!.data;

describe("averaged attention", () => {
  it("of a teacher whose queries are 0 is the mean of all rows so far", () => {
    const weights: Weights = new Map(taught.weights);
    for (const layer of [0, 1]) {
      for (const part of ["weight", "bias"]) {
        const name = `layers.${layer}.attention.query.${part}`;
        const { shape, data } = weights.get(name)!;
        weights.set(name, { shape, data: data.map(() => 0) });
      }
    }
    const averages = averageAttention({ config: model, weights }, means);
    expect(averages).toHaveLength(2);
    for (const average of averages) {
      for (const [i, value] of average.entries()) {
        const row = Math.floor(i / positions) % positions;
        expect(value).toBeCloseTo(i % positions <= row ? 1 / (row + 1) : 0, 5);
      }
    }
  });

  it("has rows that sum to 1, and differs by head", () => {
    for (const average of averageAttention(taught, means)) {
      expect(average).toHaveLength(heads * positions * positions);
      for (let row = 0; row < heads * positions; row++) {
        const values = average.subarray(row * positions, (row + 1) * positions);
        expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
      }
      const half = average.length / 2;
      expect([...average.subarray(0, half)]).not.toEqual([...average.subarray(half)]);
    }
  });
});

describe("what a merged student begins with", () => {
  it("attention: the teacher's average and half of the row itself, parts added up", () => {
    const weights = started("attention");
    for (const [layer, average] of averageAttention(taught, means).entries()) {
      const name = `layers.${layer}.attention`;
      const part = (suffix: string) => data32(weights, `${name}.${suffix}`);
      const whole = new Float32Array(average.length);
      const shared = { column: part("column"), relative: part("relative") };
      attentionPattern(part("constant"), shared, positions, whole);
      for (const [i, value] of whole.entries()) {
        const [row, column] = [Math.floor(i / positions) % positions, i % positions];
        expect(value).toBeCloseTo(average[i]! + (row === column ? 0.5 : 0), 5);
      }
    }
  });

  it("embedding: the teacher's table, inputs of size 1, and its positions alike", () => {
    const scaled = { ...config, embeddingScale: 16 };
    const weights = initialWeights(scaled, 3);
    startMerged({ teacher: taught, config: scaled, weights }, ["embedding"], means);
    const own = data32(weights, "embedding.weight").map((value) => 16 * value);
    const squares = own.reduce((sum, value) => sum + value * value, 0);
    expect(squares / own.length).toBeCloseTo(1, 5);
    const [table, places] = ["embedding", "position"].map((name) =>
      data32(taught.weights, `${name}.weight`),
    );
    const factor = own[1]! / table![1]!;
    for (const [i, value] of own.entries()) expect(value).toBeCloseTo(table![i]! * factor, 5);
    for (const [i, value] of data32(weights, "position.weight").entries()) {
      expect(value).toBeCloseTo(places![i]! * factor, 5);
    }
  });

  it("matrices: u = (I + V O) U with the norms' scales, o the teacher's", () => {
    const weights = started("matrices");
    const of = (name: string) => data32(taught.weights, `layers.1.${name}`);
    const [d, inner] = [config.hiddenSize, config.innerSize];
    const indices = [...new Array(d).keys()];
    const path = (i: number, j: number) =>
      Number(i === j) +
      indices.reduce((sum, k) => {
        const value = of("attention.norm.scale")[i]! * of("attention.value.weight")[i * d + k]!;
        return sum + value * of("attention.output.weight")[k * d + j]!;
      }, 0);
    for (const [i, column] of [
      [0, 0],
      [3, 5],
      [7, 15],
    ] as const) {
      const known = indices.reduce(
        (sum, j) => sum + path(i, j) * of("norm.scale")[j]! * of("u.weight")[j * inner + column]!,
        0,
      );
      expect(data32(weights, "layers.1.u.weight")[i * inner + column]).toBeCloseTo(known, 4);
    }
    expect(data32(weights, "layers.1.o.weight")).toEqual(of("o.weight"));
  });

  it("leaves all else as it was", () => {
    const fresh = initialWeights(config, 3);
    const weights = started("attention");
    for (const [name, tensor] of fresh) {
      if (!name.includes(".attention.")) expect(weights.get(name)).toEqual(tensor);
    }
    expect(started()).toEqual(fresh);
  });

  it("averages over the positions that the teacher has", () => {
    const long = { ...data, outputLength: data.outputLength + 3 };
    const outputs = new Int32Array(long.count * long.outputLength).fill(2);
    const averages = averageAttention(taught, { kernels, data: { ...long, outputs } });
    expect(averages[0]).toHaveLength(heads * positions * positions);
  });

  it("refuses a teacher of other shapes, and prompts that it cannot read", () => {
    const weights = initialWeights(config, 3);
    const given = { teacher: taught, weights };
    const other = { ...config, headCount: 4 };
    const start = (changed: typeof config, set = data) =>
      startMerged({ ...given, config: changed }, ["attention"], { ...means, data: set });
    expect(() => start(other)).toThrow("startFrom: teacher and student differ in headCount");
    const long = { ...data, promptLength: positions + 1 };
    expect(() => start(config, long)).toThrow("positions");
    const merged = { ...given, teacher: { config, weights } };
    const run = () => startMerged({ ...merged, config }, ["matrices"], means);
    expect(run).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
  });
});
