import { describe, expect, it } from "vitest";
import { hasTorch, torchLosses } from "../../test/torch.ts";
import { Graph, type Tensor } from "../graph/graph.ts";
import { cosineLoss, crossEntropy, softLabelLoss, squaredLoss } from "../graph/losses.ts";
import type { AttentionForm } from "../graph/ops.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { expForms, geluPieces } from "../recipe/approximations.ts";
import { Arena } from "./arena.ts";
import { FloatProgram, runFloat } from "./float.ts";

// Everything is computed in doubles, so that central differences are sharp.

const doubles: FloatKernels = {
  ...floatReference,
  gemm({ m, n, k, a, b, out, transposeA, transposeB, accumulate }) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = accumulate ? out[i * n + j] : 0;
        for (let l = 0; l < k; l++) {
          sum += a[transposeA ? l * m + i : i * k + l] * b[transposeB ? j * k + l : l * n + j];
        }
        out[i * n + j] = sum;
      }
    }
  },
};

type Data = Map<string, Float32Array>;

/** Values in -1..1 by a fixed formula. */
function someValues(length: number, seed: number): Float32Array {
  const values = new Float64Array(length);
  for (let i = 0; i < length; i++) values[i] = Math.sin(12.9898 * (i + 1) + 78.233 * seed);
  return values as unknown as Float32Array;
}

interface Case {
  weights: Record<string, number[]>;
  ids?: Record<string, { shape: number[]; values: number[] }>;
  fixed?: Record<string, { shape: number[]; values: number[] }>;
  build(w: Record<string, Tensor>): Tensor;
}

/** Compares every component of every gradient with a central difference. */
function check({ weights, ids = {}, fixed = {}, build }: Case): void {
  const graph = new Graph();
  const handles: Record<string, Tensor> = {};
  const data: Data = new Map();
  const inputs = new Map<string, Float32Array | Int32Array>();
  for (const [index, [name, shape]] of Object.entries(weights).entries()) {
    handles[name] = graph.weight(name, shape);
    data.set(name, someValues(size(shape), index));
  }
  for (const [name, { shape, values }] of Object.entries(ids)) {
    handles[name] = graph.ids(name, shape);
    inputs.set(name, Int32Array.from(values));
  }
  for (const [name, { shape, values }] of Object.entries(fixed)) {
    handles[name] = graph.input(name, shape);
    inputs.set(name, Float64Array.from(values) as unknown as Float32Array);
  }
  const result = build(handles);
  // A fixed weighting makes a scalar of any result.
  const scalar = result.shape.length === 1 && result.columns === 1;
  const loss = scalar ? result : weightedSum(graph, result, inputs);
  const program = new FloatProgram(graph, doubles, new Arena(Float64Array));
  const gradients: Data = new Map();
  for (const [name, values] of data) {
    gradients.set(name, new Float64Array(values.length) as unknown as Float32Array);
  }
  program.run(inputs, data);
  program.backward(loss, gradients);
  const step = 1e-5;
  for (const [name, values] of data) {
    for (let i = 0; i < values.length; i++) {
      const kept = values[i];
      const at = (x: number) => {
        values[i] = x;
        program.run(inputs, data);
        return program.value(loss)[0];
      };
      const slope = (at(kept + step) - at(kept - step)) / (2 * step);
      values[i] = kept;
      const error = Math.abs(gradients.get(name)![i] - slope);
      expect(error, `${name}[${i}]`).toBeLessThan(1e-6 * Math.max(1, Math.abs(slope)));
    }
  }
}

function size(shape: readonly number[]): number {
  return shape.reduce((total, one) => total * one, 1);
}

function weightedSum(graph: Graph, x: Tensor, inputs: Map<string, Float32Array | Int32Array>) {
  const ones = size(x.shape);
  const weighting = graph.input("weighting", [ones / x.columns, 1]);
  const row = graph.input("row", [x.columns, 1]);
  inputs.set("weighting", someValues(ones / x.columns, 77));
  inputs.set("row", someValues(x.columns, 78));
  // linear flattens all leading dimensions; crossEntropy would be less plain.
  const sums = x.linear(row); // [.., 1]
  const flat = graph.record({ kind: "scale", x: sums.id, factor: 1 }, [1, ones / x.columns]);
  return graph.record(
    { kind: "linear", x: flat.id, weight: weighting.id, bias: undefined, transposed: false },
    [1],
  );
}

