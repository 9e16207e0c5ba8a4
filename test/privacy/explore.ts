// What each party sees of some gates, for every value of all randomness and several secrets. What
// a gate makes counts modulo 2^bits of that gate; a party's own share above that is its own affair.

import { widthOf } from "../../src/gate/gate.ts";
import type { GateSpec, gateOf } from "../../src/gate/index.ts";
import { composedPiecewise } from "../../src/kernel/piecewise.ts";
import { referenceRingKernels } from "../../src/kernel/reference.ts";
import type {
  EvaluateManyOptions,
  GenerateManyOptions,
  RingKernels,
} from "../../src/kernel/ring-kernels.ts";
import type { Purpose } from "../../src/ring/prg.ts";
import { Ring, type Words } from "../../src/ring/ring.ts";
import {
  type AllTensors,
  type InputWire,
  type Message,
  type Run,
  type RunOptions,
  runParties,
  runReference,
  widthOfWire,
} from "./harness.ts";
import { type Fault, type Field, Lanes, type Observation } from "./lanes.ts";
import { type KeyBatch, type Part, partsOf, unpackParts } from "./layout.ts";

/** Gates on a small ring, and how a secret enters them. */
export interface Experiment<S> {
  /** Bits of the ring. */
  readonly bits: number;
  /** The gates for `lanes` rows a row of the gate. */
  gates(lanes: number): readonly GateSpec[];
  inputs(lanes: Lanes, secret: S, ring: Ring): ReadonlyMap<number, InputWire>;
  ids?(lanes: number): ReadonlyMap<string, readonly number[]>;
  tensors?(lanes: Lanes, secret: S, ring: Ring): AllTensors;
  /** Wires whose values C is given: its view must not depend on the secret beyond them. */
  readonly outputs: readonly number[];
  readonly fault?: Fault | undefined;
  readonly implementation?: typeof gateOf | undefined;
  /** What bytes are that such a gate sends in another form than the right one. */
  readonly layout?: ((message: Message) => readonly Part[] | undefined) | undefined;
  /**
   * Gates of which C's shares of correlations are held at zero, and S's dealt parts then left out
   * of its view: elsewhere they are shown to be uniform and independent of all else.
   */
  readonly withoutShares?: readonly number[] | undefined;
  /**
   * A party whose values of function keys are held at zero, which leaves more randomness to
   * enumerate: by themselves they are uniform and independent of all else, so its view is then the
   * view given them. The other party's view means nothing then.
   */
  readonly heldFunctions?: "client" | "server" | undefined;
  /** Truncated logits that C is given besides. */
  readonly logits?: { readonly name: string; readonly bits: number } | undefined;
  /**
   * Random lanes in place of all, for gates whose randomness is too large. A view then also has
   * the party's shares of wires, which follow from the rest, for a statistic to find them there.
   */
  readonly sampled?: number | undefined;
  /**
   * Whether words of several a lane lie plane by plane, all lanes' first words before their second:
   * as where a lane is a head of attention. Default lane by lane.
   */
  readonly planes?: boolean | undefined;
}

export interface Explored {
  readonly client: Observation[];
  readonly server: Observation[];
}

const kernels = referenceRingKernels();
const shares: readonly Purpose[] = ["shareA", "shareB", "shareC", "shareD"];

/** Both parties' views under each secret; every run is also checked against the reference. */
export function explore<S>(experiment: Experiment<S>, secrets: readonly S[]): Explored {
  const { sampled, planes = false } = experiment;
  const lanes = new Lanes(sampled === undefined ? undefined : { kernels, lanes: sampled }, planes);
  runOnce(experiment, lanes, secrets[0]!);
  lanes.freeze();
  const client: Observation[] = [];
  const server: Observation[] = [];
  for (const secret of secrets) {
    const { run, options, functions } = runOnce(experiment, lanes, secret);
    if (!experiment.fault && !experiment.implementation) compare(run, options);
    const given = experiment.outputs.map((wire) => ({
      name: `wire ${wire}`,
      words: lanes.byLane(run.value(wire)),
      bits: widthOfWire(options, wire),
    }));
    if (experiment.logits) given.push(logitField(run, experiment.logits));
    const counted = { lanes: lanes.count, given };
    const seen = (party: "client" | "server") => [
      ...ownFields(lanes, `${party}/`),
      ...byLane(lanes, inputFields(run, options, party)),
      ...byLane(lanes, messageFields(experiment, run, party)),
      ...functions[party],
      ...byLane(lanes, sampled === undefined ? [] : shareFields(run, options, party)),
    ];
    client.push({ ...counted, view: seen("client") });
    server.push({ ...counted, view: seen("server"), given: [] });
  }
  return { client, server };
}

