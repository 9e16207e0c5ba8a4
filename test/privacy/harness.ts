// D, C and S in one thread, gate by gate, with whatever randomness a test hands them, and a record
// of every byte that each party is given. The gates' own tests and the privacy tests share it.

import {
  type DealerContext,
  type FixedContext,
  type OfflineClientContext,
  type Online,
  type OnlineClientContext,
  type ServerContext,
  type Tensors,
  widthOf,
} from "../../src/gate/gate.ts";
import { type GateSpec, gateOf } from "../../src/gate/index.ts";
import type { AttentionDims, FunctionPrg, RingKernels } from "../../src/kernel/ring-kernels.ts";
import { joinBytes } from "../../src/ring/pack.ts";
import type { Place, Purpose, Randomness } from "../../src/ring/prg.ts";
import { Prg, SEED_BYTES } from "../../src/ring/prg.ts";
import type { Ring, Words } from "../../src/ring/ring.ts";
import { ItemStore } from "../../src/run/items.ts";
import { prepareMasks } from "../../src/run/offline.ts";
import { narrowShare, valueShare } from "../../src/share/opened.ts";

/** How bytes reach a party: dealt by D, uploaded before the input exists, or online. */
export type Channel =
  | "dealer-server"
  | "dealer-client"
  | "upload"
  | "client-server"
  | "server-client";

export interface Message {
  readonly channel: Channel;
  readonly gate: GateSpec;
  readonly bytes: Uint8Array;
  /** How many messages of this gate came before on this channel; default none. */
  readonly turn?: number;
}

export interface AllRandomness {
  readonly client: Randomness;
  readonly server: Randomness;
  /** D's own. */
  readonly own: Randomness;
}

/** The model's tensors as D_W, W and B = W - D_W. */
export interface AllTensors {
  readonly client: Tensors;
  readonly server: Tensors;
  readonly dealer: Tensors;
}

/** A wire that exists before the gates run: its value and how it is hidden. */
export type InputWire =
  | { readonly form: "shared"; readonly values: Words; readonly clientShare: Words }
  | {
      readonly form: "client";
      readonly values: Words;
      readonly mask: Words;
      /** Bits of the mask, and of what S holds; default the ring's. */
      readonly bits?: number | undefined;
    };

export interface RunOptions {
  readonly ring: Ring;
  readonly gates: readonly GateSpec[];
  readonly inputs?: ReadonlyMap<number, InputWire>;
  readonly random: AllRandomness;
  readonly tensors?: AllTensors;
  readonly ids?: ReadonlyMap<string, readonly number[]>;
  readonly segment?: number;
  /** Default ChaCha12. */
  readonly functionPrg?: FunctionPrg | undefined;
  /** Another implementation of some gates: how the controls put faults in. */
  readonly implementation?: typeof gateOf;
}

/** C's context before the input exists and online, in one. */
export type ClientContext = OfflineClientContext & OnlineClientContext;

export interface Run {
  readonly messages: readonly Message[];
  readonly dealer: DealerContext;
  readonly client: ClientContext;
  readonly server: ServerContext;
  /** Correlations and uploads that nobody took. */
  readonly left: number;
  /** The value of a wire, put together from what C and S hold: as many low bits as are needed. */
  value(wire: number): Words;
}

export const SEGMENT = 3;

/** Runs all gates: D deals, C prepares, then C and S step through each gate in turn. */
export function runParties(options: RunOptions): Run {
  const messages: Message[] = [];
  const stores = { client: new ItemStore(), server: new ItemStore(), upload: new ItemStore() };
  const contexts = makeContexts(options, messages, stores);
  const { dealer, client, server } = contexts;
  const implementation = options.implementation ?? gateOf;
  const { ring, gates } = options;
  prepareMasks(ring, [{ gates, context: dealer }], implementation);
  for (const gate of gates) implementation(gate).deal(gate, dealer);
  prepareMasks(ring, [{ gates, context: client }], implementation);
  for (const gate of gates) implementation(gate).prepare(gate, client);
  for (const { products } of [dealer, client]) {
    if (products.size > 0) throw new Error("a product of a mask was made and not taken");
  }
  for (const gate of gates) {
    const found = implementation(gate);
    const online = found.idle?.(gate) ? nothingToDo() : found.client(gate, client);
    step(gate, [online, found.server(gate, server)], messages);
  }
  return {
    messages,
    ...contexts,
    left: stores.client.size + stores.server.size + stores.upload.size,
    value: (wire) => ring.lowBits(together(ring, contexts, wire), widthOfWire(options, wire)),
  };
}

