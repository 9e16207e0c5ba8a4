// A generation as all three parties see it: the public schedule, the gates of each segment, the
// tensors they need, and a digest over all of it that is compared before any share moves.

import { ensure, MergenError } from "../errors.ts";
import type { GateSpec } from "../gate/index.ts";
import type { PiecewiseTable } from "../gate/piecewise.ts";
import type { SplineTable } from "../gate/spline.ts";
import type { SampleOptions } from "../generate/sample.ts";
import {
  bundles,
  type PromptPart,
  promptParts,
  type Segment,
  schedule,
} from "../generate/schedule.ts";
import { Graph, type Tensor } from "../graph/graph.ts";
import type { ModelConfig } from "../model/config.ts";
import { cacheInputs, decoder, embed, head, resent } from "../model/decoder.ts";
import {
  type LoweringCache,
  lower,
  loweringCache,
  type StateNames,
  type StoreTarget,
} from "../plan/lower.ts";
import { oneHotBits, withLookup, withTokens } from "../plan/next-token.ts";
import { type MaskedTensor, maskedTensors } from "../plan/tensors.ts";
import { withWidths } from "../plan/widths.ts";
import { offlineCost } from "../run/cost.ts";
import type { NumberedSegment } from "../run/dealer.ts";

/** Bumped whenever messages, formats or gates change. */
export const PROTOCOL_VERSION = 5;

export interface GenerationOptions {
  /** Positions of the prompt: public. */
  readonly promptPositions: number;
  readonly maxTokens: number;
  readonly chunk: number;
  readonly anchor: number;
  /** "lookup": each step's token is found under masks; otherwise as `anchor` says. */
  readonly next?: "lookup" | undefined;
  /** "token": heads show C tokens, otherwise logits. */
  readonly reveal?: "token" | undefined;
}

/** What of a generation's numbers a caller may ask for. */
export interface AskedOptions {
  readonly maxTokens?: number | undefined;
  readonly chunk?: number | undefined;
  readonly anchor?: number | undefined;
  /**
   * What a step takes in: the state before it, sent again (but for every anchor-th), C's own token,
   * or the token looked up without anybody having it. Default as `anchor` says.
   */
  readonly next?: "resend" | "client" | "lookup" | undefined;
  /** What of a head C learns; default logits, and tokens with `next: "lookup"`. */
  readonly reveal?: "logits" | "token" | undefined;
  /** A sampler needs logits. */
  readonly sampling?: SampleOptions | undefined;
}

/**
 * The public numbers of a generation: what was asked for, or the model's defaults.
 * @throws E_CONFIG when a model that cannot re-send its states is asked to; E_USAGE when options
 *         contradict each other
 */
export function generationOptions(
  config: ModelConfig,
  promptPositions: number,
  asked: AskedOptions,
): GenerationOptions {
  const { next } = asked;
  const anchor = anchorOf(config, asked);
  const fits = config.nextToken === "resend" || anchor === 1 || next === "lookup";
  ensure(fits, "E_CONFIG", `a ${config.recipe} model looks up every token: --anchor must be 1`);
  const shows = asked.reveal ?? (next === "lookup" ? "token" : "logits");
  const agree = next !== "lookup" || shows === "token";
  ensure(agree, "E_USAGE", "--next lookup leaves the logits shared: drop --reveal logits");
  const greedy = shows === "logits" || (asked.sampling?.temperature ?? 0) === 0;
  ensure(greedy, "E_USAGE", "sampling needs logits: --next lookup and --reveal token are greedy");
  return {
    promptPositions,
    maxTokens: asked.maxTokens ?? config.generation.maxTokens,
    chunk: asked.chunk ?? config.generation.chunk,
    anchor,
    ...(next === "lookup" && { next }),
    ...(shows === "token" && { reveal: shows }),
  };
}