function runOnce<S>(experiment: Experiment<S>, lanes: Lanes, secret: S) {
  const functions = idealFunctions(lanes, experiment);
  const ring = new Ring(functions.kernels, experiment.bits);
  const fixed: Fault = (party, place, purpose) => {
    const held = experiment.withoutShares?.includes(place.gate) && shares.includes(purpose);
    return held ? "zero" : experiment.fault?.(party, place, purpose);
  };
  const options: RunOptions = {
    ring,
    gates: experiment.gates(lanes.count),
    inputs: experiment.inputs(lanes, secret, ring),
    ...(experiment.ids && { ids: experiment.ids(lanes.count) }),
    random: {
      client: lanes.randomness("client", fixed),
      server: lanes.randomness("server", fixed),
      own: lanes.randomness("own"),
    },
    ...(experiment.tensors && { tensors: experiment.tensors(lanes, secret, ring) }),
    ...(experiment.implementation && { implementation: experiment.implementation }),
  };
  return { run: runParties(options), options, functions };
}

function compare(run: Run, options: RunOptions): void {
  const reference = runReference({ ...options, ring: new Ring(kernels, options.ring.bits) });
  for (const gate of options.gates) {
    if (gate.kind === "logits") {
      const [got, wanted] = [run.client.logits.get(gate.name), reference.logits.get(gate.name)];
      if (got!.some((logit, i) => logit !== wanted![i])) throw new Error("logits depart");
      continue;
    }
    const made = reference.wires.get(gate.output);
    if (!made) continue;
    const got = run.value(gate.output);
    const wanted = options.ring.lowBits(made.values, widthOf(gate, options.ring.bits));
    const wrong = got.findIndex((word, i) => word !== wanted[i]);
    if (wrong >= 0) throw new Error(`gate ${gate.kind}: lane ${wrong} departs from the reference`);
  }
}

// ---- parts of a view ---------------------------------------------------------------------------

function field(name: string, words: Words, { ring }: { ring: Ring }): Field {
  return { name, words, bits: ring.bits };
}

function byLane(lanes: Lanes, fields: readonly Field[]): Field[] {
  return fields.map((one) => ({ ...one, words: lanes.byLane(one.words) }));
}

function logitField(run: Run, { name, bits }: { name: string; bits: number }): Field {
  const words = BigUint64Array.from(run.client.logits.get(name)!, (logit) =>
    BigInt.asUintN(bits, BigInt(logit)),
  );
  return { name, words, bits };
}

function ownFields(lanes: Lanes, prefix: string): Field[] {
  return lanes.names(prefix).map((name) => {
    const bits = lanes.bitsOf(name);
    return { name, bits, words: lanes.variable(name, bits) };
  });
}

/** What a party holds of the wires that the gates start from; C's mask and share are its own. */
function inputFields(run: Run, options: RunOptions, party: "client" | "server"): Field[] {
  return [...(options.inputs ?? [])].map(([wire]) => {
    if (party === "client") {
      const held = run.client.wires.get(wire);
      const words = held?.form === "client" ? held.mask : held?.form === "shared" && held.share;
      return field(`input ${wire}`, words as Words, options);
    }
    const held = run.server.wires.get(wire);
    const words = held?.form === "client" ? held.masked : held?.form === "shared" && held.share;
    return field(`input ${wire}`, words as Words, options);
  });
}

/** A party's shares of the gates' results. */
function shareFields(run: Run, options: RunOptions, party: "client" | "server"): Field[] {
  return options.gates.flatMap(({ output }) => {
    const held = run[party].wires.get(output);
    return held?.form === "shared" ? [field(`share of ${output}`, held.share, options)] : [];
  });
}

const channelsTo = {
  client: ["dealer-client", "server-client"],
  server: ["dealer-server", "client-server", "upload"],
} as const;

function messageFields<S>(
  experiment: Experiment<S>,
  run: Run,
  party: "client" | "server",
): Field[] {
  const out: Field[] = [];
  for (const message of run.messages) {
    if (!(channelsTo[party] as readonly string[]).includes(message.channel)) continue;
    const dealt = message.channel === "dealer-server";
    if (dealt && experiment.withoutShares?.includes(message.gate.id)) continue;
    const { bits, layout } = experiment;
    const parts = layout?.(message) ?? partsOf(message, bits, keysOfOneByte);
    for (const [index, words] of unpackParts(message.bytes, parts).entries()) {
      const turn = message.turn ? `, message ${message.turn}` : "";
      const name = `${message.channel} ${message.gate.kind} ${message.gate.id}.${index}${turn}`;
      out.push({ name, words, bits: parts[index]!.bits });
    }
  }
  return out;
}

