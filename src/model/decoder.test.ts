import { describe, expect, it } from "vitest";
import { Graph } from "../graph/graph.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { runFloat } from "../run/float.ts";
import type { ModelConfig } from "./config.ts";
import { cacheInputs, decoder, embed, head, weightShapes } from "./decoder.ts";
import { initialWeights } from "./initial.ts";

const vanilla: ModelConfig = {
  model_type: "mergen",
  recipe: "vanilla",
  vocabSize: 11,
  hiddenSize: 8,
  layerCount: 2,
  headCount: 2,
  innerSize: 12,
  positionCount: 9,
  attention: "softmax",
  activation: { kind: "gelu", form: "erf" },
  norm: { kind: "layernorm", eps: 1e-5, scale: true },
  residual: true,
  nextToken: "lookup",
  tiedHead: true,
  tokens: { pad: 0, begin: 1, end: 2 },
  prompt: { kind: "slots", slots: [{ name: "a", width: 3 }] },
  generation: { maxTokens: 6, chunk: 2, anchor: 0 },
};
const merged: ModelConfig = {
  ...vanilla,
  recipe: "merge",
  attention: "constant",
  activation: { kind: "quad", coefficients: [0.125, 0.25, 0.5] },
  norm: { kind: "layernorm", eps: 1e-5, scale: false },
  nextToken: "resend",
};
const llama: ModelConfig = {
  ...vanilla,
  block: "llama",
  kvHeadCount: 1,
  rope: { base: 100 },
  activation: { kind: "silu" },
  norm: { kind: "rmsnorm", eps: 1e-5, scale: false },
};
const variants: [string, ModelConfig][] = [
  ["vanilla", vanilla],
  ["merged", merged],
  [
    "merged, shared attention and scaled embeddings",
    { ...merged, sharedAttention: true, embeddingScale: 4 },
  ],
  [
    "merged, affine norm, no residual",
    { ...merged, norm: { kind: "affine", eps: 0, scale: true }, residual: false },
  ],
  ["merged, own head", { ...merged, tiedHead: false }],
  [
    "vanilla without norm scales, own head with bias, scaled queries",
    {
      ...vanilla,
      norm: { ...vanilla.norm, scale: false },
      tiedHead: false,
      headBias: true,
      scaledQuery: true,
    },
  ],
  ["llama with shared keys", llama],
  ["llama with norm scales", { ...llama, norm: { kind: "rmsnorm", eps: 1e-5, scale: true } }],
];

describe.each(variants)("the decoder, %s", (_name, config) => {
  const weights = new Map([...initialWeights(config, 5)].map(([name, { data }]) => [name, data]));
  const ids = Int32Array.from([3, 4, 5, 1, 6, 7, 10, 2]);

  function whole(): Map<string, Float32Array> {
    const graph = new Graph();
    const x = embed(graph, config, graph.ids("ids", [8]));
    const { hidden } = decoder(graph, config, { x, start: 0 });
    graph.output("hidden", hidden);
    graph.output("logits", head(graph, config, hidden));
    return runFloat(graph, { weights, inputs: new Map([["ids", ids]]), kernels: floatReference });
  }

  it("gives the same rows in one piece and in pieces with caches", () => {
    const hidden: number[] = [];
    let caches = new Map<string, Float32Array>();
    for (const [start, count] of [
      [0, 4],
      [4, 1],
      [5, 3],
    ] as const) {
      const graph = new Graph();
      const x = embed(graph, config, graph.ids("ids", [count]));
      const given = start === 0 ? undefined : cacheInputs(graph, config, { rows: start });
      const out = decoder(graph, config, { x, start, caches: given });
      graph.output("hidden", out.hidden);
      for (const [layer, parts] of out.caches.entries()) {
        for (const [part, cache] of parts.entries()) graph.output(`cache.${layer}.${part}`, cache);
      }
      const inputs = new Map<string, Float32Array | Int32Array>(caches);
      inputs.set("ids", ids.slice(start, start + count));
      const results = runFloat(graph, { weights, inputs, kernels: floatReference });
      hidden.push(...results.get("hidden")!);
      results.delete("hidden");
      caches = results;
    }
    const expected = whole().get("hidden")!;
    expect(hidden).toHaveLength(expected.length);
    for (const [i, value] of hidden.entries()) expect(value).toBeCloseTo(expected[i]!, 4);
  });

  it("lets no later token change an earlier row", () => {
    const before = whole().get("logits")!;
    ids[7] = 9;
    const after = whole().get("logits")!;
    ids[7] = 2;
    const rows = 7 * config.vocabSize;
    expect([...after.subarray(0, rows)]).toEqual([...before.subarray(0, rows)]);
    expect([...after.subarray(rows)]).not.toEqual([...before.subarray(rows)]);
  });

  it("starts from weights that the seed fixes, all of them finite", () => {
    const first = initialWeights(config, 5);
    const again = initialWeights(config, 5);
    const other = initialWeights(config, 6);
    expect([...first.keys()]).toEqual([...weightShapes(config).keys()]);
    for (const [name, { data }] of first) {
      expect(data.every(Number.isFinite), name).toBe(true);
      expect([...data]).toEqual([...again.get(name)!.data]);
    }
    expect([...first.get("embedding.weight")!.data]).not.toEqual([
      ...other.get("embedding.weight")!.data,
    ]);
  });

  it("refuses rows that are not the first without caches", () => {
    const graph = new Graph();
    const x = graph.input("x", [1, 8]);
    expect(() => decoder(graph, config, { x, start: 3 })).toThrow("caches missing");
  });
});

it("names weights as the model folder does", () => {
  expect([...weightShapes({ ...merged, layerCount: 1 })]).toEqual([
    ["embedding.weight", [11, 8]],
    ["position.weight", [9, 8]],
    ["layers.0.attention.constant", [2, 9, 9]],
    ["layers.0.u.weight", [8, 12]],
    ["layers.0.u.bias", [12]],
    ["layers.0.o.weight", [12, 8]],
    ["layers.0.o.bias", [8]],
  ]);
});

it("names weights of a llama block, which has no biases and no positions", () => {
  const config = { ...llama, layerCount: 1, tiedHead: false };
  expect([...weightShapes(config)]).toEqual([
    ["embedding.weight", [11, 8]],
    ["layers.0.attention.query.weight", [8, 8]],
    ["layers.0.attention.key.weight", [8, 4]],
    ["layers.0.attention.value.weight", [8, 4]],
    ["layers.0.attention.output.weight", [8, 8]],
    ["layers.0.gate.weight", [8, 12]],
    ["layers.0.u.weight", [8, 12]],
    ["layers.0.o.weight", [12, 8]],
    ["head.weight", [8, 11]],
  ]);
});
