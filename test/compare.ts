// Compares two modes node by node and names the first node that departs.
//
// Fixed against secure: every wire's value, put together from what C and S hold, must be equal in
// all bits that are needed of it.
// Fixed against float: every gate is computed once more in doubles, from the same states, with a
// bound of its error (from the gate's own statement: an opening is right to one unit, and so on);
// the fixed value must stay within it, and so must the float graph's tensor that it stands for. The
// same once more with each gate alone, on the fixed values that it was given: a fault shows at the
// gate that has it, even where errors have added up to more than it.

import type { CausalDims } from "../src/gate/causal.ts";
import {
  type FixedContext,
  type GateBase,
  type OnlineClientContext,
  type ServerContext,
  type Tensors,
  widthOf,
} from "../src/gate/gate.ts";
import { type GateSpec, gateOf } from "../src/gate/index.ts";
import type { LinearMap } from "../src/gate/linear.ts";
import type { Rope } from "../src/gate/rows.ts";
import type { SplineTable } from "../src/gate/spline.ts";
import type { Graph } from "../src/graph/graph.ts";
import type { Op } from "../src/graph/ops.ts";
import { floatReference } from "../src/kernel/float-reference.ts";
import type { FunctionPrg, RingKernels } from "../src/kernel/ring-kernels.ts";
import { encodePrompt } from "../src/model/prompt.ts";
import type { LocalModel } from "../src/party/local.ts";
import {
  type AskedOptions,
  generationOptions,
  IDS,
  LOGITS,
  type Plan,
  type PlannedSegment,
  planGeneration,
  traceSegment,
} from "../src/party/plan.ts";
import { bundleLabels, insecureSeeds, WEIGHTS_LABEL } from "../src/party/seeds.ts";
import { OPERAND_BITS, operandBitsOf, stateBitsOf } from "../src/plan/format.ts";
import { TOKENS } from "../src/plan/next-token.ts";
import { Arena } from "../src/ring/memory.ts";
import { Prg } from "../src/ring/prg.ts";
import { Ring, type Words } from "../src/ring/ring.ts";
import { type DealerStates, dealBundle } from "../src/run/dealer.ts";
import { type FixedStates, runFixed } from "../src/run/fixed.ts";
import { FloatProgram } from "../src/run/float.ts";
import { decodeItems, ItemStore } from "../src/run/items.ts";
import { prepareMasks } from "../src/run/offline.ts";
import {
  type ClientStates,
  clientSegment,
  type PreparedWires,
  prepareBundle,
  type ServerStates,
} from "../src/run/party.ts";
import { type Job, Scheduler } from "../src/run/scheduler.ts";
import { narrowShare, valueShare } from "../src/share/opened.ts";
import { type PartyTensors, partyTensors } from "./masked-tensors.ts";
import { plainGelu, plainSilu } from "./plain-functions.ts";

export interface CompareOptions {
  readonly model: LocalModel;
  readonly kernels: RingKernels;
  readonly prompt: string;
  readonly seed: number;
  readonly maxTokens?: number;
  readonly chunk?: number;
  readonly anchor?: number;
  readonly next?: AskedOptions["next"];
  readonly reveal?: AskedOptions["reveal"];
  /** Default ChaCha12. */
  readonly functionPrg?: FunctionPrg;
  /** Changes the plan's gates before anything runs. */
  readonly change?: (segments: readonly PlannedSegment[]) => readonly PlannedSegment[];
}

/** What both comparisons work with. */
interface Setting {
  readonly plan: Plan;
  readonly ring: Ring;
  readonly prompt: readonly number[];
  readonly tensors: PartyTensors;
}

async function settingOf({ model, kernels, seed, ...options }: CompareOptions): Promise<Setting> {
  const { config, tokenizer } = model;
  const prompt = encodePrompt(options.prompt, config, tokenizer);
  const plan = await planGeneration(config, generationOptions(config, prompt.length, options));
  const weightSeed = await insecureSeeds(seed)(WEIGHTS_LABEL);
  const tensors = partyTensors(kernels, model, plan.tensors, weightSeed);
  return { plan: changed(plan, options.change), ring: new Ring(kernels), prompt, tensors };
}

function changed(plan: Plan, change: CompareOptions["change"]): Plan {
  if (!change) return plan;
  const segments = change(plan.segments);
  const byId = new Map(segments.map((segment) => [segment.id, segment]));
  const bundles = plan.bundles.map((bundle) => bundle.map(({ id }) => byId.get(id)!));
  return { ...plan, segments, bundles };
}

/** A gate in words, for messages. */
function nameOf({ segment }: PlannedSegment, gate: GateSpec): string {
  const place = segment.kind === "step" ? `step ${segment.index}` : segment.kind;
  const what =
    "wireName" in gate
      ? gate.wireName
      : "map" in gate
        ? gate.map.weight
        : "name" in gate && gate.name;
  return `${place} (segment ${segment.id}), gate ${gate.id}, ${gate.kind}${what ? ` ${what}` : ""}`;
}

class Departure extends Error {}

/** The greedy tokens of truncated logits. */
function pickTokens(logits: Int32Array, columns: number): number[] {
  return Array.from({ length: logits.length / columns }, (_, row) => {
    const part = logits.subarray(row * columns, (row + 1) * columns);
    return part.indexOf(Math.max(...part));
  });
}

function idsOf(
  { segment }: PlannedSegment,
  prompt: readonly number[],
  tokens: readonly number[],
): Map<string, readonly number[]> {
  if (segment.kind === "prompt") return new Map([[IDS, prompt]]);
  if (segment.kind === "step" && segment.source !== "resend") {
    return new Map([[IDS, [tokens[segment.index - 1]!]]]);
  }
  return new Map();
}

// ---- fixed against secure -----------------------------------------------------------------------

/** What a comparison of fixed and secure has found to be equal. */
export interface SecureComparison {
  readonly tokens: readonly number[];
  readonly wires: number;
  /** Of those, the ones of which fewer bits are needed than the ring has. */
  readonly narrow: number;
}

