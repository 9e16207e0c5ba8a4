// Greedy generation in float for many prompts at once: what distillation and evaluation use. One
// graph per position, each taking the caches of the one before.

import { Graph } from "../graph/graph.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import { cacheInputs, decoder, embed, head } from "../model/decoder.ts";
import { Arena } from "../run/arena.ts";
import { FloatProgram, type FloatWeights } from "../run/float.ts";

export interface GenerateOptions {
  /** Prompts of equal length, one after the other. */
  readonly prompts: Int32Array;
  readonly promptLength: number;
  readonly maxTokens: number;
  /** resend: every state is the next input. lookup: the chosen token's embedding is. */
  readonly nextToken: "lookup" | "resend";
  /** Prompts computed together. */
  readonly batchSize: number;
}

/** Greedy outputs, each up to and with its end token where it has come to one. */
export class BatchGenerator {
  readonly #config: ModelConfig;
  readonly #kernels: FloatKernels;
  readonly #arena = new Arena();
  readonly #programs = new Map<string, FloatProgram>();

  constructor(config: ModelConfig, kernels: FloatKernels) {
    this.#config = config;
    this.#kernels = kernels;
  }

  generate(weights: FloatWeights, options: GenerateOptions): number[][] {
    const { prompts, promptLength, batchSize } = options;
    const outputs: number[][] = [];
    for (let from = 0; from < prompts.length; from += batchSize * promptLength) {
      const batch = prompts.subarray(from, from + batchSize * promptLength);
      outputs.push(...this.#batch(weights, batch, options));
    }
    return outputs;
  }

  #batch(weights: FloatWeights, prompts: Int32Array, options: GenerateOptions): number[][] {
    const { promptLength, maxTokens } = options;
    const { end } = this.#config.tokens;
    const resends = options.nextToken === "resend";
    const rows = prompts.length / promptLength;
    const outputs: number[][] = Array.from({ length: rows }, () => []);
    const table = weights.get("embedding.weight")!;
    let program = this.#program(rows, { start: 0, count: promptLength });
    program.run(new Map([["ids", prompts]]), weights);
    for (let position = promptLength; ; position++) {
      const chosen = argmaxRows(program.value("logits"), rows);
      for (const [row, output] of outputs.entries()) {
        if (output.at(-1) !== end) output.push(chosen[row]);
      }
      const done = outputs.every((output) => output.at(-1) === end);
      if (done || position === promptLength + maxTokens - 1) break;
      const x = resends ? program.value("state") : lookUp(table, chosen, this.#config);
      const next = this.#program(rows, { start: position, count: 1 });
      next.run(new Map([...cachesOf(program), ["x", x]]), weights);
      program.release();
      program = next;
    }
    program.release();
    return outputs;
  }

  #program(rows: number, { start, count }: { start: number; count: number }): FloatProgram {
    const key = `${rows} ${start} ${count}`;
    let program = this.#programs.get(key);
    if (!program) {
      program = new FloatProgram(this.#trace(rows, start, count), this.#kernels, this.#arena);
      this.#programs.set(key, program);
    }
    return program;
  }

  #trace(rows: number, start: number, count: number): Graph {
    const config = this.#config;
    const graph = new Graph();
    const lead = [rows];
    const x =
      start === 0
        ? embed(graph, config, graph.ids("ids", [rows, count]))
        : graph.input("x", [rows, count, config.hiddenSize]);
    const caches = start === 0 ? undefined : cacheInputs(graph, config, { rows: start, lead });
    const out = decoder(graph, config, { x, start, caches });
    const state = out.hidden.sliceRows(count - 1, count);
    graph.output("state", state);
    graph.output("logits", head(graph, config, state));
    for (const [layer, parts] of out.caches.entries()) {
      for (const [part, cache] of parts.entries()) graph.output(`cache.${layer}.${part}`, cache);
    }
    return graph;
  }
}

function cachesOf(program: FloatProgram): [string, Float32Array][] {
  const names = [...program.graph.outputs.keys()].filter((name) => name.startsWith("cache."));
  return names.map((name) => [name, program.value(name)]);
}

function argmaxRows(logits: Float32Array, rows: number): Int32Array {
  const columns = logits.length / rows;
  const chosen = new Int32Array(rows);
  for (let row = 0; row < rows; row++) {
    const base = row * columns;
    let best = 0;
    for (let i = 1; i < columns; i++) if (logits[base + i] > logits[base + best]) best = i;
    chosen[row] = best;
  }
  return chosen;
}

/** The input embeddings of tokens, as `embed` of the decoder makes them. */
function lookUp(table: Float32Array, ids: Int32Array, config: ModelConfig): Float32Array {
  const { hiddenSize: columns, embeddingScale = 1 } = config;
  const x = new Float32Array(ids.length * columns);
  for (const [row, id] of ids.entries()) {
    for (let i = 0; i < columns; i++)
      x[row * columns + i] = embeddingScale * table[id * columns + i];
  }
  return x;
}
