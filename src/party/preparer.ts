// C's offline work on a bundle: its shares of all linear layers, from the bundle's seed and that of
// D_W alone. It can run on the caller's thread or beside it (preparer-node.ts).

import type { RingKernels } from "../kernel/ring-kernels.ts";
import { MaskTensors } from "../plan/masks.ts";
import { Prg } from "../ring/prg.ts";
import { Ring } from "../ring/ring.ts";
import { type ClientStates, type PreparedWires, prepareBundle } from "../run/party.ts";
import type { Plan } from "./plan.ts";

/** A bundle that C has prepared: its wires, segment by segment, and what S is sent ahead. */
export interface PreparedBundle {
  readonly wires: readonly PreparedWires[];
  readonly upload: Uint8Array;
}

export interface Preparer {
  /** Whether prepare() works beside the caller, so that it pays to run ahead. */
  readonly background: boolean;
  /** Prepares the next bundle of the plan from its seed; bundles come in order. */
  prepare(seed: Uint8Array): Promise<PreparedBundle>;
  close(): void;
}

/** What all bundles of a generation have in common. */
export interface PreparerSetup {
  readonly plan: Pick<Plan, "bundles" | "tensors">;
  /** Seed of D_W. */
  readonly maskSeed: Uint8Array;
}

export type StartPreparer = (setup: PreparerSetup, kernels: RingKernels) => Preparer;

/** Prepares on the caller's thread. */
export function inlinePreparer({ plan, maskSeed }: PreparerSetup, kernels: RingKernels): Preparer {
  const ring = new Ring(kernels);
  const tensors = new MaskTensors(kernels, plan.tensors, maskSeed);
  const states: ClientStates = new Map();
  let next = 0;
  return {
    background: false,
    async prepare(seed) {
      const random = new Prg(kernels, seed);
      try {
        const segments = plan.bundles[next++]!;
        return prepareBundle({ ring, segments, states, tensors, random });
      } finally {
        random.erase();
      }
    },
    close() {},
  };
}