/**
 * Carried wires: D's, C's, C's once more with all else that it knows offline, C's opened ones, S's,
 * and fixed's.
 */
interface AllStates {
  readonly dealer: DealerStates;
  readonly client: ClientStates;
  readonly whole: ClientStates;
  readonly opened: ClientStates;
  readonly server: ServerStates;
  readonly fixed: FixedStates;
}

interface BundleRandomness {
  readonly client: Prg;
  readonly server: Prg;
  readonly own: Prg;
}

async function bundleRandomness(
  kernels: RingKernels,
  seed: number,
  bundle: number,
): Promise<BundleRandomness> {
  const labels = bundleLabels("generation/0", bundle);
  const prgOf = async (label: string) => new Prg(kernels, await insecureSeeds(seed)(label));
  const [client, server, own] = await Promise.all(
    [labels.client, labels.server, labels.keys].map(prgOf),
  );
  return { client: client!, server: server!, own: own! };
}

/** The offline part of a bundle, at D and C. */
function runOffline(
  { ring, tensors }: Setting,
  segments: readonly PlannedSegment[],
  states: AllStates,
  given: BundleRandomness & { functionPrg: FunctionPrg },
) {
  const { client: random } = given;
  const common = { ring, segments };
  const dealt = dealBundle({
    ...common,
    ...given,
    states: states.dealer,
    tensors: tensors.dealer,
  });
  const atClient = { ...common, tensors: tensors.client, random };
  const { wires, upload } = prepareBundle({ ...atClient, states: states.client });
  return {
    wires,
    whole: prepareAll({ ...atClient, states: states.whole }),
    forClient: storeOf(dealt.forClient),
    forServer: storeOf(dealt.forServer),
    uploaded: storeOf(upload),
  };
}

/** Runs both and compares every wire. */
export async function compareFixedSecure(options: CompareOptions): Promise<SecureComparison> {
  const { kernels, seed, model, functionPrg = "chacha12" } = options;
  const setting = await settingOf(options);
  const { plan, ring, prompt, tensors } = setting;
  const maps = Array.from({ length: 6 }, () => new Map());
  const [dealer, client, whole, opened, server, fixed] = maps;
  const states = { dealer, client, whole, opened, server, fixed } as AllStates;
  const pair = { client: new Scheduler(), server: new Scheduler() };
  // What a segment leaves behind is overwritten when it is done: the next ones must not read it.
  const arenas = { client: new Arena({ poisoned: true }), server: new Arena({ poisoned: true }) };
  const tokens: number[] = [];
  const compared = { wires: 0, narrow: 0 };
  for (const [index, segments] of plan.bundles.entries()) {
    const random = await bundleRandomness(kernels, seed, index);
    const offline = runOffline(setting, segments, states, { ...random, functionPrg });
    const { forClient, forServer, uploaded } = offline;
    for (const [place, segment] of segments.entries()) {
      const context = serverContext({
        ring: new Ring(kernels, ring.bits, arenas.server),
        segment: segment.id,
        states: states.server,
        tensors: tensors.server,
        server: random.server.within(arenas.server),
        functionPrg,
        fromDealer: (gate) => forServer.take(segment.id, gate.id),
        fromClient: (gate) => uploaded.take(segment.id, gate.id),
      });
      const ids = idsOf(segment, prompt, tokens);
      const wires = offline.wires[place]!;
      const atClient = clientSegment({
        ring: new Ring(kernels, ring.bits, arenas.client),
        segment,
        ids,
        wires,
        random: random.client.within(arenas.client),
        functionPrg,
        dealt: forClient,
        states: states.opened,
      });
      runBoth(pair, atClient.jobs, serverJobsOf(segment, context));
      const revealed = new Map<string, Int32Array>();
      const logits = runFixed({
        ring,
        segment,
        ids,
        revealed,
        states: states.fixed,
        tensors: tensors.server,
        parties: { client: random.client, server: random.server, weightMasks: tensors.client },
        observe: (gate, fixed) => {
          const known = new Map([...offline.whole[place]!, ...atClient.context.wires]);
          const atC = { ...atClient.context, wires: known };
          compareWire({ segment, gate, ring }, fixed, atC, context);
          compared.wires++;
          if (widthOf(gate, ring.bits) < ring.bits) compared.narrow++;
        },
      }).get(LOGITS);
      if (logits) tokens.push(...pickTokens(logits, model.config.vocabSize));
      tokens.push(...(revealed.get(TOKENS) ?? []));
      for (const arena of [arenas.client, arenas.server]) arena.reset();
    }
    const left = forServer.size + forClient.size + uploaded.size;
    if (left > 0) throw new Departure("correlations were left over");
  }
  return { tokens, ...compared };
}

/** All wires that C knows offline: prepareBundle keeps those alone that are needed online. */
function prepareAll(options: Parameters<typeof prepareBundle>[0]): PreparedWires[] {
  const { ring, states, tensors, random: client } = options;
  const work = options.segments.map(({ id, gates }) => {
    const wires: PreparedWires = new Map();
    const known = { ring, states, tensors, client, segment: id, wires, products: new Map() };
    return { gates, context: { ...known, upload: () => {} } };
  });
  prepareMasks(ring, work);
  for (const { gates, context } of work) {
    for (const gate of gates) gateOf(gate).prepare(gate, context);
  }
  return work.map(({ context }) => context.wires);
}

function storeOf(payload: Uint8Array): ItemStore {
  const store = new ItemStore();
  store.add(decodeItems(payload));
  return store;
}

function serverContext(given: Omit<ServerContext, "wires">): ServerContext {
  return { ...given, wires: new Map() };
}

/** The server's jobs on a context that the test can look into. */
function serverJobsOf({ id, gates }: PlannedSegment, context: ServerContext): Job[] {
  return gates.map((gate) => ({
    segment: id,
    gate: gate.id,
    inputs: gate.inputs,
    output: gate.output,
    loads: loadedBy(gate),
    stores: gate.kind === "store" || gate.kind === "cache" ? gate.name : undefined,
    ready: () => {
      const loaded = loadedBy(gate);
      const isThere = loaded === undefined || context.states.has(loaded);
      return isThere && gate.inputs.every((wire) => context.wires.has(wire));
    },
    start: () => gateOf(gate).server(gate, context),
  }));
}

