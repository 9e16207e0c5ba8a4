// Proven bounds against inputs made to break them: rows of the greatest length that the protocol
// allows, pointed where they hurt, then moved uphill. And bounds that are stated too small.

import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { type MergedOptions, mergedModel } from "../../test/merged-model.ts";
import { Graph } from "../graph/graph.ts";
import { floatReference } from "../kernel/float-reference.ts";
import type { ModelConfig } from "../model/config.ts";
import { Random } from "../model/random.ts";
import { observeWires } from "../party/decoder-ranges.ts";
import type { LocalModel } from "../party/local.ts";
import { merge } from "../recipe/merge.ts";
import { FloatProgram } from "../run/float.ts";
import { checkBounds, provenBounds, statedBounds } from "./bounds.ts";
import { NORM_EXCESS } from "./format.ts";

type Rows = Float64Array[];

/** What a layer makes of rows 0..t of its input, at row t. */
interface LayerValues {
  readonly u: number;
  readonly o: number;
  readonly variance: number;
  readonly peakU: number;
}

class Layer {
  readonly #config: ModelConfig;
  readonly #data: (name: string) => Float32Array;

  constructor({ config, weights }: LocalModel, layer: number) {
    this.#config = config;
    this.#data = (name) => weights.get(`layers.${layer}.${name}`)!.data;
  }

  /** The row of u's matrix that stands for entry j, [d]. */
  column(j: number): Float64Array {
    const { hiddenSize: d, innerSize } = this.#config;
    const matrix = this.#data("u.weight");
    return Float64Array.from({ length: d }, (_, i) => matrix[i * innerSize + j]!);
  }

  constant(head: number, row: number, from: number): number {
    const { positionCount } = this.#config;
    return this.#data("attention.constant")[(head * positionCount + row) * positionCount + from]!;
  }

