// The graph of a student's step: passes over the rows of each part and the losses on their states.
// The prompt's part of the graph is shared by all passes; a pass computes the rows of the text
// alone:
//   real     inputs are the embeddings of the given tokens
//   resent   parallel passes, each taking the states of the pass before at random positions
//   rollout  exact: one position after the other, with the gradient through time; some inputs may
//            be embeddings of given tokens
//   own      a roll-out's states as inputs without a gradient, then one parallel pass

import { ensure } from "../errors.ts";
import { Graph, type Tensor } from "../graph/graph.ts";
import { cosineLoss, crossEntropy, softLabelLoss, squaredLoss } from "../graph/losses.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import { type Caches, decoder, embed, head } from "../model/decoder.ts";
import type { Arena } from "../run/arena.ts";
import { FloatProgram } from "../run/float.ts";
import {
  matchedLayers,
  type StudentOptions,
  type StudentPart,
  type StudentPhase,
  splitRows,
} from "./student-phases.ts";

export interface Traced {
  readonly program: FloatProgram;
  readonly loss: Tensor;
  readonly parts: ReadonlyMap<string, Tensor>;
  /** Positions computed in all. */
  readonly positions: number;
  /** Rows of the batch that each part takes. */
  readonly rows: readonly number[];
  /** Layers that are matched with the teacher's, see matchedLayers. */
  readonly layers: readonly number[];
}

/** States of one pass over the text, [B, length, d]. */
interface Pass {
  readonly hidden: Tensor;
  /** Of the layers that are matched. */
  readonly layers: readonly Tensor[];
}

interface Shape {
  readonly rows: number;
  readonly length: number;
  readonly prompt: number;
}

export function trace(
  model: ModelConfig,
  shape: Shape,
  { phase, options }: { phase: StudentPhase; options: StudentOptions },
  { kernels, arena }: { kernels: FloatKernels; arena: Arena },
): Traced {
  const graph = new Graph();
  const rows = splitRows(phase.parts, shape.rows);
  const layers = matchedLayers(phase, options, model.layerCount);
  const parts = new Map<string, Tensor>();
  let loss: Tensor | undefined;
  let positions = 0;
  for (const [index, part] of phase.parts.entries()) {
    const place = { index, layers: part.hidden > 0 ? layers : [] };
    const traced = new PartTrace(graph, model, { ...shape, rows: rows[index] }, options, place);
    for (const pass of traced.passes(part)) {
      for (const [name, tensor, weight] of traced.losses(pass, part)) {
        const known = parts.get(name);
        parts.set(name, known ? known.add(tensor).scale(0.5) : tensor);
        const weighted = tensor.scale((weight * rows[index]) / shape.rows);
        loss = loss ? loss.add(weighted) : weighted;
      }
    }
    positions += traced.positions * rows[index];
  }
  ensure(loss, "E_CONFIG", "a phase of the student has no loss");
  return { program: new FloatProgram(graph, kernels, arena), loss, parts, positions, rows, layers };
}

/** Records the passes over one part's rows; its inputs are named `{part}.{what}`. */
class PartTrace {
  /** Positions computed per row of the batch. */
  positions: number;
  readonly #graph: Graph;
  readonly #model: ModelConfig;
  readonly #shape: Shape;
  readonly #options: StudentOptions;
  readonly #index: number;
  readonly #layers: readonly number[];
  readonly #caches: Caches;
  /** The states of the prompt's last position, [B, 1, d]. */
  readonly #first: Pass;
  readonly #targets: Tensor;

  constructor(
    graph: Graph,
    model: ModelConfig,
    shape: Shape,
    options: StudentOptions,
    { index, layers }: { index: number; layers: readonly number[] },
  ) {
    this.#graph = graph;
    this.#model = model;
    this.#shape = shape;
    this.#options = options;
    this.#index = index;
    this.#layers = layers;
    const { rows, length, prompt } = shape;
    const ids = graph.ids(`${index}.prompt`, [rows, prompt]);
    const base = decoder(graph, model, { x: embed(graph, model, ids), start: 0 });
    this.#caches = base.caches;
    const last = (x: Tensor) => x.sliceRows(prompt - 1, prompt);
    const hidden = last(base.hidden);
    this.#first = { hidden, layers: layers.map((layer) => last(base.states.at(layer)!)) };
    this.#targets = graph.ids(`${index}.targets`, [rows, length]);
    this.positions = prompt;
  }