/** The carried wire that a gate goes on from. */
function loadedBy(gate: GateSpec): string | undefined {
  if (gate.kind === "load") return gate.name;
  return gate.kind === "cache" ? gate.after : undefined;
}

function runBoth(
  { client, server }: { client: Scheduler; server: Scheduler },
  clientWork: readonly Job[],
  serverWork: readonly Job[],
): void {
  client.add(clientWork);
  server.add(serverWork);
  for (;;) {
    client.advance();
    const up = client.takeOutbox();
    if (up) server.deliver(up);
    server.advance();
    const down = server.takeOutbox();
    if (down) client.deliver(down);
    if (!up && !down) break;
  }
  if (!client.done || !server.done) throw new Departure("a segment did not come to an end");
}

function compareWire(
  at: { segment: PlannedSegment; gate: GateSpec; ring: Ring },
  fixed: FixedContext,
  client: OnlineClientContext,
  server: ServerContext,
): void {
  const { gate, segment, ring } = at;
  if (gate.kind === "store") return;
  if (gate.kind === "logits") {
    const [one, other] = [fixed.logits.get(gate.name)!, client.logits.get(gate.name)!];
    const where = one.findIndex((value, i) => value !== other[i]);
    if (where >= 0) throw new Departure(`${nameOf(segment, gate)}: logit ${where} differs`);
    return;
  }
  if (gate.kind === "reveal") {
    const [one, other] = [fixed.revealed.get(gate.name)!, client.revealed.get(gate.name)!];
    if (one.join() !== other.join()) throw new Departure(`${nameOf(segment, gate)}: ${other}`);
    return;
  }
  const bits = widthOf(gate, ring.bits);
  const expected = ring.lowBits(fixed.wires.get(gate.output)!.values, bits);
  const held = ring.lowBits(together(ring, gate, client, server), bits);
  const where = expected.findIndex((word, i) => word !== held[i]);
  if (where >= 0 || held.length !== expected.length) {
    const [one, other] = [ring.signed(expected[where]!), ring.signed(held[where]!)];
    throw new Departure(
      `${nameOf(segment, gate)}: entry ${where} is ${one} fixed, ${other} secure`,
    );
  }
}

/** A wire's value from what C and S hold. */
function together(
  ring: Ring,
  gate: GateBase,
  client: OnlineClientContext,
  server: ServerContext,
): Words {
  const [c, s] = [client.wires.get(gate.output), server.wires.get(gate.output)];
  if (!c || !s) throw new Departure(`gate ${gate.id}: ${c ? "S" : "C"} does not hold it`);
  if (c.form === "shared" && s.form === "shared") return ring.add(c.share, s.share);
  if (c.form === "client" && s.form === "client") return ring.sub(s.masked, c.mask);
  if (c.form === "opened" && s.form === "opened") {
    // What an exchange or a cache makes has no lift.
    const shareOf = c.m.length === 0 ? narrowShare : valueShare;
    return ring.add(shareOf(ring, c, false), shareOf(ring, s, true));
  }
  throw new Departure(`gate ${gate.id}: C holds it ${c.form}, S ${s.form}`);
}

// ---- fixed against float ------------------------------------------------------------------------

/** A wire in doubles: real values, a bound of the fixed value's error for each, and its scale. */
interface Shadow {
  readonly values: Float64Array;
  readonly errors: Float64Array;
  readonly fracBits: number;
}

/** What rsqrt is right to, over the calibrated range: the table and its argument's truncation. */
export const SPLINE_ERROR = 2.5e-4;
/** Beyond it, on the staircase of two steps an octave; a unit of the factor comes on top. */
const STAIRCASE_ERROR = 1 - 2 ** -0.25 + SPLINE_ERROR;
/** Double arithmetic of one gate, relative to the greatest entry. */
const ROUNDING = 2 ** -44;
/** Float32 arithmetic of one segment, relative to the greatest entry. */
const FLOAT_ERROR = 2e-5;

export interface FloatComparison {
  /** Wires whose stated error held. */
  readonly wires: number;
  /** Of those, the ones that were also held against a tensor of the float graph. */
  readonly matched: number;
  /** Root mean square of the logits' differences, in real units. */
  readonly logitError: number;
}

/**
 * Runs the fixed interpreter, and from each of its segments' input states the float graph and the
 * doubles.
 */
export async function compareFloatFixed(options: CompareOptions): Promise<FloatComparison> {
  const { model, kernels, seed } = options;
  const { config } = model;
  const { plan, ring, prompt, tensors } = await settingOf(options);
  const seeds = insecureSeeds(seed);
  const states: FixedStates = new Map();
  const tokens: number[] = [];
  const totals = { wires: 0, matched: 0, squares: 0, logits: 0 };
  const scales: Scales = new Map();
  for (const [index, segments] of plan.bundles.entries()) {
    const labels = bundleLabels("generation/0", index);
    const parties = {
      client: new Prg(kernels, await seeds(labels.client)),
      server: new Prg(kernels, await seeds(labels.server)),
      weightMasks: tensors.client as Tensors,
    };
    for (const segment of segments) {
      const ids = idsOf(segment, prompt, tokens);
      const float = floatRun(model, segment, { states, scales, ids, ring });
      const before = { states: new Map(states), scales, ids, ring };
      const [shadows, alone] = [new ShadowRun(model, before), new ShadowRun(model, before)];
      const revealed = new Map<string, Int32Array>();
      const logits = runFixed({
        ring,
        segment,
        states,
        tensors: tensors.server,
        parties,
        ids,
        revealed,
        observe: (gate, context) => {
          const name = nameOf(segment, gate);
          const shadow = shadows.follow(gate, context);
          if (gate.kind === "store") scales.set(gate.name, shadows.scaleOf(gate));
          if (!shadow) return;
          totals.wires++;
          check(name, ring, gate, context, alone.follow(gate, context)!);
          alone.settle(gate, context);
          check(name, ring, gate, context, shadow);
          const tensor = float.tensors.get(gate.id);
          if (!tensor) return;
          totals.matched++;
          checkFloat(name, shadow, tensor);
        },
      }).get(LOGITS);
      tokens.push(...(revealed.get(TOKENS) ?? []));
      if (!logits) continue;
      tokens.push(...pickTokens(logits, config.vocabSize));
      const gate = segment.gates.find(({ kind }) => kind === "logits");
      const unit = gate?.kind === "logits" ? 2 ** -gate.fracBits : 0;
      float.program.value(LOGITS).forEach((value, i) => {
        totals.squares += (value - logits[i]! * unit) ** 2;
        totals.logits++;
      });
    }
  }
  const logitError = Math.sqrt(totals.squares / totals.logits);
  return { wires: totals.wires, matched: totals.matched, logitError };
}

