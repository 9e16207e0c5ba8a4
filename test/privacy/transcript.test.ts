// Whole generations at full width, with fixed seeds: what reaches each party looks like uniform
// words, for every kind of message, two prompts and two models; what must not depend on the prompt
// or the weights is the same to the byte; and no mask is drawn for two things.

import { beforeAll, describe, expect, test } from "vitest";
import { type GateSpec, gateOf } from "../../src/gate/index.ts";
import { keyLayout, seedBytes } from "../../src/kernel/function-key.ts";
import { loadRingKernels } from "../../src/kernel/load-node.ts";
import type { RingKernels } from "../../src/kernel/ring-kernels.ts";
import { encodePrompt } from "../../src/model/prompt.ts";
import type { LocalModel } from "../../src/party/local.ts";
import {
  type AskedOptions,
  generationOptions,
  IDS,
  LOGITS,
  type Plan,
  planGeneration,
} from "../../src/party/plan.ts";
import { TOKENS } from "../../src/plan/next-token.ts";
import { Prg } from "../../src/ring/prg.ts";
import { Ring } from "../../src/ring/ring.ts";
import { type DealerStates, dealBundle } from "../../src/run/dealer.ts";
import { decodeItems, type Item, ItemStore } from "../../src/run/items.ts";
import {
  type ClientStates,
  clientSegment,
  prepareBundle,
  type ServerStates,
  serverJobs,
} from "../../src/run/party.ts";
import { Scheduler } from "../../src/run/scheduler.ts";
import { type DecoderOptions, decoderModel } from "../decoder-model.ts";
import { partyTensors } from "../masked-tensors.ts";
import { type MergedOptions, mergedModel } from "../merged-model.ts";
import { deviations, fromUniform } from "./chi-square.ts";
import { type Channel, type Draw, type Message, recorded, seedOf } from "./harness.ts";
import { type KeyBatch, type Part, partsOf, unpackParts } from "./layout.ts";

/** One run's seeds drawn by each party; D draws from both. */
interface Draws {
  readonly dealerOfClient: Draw[];
  readonly dealerOfServer: Draw[];
  /** Of D's own seed. */
  readonly own: Draw[];
  readonly client: Draw[];
  readonly server: Draw[];
}

interface Transcript {
  readonly sent: readonly Message[];
  readonly draws: Draws;
  readonly tokens: readonly number[];
}

const RING_BITS = 64;
const options = { hiddenSize: 8, layerCount: 2, innerSize: 16, maxTokens: 6, chunk: 2 } as const;
const bucket = { bucket: 3, anchor: 2 } as const;

/** A whole generation; every seed follows from `seed`. */
async function generate(
  kernels: RingKernels,
  model: LocalModel,
  prompt: string,
  { seed, ...asked }: AskedOptions & { readonly seed: number },
) {
  const ids = encodePrompt(prompt, model.config, model.tokenizer);
  const plan = await planGeneration(
    model.config,
    generationOptions(model.config, ids.length, asked),
  );
  return new Generation(kernels, model, plan, ids, seed).run();
}