  /** The passes that are trained. */
  passes({ kind, passes, probability }: StudentPart): Pass[] {
    switch (kind) {
      case "real":
        return [this.#pass(this.#embedded())];
      case "resent": {
        const embedded = this.#embedded();
        const all = [this.#pass(embedded)];
        for (let index = 0; index < passes; index++) {
          const before = all[index].hidden.sliceRows(0, this.#shape.length - 1);
          all.push(this.#pass(before.select(this.#mask(`mask.${index}`), embedded)));
        }
        return all;
      }
      case "rollout":
        return [this.#rollout(probability[0] < 1 || probability[1] < 1, this.#layers)];
      case "own": {
        const { hidden } = this.#rollout(false, []);
        return [this.#pass(hidden.sliceRows(0, this.#shape.length - 1).detach())];
      }
      default:
        return kind satisfies never;
    }
  }

  /** Names, values and weights of the losses on some states. */
  losses({ hidden: states, layers }: Pass, part: StudentPart): [string, Tensor, number][] {
    const { kind, ce, align, soft, hidden, passes } = part;
    const share = kind === "resent" ? 1 / (passes + 1) : 1;
    const losses: [string, Tensor, number][] = [];
    // Positions weigh as in the mean over all shards of the batch, see weightShare.
    const add = (name: string, weight: number, loss: Tensor, by: "share" | "shareToEnd") => {
      losses.push([`${kind}.${name}`, loss.mul(this.#once(by, [1])), weight * share]);
    };
    const logits = ce > 0 || soft > 0 ? head(this.#graph, this.#model, states) : undefined;
    if (logits && ce > 0) {
      const { smoothing } = this.#options;
      add(
        "ce",
        ce,
        crossEntropy(logits, this.#targets, this.#weights("weights"), smoothing),
        "share",
      );
    }
    if (align > 0) {
      const embedded = embed(this.#graph, this.#model, this.#targets).detach();
      add("align", align, cosineLoss(states, embedded, this.#weights("weights")), "share");
    }
    if (logits && soft > 0) {
      const target = this.#once("logits", logits.shape);
      const { temperature } = this.#options;
      const loss = softLabelLoss(logits, target, this.#weights("toEnd"), temperature);
      add("soft", soft, loss, "shareToEnd");
    }
    if (hidden > 0) add("hidden", hidden, this.#hiddenLoss(layers), "shareToEnd");
    return losses;
  }

  /** Mean over the matched layers. */
  #hiddenLoss(layers: readonly Tensor[]): Tensor {
    const weights = this.#weights("toEnd");
    const losses = layers.map((own, at) => {
      const target = this.#once(`hidden.${this.#layers[at]}`, own.shape);
      return this.#options.hiddenLoss === "squared"
        ? squaredLoss(own, target, weights)
        : cosineLoss(own, target, weights);
    });
    return losses.reduce((sum, loss) => sum.add(loss)).scale(1 / losses.length);
  }

  /** Weights of positions: `weights` with those behind the end, or `toEnd` without them. */
  #weights(name: "weights" | "toEnd"): Tensor {
    return this.#once(name, [this.#shape.rows, this.#shape.length]);
  }

  /** An input of this part that all its passes share. */
  #once(name: string, shape: readonly number[]): Tensor {
    return this.#graph.once(`${this.#index}.${name}`, () => this.#input(name, shape));
  }

  #input(name: string, shape: readonly number[]): Tensor {
    return this.#graph.input(`${this.#index}.${name}`, shape);
  }

  /** States of the whole text from the inputs of its positions but the first. */
  #pass(x: Tensor): Pass {
    this.positions += x.rows;
    const options = { x, start: this.#shape.prompt, caches: this.#caches };
    const { hidden, states } = decoder(this.#graph, this.#model, options);
    const first = this.#first;
    const layers = this.#layers.map((layer, at) => first.layers[at]!.concatRows(states.at(layer)!));
    return { hidden: first.hidden.concatRows(hidden), layers };
  }

  #mask(name: string): Tensor {
    return this.#input(name, [this.#shape.rows, this.#shape.length - 1]);
  }

  /** Embeddings of the given tokens but the last, [B, length - 1, d]. */
  #embedded(): Tensor {
    const { rows, length } = this.#shape;
    const ids = this.#graph.ids(`${this.#index}.tokens`, [rows, length - 1]);
    const x = embed(this.#graph, this.#model, ids);
    const kept = this.#options.dropout > 0 ? x.mul(this.#input("drop", x.shape)) : x;
    return this.#options.noise > 0 ? kept.add(this.#input("noise", x.shape)) : kept;
  }

  /** One position after the other, each state the next input; mixed with given tokens or not. */
  #rollout(mixed: boolean, layers: readonly number[]): Pass {
    const { prompt, length } = this.#shape;
    const embedded = mixed ? this.#embedded() : undefined;
    const states = [this.#first.hidden];
    const byLayer = layers.map((_, at) => [this.#first.layers[at]!]);
    let caches = this.#caches;
    for (let row = 0; row < length - 1; row++) {
      let x = states[row];
      if (embedded) {
        const column = this.#input(`mask.${row}`, [this.#shape.rows, 1]);
        x = x.select(column, embedded.sliceRows(row, row + 1));
      }
      const next = decoder(this.#graph, this.#model, { x, start: prompt + row, caches });
      states.push(next.hidden);
      for (const [at, layer] of layers.entries()) byLayer[at]!.push(next.states.at(layer)!);
      caches = next.caches;
    }
    this.positions += length - 1;
    return { hidden: concatAll(states), layers: byLayer.map(concatAll) };
  }
}

/** Halves first, so that no row is copied more than log n times. */
function concatAll(rows: readonly Tensor[]): Tensor {
  if (rows.length === 1) return rows[0];
  const half = Math.ceil(rows.length / 2);
  return concatAll(rows.slice(0, half)).concatRows(concatAll(rows.slice(half)));
}