const nothing = new BigUint64Array(0);
const keysOfOneByte = ({ count }: KeyBatch) => [{ count, bits: 8 }];

// ---- ideal function secret sharing -------------------------------------------------------------

interface DealtFunction {
  readonly alpha: bigint;
  readonly payload: BigUint64Array;
}

/** Keys whose payloads are halved as keys of twice as many words. */
function withoutHalves(options: GenerateManyOptions): GenerateManyOptions {
  const { halved, words, payloads } = options;
  if (!halved) return options;
  const halves = [...payloads].flatMap((word) => [word & 0xffffffffn, word >> 32n]);
  return { ...options, words: 2 * words, payloads: BigUint64Array.from(halves) };
}

/** The same for their evaluation. */
function orInHalves(evaluate: (options: EvaluateManyOptions) => void) {
  return (options: EvaluateManyOptions): void => {
    const { halved, words, out } = options;
    if (!halved) {
      evaluate(options);
      return;
    }
    const halves = new BigUint64Array(2 * out.length);
    evaluate({ ...options, words: 2 * words, out: halves });
    out.set(out.map((_, i) => halves[2 * i]! | (halves[2 * i + 1]! << 32n)));
  };
}

/**
 * Kernels whose function keys are ideal: at its k-th point a key's values are additive shares of
 * [x < alpha] payload, or [x = alpha] payload, C's part a variable. A key is one byte of zero. Keys
 * are evaluated in the order in which they were dealt, batch by batch, a batch in one call or in
 * several; it has as many keys for each lane.
 */
function idealFunctions(
  lanes: Lanes,
  { bits, heldFunctions }: Pick<Experiment<never>, "bits" | "heldFunctions">,
) {
  const mask = (1n << BigInt(bits)) - 1n;
  const batches: DealtFunction[][] = [];
  const makeParty = () => ({
    batch: 0,
    key: 0,
    first: nothing as Words,
    seen: nothing as Words,
    fields: [] as Field[],
  });
  const parties = [makeParty(), makeParty()] as const;
  const deal = (options: GenerateManyOptions): [Uint8Array, Uint8Array] => {
    const { alphas, payloads, words } = withoutHalves(options);
    batches.push(
      Array.from(alphas, (alpha, key) => ({
        alpha,
        payload: payloads.slice(key * words, (key + 1) * words),
      })),
    );
    return [new Uint8Array(alphas.length), new Uint8Array(alphas.length)];
  };
  const evaluate =
    (holds: (point: bigint, alpha: bigint) => boolean) =>
    ({ party, keys, words, points, out }: EvaluateManyOptions): void => {
      const state = parties[party];
      const batch = batches[state.batch];
      if (!batch || state.key + keys.length > batch.length) {
        throw new Error("keys were not evaluated as dealt");
      }
      const perKey = (points.length / keys.length) * words;
      if (state.key === 0) {
        const total = batch.length * perKey;
        const name = `function/${state.batch}`;
        state.seen = new BigUint64Array(total);
        state.first = heldFunctions ? nothing : lanes.variables(name, bits, total / lanes.count);
      }
      const isHeld = heldFunctions === (party === 0 ? "client" : "server");
      const offset = state.key * perKey;
      for (let i = 0; i < out.length; i++) {
        const { alpha, payload } = batch[state.key + Math.floor(i / perKey)]!;
        const whole = holds(points[Math.floor(i / words)]!, alpha) ? payload[i % words]! : 0n;
        const first = state.first[offset + i];
        if (first !== undefined) out[i] = party === 0 ? first : (whole - first) & mask;
        else out[i] = isHeld ? 0n : whole & mask;
      }
      state.seen.set(out, offset);
      state.key += keys.length;
      if (state.key < batch.length) return;
      const name = `function values ${state.batch}`;
      if (!heldFunctions) state.fields.push({ name, words: lanes.byLane(state.seen), bits });
      state.batch++;
      state.key = 0;
    };
  const ideal: RingKernels = {
    ...kernels,
    dcfKeyBytes: () => 1,
    dpfKeyBytes: () => 1,
    dcfGenerateMany: deal,
    dpfGenerateMany: deal,
    dcfEvaluateMany: orInHalves(evaluate((point, alpha) => point < alpha)),
    dpfEvaluateMany: evaluate((point, alpha) => point === alpha),
    piecewise: (options) => composedPiecewise(ideal, options),
  };
  return { kernels: ideal, client: parties[0].fields, server: parties[1].fields };
}
