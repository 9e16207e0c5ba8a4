import { describe, expect, it } from "vitest";
import { Graph } from "../graph/graph.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import type { ModelConfig } from "../model/config.ts";
import { decoder, embed } from "../model/decoder.ts";
import { initialWeights } from "../model/initial.ts";
import { runFloat } from "../run/float.ts";
import { foldNorms } from "./export.ts";
import { modelConfig } from "./model-shape.ts";
import { studentConfig, studentWeights } from "./student-model.ts";
import { tokenSet } from "./token-set.ts";
import { train } from "./trainer.ts";

const kernels = await loadFloatKernels();
const teacher = modelConfig(
  {
    recipe: "vanilla",
    hiddenSize: 8,
    layerCount: 2,
    headCount: 2,
    innerSize: 16,
    attention: "softmax",
    activation: { kind: "gelu", form: "tanh" },
    norm: { kind: "layernorm", eps: 1e-5, scale: true },
    residual: true,
    nextToken: "lookup",
    tiedHead: true,
    prompt: { kind: "slots", slots: [{ name: "name", width: 2 }] },
    generation: { maxTokens: 5, chunk: 5, anchor: 1 },
  },
  13,
);
const weights = initialWeights(teacher, 3);
const pairs = Array.from({ length: 24 }, (_, i) => ({
  prompt: [3 + (i % 5), 4 + (i % 7), 1],
  output: [5 + (i % 5), 6 + (i % 3), 7, 2],
}));
const data = tokenSet(pairs, { outputLength: 5, end: 2 });
const withNorm = (kind: "batchnorm" | "affine"): ModelConfig => ({
  ...teacher,
  norm: { kind, eps: 1e-3, scale: true },
});

/** States of all rows of the texts, from a model's weights. */
function states(config: ModelConfig, given: typeof weights, name = "hidden"): Float32Array {
  const graph = new Graph();
  const ids = Int32Array.from(pairs.flatMap(({ prompt, output }) => [...prompt, ...output]));
  const x = embed(graph, config, graph.ids("ids", [pairs.length, 7]));
  graph.output("hidden", decoder(graph, config, { x, start: 0 }).hidden);
  const norm = graph.ops.find((op) => op.kind === "add" && graph.ops[op.a]!.kind === "mul")!;
  graph.output("norm", graph.record({ kind: "scale", x: norm.out, factor: 1 }, norm.shape));
  const inputs = new Map([["ids", ids]]);
  const values = new Map([...given].map(([each, tensor]) => [each, tensor.data]));
  return runFloat(graph, { weights: values, inputs, kernels }).get(name)!;
}

describe("a student's norms", () => {
  it.each(["batchnorm", "affine"] as const)("%s begins as the teacher's best line", (kind) => {
    const config = withNorm(kind);
    const begun = studentWeights({ config: teacher, weights }, config, { data, seed: 1, kernels });
    const [own, wanted] = [states(config, begun, "norm"), states(teacher, weights, "norm")];
    let [off, size] = [0, 0];
    for (const [i, value] of wanted.entries()) {
      off += (own[i]! - value) ** 2;
      size += value ** 2;
    }
    expect(off).toBeLessThan(0.3 * size);
    expect(off).toBeGreaterThan(0);
  });

  it("are fitted to a teacher's without scale and shift, too", () => {
    const bare = { ...teacher, norm: { kind: "layernorm", eps: 1e-5, scale: false } as const };
    const own = new Map([...weights].filter(([name]) => !/norm\.(scale|shift)$/.test(name)));
    const given = { data, seed: 1, kernels };
    const begun = studentWeights({ config: bare, weights: own }, withNorm("affine"), given);
    // The teacher's scales are 1 and its shifts 0: both teachers say the same.
    expect(begun).toEqual(studentWeights({ config: teacher, weights }, withNorm("affine"), given));
  });

  it("keep THE-X's states of the teacher's size, where its scales and shifts alone do not", () => {
    const deep = { ...teacher, layerCount: 6 };
    const sharp = initialWeights(deep, 3);
    for (const [name, { data }] of sharp) {
      if (/query|key|output/.test(name)) for (let i = 0; i < data.length; i++) data[i]! *= 12;
    }
    const config = studentConfig(deep, { recipe: "the-x", promptLength: 3 });
    const given = { data, seed: 1, kernels };
    const fitted = studentWeights({ config: deep, weights: sharp }, config, given);
    const ratio = (of: typeof weights, model: ModelConfig) => {
      const most = (values: Float32Array) => values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      return most(states(model, of)) / most(states(deep, sharp));
    };
    expect(ratio(fitted, config)).toBeGreaterThan(0.25);
    expect(ratio(fitted, config)).toBeLessThan(4);
    const copied = new Map([...fitted].map(([name, own]) => [name, sharp.get(name) ?? own]));
    expect(ratio(copied, config)).toBeLessThan(0.1);
  });

  it("keep the names of what the teacher has, and its values", () => {
    const config = studentConfig(teacher, { recipe: "puma", promptLength: 3 });
    expect(
      studentWeights({ config: teacher, weights }, config, { data, seed: 1, kernels }),
    ).toEqual(weights);
  });
});

describe("running statistics", () => {
  const config = withNorm("batchnorm");
  const run = (threads: number) =>
    train({
      task: {
        model: config,
        data,
        batchSize: 24,
        buckets: [5],
        seed: 7,
        kind: "teacher",
        options: { smoothing: 0, dropout: 0 },
      },
      schedule: { rate: 0.01, warmupSteps: 3, finalShare: 0.1, steps: 150 },
      adam: { betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0 },
      clip: 1,
      threads,
      checkpointEvery: 1000,
      logEvery: 1000,
      evaluateEvery: 1000,
      kernels,
      log: () => {},
    });

  it("come to what the texts show, in one thread and in two, and the loss falls", async () => {
    const [one, two] = [await run(1), await run(2)];
    for (const { losses, weights: trained } of [one, two]) {
      expect(losses.at(-1)).toBeLessThan(0.7 * losses[0]!);
      const name = "layers.0.attention.norm";
      const mean = trained.get(`${name}.mean`)!.data;
      const variance = trained.get(`${name}.variance`)!.data;
      expect(variance.every((value) => value > 0 && value < 0.9)).toBe(true);
      expect(mean.some((value) => value !== 0)).toBe(true);
      // Normalised by its own statistics, a column has a deviation of about 1.
      const normal = states(config, trained, "norm");
      const scale = trained.get(`${name}.scale`)!.data;
      const shift = trained.get(`${name}.shift`)!.data;
      const column = Array.from(
        { length: normal.length / 8 },
        (_, row) => (normal[8 * row]! - shift[0]!) / scale[0]!,
      );
      const spread = column.reduce((sum, value) => sum + value * value, 0) / column.length;
      expect(spread).toBeGreaterThan(0.5);
      expect(spread).toBeLessThan(2);
    }
  });

  it("become an affine map that says the same", async () => {
    const { weights: trained } = await run(1);
    const folded = foldNorms({ config, weights: trained });
    expect(folded.config.norm.kind).toBe("affine");
    expect([...folded.weights.keys()].some((name) => /mean|variance/.test(name))).toBe(false);
    const [before, after] = [states(config, trained), states(folded.config, folded.weights)];
    for (const [i, value] of before.entries()) expect(after[i]).toBeCloseTo(value, 4);
    expect(foldNorms({ config: teacher, weights })).toEqual({ config: teacher, weights });
  });
});
