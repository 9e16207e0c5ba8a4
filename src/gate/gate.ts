// What every gate supplies, and what it may use. A gate does no input or output: it yields bytes
// to send and sizes to receive, and the executor turns what is ready at one time into one message.

import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import type { Place, Randomness } from "../ring/prg.ts";
import type { AnyMatrix, AttentionDims, Ring, Words } from "../ring/ring.ts";
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
  /**
   * Low bits of the output's words that later gates need; what lies above may be anything. Default
   * all of the ring's. Masks, messages and correlations have no more bits than that.
   */
  readonly bits?: number | undefined;
}

/** One step of a gate's online part; a `receive` is answered with exactly that many bytes. */
export type Exchange = { readonly send: Uint8Array } | { readonly receive: number };
export type Online = Generator<Exchange, void, Uint8Array>;

/** Exact costs of one gate, in bytes of payload without item and frame headers. */
export interface GateCost {
  /** Online exchanges in order. */
  readonly online: readonly { readonly from: "client" | "server"; readonly bytes: number }[];
  /**
   * Whether they cross: C's and S's come in turn in the list, and each party sends its own part
   * before it takes the other's. Default no.
   */
  readonly crossed?: boolean;
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
  matrix(key: string): AnyMatrix;
  /** Constant attention for these new rows: weights, and which rows of it they are. */
  attention(key: string, dims: AttentionDims, rows: number): AttentionWeights;
  /** Plain words: diagonals, and (S only) biases. */
  words(key: string): Words;
}

export interface AttentionWeights {
  readonly weights: Words | Int16Array;
  readonly held: AttentionDims["held"];
}

interface Context<W> {
  readonly ring: Ring;
  readonly segment: number;
  /** Wires of this segment by number. */
  readonly wires: Map<number, W>;
}

interface StatefulContext<W> extends Context<W> {
  /** Wires that outlive their segment: states and caches, by name. */
  readonly states: Map<string, W>;
  readonly tensors: Tensors;
}

/** What C and D know alike of C's masks, before anything else. */
interface MaskingContext<W> extends StatefulContext<W> {
  /** C's randomness. */
  readonly client: Randomness;
  /** Products of masks that were made ahead, by gate. */
  readonly products: Map<number, Words>;
}

export interface FixedContext extends StatefulContext<FixedWire> {
  /** One-hot inputs by name, token ids. */
  readonly ids: ReadonlyMap<string, readonly number[]>;
  /** Truncated logits by output name. */
  readonly logits: Map<string, Int32Array>;
  /** Words that are opened to C, by name. */
  readonly revealed: Map<string, Int32Array>;
  /** The parties' randomness, so that dither falls as in the secure run; else round to nearest. */
  readonly parties: { client: Randomness; server: Randomness; weightMasks: Tensors } | undefined;
}

export interface DealerContext extends MaskingContext<DealerWire> {
  readonly server: Randomness;
  /** D's own randomness: roots of keys. */
  readonly own: Randomness;
  readonly functionPrg: FunctionPrg;
  /** Bytes of this gate, one part after the other. */
  toServer(gate: GateBase, ...parts: Uint8Array[]): void;
  toClient(gate: GateBase, ...parts: Uint8Array[]): void;
  /** Memory for large keys that are not needed any more once they are sent. Default: new. */
  readonly room?: ((byteLength: number) => Uint8Array) | undefined;
}

export interface OfflineClientContext extends MaskingContext<ClientWire> {
  /** Sends words for this gate ahead of the input. */
  upload(gate: GateBase, bytes: Uint8Array): void;
}

/** Either party that prepares a bundle. */
export type OfflineContext = OfflineClientContext | DealerContext;

export interface OnlineClientContext extends Context<ClientWire> {
  /** Opened wires that outlive their segment, by name. */
  readonly states: Map<string, ClientWire>;
  /** C's randomness. */
  readonly client: Randomness;
  readonly functionPrg: FunctionPrg;
  readonly ids: ReadonlyMap<string, readonly number[]>;
  readonly logits: Map<string, Int32Array>;
  /** Words that are opened to C, by name. */
  readonly revealed: Map<string, Int32Array>;
  /** What D dealt to C for this gate; each is given once. */
  fromDealer(gate: GateBase): Uint8Array;
}

export interface ServerContext extends StatefulContext<ServerWire> {
  /** S's randomness. */
  readonly server: Randomness;
  readonly functionPrg: FunctionPrg;
  fromDealer(gate: GateBase): Uint8Array;
  fromClient(gate: GateBase): Uint8Array;
}

export interface Gate<S extends GateBase> {
  /** The same ring result in the clear. */
  reference(gate: S, context: FixedContext): void;
  /** C's mask of the output, where it is client-masked: C and D make it alike, before all else. */
  mask?(gate: S, context: OfflineContext): void;
  /** The product of a mask with a matrix that deal and prepare will want. */
  product?(gate: S, context: OfflineContext): MaskProduct | undefined;
  /** D's part: correlations for both. */
  deal(gate: S, context: DealerContext): void;
  /** C's part before the input exists. */
  prepare(gate: S, context: OfflineClientContext): void;
  /** Whether C has nothing to do online; default no. */
  idle?(gate: S): boolean;
  client(gate: S, context: OnlineClientContext): Online;
  server(gate: S, context: ServerContext): Online;
  cost(gate: S, ringBits: number): GateCost;
}

/** r [m, rows] times a matrix of the model. */
export interface MaskProduct {
  readonly weight: string;
  readonly r: Words;
}

/** Width of a gate's output. */
export function widthOf(gate: GateBase, ringBits: number): number {
  return Math.min(gate.bits ?? ringBits, ringBits);
}

export function placeOf(gate: GateBase, context: { readonly segment: number }): Place {
  return { segment: context.segment, gate: gate.id };
}

/** The online part of a gate that has none at C or at S, once `run` is done. */
export function* local(run?: () => void): Online {
  run?.();
}