describe("gradients against central differences", () => {
  it("add, same shape and broadcast, and a tensor added to itself", () => {
    check({
      weights: { a: [2, 3, 4], b: [3, 4], c: [4], d: [2, 3, 4] },
      build: ({ a, b, c, d }) => {
        const sum = a.add(b).add(c).add(d);
        return sum.add(sum).add(a);
      },
    });
  });

  it("mul, same shape and broadcast, and a tensor times itself", () => {
    check({
      weights: { a: [2, 3, 4], b: [3, 4], c: [4] },
      build: ({ a, b, c }) => a.mul(b).mul(c).mul(a).scale(-0.7),
    });
  });

  it("linear, both orientations, with and without bias", () => {
    check({
      weights: { x: [2, 3, 4], w: [4, 5], b: [5], v: [3, 5] },
      build: ({ x, w, b, v }) => x.linear(w, b).linear(v, undefined, { transposed: true }),
    });
  });

  it("embed", () => {
    check({
      weights: { table: [5, 3] },
      ids: { ids: { shape: [2, 3], values: [0, 4, 4, 1, 0, 4] } },
      build: ({ table, ids }) => table.embed(ids).quad([0.5, 1, 0]),
    });
  });

  it("matmul, both forms", () => {
    check({
      weights: { a: [2, 3, 4], b: [2, 4, 5], c: [2, 6, 5] },
      build: ({ a, b, c }) => a.matmul(b).matmul(c, { transposeB: true }),
    });
  });

  it("splitHeads and mergeHeads", () => {
    check({
      weights: { x: [2, 3, 4], y: [2, 2, 3, 2] },
      build: ({ x, y }) => x.splitHeads(2).mul(y).mergeHeads(),
    });
  });

  it("concatRows and sliceRows", () => {
    check({
      weights: { a: [2, 3, 4], b: [2, 2, 4] },
      build: ({ a, b }) => a.concatRows(b).sliceRows(2, 4).concatRows(b),
    });
  });

  it("constantAttention, many rows over two segments", () => {
    check({
      weights: { a: [2, 3, 4], b: [2, 2, 4], c: [2, 6, 6] },
      build: ({ a, b, c }) => a.concatRows(b).constantAttention(c, 2),
    });
  });

  it("constantAttention, one row over three segments, one of them detached", () => {
    check({
      weights: { a: [2, 3, 4], b: [2, 1, 4], c: [2, 6, 6] },
      fixed: { f: { shape: [2, 1, 4], values: [1, 2, 3, 4, 5, 6, 7, 8] } },
      build: ({ a, b, c, f }) => a.concatRows(f).concatRows(b).constantAttention(c, 4),
    });
  });

  it("constantAttention, a roll-out of twenty rows that pushes blocks", () => {
    check({
      weights: { a: [2, 3, 4], b: [2, 1, 4], c: [2, 25, 25], w: [4, 4] },
      build: ({ a, b, c, w }) => {
        let [rows, x] = [a, b];
        let sum = b;
        for (let start = 3; start < 23; start++) {
          rows = rows.concatRows(x);
          x = rows.constantAttention(c, start).linear(w).layerNorm(1e-3);
          sum = sum.add(x);
        }
        return sum;
      },
    });
  });

  it("attentionPattern, and through it a roll-out", () => {
    check({
      weights: { a: [2, 3, 4], b: [2, 1, 4], c: [2, 6, 6], column: [2, 6], relative: [2, 6] },
      build: ({ a, b, c, column, relative }) => {
        const weight = c.attentionPattern(column, relative);
        const first = a.concatRows(b).constantAttention(weight, 3);
        return a.concatRows(b).concatRows(first).constantAttention(weight, 4);
      },
    });
  });

  it("causalSoftmax", () => {
    check({ weights: { x: [2, 3, 5] }, build: ({ x }) => x.causalSoftmax() });
  });

  it.each<[string, AttentionForm]>([
    ["2quad", { kind: "2quad", shift: 5 }],
    ["2relu", { kind: "2relu", eps: 0.1 }],
    ["power", { kind: "power", exponent: 4, eps: 0.01 }],
    ["softmax by the limit form", { kind: "softmax", exp: expForms.puma }],
    ["softmax with exp by parts", { kind: "softmax", exp: expForms.east }],
  ])("attentionWeights, %s", (_name, form) => {
    check({ weights: { x: [2, 3, 5] }, build: ({ x }) => x.scale(2.5).attentionWeights(form) });
  });

  it("causalCubes and causalScale", () => {
    check({
      weights: { x: [2, 3, 5], w: [1, 1] },
      build: ({ x, w }) => x.scale(3).causalScale(x.scale(3).causalCubes().linear(w)),
    });
    check({ weights: { x: [2, 3, 5], f: [2, 3, 1] }, build: ({ x, f }) => x.causalScale(f) });
  });

  it.each(["puma", "bolt", "east"] as const)("piecewise, %s", (name) => {
    const build = ({ x }: Record<string, Tensor>) => x.scale(5).piecewise(geluPieces[name]);
    check({ weights: { x: [5, 7] }, build });
  });

  it("batchNorm", () => {
    check({
      weights: { x: [2, 3, 4], m: [4], root: [4] },
      build: ({ x, m, root }) =>
        x.batchNorm({ mean: m, variance: root.quad([1, 0, 0.5]), eps: 0.01 }),
    });
  });

  it("quad, gelu and relu", () => {
    check({ weights: { x: [2, 3] }, build: ({ x }) => x.quad([0.125, 0.5, 0.25]) });
    check({ weights: { x: [2, 3] }, build: ({ x }) => x.scale(2).gelu("tanh") });
    check({ weights: { x: [2, 3] }, build: ({ x }) => x.relu() });
  });

  it("layerNorm", () => {
    check({ weights: { x: [2, 3, 5] }, build: ({ x }) => x.layerNorm(1e-5) });
  });

  it("rmsNorm and silu", () => {
    check({ weights: { x: [2, 3, 5] }, build: ({ x }) => x.rmsNorm(1e-5) });
    check({ weights: { x: [2, 3] }, build: ({ x }) => x.scale(3).silu() });
  });

  it("rope from a later position, and repeatHeads", () => {
    check({ weights: { x: [2, 3, 4] }, build: ({ x }) => x.rope(5, 100).rope(2, 7) });
    check({
      weights: { x: [2, 2, 3, 4], y: [2, 6, 3, 4] },
      build: ({ x, y }) => x.repeatHeads(3).mul(y),
    });
  });

  it("select", () => {
    check({
      weights: { a: [2, 2, 3], b: [2, 2, 3] },
      fixed: { mask: { shape: [2, 2], values: [1, 0, 0, 1] } },
      build: ({ a, b, mask }) => a.select(mask, b),
    });
  });

  it("crossEntropy, with smoothing, rows of weight 0 and a factor", () => {
    check({
      weights: { x: [2, 2, 5] },
      ids: { t: { shape: [2, 2], values: [0, 4, 2, 2] } },
      fixed: { w: { shape: [2, 2], values: [1, 0.5, 0, 2] } },
      build: ({ x, t, w }) =>
        crossEntropy(x, t, w, 0.1)
          .scale(3)
          .add(crossEntropy(x, t, w)),
    });
  });

  it("cosineLoss", () => {
    check({
      weights: { a: [2, 2, 3], b: [2, 2, 3] },
      fixed: { w: { shape: [2, 2], values: [1, 0.5, 0, 2] } },
      build: ({ a, b, w }) => cosineLoss(a, b, w).scale(2),
    });
  });

  it("squaredLoss, rows of weight 0 among them", () => {
    check({
      weights: { a: [2, 2, 3], b: [2, 2, 3] },
      fixed: { w: { shape: [2, 2], values: [1, 0.5, 0, 2] } },
      build: ({ a, b, w }) =>
        squaredLoss(a, b, w)
          .scale(2)
          .add(squaredLoss(a, a.scale(3), w)),
    });
  });

  it.each([1, 2.5])("softLabelLoss at temperature %d", (temperature) => {
    check({
      weights: { x: [2, 2, 5] },
      fixed: {
        y: { shape: [2, 2, 5], values: [...someValues(20, 5)].map((value) => 3 * value) },
        w: { shape: [2, 2], values: [1, 0.5, 0, 2] },
      },
      build: ({ x, y, w }) =>
        softLabelLoss(x, y, w, temperature)
          .scale(3)
          .add(softLabelLoss(x.scale(2), y, w, 1)),
    });
  });

  it("gelu with erf", () => {
    check({ weights: { x: [2, 3] }, build: ({ x }) => x.scale(2).gelu("erf") });
  });
});