function toReal(ring: Ring, words: Words, fracBits: number): Float64Array {
  return Float64Array.from(words, (word) => Number(ring.signed(word)) * 2 ** -fracBits);
}

function check(
  name: string,
  ring: Ring,
  gate: GateSpec,
  context: FixedContext,
  shadow: Shadow,
): void {
  const fixed =
    gate.kind === "logits"
      ? Float64Array.from(context.logits.get(gate.name)!, (v) => v * 2 ** -gate.fracBits)
      : toReal(ring, context.wires.get(gate.output)!.values, shadow.fracBits);
  // Sums of doubles are off by the last digits of their greatest terms.
  const peak = fixed.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  fixed.forEach((value, i) => {
    const error = Math.abs(value - shadow.values[i]!);
    const allowed = shadow.errors[i]! + peak * ROUNDING + 2 ** (-shadow.fracBits - 1);
    if (!(error <= allowed)) {
      const figures = `${value} fixed, ${shadow.values[i]} real, allowed error ${allowed}`;
      throw new Departure(`${name}: entry ${i} is ${figures}`);
    }
  });
}

/** The doubles against the float graph: with the check above, fixed against float. */
function checkFloat(name: string, shadow: Shadow, values: Float32Array) {
  const peak = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  values.forEach((value, i) => {
    const error = Math.abs(value - shadow.values[i]!);
    if (!(error <= FLOAT_ERROR * peak)) {
      throw new Departure(`${name}: entry ${i} is ${value} float, ${shadow.values[i]} real`);
    }
  });
}

type DecoderGate = Extract<
  GateSpec,
  {
    kind:
      | "cache"
      | "exchange"
      | "max"
      | "mix"
      | "piecewise"
      | "rope"
      | "rowDifference"
      | "rowShift"
      | "rowSum"
      | "scores"
      | "unmask";
  }
>;

/** Bits after the point of carried wires that are no states: what goes on to further layers. */
type Scales = Map<string, number>;

/** What a segment starts from. */
interface Before {
  readonly states: FixedStates;
  readonly scales: Scales;
  readonly ids: ReadonlyMap<string, readonly number[]>;
  readonly ring: Ring;
}

interface FloatTensors {
  readonly program: FloatProgram;
  /** Float values by the number of the gate that makes the same tensor. */
  readonly tensors: Map<number, Float32Array>;
}

function floatRun(
  { config, weights }: LocalModel,
  segment: PlannedSegment,
  { states, scales, ids, ring }: Before,
): FloatTensors {
  const { graph, names } = traceSegment(config, segment.segment, { lastRow: true });
  const program = new FloatProgram(graph, floatReference);
  const inputs = new Map<string, Float32Array | Int32Array>();
  for (const [name, values] of ids) inputs.set(name, Int32Array.from(values));
  for (const [input, name] of names.loads) {
    const { values } = states.get(name)!;
    // Keys and values lie row by row, the graph's by heads.
    const merged = config.attention === "constant";
    const isCache = (merged ? /^cache\.\d+\.[12]:/ : /^cache\./).test(name);
    const bits = isCache ? operandBitsOf(config) : (scales.get(name) ?? stateBitsOf(config));
    const real = Float32Array.from(toReal(ring, values, bits));
    inputs.set(input, isCache ? byHeads(real, config) : real);
  }
  program.run(inputs, { get: (name: string) => weights.get(name)?.data });
  return { program, tensors: lineUp(graph, segment.gates, program) };
}

/** Rows [rows, heads * width] as [heads, rows, width]. */
function byHeads(values: Float32Array, config: LocalModel["config"]): Float32Array {
  const { headCount, kvHeadCount = headCount, hiddenSize } = config;
  const width = hiddenSize / headCount;
  const rows = values.length / (kvHeadCount * width);
  return values.map((_, i) => {
    const [head, row] = [Math.floor(i / (rows * width)), Math.floor(i / width) % rows];
    return values[(row * kvHeadCount + head) * width + (i % width)]!;
  });
}

/** Scores [heads, rows, positions] as gates lay them out: row by row what each sees. */
function causally(values: Float32Array, { rows, start, heads }: CausalDims): Float32Array {
  const out: number[] = [];
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j <= start + row; j++) {
      for (let h = 0; h < heads; h++) out.push(values[(h * rows + row) * (start + rows) + j]!);
    }
  }
  return Float32Array.from(out);
}

