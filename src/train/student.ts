// The student's task: a model learns the teacher's outputs, and where its phases say so while its
// own hidden states are re-sent as inputs (MERGE, Liang et al. 2024, §3.2, and beyond it). The
// prompt's part of the graph is shared by all passes; a pass computes the rows of the text alone:
//   real     inputs are the embeddings of the given tokens
//   resent   parallel passes, each taking the states of the pass before at random positions
//   rollout  exact: one position after the other, with the gradient through time; some inputs may
//            be embeddings of given tokens
//   own      a roll-out's states as inputs without a gradient, then one parallel pass

import { ensure, MergenError } from "../errors.ts";
import { Graph, type Tensor } from "../graph/graph.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import { type Caches, decoder, embed, head } from "../model/decoder.ts";
import { Random } from "../model/random.ts";
import { Arena } from "../run/arena.ts";
import { FloatProgram } from "../run/float.ts";
import { type Batch, Batches, shardOf } from "./batches.ts";
import { addStatistics, trainedOnly } from "./statistics.ts";
import type { Task, TaskSpec } from "./task.ts";
import { dropMask } from "./teacher.ts";
import type { TokenSet } from "./token-set.ts";

/** Some rows of every batch, trained in one way. */
export interface StudentPart {
  readonly kind: "real" | "resent" | "rollout" | "own";
  /** Share of the batch's rows, relative to the other parts of the phase. */
  readonly rows: number;
  /** Weight of the cross entropy of the next token; times the rows' share in the whole loss. */
  readonly ce: number;
  /** Weight of 1 - cos between a state and the embedding of the next token. */
  readonly align: number;
  /** Number of parallel passes on re-sent states (resent). */
  readonly passes: number;
  /** Probability of a re-sent input per position, at the phase's first and last step. */
  readonly probability: readonly [number, number];
}

export interface StudentPhase {
  /** Part of all steps that it lasts. */
  readonly share: number;
  readonly parts: readonly StudentPart[];
}

export interface StudentOptions {
  readonly phases: readonly StudentPhase[];
  /** Weight of labels behind the end token. */
  readonly tailWeight: number;
  readonly smoothing: number;
  /** Uniform noise of this half-width on the embeddings of given tokens. */
  readonly noise: number;
  /** Share of elements dropped there. */
  readonly dropout: number;
}

interface Traced {
  readonly program: FloatProgram;
  readonly loss: Tensor;
  readonly parts: ReadonlyMap<string, Tensor>;
  /** Positions computed in all. */
  readonly positions: number;
  /** Rows of the batch that each part takes. */
  readonly rows: readonly number[];
}

export function studentTask(
  { model, data, batchSize, buckets, seed }: TaskSpec,
  options: StudentOptions,
  kernels: FloatKernels,
): Task {
  const batches = new Batches(data.lengths, { buckets, size: batchSize, seed });
  const arena = new Arena();
  const traced = new Map<string, Traced>();
  return {
    step({ step, steps, shard, weights, gradients }) {
      const batch = shardOf(batches.at(step), shard);
      const { phase, index, progress } = phaseAt(options.phases, step / steps);
      const key = `${index} ${batch.items.length} ${batch.length}`;
      let entry = traced.get(key);
      if (!entry) {
        const shape = { rows: batch.items.length, length: batch.length, prompt: data.promptLength };
        entry = trace(model, shape, { phase, options }, { kernels, arena });
        traced.set(key, entry);
      }
      const random = new Random(seed, 3, step, shard.index);
      const inputs = studentInputs(data, batch, { rows: entry.rows, ...options });
      const use = { phase, progress, options, random };
      for (const [name, { shape }] of entry.program.inputs()) {
        if (!inputs.has(name)) inputs.set(name, randomInput(name, shape, use));
      }
      entry.program.run(inputs, weights);
      const value = (tensor: Tensor) => entry.program.value(tensor)[0];
      const loss = value(entry.loss);
      const parts = Object.fromEntries([...entry.parts].map(([name, t]) => [name, value(t)]));
      addStatistics(entry.program, gradients);
      entry.program.backward(entry.loss, trainedOnly(gradients));
      entry.program.release();
      const multiplyAdds = 3 * entry.program.multiplyAdds;
      return { loss, parts, tokens: entry.positions, multiplyAdds };
    },
  };
}

/** The phase that a share of all steps falls into, and how far into it. */
export function phaseAt(phases: readonly StudentPhase[], at: number) {
  const total = phases.reduce((sum, { share }) => sum + share, 0);
  let from = 0;
  for (const [index, phase] of phases.entries()) {
    const to = from + phase.share / total;
    if (at < to || index === phases.length - 1) {
      return { phase, index, progress: (at - from) / (to - from) };
    }
    from = to;
  }
  throw new MergenError("E_CONFIG", "the student has no phases");
}