describe("losses of distillation", () => {
  const [rows, columns] = [6, 9];
  const question = {
    rows,
    columns,
    own: [...someValues(rows * columns, 1)].map((value) => 4 * value),
    target: [...someValues(rows * columns, 2)].map((value) => 4 * value),
    weights: [1, 0.5, 0, 2, 1, 0.05],
  };

  /** Loss and gradient in doubles. */
  function computed(build: (own: Tensor, target: Tensor, weights: Tensor) => Tensor) {
    const graph = new Graph();
    const given = [
      graph.weight("own", [rows, columns]),
      graph.weight("target", [rows, columns]),
      graph.input("weights", [rows]),
    ] as const;
    const loss = build(...given);
    const program = new FloatProgram(graph, doubles, new Arena(Float64Array));
    const floats = (values: readonly number[]) =>
      Float64Array.from(values) as unknown as Float32Array;
    const weights = new Map(
      (["own", "target"] as const).map((name) => [name, floats(question[name])]),
    );
    program.run(new Map([["weights", floats(question.weights)]]), weights);
    const empty = () => floats(question.own.map(() => 0));
    const gradients = new Map([
      ["own", empty()],
      ["target", empty()],
    ]);
    const value = program.value(loss)[0]!;
    program.backward(loss, gradients);
    return { loss: value, gradients };
  }

  it.skipIf(!hasTorch).each([1, 3])(
    "and their gradients are PyTorch's at temperature %d (needs python3-torch)",
    (temperature) => {
      const known = torchLosses({ ...question, temperature });
      const own = {
        soft: computed((x, y, w) => softLabelLoss(x, y, w, temperature)),
        squared: computed((x, y, w) => squaredLoss(x, y, w)),
        cosine: computed((x, y, w) => cosineLoss(x, y, w)),
      };
      expect(Object.keys(own)).toEqual(Object.keys(known));
      for (const [name, { loss, gradients }] of Object.entries(own)) {
        expect(loss, name).toBeCloseTo(known[name]!.loss, 10);
        for (const [i, slope] of gradients.get("own")!.entries()) {
          expect(slope, `${name}[${i}]`).toBeCloseTo(known[name]!.gradient[i]!, 10);
        }
      }
    },
  );

  it("soft labels are 0 for equal logits, and give the teacher no gradient", () => {
    const same = computed((x, _, w) => softLabelLoss(x.scale(2), x.add(x), w, 2));
    expect(same.loss).toBeCloseTo(0, 12);
    const { loss, gradients } = computed((x, y, w) => softLabelLoss(x, y, w, 2));
    expect(loss).toBeGreaterThan(0.1);
    expect([...gradients.get("target")!]).toEqual(question.target.map(() => 0));
    expect(Math.max(...gradients.get("own")!)).toBeGreaterThan(0.01);
  });
});

