import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { tinyConfig } from "../../test/tiny-model.ts";
import { Graph } from "../graph/graph.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { runFloat } from "../run/float.ts";
import { checkWeights } from "./check-weights.ts";
import type { ModelConfig } from "./config.ts";
import { decoder, embed, head, resent, weightShapes } from "./decoder.ts";
import { foldNorms } from "./fold.ts";
import { Random } from "./random.ts";
import type { Weights } from "./safetensors.ts";

const vanilla = tinyConfig({
  recipe: "vanilla",
  hiddenSize: 12,
  headCount: 4,
  layerCount: 2,
  innerSize: 20,
  attention: "softmax",
  activation: { kind: "gelu", form: "erf" },
  norm: { kind: "layernorm", eps: 1e-5, scale: true },
  nextToken: "lookup",
  tiedHead: true,
});
const llama: ModelConfig = {
  ...vanilla,
  block: "llama",
  headCount: 2,
  kvHeadCount: 1,
  rope: { base: 100 },
  activation: { kind: "silu" },
  norm: { kind: "rmsnorm", eps: 1e-5, scale: true },
};

function someWeights(config: ModelConfig): Weights {
  const random = new Random(3);
  const weights: Weights = new Map();
  for (const [name, shape] of weightShapes(config)) {
    const mean = name.endsWith(".scale") ? 0.7 : 0;
    const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
    for (let i = 0; i < data.length; i++) data[i] = mean + 0.3 * random.normal();
    if (name.endsWith(".variance")) data.set(data.map((value) => 0.5 + Math.abs(value)));
    weights.set(name, { shape, data });
  }
  return weights;
}

function logitsOf(config: ModelConfig, weights: Weights): Float32Array {
  const graph = new Graph();
  const x = embed(graph, config, graph.ids("ids", [5]));
  const { hidden, caches } = decoder(graph, config, { x, start: 0 });
  // One more state behind it where states are sent again.
  const sent = config.nextToken === "resend" && resent(graph, config, hidden.sliceRows(4, 5));
  const last = sent ? decoder(graph, config, { x: sent, start: 5, caches }).hidden : hidden;
  graph.output("logits", head(graph, config, last));
  const given = new Map([...weights].map(([name, { data }]) => [name, data]));
  const inputs = new Map([["ids", Int32Array.of(3, 9, 260, 9, 77)]]);
  return runFloat(graph, { weights: given, inputs, kernels: floatReference }).get("logits")!;
}

const variants: [name: string, config: ModelConfig][] = [
  ["an ordinary decoder", vanilla],
  ["one with a head and scaled embeddings", { ...vanilla, tiedHead: false, embeddingScale: 4 }],
  ["one with a bias in its head", { ...vanilla, tiedHead: false, headBias: true }],
  ["one without norm scales", { ...vanilla, norm: { ...vanilla.norm, scale: false } }],
  ["one whose queries are scaled", { ...vanilla, scaledQuery: true }],
  ["affine norms", { ...vanilla, norm: { kind: "affine", eps: 0, scale: true } }],
  ["norms of stored statistics", { ...vanilla, norm: { ...vanilla.norm, kind: "batchnorm" } }],
  ["states that are sent again", { ...vanilla, nextToken: "resend" }],
  [
    "affine states that are sent again",
    {
      ...vanilla,
      nextToken: "resend",
      norm: { kind: "affine", eps: 0, scale: true },
    },
  ],
  ["llama", llama],
  ["llama with a head", { ...llama, tiedHead: false }],
];

describe.each(variants)("folding %s", (_name, config) => {
  const expected = logitsOf(config, someWeights(config));
  const folded = foldNorms({ config, weights: someWeights(config) });

  it("keeps its logits within float rounding", () => {
    const logits = logitsOf(folded.config, folded.weights);
    const greatest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(greatest).toBeGreaterThan(1);
    for (const [i, value] of logits.entries()) {
      expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-5 * greatest);
    }
  });

  it("leaves no scale of a norm or of scores, and just its tensors", () => {
    expect(folded.config).toMatchObject({ norm: { scale: false }, scaledQuery: true });
    checkWeights(folded.weights, weightShapes(folded.config));
    const graph = new Graph();
    decoder(graph, folded.config, { x: graph.input("x", [2, config.hiddenSize]), start: 0 });
    const scaled = graph.ops.some(({ kind }) => kind === "scale");
    expect(scaled).toBe(false);
  });
});

it("does not fold a merged module, or want of a tensor", () => {
  const merged: ModelConfig = { ...vanilla, attention: "constant" };
  errorOf("E_MODEL", () => foldNorms({ config: merged, weights: new Map() }));
  const weights = someWeights(vanilla);
  weights.delete("layers.1.norm.shift");
  const { message } = errorOf("E_MODEL", () => foldNorms({ config: vanilla, weights }));
  expect(message).toContain("layers.1.norm.shift");
});