/** Whole rows by share; the last part takes what is left. */
export function splitRows(parts: readonly { rows: number }[], total: number): number[] {
  const sum = parts.reduce((all, { rows }) => all + rows, 0);
  const counts = parts.map(({ rows }) => Math.round((rows / sum) * total));
  const others = counts.slice(0, -1).reduce((all, count) => all + count, 0);
  counts[counts.length - 1] = total - others;
  const fits = counts.every((count) => count > 0);
  ensure(fits, "E_CONFIG", "a batch is too small for the parts of a phase");
  return counts;
}

interface Shape {
  readonly rows: number;
  readonly length: number;
  readonly prompt: number;
}

function trace(
  model: ModelConfig,
  shape: Shape,
  { phase, options }: { phase: StudentPhase; options: StudentOptions },
  { kernels, arena }: { kernels: FloatKernels; arena: Arena },
): Traced {
  const graph = new Graph();
  const rows = splitRows(phase.parts, shape.rows);
  const parts = new Map<string, Tensor>();
  let loss: Tensor | undefined;
  let positions = 0;
  for (const [index, part] of phase.parts.entries()) {
    const traced = new PartTrace(graph, model, { ...shape, rows: rows[index] }, options, index);
    for (const states of traced.states(part)) {
      for (const [name, tensor, weight] of traced.losses(states, part)) {
        const known = parts.get(name);
        parts.set(name, known ? known.add(tensor).scale(0.5) : tensor);
        const weighted = tensor.scale((weight * rows[index]) / shape.rows);
        loss = loss ? loss.add(weighted) : weighted;
      }
    }
    positions += traced.positions * rows[index];
  }
  ensure(loss, "E_CONFIG", "a phase of the student has no loss");
  return { program: new FloatProgram(graph, kernels, arena), loss, parts, positions, rows };
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
  readonly #caches: Caches;
  /** The state of the prompt's last position, [B, 1, d]. */
  readonly #first: Tensor;
  readonly #targets: Tensor;
  readonly #weights: Tensor;

  constructor(
    graph: Graph,
    model: ModelConfig,
    shape: Shape,
    options: StudentOptions,
    index: number,
  ) {
    this.#graph = graph;
    this.#model = model;
    this.#shape = shape;
    this.#options = options;
    this.#index = index;
    const { rows, length, prompt } = shape;
    const ids = graph.ids(`${index}.prompt`, [rows, prompt]);
    const base = decoder(graph, model, { x: embed(graph, model, ids), start: 0 });
    this.#caches = base.caches;
    this.#first = base.hidden.sliceRows(prompt - 1, prompt);
    this.#targets = graph.ids(`${index}.targets`, [rows, length]);
    this.#weights = graph.input(`${index}.weights`, [rows, length]);
    this.positions = prompt;
  }

  /** States [B, length, d] of each pass that is trained. */
  states({ kind, passes, probability }: StudentPart): Tensor[] {
    switch (kind) {
      case "real":
        return [this.#pass(this.#embedded())];
      case "resent": {
        const embedded = this.#embedded();
        const states = [this.#pass(embedded)];
        for (let index = 0; index < passes; index++) {
          const before = states[index].sliceRows(0, this.#shape.length - 1);
          states.push(this.#pass(before.select(this.#mask(`mask.${index}`), embedded)));
        }
        return states;
      }
      case "rollout":
        return [this.#rollout(probability[0] < 1 || probability[1] < 1)];
      case "own": {
        const states = this.#rollout(false).sliceRows(0, this.#shape.length - 1);
        return [this.#pass(states.detach())];
      }
      default:
        return kind satisfies never;
    }
  }

  /** Names, values and weights of the losses on some states. */
  losses(states: Tensor, { kind, ce, align, passes }: StudentPart): [string, Tensor, number][] {
    const share = kind === "resent" ? 1 / (passes + 1) : 1;
    const losses: [string, Tensor, number][] = [];
    if (ce > 0) {
      const logits = head(this.#graph, this.#model, states);
      const loss = logits.crossEntropy(this.#targets, this.#weights, this.#options.smoothing);
      losses.push([`${kind}.ce`, loss, ce * share]);
    }
    if (align > 0) {
      const embedded = embed(this.#graph, this.#model, this.#targets).detach();
      const loss = states.cosineLoss(embedded, this.#weights);
      losses.push([`${kind}.align`, loss, align * share]);
    }
    return losses;
  }

  /** States of the whole text from the inputs of its positions but the first. */
  #pass(x: Tensor): Tensor {
    this.positions += x.rows;
    const options = { x, start: this.#shape.prompt, caches: this.#caches };
    return this.#first.concatRows(decoder(this.#graph, this.#model, options).hidden);
  }

  #mask(name: string): Tensor {
    return this.#graph.input(`${this.#index}.${name}`, [this.#shape.rows, this.#shape.length - 1]);
  }

  /** Embeddings of the given tokens but the last, [B, length - 1, d]. */
  #embedded(): Tensor {
    const { rows, length } = this.#shape;
    const ids = this.#graph.ids(`${this.#index}.tokens`, [rows, length - 1]);
    const x = embed(this.#graph, this.#model, ids);
    const input = (name: string) => this.#graph.input(`${this.#index}.${name}`, x.shape);
    const kept = this.#options.dropout > 0 ? x.mul(input("drop")) : x;
    return this.#options.noise > 0 ? kept.add(input("noise")) : kept;
  }

  /** One position after the other, each state the next input; mixed with given tokens or not. */
  #rollout(mixed: boolean): Tensor {
    const { prompt, length } = this.#shape;
    const embedded = mixed ? this.#embedded() : undefined;
    const states = [this.#first];
    let caches = this.#caches;
    for (let row = 0; row < length - 1; row++) {
      let x = states[row];
      if (embedded) {
        const column = this.#graph.input(`${this.#index}.mask.${row}`, [this.#shape.rows, 1]);
        x = x.select(column, embedded.sliceRows(row, row + 1));
      }
      const next = decoder(this.#graph, this.#model, { x, start: prompt + row, caches });
      states.push(next.hidden);
      caches = next.caches;
    }
    this.positions += length - 1;
    return concatAll(states);
  }
}

/** Halves first, so that no row is copied more than log n times. */
function concatAll(rows: readonly Tensor[]): Tensor {
  if (rows.length === 1) return rows[0];
  const half = Math.ceil(rows.length / 2);
  return concatAll(rows.slice(0, half)).concatRows(concatAll(rows.slice(half)));
}

interface RandomUse {
  readonly phase: StudentPhase;
  readonly progress: number;
  readonly options: StudentOptions;
  readonly random: Random;
}

/** Masks, noise and dropout, by the input's name. */
function randomInput(name: string, shape: readonly number[], use: RandomUse): Float32Array {
  const [part, what] = name.split(".");
  const { options, random } = use;
  const values = new Float32Array(shape.reduce((total, size) => total * size, 1));
  if (what === "drop") return dropMask(values.length, options.dropout, random);
  if (what === "noise") {
    for (let i = 0; i < values.length; i++) values[i] = options.noise * (2 * random.uniform() - 1);
    return values;
  }
  const [from, to] = use.phase.parts[Number(part)].probability;
  const probability = from + (to - from) * use.progress;
  for (let i = 0; i < values.length; i++) values[i] = Number(random.uniform() < probability);
  return values;
}

function studentInputs(
  data: TokenSet,
  { items, length }: Batch,
  { rows, tailWeight }: { rows: readonly number[]; tailWeight: number },
) {
  const inputs = new Map<string, Float32Array | Int32Array>();
  let from = 0;
  for (const [part, count] of rows.entries()) {
    const taken = items.subarray(from, from + count);
    for (const [name, values] of partInputs(data, { items: taken, length }, tailWeight)) {
      inputs.set(`${part}.${name}`, values);
    }
    from += count;
  }
  return inputs;
}

function partInputs(data: TokenSet, { items, length }: Batch, tailWeight: number) {
  const { promptLength, outputLength } = data;
  const prompt = new Int32Array(items.length * promptLength);
  const tokens = new Int32Array(items.length * (length - 1));
  const targets = new Int32Array(items.length * length);
  const weights = new Float32Array(items.length * length).fill(tailWeight);
  for (let row = 0; row < items.length; row++) {
    const item = items[row];
    const from = item * outputLength;
    const ids = data.prompts.subarray(item * promptLength, (item + 1) * promptLength);
    prompt.set(ids, row * promptLength);
    tokens.set(data.outputs.subarray(from, from + length - 1), row * (length - 1));
    targets.set(data.outputs.subarray(from, from + length), row * length);
    weights.fill(1, row * length, row * length + data.lengths[item]);
  }
  return new Map<string, Float32Array | Int32Array>([
    ["prompt", prompt],
    ["tokens", tokens],
    ["targets", targets],
    ["weights", weights],
  ]);
}