/** Which gate makes which tensor of the graph: linear layers by weight, the others by order. */
function lineUp(graph: Graph, gates: readonly GateSpec[], program: FloatProgram) {
  const tensors: FloatTensors["tensors"] = new Map();
  const put = (gate: GateSpec | undefined, id: number) => {
    const values = program.values[id];
    if (gate && values) tensors.set(gate.id, values);
  };
  const ofKind = (kind: GateSpec["kind"]) => gates.filter((gate) => gate.kind === kind);
  const byWeight = (id: number, suffix = "") => {
    const op = graph.ops[id]!;
    const key = op.kind === "weight" ? op.name + suffix : "";
    return gates.find((gate) => "map" in gate && gate.map.weight === key);
  };
  const [quads, products, scores] = [ofKind("quad"), ofKind("product"), ofKind("scores")];
  const functions = ofKind("piecewise").filter(
    (gate) => gate.kind === "piecewise" && roleOf(gate.wireName) === "activation",
  );
  for (const op of graph.ops) {
    if (op.kind === "embed") {
      const scaled = graph.ops.find((other) => other.kind === "scale" && other.x === op.out);
      put(byWeight(op.table), (scaled ?? op).out);
    }
    if (op.kind === "constantAttention") put(byWeight(op.weight), op.out);
    if (op.kind === "quad") put(quads.shift(), op.out);
    if (op.kind === "layerNorm" || op.kind === "rmsNorm") put(products.shift(), op.out);
    if (op.kind === "mergeHeads" || isGated(graph, op)) put(products.shift(), op.out);
    if (op.kind === "gelu" || op.kind === "silu" || op.kind === "relu") {
      put(functions.shift(), op.out);
    }
    if (op.kind === "matmul" && op.transposeB) {
      const gate = scores.shift();
      if (gate?.kind === "scores") {
        tensors.set(gate.id, causally(program.values[op.out]!, gate.dims));
      }
    }
    if (op.kind !== "linear") continue;
    const gate = byWeight(op.weight, op.transposed ? "^T" : "");
    const biased = gates.find((other) => other.kind === "bias" && other.inputs[0] === gate?.output);
    put(op.bias === undefined || gate?.kind === "logits" ? gate : biased, op.out);
  }
  for (const [name, tensor] of graph.outputs) {
    const kept = gates.find((gate) => gate.kind === "store" && storedAs(gate.name, name));
    const source = kept && gates.find(({ output }) => output === kept.inputs[0]);
    put(source, tensor.id);
  }
  return tensors;
}

/** A product of two activations. */
const isGated = (graph: Graph, op: Op) => op.kind === "mul" && graph.ops[op.b]!.kind !== "weight";

/** What a table is of, by the name of its argument's wire. */
function roleOf(wireName: string): "exp" | "reciprocal" | "activation" {
  if (wireName.endsWith(".score")) return "exp";
  return wireName.endsWith(".sum") ? "reciprocal" : "activation";
}

const storedAs = (stored: string, output: string) =>
  output === "hidden" ? stored.startsWith("state.") : stored.startsWith(`${output}:`);

/** Word by word of a row's entries; as far off as the entry that is furthest off. */
function maximum(x: Shadow, lengths: readonly number[], heads: number): Shadow {
  const values = new Float64Array(lengths.length * heads).fill(Number.NEGATIVE_INFINITY);
  const errors = new Float64Array(values.length);
  let from = 0;
  for (const [row, length] of lengths.entries()) {
    for (let i = 0; i < length * heads; i++, from++) {
      const to = row * heads + (i % heads);
      values[to] = Math.max(values[to]!, x.values[from]!);
      errors[to] = Math.max(errors[to]!, x.errors[from]!);
    }
  }
  return { values, errors, fracBits: x.fracBits };
}

/** Computes gates in doubles, one after the other, with bounds of the fixed values' errors. */
class ShadowRun {
  readonly #model: LocalModel;
  readonly #ring: Ring;
  readonly #states: FixedStates;
  readonly #scales: Scales;
  readonly #ids: ReadonlyMap<string, readonly number[]>;
  readonly #wires = new Map<number, Shadow>();

  constructor(model: LocalModel, { ring, states, scales, ids }: Before) {
    this.#model = model;
    this.#ring = ring;
    this.#states = states;
    this.#scales = scales;
    this.#ids = ids;
  }

  /** Bits after the point of what a gate reads. */
  scaleOf(gate: GateSpec): number {
    return this.#input(gate).fracBits;
  }

  /** The gate's output; nothing for one that has none. */
  follow(gate: GateSpec, context: FixedContext): Shadow | undefined {
    if (gate.kind === "store" || gate.kind === "reveal") return undefined;
    const shadow = gate.kind === "argmax" ? this.#argmax(gate, context) : this.#compute(gate);
    this.#wires.set(gate.output, shadow);
    return shadow;
  }

  /** Takes the fixed values for the truth from here on. */
  settle(gate: GateSpec, context: FixedContext): void {
    const fixed = context.wires.get(gate.output);
    const { fracBits } = this.#wires.get(gate.output)!;
    if (!fixed || gate.kind === "logits") return;
    this.#wires.set(gate.output, exact(toReal(this.#ring, fixed.values, fracBits), fracBits));
  }

