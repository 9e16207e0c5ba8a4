// D's interpreter: walks over the gates of a bundle, makes both parties' masks from their seeds and
// collects the correlations. D never meets a value.

import type { DealerContext, GateBase, Tensors } from "../gate/gate.ts";
import { type GateSpec, gateOf } from "../gate/index.ts";
import type { FunctionPrg } from "../kernel/ring-kernels.ts";
import type { Randomness } from "../ring/prg.ts";
import type { Ring } from "../ring/ring.ts";
import type { DealerWire } from "../share/wires.ts";
import { encodeParts, type ItemParts } from "./items.ts";
import { prepareMasks } from "./offline.ts";

/** Gates of one segment with its number in the session. */
export interface NumberedSegment {
  readonly id: number;
  readonly gates: readonly GateSpec[];
}

/** Masks of carried wires live here from bundle to bundle of one session. */
export type DealerStates = Map<string, DealerWire>;

/** Correlations of a bundle's segments: payloads for S and for C. */
export function dealBundle(options: {
  ring: Ring;
  segments: readonly NumberedSegment[];
  states: DealerStates;
  /** B = W - D_W. */
  tensors: Tensors;
  client: Randomness;
  server: Randomness;
  own: Randomness;
  functionPrg: FunctionPrg;
  /** Bytes that lead each payload, for the caller to write. */
  headerBytes?: number;
  /** Memory for keys and payloads, whatever is in it. Default: new. */
  room?: (byteLength: number) => Uint8Array;
}): { forServer: Uint8Array; forClient: Uint8Array } {
  const forServer: ItemParts[] = [];
  const forClient: ItemParts[] = [];
  const work = options.segments.map(({ id, gates }) => {
    const context: DealerContext = {
      ...options,
      segment: id,
      wires: new Map(),
      products: new Map(),
      toServer: (gate: GateBase, ...parts) =>
        void forServer.push({ segment: id, gate: gate.id, parts }),
      toClient: (gate: GateBase, ...parts) =>
        void forClient.push({ segment: id, gate: gate.id, parts }),
    };
    return { gates, context };
  });
  prepareMasks(options.ring, work);
  for (const { gates, context } of work) {
    for (const gate of gates) gateOf(gate).deal(gate, context);
  }
  const { headerBytes = 0, room = newBytes } = options;
  return {
    forServer: encodeParts(forServer, headerBytes, room),
    forClient: encodeParts(forClient, headerBytes, room),
  };
}

const newBytes = (byteLength: number) => new Uint8Array(byteLength);