/** How often the client sends a token: `next` says it where it stands alone. */
function anchorOf(config: ModelConfig, { anchor, next }: AskedOptions): number {
  const usual = config.generation.anchor;
  if (next === undefined) return anchor ?? usual;
  const wanted = { client: 1, lookup: 0, resend: usual === 1 ? 0 : usual }[next];
  const agree = anchor === undefined || anchor === wanted || (next === "resend" && anchor !== 1);
  ensure(agree, "E_USAGE", `--next ${next} and --anchor ${anchor} contradict each other`);
  return anchor ?? wanted;
}

export interface PlannedSegment extends NumberedSegment {
  readonly segment: Segment;
}

/** A plan: what every party computes, without weights, prompt or randomness. */
export interface Plan {
  readonly config: ModelConfig;
  readonly options: GenerationOptions;
  readonly segments: readonly PlannedSegment[];
  readonly bundles: readonly (readonly PlannedSegment[])[];
  readonly tensors: readonly MaskedTensor[];
  /** SHA-256, hexadecimal, of everything above. */
  readonly digest: string;
}

/** Names under which a segment's graph takes and gives its data. */
export const IDS = "ids";
export const LOGITS = "logits";

/** @throws E_PROMPT when prompt and tokens exceed the model's positions, in whatever mode */
export function ensurePositions(
  { positionCount }: ModelConfig,
  { promptPositions, maxTokens }: GenerationOptions,
): void {
  // The last token is nobody's input.
  const positions = promptPositions + maxTokens - 1;
  ensure(
    positions <= positionCount,
    "E_PROMPT",
    `prompt and ${maxTokens} tokens take ${positions} positions, the model has ` +
      `${positionCount}: ask for fewer tokens`,
  );
}

/**
 * Plans a generation.
 * @throws E_PLAN when the recipe has no secure form or a bound does not fit; E_PROMPT when prompt
 *         and tokens exceed the model's positions
 */
export async function planGeneration(
  config: ModelConfig,
  options: GenerationOptions,
): Promise<Plan> {
  ensurePositions(config, options);
  const listed = scheduleOf(config, options);
  const known = loweringCache();
  const lowered = listed.map((segment) => planSegment(config, segment, known));
  const segments = withWidths(withFoundTokens(config, options, lowered));
  const byId = new Map(segments.map((planned) => [planned.id, planned]));
  const groups = bundles(listed, options.chunk, ({ id, kind }) =>
    kind === "head" ? 0 : dealtBytes(byId.get(id)!),
  );
  const tensors = maskedTensors(segments.map(({ gates }) => gates));
  return {
    config,
    options,
    segments,
    bundles: groups.map((group) => group.map((segment) => byId.get(segment.id)!)),
    tensors,
    digest: await digestOf({ config, options, segments, tensors }),
  };
}

/** The segments of a generation: prompts of ordinary decoders, whose keys are many, in parts. */
function scheduleOf(config: ModelConfig, options: GenerationOptions): Segment[] {
  const merged = config.attention === "constant";
  return schedule(
    options,
    merged ? undefined : promptParts(options.promptPositions, config.layerCount),
  );
}

function dealtBytes(segment: PlannedSegment): number {
  const { dealerToServer, dealerToClient } = offlineCost([segment]);
  return dealerToServer + dealerToClient;
}

function planSegment(config: ModelConfig, segment: Segment, known: LoweringCache): PlannedSegment {
  const { graph, names } = traceSegment(config, segment, { lastRow: true });
  const { gates } = lower(graph, config, names, known);
  return { id: segment.id, segment, gates };
}

/** Where tokens are shown, or looked up: the heads' and the steps' gates for it. */
function withFoundTokens(
  { calibratedBounds }: ModelConfig,
  { next, reveal }: GenerationOptions,
  segments: readonly PlannedSegment[],
): readonly PlannedSegment[] {
  if (next !== "lookup" && reveal !== "token") return segments;
  const fracBits = oneHotBits(segments[0]!.gates);
  return segments.map((planned) => {
    const { segment, gates } = planned;
    if (segment.kind === "step" && segment.source === "lookup") {
      return { ...planned, gates: withLookup(gates, foundName(segment.index - 1)) };
    }
    if (segment.kind !== "head") return planned;
    const [from] = segment.states;
    const replaces = from > 0 ? foundName(from - 1) : undefined;
    const fed = segment.feeds ? { name: foundName(from), replaces, fracBits } : undefined;
    return { ...planned, gates: withTokens(gates, { fed, calibratedBounds }) };
  });
}

