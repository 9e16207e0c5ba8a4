// What every gate supplies, and what it may use. A gate does no input or output: it yields bytes
// to send and sizes to receive, and the executor turns what is ready at one time into one message.

import type { RingMatrix } from "../kernel/ring-kernels.ts";
import type { Place, Randomness } from "../ring/prg.ts";
import type { Ring, Words } from "../ring/ring.ts";
import type { ClientWire, DealerWire, FixedWire, ServerWire } from "../share/wires.ts";

/** Common part of a gate's public description. Wires are numbered within their segment. */
export interface GateBase {
  /** Number of the gate within its segment: the key of its correlations and messages. */
  readonly id: number;
  readonly inputs: readonly number[];
  readonly output: number;
  /** Shape of the output. */
  readonly rows: number;
  readonly columns: number;
}

/** One step of a gate's online part; a `receive` is answered with exactly that many bytes. */
export type Exchange = { readonly send: Uint8Array } | { readonly receive: number };
export type Online = Generator<Exchange, void, Uint8Array>;

/** Exact costs of one gate, in bytes of payload without item and frame headers. */
export interface GateCost {
  /** Online exchanges in order. */
  readonly online: readonly { readonly from: "client" | "server"; readonly bytes: number }[];
  readonly dealerToServer: number;
  readonly dealerToClient: number;
  /** Uploaded by C before the input exists. */
  readonly clientToServer: number;
  /** Ring multiply-adds of the linear part, the same for S online, C offline and D. */
  readonly multiplyAdds: number;
}

export const noCost: GateCost = {
  online: [],
  dealerToServer: 0,
  dealerToClient: 0,
  clientToServer: 0,
  multiplyAdds: 0,
};

/** Tensors of the model in the form that one party holds: weights, D_W or B = W - D_W. */
export interface Tensors {
  /** A matrix ready for products. */
  matrix(key: string): RingMatrix;
  /** Plain words: constant attention, diagonals, and (S only) biases. */
  words(key: string): Words;
}

interface Context<W> {
  readonly ring: Ring;
  readonly segment: number;
  /** Wires of this segment by number. */
  readonly wires: Map<number, W>;
  /** Wires that outlive their segment: states and caches, by name. */
  readonly states: Map<string, W>;
  readonly tensors: Tensors;
}

export interface FixedContext extends Context<FixedWire> {
  /** One-hot inputs by name, token ids. */
  readonly ids: Map<string, readonly number[]>;
  /** Truncated logits by output name. */
  readonly logits: Map<string, Int16Array>;
  /** The parties' randomness, so that dither falls as in the secure run; else round to nearest. */
  readonly parties: { client: Randomness; server: Randomness; weightMasks: Tensors } | undefined;
}

export interface DealerContext extends Context<DealerWire> {
  readonly client: Randomness;
  readonly server: Randomness;
  /** D's own randomness: roots of keys. */
  readonly own: Randomness;
  toServer(gate: GateBase, bytes: Uint8Array): void;
  toClient(gate: GateBase, bytes: Uint8Array): void;
}

export interface ClientContext extends Context<ClientWire> {
  readonly random: Randomness;
  readonly ids: Map<string, readonly number[]>;
  readonly logits: Map<string, Int16Array>;
  /** Sends words for this gate ahead of the input. */
  upload(gate: GateBase, bytes: Uint8Array): void;
  /** What D dealt to C for this gate; each is given once. */
  fromDealer(gate: GateBase): Uint8Array;
}

export interface ServerContext extends Context<ServerWire> {
  readonly random: Randomness;
  fromDealer(gate: GateBase): Uint8Array;
  fromClient(gate: GateBase): Uint8Array;
}

export interface Gate<S extends GateBase> {
  /** The same ring result in the clear. */
  reference(gate: S, context: FixedContext): void;
  /** D's part: correlations for both. */
  deal(gate: S, context: DealerContext): void;
  /** C's part before the input exists. */
  prepare(gate: S, context: ClientContext): void;
  client(gate: S, context: ClientContext): Online;
  server(gate: S, context: ServerContext): Online;
  cost(gate: S, ringBits: number): GateCost;
}

export function placeOf(gate: GateBase, context: { readonly segment: number }): Place {
  return { segment: context.segment, gate: gate.id };
}

/** The online part of a gate that has none at C or at S, once `run` is done. */
export function* local(run?: () => void): Online {
  run?.();
}