/** Bits of a wire that are to be right: those that its gate states. */
export function widthOfWire({ ring, gates, inputs }: RunOptions, wire: number): number {
  const input = inputs?.get(wire);
  if (input) return input.form === "client" ? (input.bits ?? ring.bits) : ring.bits;
  const maker = gates.find(({ kind, output }) => kind !== "store" && output === wire);
  if (!maker) throw new Error(`no gate makes wire ${wire}`);
  return widthOf(maker, ring.bits);
}

/** The same gates in the clear, with the parties' randomness as dither. */
export function runReference(options: RunOptions, dithered = true): FixedContext {
  const tensors = options.tensors ?? noTensors;
  const { client, server } = options.random;
  const context: FixedContext = {
    ring: options.ring,
    segment: options.segment ?? SEGMENT,
    wires: new Map(),
    states: new Map(),
    tensors: tensors.server,
    ids: new Map(options.ids),
    logits: new Map(),
    revealed: new Map(),
    parties: dithered ? { client, server, weightMasks: tensors.client } : undefined,
  };
  for (const [wire, input] of options.inputs ?? []) {
    const mask = input.form === "client" ? { mask: () => input.mask } : {};
    context.wires.set(wire, { values: input.values, ...mask });
  }
  for (const gate of options.gates) gateOf(gate).reference(gate, context);
  return context;
}

interface Contexts {
  readonly dealer: DealerContext;
  readonly client: ClientContext;
  readonly server: ServerContext;
}

function makeContexts(
  options: RunOptions,
  messages: Message[],
  stores: { client: ItemStore; server: ItemStore; upload: ItemStore },
): Contexts {
  const { ring, random } = options;
  const segment = options.segment ?? SEGMENT;
  const tensors = options.tensors ?? noTensors;
  const put =
    (store: ItemStore, channel: Channel) =>
    (gate: { id: number }, ...parts: Uint8Array[]) => {
      const bytes = joinBytes(parts);
      store.add([{ segment, gate: gate.id, bytes }]);
      messages.push({ channel, gate: gate as GateSpec, bytes });
    };
  const take = (store: ItemStore) => (gate: { id: number }) => store.take(segment, gate.id);
  const { functionPrg = "chacha12" } = options;
  const dealer: DealerContext = {
    ...common(options, tensors.dealer),
    client: random.client,
    server: random.server,
    own: random.own,
    products: new Map(),
    functionPrg,
    toServer: put(stores.server, "dealer-server"),
    toClient: put(stores.client, "dealer-client"),
  };
  const client: ClientContext = {
    ...common(options, tensors.client),
    client: random.client,
    products: new Map(),
    functionPrg,
    ids: new Map(options.ids),
    logits: new Map(),
    revealed: new Map(),
    upload: put(stores.upload, "upload"),
    fromDealer: take(stores.client),
  };
  const server: ServerContext = {
    ...common(options, tensors.server),
    server: random.server,
    functionPrg,
    fromDealer: take(stores.server),
    fromClient: take(stores.upload),
  };
  for (const [wire, input] of options.inputs ?? []) {
    if (input.form === "shared") {
      dealer.wires.set(wire, { form: "shared" });
      client.wires.set(wire, { form: "shared", share: input.clientShare });
      const share = ring.sub(input.values, input.clientShare);
      server.wires.set(wire, { form: "shared", share });
    } else {
      dealer.wires.set(wire, { form: "client", mask: input.mask });
      client.wires.set(wire, { form: "client", mask: input.mask });
      const masked = ring.lowBits(ring.add(input.values, input.mask), widthOfWire(options, wire));
      server.wires.set(wire, { form: "client", masked });
    }
  }
  return { dealer, client, server };
}

function common<W>(options: RunOptions, tensors: Tensors) {
  return {
    ring: options.ring,
    segment: options.segment ?? SEGMENT,
    wires: new Map<number, W>(),
    states: new Map<string, W>(),
    tensors,
  };
}

/** Steps both sides of one gate until both are done. */
function step(gate: GateSpec, sides: readonly [Online, Online], messages: Message[]): void {
  const channels = ["client-server", "server-client"] as const;
  const inboxes: [Uint8Array[], Uint8Array[]] = [[], []];
  const turns = [0, 0];
  const next = [sides[0].next(nothing), sides[1].next(nothing)];
  for (let progress = true; progress; ) {
    progress = false;
    for (const me of [0, 1] as const) {
      const wanted = next[me]!;
      if (wanted.done) continue;
      if ("send" in wanted.value) {
        inboxes[1 - me]!.push(wanted.value.send);
        const turn = turns[me]!++;
        messages.push({ channel: channels[me], gate, bytes: wanted.value.send, turn });
        next[me] = sides[me].next(nothing);
      } else {
        const bytes = inboxes[me].shift();
        if (!bytes) continue;
        if (bytes.length !== wanted.value.receive) throw new Error("a message has another length");
        next[me] = sides[me].next(bytes);
      }
      progress = true;
    }
  }
  const finished = next.every(({ done }) => done) && inboxes.every(({ length }) => length === 0);
  if (!finished) throw new Error(`gate ${gate.kind}: the parties do not come to an end`);
}

