// A teacher that reads the texts of a student's batch: its logits and hidden states, which the
// student is to come near. It is a program of its own, so that no gradient can reach its weights.

import { Graph } from "../graph/graph.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import { decoder, embed, head } from "../model/decoder.ts";
import type { Arena } from "../run/arena.ts";
import { FloatProgram } from "../run/float.ts";

/** A teacher as plain data; threads share its weights. */
export interface TeacherSpec {
  readonly model: ModelConfig;
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/** Texts: prompts [rows, prompt] and given tokens [rows, length - 1]. */
export interface TeacherTexts {
  readonly rows: number;
  readonly prompt: number;
  readonly length: number;
}

export interface TeacherAnswers {
  /** Whether logits are asked for. */
  readonly logits: boolean;
  /** Layers whose results are asked for. */
  readonly layers: readonly number[];
}

export class TeacherPass {
  readonly #program: FloatProgram;
  readonly #weights: ReadonlyMap<string, Float32Array>;
  readonly #shape: TeacherTexts;

  constructor(
    { model, weights }: TeacherSpec,
    shape: TeacherTexts,
    { logits, layers }: TeacherAnswers,
    { kernels, arena }: { kernels: FloatKernels; arena: Arena },
  ) {
    this.#weights = weights;
    this.#shape = shape;
    const { rows, prompt, length } = shape;
    const positions = prompt + length - 1;
    const graph = new Graph();
    const ids = graph.ids("ids", [rows, positions]);
    const { hidden, states } = decoder(graph, model, { x: embed(graph, model, ids), start: 0 });
    const text = (x: typeof hidden) => x.sliceRows(prompt - 1, positions);
    if (logits) graph.output("logits", head(graph, model, text(hidden)));
    for (const layer of layers) graph.output(`hidden.${layer}`, text(states.at(layer)!));
    this.#program = new FloatProgram(graph, kernels, arena);
  }

  get multiplyAdds(): number {
    return this.#program.multiplyAdds;
  }

  /**
   * `logits` [rows, length, V] and `hidden.{layer}` [rows, length, d] of the positions that say
   * the text; buffers are the program's, and good until `release`.
   */
  read(prompts: Int32Array, tokens: Int32Array): Map<string, Float32Array> {
    const { rows, prompt, length } = this.#shape;
    const positions = prompt + length - 1;
    const ids = new Int32Array(rows * positions);
    for (let row = 0; row < rows; row++) {
      ids.set(prompts.subarray(row * prompt, (row + 1) * prompt), row * positions);
      const text = tokens.subarray(row * (length - 1), (row + 1) * (length - 1));
      ids.set(text, row * positions + prompt);
    }
    this.#program.run(new Map([["ids", ids]]), this.#weights);
    const names = [...this.#program.graph.outputs.keys()];
    return new Map(names.map((name) => [name, this.#program.value(name)]));
  }

  release(): void {
    this.#program.release();
  }
}