class Generation {
  readonly #kernels: RingKernels;
  readonly #ring: Ring;
  readonly #plan: Plan;
  readonly #ids: readonly number[];
  readonly #seed: number;
  readonly #tensors;
  readonly #gates = new Map<string, GateSpec>();
  readonly #sent: Message[] = [];
  /** Messages of each gate and channel so far. */
  readonly #turns = new Map<string, number>();
  readonly #tokens: number[] = [];
  readonly #vocabSize: number;
  readonly #client = new Scheduler();
  readonly #server = new Scheduler();
  readonly #draws: Draws = {
    dealerOfClient: [],
    dealerOfServer: [],
    own: [],
    client: [],
    server: [],
  };

  constructor(
    kernels: RingKernels,
    model: LocalModel,
    plan: Plan,
    ids: readonly number[],
    seed: number,
  ) {
    this.#kernels = kernels;
    this.#ring = new Ring(kernels);
    this.#plan = plan;
    this.#ids = ids;
    this.#seed = seed;
    this.#vocabSize = model.config.vocabSize;
    this.#tensors = partyTensors(kernels, model, plan.tensors, seedOf(seed));
    for (const { id, gates } of plan.segments) {
      for (const gate of gates) this.#gates.set(`${id}:${gate.id}`, gate);
    }
  }

  run(): Transcript {
    const states = {
      dealer: new Map() as DealerStates,
      client: new Map() as ClientStates,
      opened: new Map() as ClientStates,
      server: new Map() as ServerStates,
    };
    for (const [bundle, segments] of this.#plan.bundles.entries()) {
      const seeds = [0, 1, 2].map((party) => seedOf(this.#seed + 1 + 3 * bundle + party));
      const [client, server, own] = seeds.map((seed) => new Prg(this.#kernels, seed));
      const ring = this.#ring;
      const functionPrg = "chacha12";
      const common = { ring, segments };
      const dealt = dealBundle({
        ...common,
        states: states.dealer,
        tensors: this.#tensors.dealer,
        client: recorded(client!, this.#draws.dealerOfClient),
        server: recorded(server!, this.#draws.dealerOfServer),
        own: recorded(own!, this.#draws.own),
        functionPrg,
      });
      const atClient = recorded(client!, this.#draws.client);
      const { wires, upload } = prepareBundle({
        ...common,
        states: states.client,
        tensors: this.#tensors.client,
        random: atClient,
      });
      const forClient = {
        ring,
        random: atClient,
        functionPrg,
        states: states.opened,
        dealt: this.#store("dealer-client", dealt.forClient),
      } as const;
      const forServer = {
        ring,
        states: states.server,
        tensors: this.#tensors.server,
        random: recorded(server!, this.#draws.server),
        functionPrg,
        dealt: this.#store("dealer-server", dealt.forServer),
        uploaded: this.#store("upload", upload),
      } as const;
      for (const [index, segment] of segments.entries()) {
        this.#server.add(serverJobs({ ...forServer, segment }));
        const ids = this.#privateIds(segment);
        const added = clientSegment({ ...forClient, segment, wires: wires[index]!, ids });
        this.#client.add(added.jobs);
        this.#pump();
        this.#pick(added.context.logits.get(LOGITS));
        this.#tokens.push(...(added.context.revealed.get(TOKENS) ?? []));
      }
      expect(forClient.dealt.size).toBe(0);
      expect(forServer.dealt.size + forServer.uploaded.size).toBe(0);
    }
    return { sent: this.#sent, draws: this.#draws, tokens: this.#tokens };
  }

  #privateIds({ segment }: Plan["segments"][number]): Map<string, readonly number[]> {
    if (segment.kind === "prompt") return new Map([[IDS, this.#ids]]);
    if (segment.kind !== "step" || segment.source === "resend") return new Map();
    return new Map([[IDS, [this.#tokens[segment.index - 1]!]]]);
  }

  #pick(logits: Int32Array | undefined): void {
    if (!logits) return;
    for (let at = 0; at < logits.length; at += this.#vocabSize) {
      const row = logits.subarray(at, at + this.#vocabSize);
      this.#tokens.push(row.indexOf(Math.max(...row)));
    }
  }

  #store(channel: Channel, payload: Uint8Array): ItemStore {
    const items = decodeItems(payload);
    this.#note(channel, items);
    const store = new ItemStore();
    store.add(items);
    return store;
  }

  #note(channel: Channel, items: readonly Item[]): void {
    for (const { segment, gate, bytes } of items) {
      const key = `${channel}:${segment}:${gate}`;
      const turn = this.#turns.get(key) ?? 0;
      this.#turns.set(key, turn + 1);
      this.#sent.push({ channel, gate: this.#gates.get(`${segment}:${gate}`)!, bytes, turn });
    }
  }

  #pump(): void {
    for (;;) {
      this.#client.advance();
      this.#server.advance();
      const up = this.#client.takeOutbox();
      const down = this.#server.takeOutbox();
      if (up) {
        this.#note("client-server", decodeItems(up));
        this.#server.deliver(up);
      }
      if (down) {
        this.#note("server-client", decodeItems(down));
        this.#client.deliver(down);
      }
      this.#server.advancePatient();
      if (!up && !down) break;
    }
    if (!this.#client.done || !this.#server.done) throw new Error("the generation is stuck");
  }
}

// ---- uniformity --------------------------------------------------------------------------------

/** A comparison's keys, row by row: pseudo-random bytes, then control bits. */
function partsOfKeys({ kind, domainBits, words, count: keys }: KeyBatch): Part[] {
  const { keyBytes, levels } = keyLayout(kind, domainBits, words);
  const controls = Math.ceil(levels / 4);
  const key = [
    { count: keyBytes - controls, bits: 8 },
    { count: Math.floor(levels / 4), bits: 8 },
    ...(levels % 4 > 0 ? [{ count: 1, bits: 2 * (levels % 4) }] : []),
  ];
  return Array.from({ length: keys }, () => key).flat();
}

/** Gates whose dealt bytes are keys, many of one kind. */
const withKeys: ReadonlySet<GateSpec["kind"]> = new Set([
  "argmax",
  "indexOneHot",
  "max",
  "piecewise",
  "spline",
]);

/** Histograms of whole and cut bytes: [bits][value]. */
type Histograms = Map<number, Float64Array>;

/** Counts each byte of each word; the highest byte of a word may have fewer bits. */
function count(histograms: Histograms, words: BigUint64Array, bits: number): void {
  for (let low = 0; low < bits; low += 8) {
    const width = Math.min(8, bits - low);
    const histogram = histograms.get(width) ?? new Float64Array(2 ** width);
    histograms.set(width, histogram);
    for (const word of words) histogram[Number((word >> BigInt(low)) & 255n)]!++;
  }
}

/** Histograms of every kind of message: by channel, gate and part. */
function histogramsOf(sent: readonly Message[]): Map<string, Histograms> {
  const out = new Map<string, Histograms>();
  for (const message of sent) {
    const { channel, gate, bytes } = message;
    const parts = partsOf(message, RING_BITS, partsOfKeys);
    for (const [index, words] of unpackParts(bytes, parts).entries()) {
      const hasKeys = channel.startsWith("dealer") && withKeys.has(gate.kind);
      const part = hasKeys ? "" : ` ${index}`;
      const name = `${channel} ${gate.kind}${part}`;
      const histograms = out.get(name) ?? new Map();
      out.set(name, histograms);
      count(histograms, words, parts[index]!.bits);
    }
  }
  return out;
}

/** Standard deviations by which the worst histogram is off, of those with enough in a cell. */
function worst(histograms: Histograms): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const histogram of histograms.values()) {
    const total = histogram.reduce((sum, cell) => sum + cell, 0);
    // A coarser histogram where cells would be too empty for the approximation.
    const cells = total >= 5 * histogram.length ? histogram : folded(histogram, 4);
    if (total >= 5 * cells.length) most = Math.max(most, deviations(fromUniform(cells)));
  }
  return most;
}

/** The same counts by the values' low bits. */
function folded(histogram: Float64Array, cells: number): Float64Array {
  const out = new Float64Array(Math.min(cells, histogram.length));
  histogram.forEach((number, value) => {
    out[value % out.length]! += number;
  });
  return out;
}

/**
 * The draws that hide two things, or might: D draws one place and purpose twice, or a party draws
 * what D does not know. Each party may draw again what it drew: offline, say, and online.
 */
function doubleDraws(dealer: readonly Draw[], party: readonly Draw[]): string[] {
  const key = ({ place, purpose }: Draw) => `${place.segment}:${place.gate}:${purpose}`;
  const meaning = ({ count: words, bits }: Draw) => `${words} words of ${bits} bits`;
  const known = new Map<string, string>();
  const wrong: string[] = [];
  const drawn = (draws: readonly Draw[]) => draws.filter(({ count: words }) => words > 0);
  for (const draw of drawn(dealer)) {
    if (known.has(key(draw))) wrong.push(key(draw));
    known.set(key(draw), meaning(draw));
  }
  for (const draw of drawn(party))
    if (known.get(key(draw)) !== meaning(draw)) wrong.push(key(draw));
  return wrong;
}

/** The root seeds of all function keys that are dealt, each party's. */
function rootsOf(sent: readonly Message[]): string[] {
  return sent.flatMap((message) => {
    if (!message.channel.startsWith("dealer")) return [];
    const roots: Part[] = [];
    const parts = partsOf(message, RING_BITS, ({ kind, domainBits, words, count: keys }) => {
      const { keyBytes } = keyLayout(kind, domainBits, words);
      return Array.from({ length: keys }, () => {
        const root = { count: seedBytes, bits: 8 };
        roots.push(root);
        return [root, { count: keyBytes - seedBytes, bits: 8 }];
      }).flat();
    });
    const vectors = unpackParts(message.bytes, parts);
    return roots.map((root) => Array.from(vectors[parts.indexOf(root)]!, Number).join());
  });
}

/** Messages of other sizes than the gates' cost formulas say: dealt, uploaded, online in turn. */
function misfits(sent: readonly Message[]): string[] {
  const byGate = new Map<GateSpec, Message[]>();
  for (const message of sent) {
    byGate.set(message.gate, [...(byGate.get(message.gate) ?? []), message]);
  }
  const wrong: string[] = [];
  for (const [gate, own] of byGate) {
    const cost = gateOf(gate).cost(gate, RING_BITS);
    const check = (channel: Channel, wanted: readonly number[]) => {
      const sizes = own.filter((one) => one.channel === channel).map(({ bytes }) => bytes.length);
      const listed = wanted.filter((size) => size > 0);
      if (sizes.join() !== listed.join()) wrong.push(`${gate.kind} on ${channel}: ${sizes}`);
    };
    const onlineFrom = (from: string) =>
      cost.online.filter((one) => one.from === from).map(({ bytes }) => bytes);
    check("dealer-server", [cost.dealerToServer]);
    check("dealer-client", [cost.dealerToClient]);
    check("upload", [cost.clientToServer]);
    check("client-server", onlineFrom("client"));
    check("server-client", onlineFrom("server"));
  }
  return wrong;
}

const quadratic = { kind: "2quad", shift: 5 } as const;

describe("transcripts of whole generations", () => {
  const merged = (changes: MergedOptions) => () =>
    mergedModel({ ...options, ...bucket, ...changes });
  const decoder = (changes: DecoderOptions) => () =>
    decoderModel({ maxTokens: 4, positionCount: 10, ...changes });
  const shapes: readonly (readonly [string, () => LocalModel, AskedOptions])[] = [
    ["layernorm", merged({ seed: 4 }), {}],
    ["layernorm, other weights", merged({ seed: 5 }), {}],
    ["affine", merged({ seed: 4, norm: "affine" }), {}],
    ["looked up", merged({ seed: 4 }), { next: "lookup" }],
    ["tokens shown", merged({ seed: 4 }), { reveal: "token" }],
    ["hybrid", merged({ seed: 4, hybrid: { layers: [0], attention: quadratic } }), {}],
    ["gpt2", decoder({ seed: 4, layerCount: 2 }), {}],
    ["llama", decoder({ seed: 5, block: "llama", headCount: 4, kvHeadCount: 2 }), {}],
  ];
  const prompts = ["pub", "the"] as const;
  const runs = new Map<string, Transcript>();
  let kernels: RingKernels;

  beforeAll(async () => {
    kernels = await loadRingKernels();
    for (const [name, model, asked] of shapes) {
      for (const [index, prompt] of prompts.entries()) {
        const how = { seed: 1000 + 100 * index, ...asked };
        const run = await generate(kernels, model(), prompt, how);
        runs.set(`${name}, ${prompt}`, run);
      }
    }
  });

  for (const [name] of shapes) {
    for (const prompt of prompts) {
      test(`${name}, prompt "${prompt}": every kind of message looks uniform`, () => {
        const kinds = histogramsOf(runs.get(`${name}, ${prompt}`)!.sent);
        const channels = new Set([...kinds.keys()].map((kind) => kind.split(" ")[0]));
        expect(channels.size).toBe(name === "affine" ? 4 : 5);
        for (const [kind, histograms] of kinds) expect(worst(histograms), kind).toBeLessThan(5);
      });

      test(`${name}, prompt "${prompt}": no mask is drawn for two things, all sizes as costs say`, () => {
        const { draws, sent } = runs.get(`${name}, ${prompt}`)!;
        expect(misfits(sent)).toEqual([]);
        expect(doubleDraws(draws.dealerOfClient, draws.client)).toEqual([]);
        expect(doubleDraws(draws.dealerOfServer, draws.server)).toEqual([]);
        expect(draws.client.length).toBeGreaterThan(0);
      });

      test(`${name}, prompt "${prompt}": every function key has roots of its own, from D's own seed`, () => {
        const { draws, sent } = runs.get(`${name}, ${prompt}`)!;
        const isForKeys = ({ purpose }: Draw) => purpose === "keys";
        const known = [draws.dealerOfClient, draws.dealerOfServer, draws.client, draws.server];
        expect(known.flat().filter(isForKeys)).toEqual([]);
        expect(draws.own.every(isForKeys)).toBe(true);
        expect(doubleDraws(draws.own, [])).toEqual([]);
        const roots = rootsOf(sent);
        expect(roots.length > 0).toBe(name !== "affine");
        expect(new Set(roots).size).toBe(roots.length);
      });
    }
  }

  const kinds = [
    ["layernorm", shapes[0]![1]],
    ["gpt2", shapes[5]![1]],
    ["llama", shapes[6]![1]],
  ] as const;

  test.each(kinds)(
    "%s: the same seeds deal and upload the same for every prompt",
    async (...given) => {
      const model = given[1]();
      // Of as many tokens each.
      const [a, b] = [
        await generate(kernels, model, "pub", { seed: 9 }),
        await generate(kernels, model, given[0] === "layernorm" ? "a b" : "the", { seed: 9 }),
      ];
      const offline = ({ sent }: Transcript) =>
        sent.filter(({ channel }) => channel !== "client-server" && channel !== "server-client");
      expect(offline(a)).toEqual(offline(b));
    },
  );

  test.each(kinds)(
    "%s: the same seeds deal C the same, and C uploads it, for all weights",
    async (...given) => {
      const model = given[1]();
      const other = new Map(
        [...model.weights].map(([name, tensor]) => [
          name,
          { ...tensor, data: tensor.data.map((value, i) => (i % 3 ? value : 0)) },
        ]),
      );
      const run = (weights: LocalModel["weights"]) =>
        generate(kernels, { ...model, weights }, "pub", { seed: 9 });
      const [a, b] = [await run(model.weights), await run(other)];
      // C's uploads too: they are made of C's masks and D_W alone.
      const ofClient = ({ sent }: Transcript) =>
        sent.filter(({ channel }) => channel === "dealer-client" || channel === "upload");
      expect(ofClient(a).length).toBeGreaterThan(0);
      expect(ofClient(a)).toEqual(ofClient(b));
    },
  );

  test("the statistic flags small values and words two bits too narrow", () => {
    const small = BigUint64Array.from({ length: 4000 }, (_, i) => BigInt(i % 13) << 24n);
    const narrow = new Prg(kernels, seedOf(1)).words({ segment: 0, gate: 0 }, "mask", 4000, 62);
    for (const words of [small, narrow]) {
      const histograms: Histograms = new Map();
      count(histograms, words, 64);
      expect(worst(histograms)).toBeGreaterThan(10);
    }
  });

  test("the audit of draws flags one place that is drawn twice, and one that D does not know", () => {
    const draw: Draw = { place: { segment: 1, gate: 2 }, purpose: "mask", count: 4, bits: 64 };
    expect(doubleDraws([draw, { ...draw, count: 5 }], [draw])).not.toEqual([]);
    expect(doubleDraws([draw, draw], [draw])).not.toEqual([]);
    expect(doubleDraws([draw], [draw, draw])).toEqual([]);
    expect(doubleDraws([draw], [{ ...draw, purpose: "rho" }])).not.toEqual([]);
    expect(doubleDraws([draw], [draw])).toEqual([]);
  });
});

describe("D_W", () => {
  test("every plan of a model lists the same tensors in the same order: one nonce each", async () => {
    for (const norm of ["layernorm", "affine"] as const) {
      for (const tiedHead of [true, false]) {
        for (const residual of norm === "affine" ? [true] : [true, false]) {
          const { config } = mergedModel({
            norm,
            tiedHead,
            residual,
            layerCount: 2,
            weightBits: 9,
          });
          const lists = [];
          for (const [promptPositions, maxTokens, chunk, anchor] of [
            [1, 1, 1, 0],
            [4, 4, 2, 0],
            [2, 4, 5, 1],
            [1, 3, 1, 2],
          ] as const) {
            const asked = { promptPositions, maxTokens, chunk, anchor };
            lists.push((await planGeneration(config, asked)).tensors);
          }
          for (const list of lists) expect(list).toEqual(lists[0]);
          expect(new Set(lists[0]!.map(({ key }) => key)).size).toBe(lists[0]!.length);
        }
      }
    }
  });
});