  #input(gate: GateSpec, place = 0): Shadow {
    return this.#wires.get(gate.inputs[place]!)!;
  }

  /** The index that was found, of an entry that may be the greatest for all that is known. */
  #argmax(gate: GateSpec & { kind: "argmax" }, context: FixedContext): Shadow {
    const { values, errors } = this.#input(gate);
    const found = Float64Array.from(context.wires.get(gate.output)!.values, Number);
    found.forEach((index, row) => {
      const from = row * gate.entries;
      const own = values[from + index]! + errors[from + index]!;
      for (let i = from; i < from + gate.entries; i++) {
        if (values[i]! - errors[i]! > own)
          throw new Departure(`row ${row}: ${index} is no maximum`);
      }
    });
    return exact(found, 0);
  }

  #compute(gate: Exclude<GateSpec, { kind: "store" | "reveal" | "argmax" }>): Shadow {
    switch (gate.kind) {
      case "load": {
        const words = this.#states.get(gate.name)!.values;
        // A one-hot row has its 1 where it has anything.
        const isRow = gate.name.startsWith("token.");
        const stateBits = this.#scales.get(gate.name) ?? stateBitsOf(this.#model.config);
        const bits = isRow ? Math.log2(Math.max(...Array.from(words, Number))) : stateBits;
        return exact(toReal(this.#ring, words, bits), bits);
      }
      case "oneHot": {
        const values = new Float64Array(gate.rows * gate.columns);
        this.#ids.get(gate.name)!.forEach((id, row) => {
          values[row * gate.columns + id] = 1;
        });
        return exact(values, gate.fracBits);
      }
      case "slice":
        return rowsOf(this.#input(gate), gate);
      case "concat":
        return joined(this.#input(gate), this.#input(gate, 1));
      case "remask":
      case "share":
        return this.#input(gate);
      case "bias":
        return this.#bias(gate);
      case "linear":
        return this.#scaledEmbedding(gate, this.#linear(gate, this.#input(gate)));
      case "logits":
        return this.#logits(gate);
      case "sum":
        return this.#sum(gate);
      case "center":
        return centred(this.#input(gate), gate.columns);
      case "open":
        return opened(this.#input(gate), gate.shift);
      case "quad":
        return this.#quad(this.#input(gate));
      case "sumSquares":
        return sumOfSquares(this.#input(gate), gate.width);
      case "spline":
        return this.#spline(gate.table, this.#input(gate));
      case "product":
        return times(this.#input(gate), this.#input(gate, 1), gate.columns);
      case "indexOneHot": {
        const values = new Float64Array(gate.rows * gate.columns);
        this.#input(gate).values.forEach((index, row) => {
          values[row * gate.columns + index] = 1;
        });
        return exact(values, gate.fracBits);
      }
      case "cache":
      case "exchange":
      case "max":
      case "mix":
      case "piecewise":
      case "rope":
      case "rowDifference":
      case "rowShift":
      case "rowSum":
      case "scores":
      case "unmask":
        return this.#ofDecoder(gate);
      default:
        return gate satisfies never;
    }
  }

  /** Gates that only ordinary decoders have. */
  #ofDecoder(gate: DecoderGate): Shadow {
    switch (gate.kind) {
      case "max":
        return maximum(this.#input(gate), gate.lengths, gate.heads);
      case "cache": {
        const rows = this.#input(gate);
        if (gate.after === undefined) return rows;
        const { values } = this.#states.get(gate.after)!;
        return joined(exact(toReal(this.#ring, values, rows.fracBits), rows.fracBits), rows);
      }
      case "exchange":
      case "unmask":
        return this.#input(gate);
      case "scores":
        return bilinear(this.#input(gate), this.#input(gate, 1), scoreTerms(gate.dims));
      case "mix":
        return bilinear(this.#input(gate), this.#input(gate, 1), mixTerms(gate.dims));
      case "piecewise":
        return this.#piecewise(gate, this.#input(gate));
      case "rope":
        return turned(gate, this.#input(gate));
      case "rowSum":
        return overRows(this.#input(gate), gate.dims);
      case "rowShift":
        throw new Departure("weights of 2relu have no shadow");
      case "rowDifference":
        return lessRow(this.#input(gate), this.#input(gate, 1), gate.dims);
      default:
        return gate satisfies never;
    }
  }

  /** Real weights of a key, and by how much their integers may be off. */
  #weights(key: string): { data: Float64Array; off: number; bits: number } {
    const [name, scale] = key.replace(/\^T$/, "").split("*") as [string, string | undefined];
    const found = this.#model.weights.get(name)!;
    const bits = this.#model.config.weightFracBits![name]!;
    const factor = scale === undefined ? undefined : this.#model.weights.get(scale)!.data;
    const data = Float64Array.from(found.data, (value, i) =>
      factor ? value * factor[i % factor.length]! : value,
    );
    return { data, off: factor ? 2 ** -(bits + 1) : 0, bits };
  }

  #bias(gate: GateSpec & { kind: "bias" }): Shadow {
    const x = this.#input(gate);
    const at = gate.constant.lastIndexOf("@");
    const scale = Number(gate.constant.slice(at + 1));
    if (scale !== x.fracBits) throw new Departure(`bias ${gate.constant} has another scale`);
    const { data } = this.#realBias(gate.constant.slice(0, at));
    const { columns } = gate;
    const values = x.values.map((value, i) => {
      const row = Math.floor(i / columns);
      const from = gate.from === undefined ? 0 : (gate.from + row) * columns;
      return value + data[from + (i % columns)]!;
    });
    return { ...x, values, errors: x.errors.map((error) => error + 2 ** -31) };
  }

  #realBias(key: string): { data: Float64Array } {
    const [name, scale] = key.split("*") as [string, string | undefined];
    const factor = scale === undefined ? undefined : this.#model.weights.get(scale)!.data;
    const source = this.#model.weights.get(name)!.data;
    return { data: Float64Array.from(source, (v, i) => (factor ? v * factor[i]! : v)) };
  }

  #linear(gate: GateSpec & { map: LinearMap }, x: Shadow): Shadow {
    const { map, rows, columns } = gate;
    const { data, off, bits } = this.#weights(map.weight);
    const values = new Float64Array(rows * columns);
    const errors = new Float64Array(rows * columns);
    const add = (target: number, source: number, weight: number) => {
      values[target]! += x.values[source]! * weight;
      errors[target]! += x.errors[source]! * Math.abs(weight);
      errors[target]! += (Math.abs(x.values[source]!) + x.errors[source]!) * off;
    };
    if (map.type === "matrix") {
      const transposed = map.weight.endsWith("^T");
      for (let i = 0; i < rows; i++) {
        for (let k = 0; k < map.inner; k++) {
          if (x.values[i * map.inner + k] === 0 && x.errors[i * map.inner + k] === 0) continue;
          for (let j = 0; j < columns; j++) {
            const weight = transposed ? data[j * map.inner + k]! : data[k * columns + j]!;
            add(i * columns + j, i * map.inner + k, weight);
          }
        }
      }
    } else if (map.type === "diagonal") {
      for (let i = 0; i < rows * columns; i++) add(i, i, data[i % columns]!);
    } else {
      const { heads, positions, start } = map.dims;
      const width = columns / heads;
      for (let i = 0; i < rows * columns; i++) {
        const row = start + Math.floor(i / columns);
        const head = Math.floor((i % columns) / width);
        for (let j = 0; j <= row; j++) {
          add(i, j * columns + (i % columns), data[(head * positions + row) * positions + j]!);
        }
      }
    }
    return { values, errors, fracBits: x.fracBits + bits };
  }

  /** A factor on embeddings moves the point of their words: no gate stands for it. */
  #scaledEmbedding({ map }: { map: LinearMap }, x: Shadow): Shadow {
    const factor = this.#model.config.embeddingScale ?? 1;
    if (map.weight !== "embedding.weight") return x;
    const scaled = (values: Float64Array) => values.map((value) => value * factor);
    return {
      values: scaled(x.values),
      errors: scaled(x.errors),
      fracBits: x.fracBits - Math.log2(factor),
    };
  }

  #logits(gate: GateSpec & { kind: "logits" }): Shadow {
    const z = this.#linear(gate, this.#input(gate));
    if (z.fracBits - gate.shift !== gate.fracBits) throw new Departure("logits: another scale");
    const key = gate.bias?.slice(0, gate.bias.lastIndexOf("@"));
    const bias = key === undefined ? undefined : this.#realBias(key).data;
    const values = z.values.map((value, i) => value + (bias?.[i % gate.columns] ?? 0));
    const errors = z.errors.map((error) => error + 2 * 2 ** -gate.fracBits);
    return { values, errors, fracBits: gate.fracBits };
  }

  #sum(gate: GateSpec & { kind: "sum" }): Shadow {
    const [a, b] = [this.#input(gate), this.#input(gate, 1)];
    const [shiftA, shiftB] = gate.shifts;
    const fracBits = a.fracBits + shiftA;
    if (fracBits !== b.fracBits + shiftB) throw new Departure("a sum of two scales");
    return {
      values: a.values.map((value, i) => value + b.values[i]!),
      errors: a.errors.map((error, i) => error + b.errors[i]!),
      fracBits,
    };
  }

  #quad(y: Shadow): Shadow {
    const { activation } = this.#model.config;
    const [c2, c1, c0] = activation.kind === "quad" ? activation.coefficients : [1, 0, 0];
    return {
      values: y.values.map((value) => c2 * value * value + c1 * value + c0),
      errors: y.errors.map((e, i) => (c2 * (2 * Math.abs(y.values[i]!) + e) + Math.abs(c1)) * e),
      fracBits: 2 * y.fracBits - Math.log2(c2),
    };
  }

  /** A table's function, with the error that plan/tables.ts states. */
  #piecewise(gate: GateSpec & { kind: "piecewise" }, x: Shadow): Shadow {
    const { config } = this.#model;
    const precision = operandBitsOf(config);
    const { fracBits } = gate.table;
    const half = 2 ** -(precision + 1);
    const role = roleOf(gate.wireName);
    // An exponential's argument has one bit fewer, unless operands are finer than usual.
    const less = precision > OPERAND_BITS ? 0 : 1;
    if (role === "exp") return applied(x, fracBits, { of: Math.exp, error: half * 2 ** less });
    if (role === "reciprocal") {
      return applied(x, fracBits, { of: (z) => 1 / z, error: half, relative: true });
    }
    const { activation } = config;
    if (activation.kind === "relu") {
      return applied(x, fracBits, { of: (u) => Math.max(u, 0), error: 0, slope: 1 });
    }
    const of = activation.kind === "gelu" ? plainGelu[activation.form] : plainSilu;
    // Its argument has two bits fewer, and its error is two units of that.
    return applied(x, fracBits, { of, error: 16 * half, slope: 1.13 });
  }

  /** 1 / sqrt of the variance that V stands for, in units of the centring's kappa. */
  #spline(table: SplineTable, v: Shadow): Shadow {
    const { config } = this.#model;
    const { hiddenSize: d, norm } = config;
    const kappa = norm.kind === "rmsnorm" ? 1 : d / 2 ** Math.ceil(Math.log2(d));
    const added = norm.eps * kappa * kappa * d;
    const real = (x: number) => Math.sqrt(d) / Math.sqrt(Math.max(x, 0) + added);
    const unit = 2 ** (table.shift - v.fracBits);
    const fine = { low: Number(table.knots[1]!) * unit, high: fineEnd(table) * unit };
    const values = v.values.map(real);
    const errors = v.values.map((value, i) => {
      const [low, high] = [value - v.errors[i]!, value + v.errors[i]!];
      const spread = Math.max(real(low) - real(value), real(value) - real(high));
      if (low < fine.low) return real(low);
      if (high <= fine.high) return spread + real(low) * SPLINE_ERROR;
      return spread + real(low) * STAIRCASE_ERROR + 2 ** (v.fracBits / 2 - stateBitsOf(config));
    });
    return { values, errors, fracBits: table.fracBits };
  }
}

/** Times the values, a function of each argument with its stated error. */
function applied(x: Shadow, fracBits: number, f: Stated): Shadow {
  const values = x.values.map(f.of);
  const errors = x.values.map((value, i) => {
    const e = x.errors[i]!;
    const spread = f.slope === undefined ? ends(f.of, value, e) : f.slope * e;
    const stated = f.relative ? f.error * f.of(value - e) : f.error;
    // Coefficients are integers: a table cannot be closer than a unit of its value.
    return spread + stated + 2 ** -fracBits;
  });
  return { values, errors, fracBits };
}

/** A function as its table states it. */
interface Stated {
  readonly of: (x: number) => number;
  readonly error: number;
  readonly relative?: boolean;
  /** Greatest |slope|; a monotone function has none to state. */
  readonly slope?: number;
}

const ends = (of: Stated["of"], x: number, e: number) =>
  Math.max(Math.abs(of(x - e) - of(x)), Math.abs(of(x + e) - of(x)));

function rowsOf(x: Shadow, gate: GateSpec & { kind: "slice" }): Shadow {
  const { from, rows, columns } = gate;
  const cut = (a: Float64Array) => a.slice(from * columns, (from + rows) * columns);
  return { values: cut(x.values), errors: cut(x.errors), fracBits: x.fracBits };
}

function joined(a: Shadow, b: Shadow): Shadow {
  const join = (x: Float64Array, y: Float64Array) => Float64Array.from([...x, ...y]);
  const [values, errors] = [join(a.values, b.values), join(a.errors, b.errors)];
  return { values, errors, fracBits: a.fracBits };
}

/** Each term of a bilinear map: an entry of the result, of the left and of the right operand. */
type Terms = (term: (out: number, left: number, right: number) => void) => void;

/** Calls back for each score: its place, row, position and head. */
function eachScore(
  { rows, start, heads }: CausalDims,
  body: (at: number, row: number, position: number, head: number) => void,
): void {
  let at = 0;
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j <= start + row; j++) {
      for (let head = 0; head < heads; head++) body(at++, row, j, head);
    }
  }
}