  run(rows: Rows): LayerValues {
    const { hiddenSize: d, innerSize, headCount, activation, residual } = this.#config;
    const last = rows.length - 1;
    const mixed = new Float64Array(d);
    for (let i = 0; i < d; i++) {
      const head = Math.floor((i * headCount) / d);
      rows.forEach((row, j) => {
        mixed[i]! += this.constant(head, last, j) * row[i]!;
      });
    }
    const u = product(mixed, this.#data("u.weight"), this.#data("u.bias"), innerSize);
    const [c2, c1, c0] = activation.kind === "quad" ? activation.coefficients : [0, 0, 0];
    const inner = u.map((x) => c2 * x * x + c1 * x + c0);
    const o = product(inner, this.#data("o.weight"), this.#data("o.bias"), d);
    const sum = residual ? o.map((value, i) => value + rows[last]![i]!) : o;
    const mean = sum.reduce((total, value) => total + value, 0) / d;
    const peakU = u.reduce(
      (best, value, i) => (Math.abs(value) > Math.abs(u[best]!) ? i : best),
      0,
    );
    return {
      u: Math.abs(u[peakU]!),
      o: sum.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
      variance: sum.reduce((total, value) => total + (value - mean) ** 2, 0) / d,
      peakU,
    };
  }
}

function product(x: Float64Array, matrix: Float32Array, bias: Float32Array, columns: number) {
  const out = Float64Array.from(bias);
  x.forEach((value, i) => {
    for (let j = 0; j < columns; j++) out[j]! += value * matrix[i * columns + j]!;
  });
  return out;
}

const norm = (x: ArrayLike<number>) => Math.hypot(...Array.from(x));

function scaled(x: Float64Array, length: number): Float64Array {
  const factor = length / (norm(x) || 1);
  return x.map((value) => value * factor);
}

/** How long a row of a layer's input may be: a state or an embedding, at layer 0 with positions. */
function reach({ config, weights }: LocalModel, layer: number): number {
  const d = config.hiddenSize;
  const longest = (name: string) => {
    const { data } = weights.get(name)!;
    const lengths = Array.from({ length: data.length / d }, (_, row) =>
      norm(data.subarray(row * d, (row + 1) * d)),
    );
    return Math.max(...lengths);
  };
  // That no norm gives more is checked where its table is made: format.test.ts.
  const state = NORM_EXCESS * Math.sqrt(d);
  if (layer > 0) return state;
  return Math.max(state, longest("embedding.weight")) + longest("position.weight");
}

/** The worst values found: aligned rows, random rows, and ascent from the best of them. */
function attack(model: LocalModel, layer: number, seed: number) {
  const { hiddenSize: d, headCount, innerSize, positionCount } = model.config;
  const random = new Random(seed, layer);
  const part = new Layer(model, layer);
  const length = reach(model, layer);
  const worst = { u: 0, o: 0, variance: 0 };
  const kinds = ["u", "o", "variance"] as const;
  const best: Partial<Record<(typeof kinds)[number], Rows>> = {};
  const look = (rows: Rows) => {
    const values = part.run(rows);
    for (const kind of kinds) {
      if (values[kind] <= worst[kind]) continue;
      worst[kind] = values[kind];
      best[kind] = rows;
    }
  };
  for (const last of [0, 1, positionCount - 1]) {
    for (let j = 0; j < innerSize; j++) {
      const column = part.column(j);
      look(
        Array.from({ length: last + 1 }, (_, from) => {
          const signed = column.map((value, i) => {
            const head = Math.floor((i * headCount) / d);
            return value * Math.sign(part.constant(head, last, from));
          });
          return scaled(signed, length);
        }),
      );
    }
    for (let n = 0; n < 30; n++) {
      const rows = Array.from({ length: last + 1 }, () =>
        scaled(
          Float64Array.from({ length: d }, () => random.normal()),
          length,
        ),
      );
      look(rows);
    }
  }
  for (const kind of kinds) {
    let step = 0.5;
    for (let n = 0; n < 200; n++) {
      const before = worst[kind];
      const rows = best[kind]!.map((row) =>
        scaled(
          row.map((value) => value + step * random.normal()),
          length,
        ),
      );
      look(rows);
      if (worst[kind] === before) step = Math.max(0.01, step * 0.97);
    }
  }
  return worst;
}

const shapes: MergedOptions[] = [
  { seed: 1 },
  { seed: 2, hiddenSize: 24, headCount: 3, innerSize: 20, layerCount: 2 },
  { seed: 3, hiddenSize: 12, headCount: 1, residual: false },
  { seed: 4, coefficients: [0.125, 0.5, 0.25], headCount: 4, innerSize: 4 },
];

describe.each(shapes)("proven bounds of %j", (options) => {
  const model = mergedModel(options);
  const proven = provenBounds(model.config, model.weights);

  it("hold on inputs made to break them", () => {
    proven.layers.forEach((bound, layer) => {
      const worst = attack(model, layer, options.seed!);
      for (const kind of ["u", "o", "variance"] as const) {
        expect(worst[kind], `layer ${layer} ${kind}`).toBeLessThanOrEqual(bound[kind]);
      }
      // The attack is one: it comes near, so a bound a few times too small would be seen.
      expect(worst.u).toBeGreaterThan(bound.u / 3);
      expect(worst.o).toBeGreaterThan(bound.o / 20);
    });
  });

  it("hold of the logits, for the state that points along the longest row of the head", () => {
    const { hiddenSize: d } = model.config;
    const { data } = model.weights.get("embedding.weight")!;
    const lengths = Array.from({ length: data.length / d }, (_, row) =>
      norm(data.subarray(row * d, (row + 1) * d)),
    );
    const worst = NORM_EXCESS * Math.sqrt(d) * Math.max(...lengths);
    expect(worst).toBeLessThanOrEqual(proven.logit);
    expect(worst).toBeGreaterThan(proven.logit / 2);
  });

  it("are stated so that they hold, and not much higher", () => {
    checkBounds(model.config, model.weights);
    proven.layers.forEach((bound, layer) => {
      const stated = model.config.wireBounds![layer]!;
      for (const kind of ["u", "o", "variance"] as const) {
        expect(stated[kind].proven).toBeGreaterThanOrEqual(bound[kind]);
        expect(stated[kind].proven).toBeLessThan(bound[kind] * 1.01);
      }
    });
  });

  it("that are stated one per cent too small are E_MODEL naming the wire", () => {
    const { config, weights } = model;
    proven.layers.forEach((bound, layer) => {
      for (const kind of ["u", "o", "variance"] as const) {
        const wireBounds = config.wireBounds!.map((range, i) =>
          i === layer
            ? { ...range, [kind]: { ...range[kind], proven: bound[kind] * 0.99 } }
            : range,
        );
        const check = () => checkBounds({ ...config, wireBounds }, weights);
        expect(errorOf("E_MODEL", check).message).toContain(`layers.${layer}.${kind}`);
      }
    });
    const logitBound = { ...config.logitBound!, proven: proven.logit * 0.99 };
    const check = () => checkBounds({ ...config, logitBound }, weights);
    expect(errorOf("E_MODEL", check).message).toContain("logits");
  });

  it("that are not stated are E_MODEL", () => {
    const { wireBounds: _one, logitBound: _other, ...rest } = model.config;
    errorOf("E_MODEL", () => checkBounds(rest, model.weights));
  });
});

describe("a hybrid layer", () => {
  const attention = { kind: "2quad", shift: 5 } as const;
  const model = mergedModel({ seed: 5, hiddenSize: 16, hybrid: { layers: [0], attention } });
  const { config, weights } = model;
  const proven = provenBounds(config, weights);

  /** What the layer's wires reach over rows of the greatest length. */
  function seen(rows: readonly Float64Array[]) {
    const graph = new Graph();
    const x = graph.input("x", [rows.length, config.hiddenSize]);
    merge.block(graph, config, { x, start: 0, name: "layers.0", layer: 0, cache: [] });
    const program = new FloatProgram(graph, floatReference);
    const words = Float32Array.from(rows.flatMap((row) => [...row]));
    program.run(new Map([["x", words]]), { get: (name: string) => weights.get(name)?.data });
    const wires = new Map<string, [number, number]>();
    observeWires(program, wires);
    return wires;
  }

  it("has bounds of its attention that hold on rows made to break them, and are near", () => {
    const length = reach(model, 0);
    const random = new Random(5, 5);
    const worst = new Map<string, number>();
    const aligned = ["query", "key", "value"].flatMap((part) => {
      const { data } = weights.get(`layers.0.attention.${part}.weight`)!;
      const d = config.hiddenSize;
      return Array.from({ length: d }, (_, j) =>
        Float64Array.from({ length: d }, (_, i) => data[i * d + j]!),
      );
    });
    const drawn = Array.from({ length: 300 }, () =>
      Float64Array.from({ length: config.hiddenSize }, () => random.normal()),
    );
    for (const row of [...aligned, ...drawn]) {
      const rows = [row, aligned[random.below(aligned.length)]!, row].map((x) => scaled(x, length));
      for (const [name, [, most]] of seen(rows)) {
        worst.set(name, Math.max(worst.get(name) ?? 0, most));
      }
    }
    for (const [name, bound] of proven.wires) {
      expect(worst.get(name), name).toBeLessThanOrEqual(bound);
      // A sum of three weights, where there may be as many as positions.
      const near = name.endsWith(".sum") ? 60 : 20;
      expect(worst.get(name), name).toBeGreaterThan(bound / near);
    }
    expect([...proven.wires.keys()].map((name) => name.replace(/.*\./, "")).sort()).toEqual([
      "key",
      "query",
      "score",
      "sum",
      "value",
    ]);
    expect(worst.get("layers.0.u")).toBeLessThanOrEqual(proven.layers[0]!.u);
    expect(worst.get("layers.0.u")).toBeGreaterThan(proven.layers[0]!.u / 10);
  });

  it("is refused when one of them is stated too small, or not at all", () => {
    checkBounds(config, weights);
    for (const [name, bound] of proven.wires) {
      const range = { ...config.ranges![name]!, proven: 0.99 * bound };
      const check = () =>
        checkBounds({ ...config, ranges: { ...config.ranges, [name]: range } }, weights);
      expect(errorOf("E_MODEL", check).message).toContain(name);
    }
    errorOf("E_MODEL", () => checkBounds({ ...config, ranges: undefined }, weights));
  });
});

describe("a weight that grows", () => {
  it.each([
    "layers.0.u.weight",
    "layers.0.attention.constant",
    "position.weight",
    "layers.0.u.bias",
  ])("%s: the stated bounds no longer hold", (name) => {
    const { config, weights } = mergedModel({ seed: 6 });
    const { data, shape } = weights.get(name)!;
    const grown = new Map(weights).set(name, { shape, data: data.map((value) => value * 1.5) });
    errorOf("E_MODEL", () => checkBounds(config, grown));
  });
});

describe("bounds of re-sent states", () => {
  it("count a learned scale and shift after the norm", () => {
    const { config, weights } = mergedModel({ seed: 7, scale: true });
    const before = provenBounds(config, weights).layers[0]!.u;
    const name = "layers.0.norm.scale";
    const { data, shape } = weights.get(name)!;
    const grown = new Map(weights).set(name, { shape, data: data.map((value) => 4 * value) });
    expect(provenBounds(config, grown).layers[0]!.u).toBeGreaterThan(2 * before);
  });

  it("do not exist where nothing normalises: the config must ask for calibrated ones", () => {
    const { config, weights } = mergedModel({ seed: 8, norm: "affine" });
    checkBounds(config, weights);
    const strict = { ...config, calibratedBounds: false };
    expect(errorOf("E_MODEL", () => checkBounds(strict, weights)).message).toContain("calibrated");
    checkBounds({ ...strict, nextToken: "lookup" }, weights);
  });
});

it("models of another kind have no proven bounds", () => {
  const { config, weights } = mergedModel();
  errorOf("E_MODEL", () => provenBounds({ ...config, attention: "softmax" }, weights));
  const gelu = { ...config, activation: { kind: "gelu", form: "erf" } as const };
  errorOf("E_MODEL", () => provenBounds(gelu, weights));
});

it("a bound too large for a number format is stated as 1e30, which then does not hold", () => {
  const { config, weights } = mergedModel({ seed: 9 });
  const layers = [{ u: 1e200, o: 1, variance: 1 }];
  const stated = statedBounds(
    { layers, wires: new Map(), logit: 1 },
    { layers: [{ u: 1, o: 1, variance: [1, 2] }], wires: new Map(), logit: 1 },
  );
  expect(stated.wireBounds[0]!.u.proven).toBe(1e30);
  errorOf("E_MODEL", () => checkBounds({ ...config, ...stated }, weights));
});