const nothing = new Uint8Array(0);

function* nothingToDo(): Online {}

function together(ring: Ring, { client, server }: Contexts, wire: number): Words {
  const [c, s] = [client.wires.get(wire), server.wires.get(wire)];
  if (c?.form === "shared" && s?.form === "shared") return ring.add(c.share, s.share);
  if (c?.form === "client" && s?.form === "client") return ring.sub(s.masked, c.mask);
  if (c?.form === "opened" && s?.form === "opened") {
    if (c.m.length === 0) return ring.add(narrowShare(ring, c, false), narrowShare(ring, s, true));
    return ring.add(valueShare(ring, c, false), valueShare(ring, s, true));
  }
  throw new Error(`wire ${wire}: C and S hold it in different forms`);
}

// ---- tensors and randomness --------------------------------------------------------------------

/** One tensor: S's weights and C's mask D_W. */
export interface TestTensor {
  readonly rows: number;
  readonly columns: number;
  readonly weights: Words;
  readonly mask: Words;
}

/** All parties' forms of some tensors; S's biases are given as weights with a mask of zeros. */
export function makeTensors(ring: Ring, tensors: ReadonlyMap<string, TestTensor>): AllTensors {
  const form = (wordsOf: (tensor: TestTensor) => Words): Tensors => ({
    words: (key) => wordsOf(found(tensors, key)),
    matrix: (key) => {
      const tensor = found(tensors, key);
      return ring.kernels.loadRing(wordsOf(tensor), tensor.rows, tensor.columns);
    },
    attention: (key) => ({ weights: wordsOf(found(tensors, key)), held: undefined }),
  });
  const client = form((tensor) => tensor.mask);
  // As in the engine, C makes no more of the heads' matrices than the new positions' rows.
  const attention = (key: string, dims: AttentionDims, rows: number) => ({
    weights: rowsOfHeads(client.words(key), dims, rows),
    held: { from: dims.start, count: rows },
  });
  return {
    client: { ...client, attention },
    server: form((tensor) => tensor.weights),
    dealer: form((tensor) => ring.sub(tensor.weights, tensor.mask)),
  };
}

function rowsOfHeads(words: Words, { heads, positions, start }: AttentionDims, rows: number) {
  const out = new BigUint64Array(heads * rows * positions);
  for (let head = 0; head < heads; head++) {
    const from = (head * positions + start) * positions;
    out.set(words.subarray(from, from + rows * positions), head * rows * positions);
  }
  return out;
}

function found(tensors: ReadonlyMap<string, TestTensor>, key: string): TestTensor {
  const tensor = tensors.get(key);
  if (!tensor) throw new Error(`no tensor ${key}`);
  return tensor;
}

const none: Tensors = { matrix: missing, words: missing, attention: missing };
const noTensors: AllTensors = { client: none, server: none, dealer: none };

function missing(key: string): never {
  throw new Error(`no tensor ${key}`);
}

/** Seeds that differ in their first bytes. */
export function seedOf(number: number): Uint8Array {
  const seed = new Uint8Array(SEED_BYTES).fill(0xa5);
  new DataView(seed.buffer).setUint32(0, number, true);
  return seed;
}

/** Three PRGs. */
export function seeded(kernels: RingKernels, number: number): AllRandomness {
  const prg = (party: number) => new Prg(kernels, seedOf(3 * number + party));
  return { client: prg(0), server: prg(1), own: prg(2) };
}

/** One request for words or bytes. */
export interface Draw {
  readonly place: Place;
  readonly purpose: Purpose;
  readonly count: number;
  readonly bits: number;
}

/** Passes requests on and writes them down. */
export function recorded(source: Randomness, draws: Draw[]): Randomness {
  return {
    words(place, purpose, count, bits) {
      draws.push({ place, purpose, count, bits });
      return source.words(place, purpose, count, bits);
    },
    bytes(place, purpose, count) {
      draws.push({ place, purpose, count, bits: 8 });
      return source.bytes(place, purpose, count);
    },
  };
}