/** The one-hot row of a token, as a carried wire. */
const foundName = (token: number) => `token.${token}`;

/** Rows of cache that a segment finds: all positions before its own. */
function tracedRows(segment: Exclude<Segment, { kind: "head" }>): PromptPart {
  return segment.kind === "prompt" ? segment : { start: segment.start, rows: 1 };
}

/**
 * Records the model's graph for one segment, without leading axes. Carried wires are `state.j`
 * (hidden state j) and `cache.layer.part:rows`. With `lastRow` an ordinary decoder's last layer
 * leaves out what only the hidden states of a prompt's earlier rows need; whoever looks at a
 * model's wires wants all rows.
 */
export function traceSegment(
  config: ModelConfig,
  segment: Segment,
  { lastRow = false }: { readonly lastRow?: boolean } = {},
): { graph: Graph; names: StateNames } {
  const graph = new Graph();
  const loads = new Map<string, string>();
  const stores = new Map<string, StoreTarget>();
  if (segment.kind === "head") {
    traceHead(graph, config, segment.states, loads);
    return { graph, names: { loads, stores } };
  }
  const { start, rows, layers } = tracedRows(segment);
  const caches = start === 0 ? undefined : cacheInputs(graph, config, { rows: start, layers });
  caches?.flat().forEach((tensor) => {
    const name = inputName(graph, tensor);
    loads.set(name, `${name}:${start}`);
  });
  const x = inputOf(graph, config, segment, loads);
  const out = decoder(graph, config, { x, start, caches, layers, lastRow });
  const [from, to] = layers ?? [0, config.layerCount];
  if (to < config.layerCount) {
    graph.output("residual", out.hidden);
    const replaces = from > 0 ? residualName(from) : undefined;
    stores.set("residual", { name: residualName(to), replaces, untruncated: true });
  } else {
    graph.output("hidden", out.hidden.lastRow());
    const index = segment.kind === "prompt" ? 0 : segment.index;
    stores.set("hidden", { name: `state.${index}`, replaces: undefined });
  }
  out.caches.forEach((parts, i) => {
    parts.forEach((tensor, part) => {
      const name = `cache.${from + i}.${part}`;
      graph.output(name, tensor);
      const replaces = start === 0 ? undefined : `${name}:${start}`;
      stores.set(name, { name: `${name}:${start + rows}`, replaces });
    });
  });
  return { graph, names: { loads, stores } };
}

/** The rows that the layers before this one have made, as a carried wire. */
const residualName = (layer: number) => `residual.${layer}`;

function inputOf(
  graph: Graph,
  config: ModelConfig,
  segment: Exclude<Segment, { kind: "head" }>,
  loads: Map<string, string>,
): Tensor {
  if (segment.kind === "prompt") {
    const { rows, layers: [from] = [0] } = segment;
    if (from === 0) return embed(graph, config, graph.ids(IDS, [rows]));
    loads.set("residual", residualName(from));
    return graph.input("residual", [rows, config.hiddenSize]);
  }
  if (segment.source !== "resend") return embed(graph, config, graph.ids(IDS, [1]));
  const name = `state.${segment.index - 1}`;
  loads.set(name, name);
  return resent(graph, config, graph.input(name, [1, config.hiddenSize]));
}

function traceHead(
  graph: Graph,
  config: ModelConfig,
  [from, to]: readonly [number, number],
  loads: Map<string, string>,
): void {
  let states: Tensor | undefined;
  for (let index = from; index < to; index++) {
    const name = `state.${index}`;
    loads.set(name, name);
    const state = graph.input(name, [1, config.hiddenSize]);
    states = states ? states.concatRows(state) : state;
  }
  graph.output(LOGITS, head(graph, config, states!));
}

