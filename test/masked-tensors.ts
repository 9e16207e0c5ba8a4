// A model's tensors as S, C and D hold them, made as the parties make them: B = W - D_W reaches D
// slab by slab.

import type { RingKernels } from "../src/kernel/ring-kernels.ts";
import type { LocalModel } from "../src/party/local.ts";
import { MaskTensors, maskedSlabs } from "../src/plan/masks.ts";
import { type MaskedTensor, RingTensors, ServerTensors } from "../src/plan/tensors.ts";
import type { Words } from "../src/ring/ring.ts";

export interface PartyTensors {
  readonly server: ServerTensors;
  readonly client: MaskTensors;
  readonly dealer: RingTensors;
}

export function partyTensors(
  kernels: RingKernels,
  { weights, config }: Pick<LocalModel, "weights" | "config">,
  listed: readonly MaskedTensor[],
  maskSeed: Uint8Array,
): PartyTensors {
  const server = new ServerTensors({ kernels, weights, numbers: config, tensors: listed });
  const client = new MaskTensors(kernels, listed, maskSeed);
  const dealer = new RingTensors(kernels);
  for (const tensor of listed) {
    dealer.add(tensor, maskedWords(kernels, { weights: server, masks: client }, tensor));
  }
  return { server, client, dealer };
}

/** A tensor's slabs of B one after the other. */
export function maskedWords(
  kernels: RingKernels,
  tensors: { readonly weights: ServerTensors; readonly masks: MaskTensors },
  tensor: MaskedTensor,
): Words {
  const words = new BigUint64Array(tensor.rows * tensor.columns);
  let at = 0;
  for (const slab of maskedSlabs(kernels, tensors, tensor)) {
    words.set(slab, at);
    at += slab.length;
  }
  if (at !== words.length) throw new Error(`${tensor.key}: slabs of ${at} words`);
  return words;
}
