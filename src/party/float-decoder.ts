// Generations in float32 in the clear, segment by segment: what the float bench and the timing of
// plaintext decoding run. A step appends its rows to caches that have room for them, so that it
// costs one pass over the weights and one over the rows so far.

import { ensure } from "../errors.ts";
import type { Segment } from "../generate/schedule.ts";
import type { Graph } from "../graph/graph.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Weights } from "../model/safetensors.ts";
import { Arena } from "../run/arena.ts";
import { FloatProgram, type FloatWeights } from "../run/float.ts";
import { IDS, LOGITS, traceSegment } from "./plan.ts";

/** A carried tensor; `room` is its buffer, with space for more rows where it can grow. */
interface Carried {
  readonly data: Float32Array;
  readonly room: Float32Array;
}

/** An output that is a carried tensor with new rows behind it: only those are computed. */
interface Grown {
  readonly name: string;
  readonly replaces: string;
  /** Tensor id of the new rows. */
  readonly rows: number;
}

interface Traced {
  readonly program: FloatProgram;
  readonly loads: ReadonlyMap<string, string>;
  readonly stores: readonly { output: string; name: string; replaces: string | undefined }[];
  readonly grown: readonly Grown[];
}

export class FloatDecoder {
  readonly #config: ModelConfig;
  readonly #kernels: FloatKernels;
  readonly #weights: FloatWeights;
  readonly #programs = new Map<string, Traced>();
  readonly #arena = new Arena();
  readonly #carried = new Map<string, Carried>();
  #last: FloatProgram | undefined;

  constructor(config: ModelConfig, weights: Weights, kernels: FloatKernels) {
    this.#config = config;
    this.#kernels = kernels;
    this.#weights = { get: (name) => weights.get(name)?.data };
  }

  /** Traces a segment unless it is known: what would else be done, and timed, in `run`. */
  prepare(segment: Segment): void {
    this.#traced(segment);
  }

  /** Forgets all states: the next segment is a prompt. */
  begin(): void {
    this.#carried.clear();
  }

  /**
   * Runs the next segment and carries its states on. Its logits, where it has some, stay until the
   * next run.
   */
  run(segment: Segment, ids: readonly number[] | undefined): Float32Array | undefined {
    const { program, loads, stores, grown } = this.#traced(segment);
    const inputs = new Map<string, Float32Array | Int32Array>();
    if (ids) inputs.set(IDS, Int32Array.from(ids));
    for (const [input, name] of loads) inputs.set(input, this.#state(name).data);
    // One arena serves all segments: the buffers of one are the next one's.
    if (this.#last !== program) this.#last?.release();
    this.#last = program;
    program.run(inputs, this.#weights);
    for (const { name, replaces, rows } of grown) {
      this.#carried.set(name, appended(this.#state(replaces), program.values[rows]!));
      this.#carried.delete(replaces);
    }
    for (const { output, name, replaces } of stores) {
      this.#carried.set(name, this.#kept(program, output));
      if (replaces !== undefined) this.#carried.delete(replaces);
    }
    return program.graph.outputs.has(LOGITS) ? program.value(LOGITS) : undefined;
  }

  /** The program of the last run, with all its values. */
  get program(): FloatProgram {
    ensure(this.#last, "E_INTERNAL", "nothing was run");
    return this.#last;
  }

  #state(name: string): Carried {
    const state = this.#carried.get(name);
    ensure(state, "E_INTERNAL", `there is no state ${name}`);
    return state;
  }

  /** A copy of an output; rows of a cache get room for all positions. */
  #kept(program: FloatProgram, output: string): Carried {
    const value = program.value(output);
    const { shape } = program.graph.outputs.get(output)!;
    const columns = shape.at(-1)!;
    const grows = output.startsWith("cache.") && shape.length === 2;
    const room = new Float32Array(grows ? this.#config.positionCount * columns : value.length);
    room.set(value);
    return { data: room.subarray(0, value.length), room };
  }

  #traced(segment: Segment): Traced {
    const key = JSON.stringify({ ...segment, id: 0 });
    let traced = this.#programs.get(key);
    if (!traced) {
      traced = this.#trace(segment);
      this.#programs.set(key, traced);
    }
    return traced;
  }

  #trace(segment: Segment): Traced {
    const { graph, names } = traceSegment(this.#config, segment);
    const stores = [];
    const grown = [];
    for (const [output, { name, replaces }] of names.stores) {
      const rows = newRows(graph, output, names.loads, replaces);
      if (rows === undefined || replaces === undefined) stores.push({ output, name, replaces });
      else {
        grown.push({ name, replaces, rows });
        graph.outputs.delete(output);
      }
    }
    const program = new FloatProgram(graph, this.#kernels, this.#arena);
    return { program, loads: names.loads, stores, grown };
  }
}

/** The tensor of rows that an output puts behind the loaded tensor which it replaces. */
function newRows(
  graph: Graph,
  output: string,
  loads: ReadonlyMap<string, string>,
  replaces: string | undefined,
): number | undefined {
  const { id, shape } = graph.outputs.get(output)!;
  const op = graph.ops[id]!;
  if (op.kind !== "concatRows" || shape.length !== 2) return undefined;
  const old = graph.ops[op.a]!;
  const continues = old.kind === "input" && loads.get(old.name) === replaces;
  return continues ? op.b : undefined;
}

function appended({ data, room }: Carried, rows: Float32Array): Carried {
  room.set(rows, data.length);
  return { data: room.subarray(0, data.length + rows.length), room };
}