describe("the float program", () => {
  it("gives no gradient through detach and visits nothing before it", () => {
    const graph = new Graph();
    const a = graph.weight("a", [2, 2]);
    const b = graph.weight("b", [2, 2]);
    const loss = graph.weight("w", [1]).linear(graph.weight("v", [1, 1]));
    const mixed = a.detach().mul(b);
    const total = mixed.linear(graph.weight("s", [2, 1]));
    graph.output("total", total);
    const program = new FloatProgram(graph, floatReference);
    const weights = new Map(
      [...graph.weights()].map(([name, shape]) => [name, new Float32Array(size(shape)).fill(2)]),
    );
    program.run(new Map(), weights);
    const gradients = new Map([["a", new Float32Array(4)]]);
    program.backward(loss, gradients);
    expect([...gradients.get("a")!]).toEqual([0, 0, 0, 0]);
  });

  it("shares an arena: a second run of the same shape takes the same buffers", () => {
    const graph = new Graph();
    const x = graph.input("x", [3, 4]);
    const y = x.quad([1, 0, 0]).layerNorm(1e-5);
    graph.output("y", y);
    const program = new FloatProgram(graph, floatReference);
    const inputs = new Map([["x", someValues(12, 1)]]);
    program.run(inputs, new Map());
    const first = program.value("y").buffer;
    program.run(inputs, new Map());
    const known = graph.ops.map((op) => program.values[op.out]!.buffer);
    expect(known).toContain(first);
  });

  it("refuses data that is missing, of another length or of another type", () => {
    const graph = new Graph();
    graph.output("y", graph.weight("t", [2, 2]).embed(graph.ids("ids", [2])));
    const weights = new Map([["t", new Float32Array(4)]]);
    const run = (inputs: Map<string, Int32Array | Float32Array>) =>
      runFloat(graph, { weights, inputs, kernels: floatReference });
    expect(() => run(new Map())).toThrow("ids ids is not given");
    expect(() => run(new Map([["ids", new Int32Array(3)]]))).toThrow("wrong length");
    expect(() => run(new Map([["ids", new Float32Array(2)]]))).toThrow("not int32");
    expect(() => run(new Map([["ids", Int32Array.of(0, 2)]]))).toThrow("id 2 of 2");
  });
});