function inputName(graph: Graph, tensor: Tensor): string {
  const op = graph.ops[tensor.id]!;
  ensure(op.kind === "input", "E_INTERNAL", "a cache is not an input");
  return op.name;
}

/** Truncated logits, as the gate gives them, in real units. */
export function realLogits(plan: Plan, logits: Int32Array): Float32Array {
  const unit = 2 ** -logitFracBits(plan);
  const real = new Float32Array(logits.length);
  for (let i = 0; i < real.length; i++) real[i] = logits[i]! * unit;
  return real;
}

/** Bits after the point of the logits that C gets. */
function logitFracBits(plan: Plan): number {
  for (const { gates } of plan.segments) {
    const gate = gates.find((other) => other.kind === "logits");
    if (gate?.kind === "logits") return gate.fracBits;
  }
  throw new MergenError("E_INTERNAL", "the plan has no logits");
}

/**
 * What S starts together: heads with the step that follows them, so that the logits travel in that
 * step's first message; every other segment when the one before it is done.
 */
export function serverGroups(bundle: readonly PlannedSegment[]): PlannedSegment[][] {
  const groups: PlannedSegment[][] = [];
  let open = false;
  for (const planned of bundle) {
    if (open) groups.at(-1)!.push(planned);
    else groups.push([planned]);
    open = planned.segment.kind === "head";
  }
  return groups;
}

/** What C starts together: all up to a head, since it may stop once it has seen the logits. */
export function clientGroups(bundle: readonly PlannedSegment[]): PlannedSegment[][] {
  const groups: PlannedSegment[][] = [[]];
  for (const planned of bundle) {
    groups.at(-1)!.push(planned);
    if (planned.segment.kind === "head") groups.push([]);
  }
  return groups.filter((group) => group.length > 0);
}

/** Plans by config and options, a few at a time: peers ask for the same ones again and again. */
export class PlanCache {
  readonly #plans = new Map<string, Promise<Plan>>();
  readonly #limit: number;

  constructor(limit = 8) {
    this.#limit = limit;
  }

  get(config: ModelConfig, options: GenerationOptions): Promise<Plan> {
    const key = JSON.stringify([config, options]);
    const known = this.#plans.get(key);
    if (known) return known;
    if (this.#plans.size >= this.#limit) this.#plans.delete([...this.#plans.keys()][0]!);
    const plan = planGeneration(config, options);
    this.#plans.set(key, plan);
    plan.catch(() => this.#plans.delete(key));
    return plan;
  }

  /** The tensors of a model's linear layers: the same in every plan of it. */
  async tensors(config: ModelConfig): Promise<readonly MaskedTensor[]> {
    // A layer that re-sent states pass stands in steps alone.
    const maxTokens = config.resendMap ? 2 : 1;
    const options = { promptPositions: 1, maxTokens, chunk: 1, anchor: 0 };
    return (await this.get(config, options)).tensors;
  }
}

type Table = SplineTable | PiecewiseTable;

async function digestOf({ segments, ...rest }: Omit<Plan, "bundles" | "digest">): Promise<string> {
  const tables = new Map<Table, number>();
  const listed = segments.map(({ id, segment, gates }) => ({
    id,
    segment,
    gates: gates.map((gate) => plainGate(gate, tables)),
  }));
  const written = [...tables.keys()].map((table) => JSON.stringify(table, writeBigints));
  const content = { version: PROTOCOL_VERSION, ...rest, tables: written, segments: listed };
  const bytes = new TextEncoder().encode(JSON.stringify(content));
  const hash = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A gate as JSON can write it. Tables are named by number: a layer's is the same in every step and
 * larger than all the rest.
 */
function plainGate(gate: GateSpec, tables: Map<Table, number>): object {
  if (gate.kind === "quad") {
    return { ...gate, linear: `${gate.linear}n`, constant: `${gate.constant}n` };
  }
  if (gate.kind !== "spline" && gate.kind !== "piecewise") return gate;
  const table = tables.get(gate.table) ?? tables.size;
  tables.set(gate.table, table);
  return { ...gate, table };
}

function writeBigints(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}n` : value;
}
