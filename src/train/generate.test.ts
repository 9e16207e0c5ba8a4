import { describe, expect, it } from "vitest";
import { Graph } from "../graph/graph.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { decoder, embed, head } from "../model/decoder.ts";
import { initialWeights } from "../model/initial.ts";
import { runFloat } from "../run/float.ts";
import { BatchGenerator } from "./generate.ts";
import { modelConfig } from "./model-shape.ts";

function tinyConfig(attention: "softmax" | "constant") {
  const merged = attention === "constant" ? { embeddingScale: 4, sharedAttention: true } : {};
  return modelConfig(
    {
      recipe: "test",
      hiddenSize: 8,
      layerCount: 2,
      headCount: 2,
      innerSize: 12,
      attention,
      activation: { kind: "quad", coefficients: [0.125, 0.5, 0.25] },
      norm: { kind: "layernorm", eps: 1e-5, scale: attention === "softmax" },
      residual: true,
      nextToken: "lookup",
      tiedHead: false,
      prompt: { kind: "slots", slots: [{ name: "a", width: 3 }] },
      generation: { maxTokens: 6, chunk: 2, anchor: 0 },
      ...merged,
    },
    11,
  );
}

describe.each(["softmax", "constant"] as const)("greedy generation, %s attention", (attention) => {
  const config = tinyConfig(attention);
  const named = initialWeights(config, 3);
  // Larger heads, so that the choices are far apart.
  for (const value of ["head.weight", "embedding.weight"]) {
    named.get(value)!.data.forEach((x, i, all) => {
      all[i] = 20 * x;
    });
  }
  const weights = new Map([...named].map(([name, { data }]) => [name, data]));
  const prompts = [
    [3, 4, 5, 1],
    [6, 6, 7, 1],
    [0, 9, 8, 1],
  ];

  /** All rows at once from their input embeddings, the slow way. */
  function choices(prompt: number[], tokens: number[]): number[] {
    const graph = new Graph();
    const ids = [...prompt, ...tokens];
    const x = embed(graph, config, graph.ids("ids", [ids.length]));
    const { hidden } = decoder(graph, config, { x, start: 0 });
    graph.output("logits", head(graph, config, hidden));
    const inputs = new Map([["ids", Int32Array.from(ids)]]);
    const logits = runFloat(graph, { weights, inputs, kernels: floatReference }).get("logits")!;
    return ids.map((_, row) => {
      const one = logits.subarray(row * config.vocabSize, (row + 1) * config.vocabSize);
      return one.indexOf(Math.max(...one));
    });
  }

  it("with lookup chooses what the whole graph chooses at each position", () => {
    const generator = new BatchGenerator(config, floatReference);
    for (const batchSize of [1, 2, 8]) {
      const outputs = generator.generate(weights, {
        prompts: Int32Array.from(prompts.flat()),
        promptLength: 4,
        maxTokens: 6,
        nextToken: "lookup",
        batchSize,
      });
      expect(outputs).toHaveLength(3);
      for (const [index, output] of outputs.entries()) {
        const whole = choices(prompts[index], output.slice(0, -1)).slice(3);
        expect(output).toEqual(whole);
        expect(output.indexOf(2) === -1 ? output.length : output.indexOf(2) + 1).toBe(
          output.length,
        );
      }
    }
  });

  it("with re-sent states does not depend on the batch", () => {
    const generator = new BatchGenerator(config, floatReference);
    const run = (batchSize: number) =>
      generator.generate(weights, {
        prompts: Int32Array.from(prompts.flat()),
        promptLength: 4,
        maxTokens: 6,
        nextToken: "resend",
        batchSize,
      });
    expect(run(1)).toEqual(run(3));
  });
});
