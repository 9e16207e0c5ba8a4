// Tiny models, data and options for tests of training; weights by a formula that PyTorch knows, too
// (test/vectors/training-losses.py).

import { loadFloatKernels } from "../src/kernel/float-load.ts";
import { weightShapes } from "../src/model/decoder.ts";
import type { Weights, WeightTensor } from "../src/model/safetensors.ts";
import { modelConfig } from "../src/train/model-shape.ts";
import { sharedVector } from "../src/train/parameters.ts";
import type { StudentOptions, StudentPart } from "../src/train/student-phases.ts";
import type { TaskSpec } from "../src/train/task.ts";
import { tokenSet } from "../src/train/token-set.ts";
import type { TrainOptions } from "../src/train/trainer.ts";
import vectors from "./vectors/training-losses.json" with { type: "json" };

export const kernels = await loadFloatKernels();

export const tinyModel = (attention: "softmax" | "constant") =>
  modelConfig(
    {
      recipe: attention === "softmax" ? "vanilla" : "merge",
      hiddenSize: 8,
      layerCount: 2,
      headCount: 2,
      innerSize: 16,
      attention,
      activation:
        attention === "softmax"
          ? { kind: "gelu", form: "tanh" }
          : { kind: "quad", coefficients: [0.125, 0.25, 0.5] },
      norm: { kind: "layernorm", eps: 1e-5, scale: attention === "softmax" },
      residual: true,
      nextToken: attention === "softmax" ? "lookup" : "resend",
      tiedHead: true,
      prompt: { kind: "slots", slots: [{ name: "name", width: 2 }] },
      generation: { maxTokens: 5, chunk: 5, anchor: 0 },
    },
    13,
  );

const pairs = vectors.prompts.map((prompt, row) => ({ prompt, output: vectors.outputs[row] }));
const data = tokenSet(pairs, { outputLength: 5, end: 2 });
const common = { data, batchSize: 6, buckets: [5], seed: 7 };

export function part(changes: Partial<StudentPart>): StudentPart {
  const losses = { ce: 1, align: 0, soft: 0, hidden: 0 };
  return { kind: "real", rows: 1, ...losses, passes: 0, probability: [1, 1], ...changes };
}

export function studentOptions(...parts: StudentPart[]): StudentOptions {
  return {
    phases: [{ share: 1, parts }],
    ...{ tailWeight: 0.05, smoothing: 0, noise: 0, dropout: 0 },
    ...{ temperature: 2, hiddenLoss: "cosine", hiddenLayers: "last" },
  };
}

export function student(...parts: StudentPart[]): TaskSpec {
  const options = studentOptions(...parts);
  return { ...common, kind: "student", model: tinyModel("constant"), options };
}

/** A student of given tokens that is held to the model of `teacher` with formula weights. */
export function taught(
  changes: Partial<StudentPart>,
  more: Partial<StudentOptions> = {},
): TaskSpec {
  const task = student(part({ ce: 0.5, ...changes }));
  const weights = new Map(
    [...formulaWeights(teacher)].map(([name, { data }]) => {
      const shared = sharedVector(data.length);
      shared.set(data);
      return [name, shared];
    }),
  );
  const spec = { model: teacher.model, weights };
  return { ...task, teacher: spec, options: { ...task.options, ...more } } as TaskSpec;
}

export const teacher = {
  ...common,
  kind: "teacher",
  model: tinyModel("softmax"),
  options: { smoothing: 0, dropout: 0 },
} satisfies TaskSpec;

export function options(task: TaskSpec, changes: Partial<TrainOptions> = {}): TrainOptions {
  return {
    task,
    schedule: { rate: 0.01, warmupSteps: 3, finalShare: 0.1, steps: 10 },
    adam: { betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.05 },
    clip: 1,
    threads: 1,
    checkpointEvery: 1000,
    logEvery: 1000,
    evaluateEvery: 1000,
    kernels,
    log: () => {},
    ...changes,
  };
}

/** The formula of test/vectors/training-losses.py. */
export function formulaWeights(task: TaskSpec): Weights {
  const weights: Weights = new Map();
  for (const [name, shape] of weightShapes(task.model)) {
    const seed = [...name].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
    const count = shape.reduce((total, size) => total * size, 1);
    const bias = name.endsWith(".scale") ? 1 : 0;
    const data = Float32Array.from(
      { length: count },
      (_, i) => 0.3 * Math.sin(0.37 * (i + 1) + 0.11 * seed) + bias,
    );
    weights.set(name, { shape, data });
  }
  return weights;
}

export const bytes = (weights: Weights) =>
  [...weights].map(([name, { data }]: [string, WeightTensor]) => [name, [...data]]);

export const schedule = { rate: 0.01, warmupSteps: 3, finalShare: 0.1, steps: 50 };
export const mixedTask: TaskSpec = {
  ...student(
    part({ kind: "real", rows: 1, align: 0.1 }),
    part({ kind: "rollout", rows: 1, probability: [0, 1] }),
    part({ kind: "resent", rows: 1, passes: 2, probability: [0.3, 0.9] }),
  ),
};