const scoreTerms =
  (dims: CausalDims): Terms =>
  (term) =>
    eachScore(dims, (at, row, j, head) => {
      const { heads, keyHeads, width } = dims;
      const keyHead = Math.floor((head * keyHeads) / heads);
      for (let c = 0; c < width; c++) {
        term(at, (row * heads + head) * width + c, (j * keyHeads + keyHead) * width + c);
      }
    });

const mixTerms =
  (dims: CausalDims): Terms =>
  (term) =>
    scoreTerms(dims)((at, row, value) => term(row, at, value));

function bilinear(x: Shadow, y: Shadow, terms: Terms): Shadow {
  const [values, errors] = [[] as number[], [] as number[]];
  terms((out, left, right) => {
    const [a, b] = [x.values[left]!, y.values[right]!];
    const [e, f] = [x.errors[left]!, y.errors[right]!];
    values[out] = (values[out] ?? 0) + a * b;
    errors[out] = (errors[out] ?? 0) + e * Math.abs(b) + f * Math.abs(a) + e * f;
  });
  const fracBits = x.fracBits + y.fracBits;
  return { values: Float64Array.from(values), errors: Float64Array.from(errors), fracBits };
}

function overRows(x: Shadow, dims: CausalDims): Shadow {
  const values = new Float64Array(dims.rows * dims.heads);
  const errors = new Float64Array(values.length);
  eachScore(dims, (at, row, _position, head) => {
    values[row * dims.heads + head]! += x.values[at]!;
    errors[row * dims.heads + head]! += x.errors[at]!;
  });
  return { values, errors, fracBits: x.fracBits };
}

function lessRow(x: Shadow, y: Shadow, dims: CausalDims): Shadow {
  const [values, errors] = [x.values.slice(), x.errors.slice()];
  eachScore(dims, (at, row, _position, head) => {
    values[at]! -= y.values[row * dims.heads + head]!;
    errors[at]! += y.errors[row * dims.heads + head]!;
  });
  return { values, errors, fracBits: x.fracBits };
}

/** Pairs of columns turned by their position's angle; sines and cosines are half a unit off. */
function turned({ start, base, width, fracBits, columns }: Rope, x: Shadow): Shadow {
  const half = 2 ** -(fracBits + 1);
  const [values, errors] = [new Float64Array(x.values.length), new Float64Array(x.values.length)];
  for (let i = 0; i < values.length; i++) {
    const [row, c] = [Math.floor(i / columns), (i % columns) % width];
    const angle = (start + row) * base ** (-(c - (c % 2)) / width);
    const other = c % 2 ? i - 1 : i + 1;
    const [cosine, sine] = [Math.cos(angle), (c % 2 ? 1 : -1) * Math.sin(angle)];
    values[i] = cosine * x.values[i]! + sine * x.values[other]!;
    errors[i] =
      (Math.abs(cosine) + half) * x.errors[i]! +
      (Math.abs(sine) + half) * x.errors[other]! +
      half * (Math.abs(x.values[i]!) + Math.abs(x.values[other]!));
  }
  return { values, errors, fracBits: x.fracBits + fracBits };
}

/** Where the sloping pieces of a table end. */
export function fineEnd({ knots, c1 }: SplineTable): number {
  const last = c1.findLastIndex((slope) => slope !== 0n);
  return Number(knots[last + 1] ?? knots.at(-1)!);
}

function exact(values: Float64Array, fracBits: number): Shadow {
  return { values, errors: new Float64Array(values.length), fracBits };
}

/** Times columns, less the row's sum: kappa (z - mean), in log2 columns, rounded up, more bits. */
function centred(z: Shadow, columns: number): Shadow {
  const growth = Math.ceil(Math.log2(columns));
  const kappa = columns / 2 ** growth;
  const mean = (of: Float64Array, i: number) => {
    const row = Math.floor(i / columns) * columns;
    return of.subarray(row, row + columns).reduce((sum, value) => sum + value, 0) / columns;
  };
  return {
    values: z.values.map((value, i) => kappa * (value - mean(z.values, i))),
    errors: z.errors.map((error, i) => kappa * (error + mean(z.errors, i))),
    fracBits: z.fracBits + growth,
  };
}

/** Right to one unit of what is left. */
function opened(z: Shadow, shift: number): Shadow {
  const fracBits = z.fracBits - shift;
  return { ...z, errors: z.errors.map((error) => error + 2 ** -fracBits), fracBits };
}

function sumOfSquares(y: Shadow, width: number): Shadow {
  const rows = y.values.length / width;
  const [values, errors] = [new Float64Array(rows), new Float64Array(rows)];
  y.values.forEach((value, i) => {
    const row = Math.floor(i / width);
    values[row]! += value * value;
    errors[row]! += (2 * Math.abs(value) + y.errors[i]!) * y.errors[i]!;
  });
  return { values, errors, fracBits: 2 * y.fracBits };
}

function times(y: Shadow, g: Shadow, columns: number): Shadow {
  const row = (i: number) => Math.floor(i / columns);
  return {
    values: y.values.map((value, i) => value * g.values[row(i)]!),
    errors: y.errors.map((e, i) => {
      const factor = Math.abs(g.values[row(i)]!) + g.errors[row(i)]!;
      return e * factor + Math.abs(y.values[i]!) * g.errors[row(i)]!;
    }),
    fracBits: y.fracBits + g.fracBits,
  };
}
