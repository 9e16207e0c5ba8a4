// D_W, the pseudo-random matrix that hides a model from D: C and S have its seed. It is as large as
// the model at 64 bits an entry, so nobody stores it: C multiplies with it as it is made, and S
// makes B = W - D_W slab by slab.

import { ensure } from "../errors.ts";
import type { AttentionWeights, Tensors } from "../gate/gate.ts";
import type { KeystreamMatrix, RingKernels } from "../kernel/ring-kernels.ts";
import { nonceOf } from "../ring/prg.ts";
import type { AttentionDims, Words } from "../ring/ring.ts";
import { type MaskedTensor, type ServerTensors, splitKey } from "./tensors.ts";

/** Words of a slab: a whole number of keystream blocks, and one frame when it is sent. */
export const SLAB_WORDS = 131_064;
const BLOCK_WORDS = 8;

/** Lengths of the slabs of a tensor, in words. */
export function slabLengths({ rows, columns }: MaskedTensor): number[] {
  const size = rows * columns;
  const count = Math.ceil(size / SLAB_WORDS);
  return Array.from({ length: count }, (_, i) => Math.min(SLAB_WORDS, size - i * SLAB_WORDS));
}

/** D_W of a plan's tensors, made from the model's mask seed whenever it is asked for. */
export class MaskTensors implements Tensors {
  readonly #kernels: RingKernels;
  readonly #seed: Uint8Array;
  readonly #tensors = new Map<string, { tensor: MaskedTensor; nonce: Uint8Array }>();

  constructor(kernels: RingKernels, tensors: readonly MaskedTensor[], seed: Uint8Array) {
    this.#kernels = kernels;
    this.#seed = seed.slice();
    for (const [index, tensor] of tensors.entries()) {
      const nonce = nonceOf({ segment: index, gate: 0 }, "weights");
      this.#tensors.set(tensor.key, { tensor, nonce });
    }
  }

  matrix(key: string): KeystreamMatrix {
    const { key: name, transposed } = splitKey(key);
    const { tensor, nonce } = this.#find(name);
    const { rows, columns } = tensor;
    return { rows, columns, key: this.#seed, nonce, transposed };
  }

  /** The rows of the heads' matrices that belong to the new positions. */
  attention(key: string, dims: AttentionDims, rows: number): AttentionWeights {
    const { heads, positions, start } = dims;
    const weights = new BigUint64Array(heads * rows * positions);
    for (let head = 0; head < heads; head++) {
      const from = (head * positions + start) * positions;
      weights.set(this.part(key, from, rows * positions), head * rows * positions);
    }
    return { weights, held: { from: start, count: rows } };
  }

  words(key: string): Words {
    const { rows, columns } = this.#find(key).tensor;
    return this.part(key, 0, rows * columns);
  }

  /** Words from..from+count-1 of a tensor. */
  part(key: string, from: number, count: number): Words {
    const { nonce } = this.#find(key);
    const skipped = from % BLOCK_WORDS;
    const words = new BigUint64Array(skipped + count);
    const block = (from - skipped) / BLOCK_WORDS;
    this.#kernels.chacha12(new Uint8Array(words.buffer), this.#seed, nonce, block);
    return skipped === 0 ? words : words.subarray(skipped);
  }

  #find(key: string) {
    const found = this.#tensors.get(key);
    ensure(found, "E_INTERNAL", `tensor ${key} is not part of the plan`);
    return found;
  }
}

/** B = W - D_W of one tensor, what D gets once per model, slab by slab. */
export function* maskedSlabs(
  kernels: RingKernels,
  tensors: { readonly weights: ServerTensors; readonly masks: MaskTensors },
  tensor: MaskedTensor,
): Generator<Words> {
  let at = 0;
  for (const length of slabLengths(tensor)) {
    const slab = tensors.weights.effective(tensor.key, { from: at, count: length });
    kernels.sub(slab, slab, tensors.masks.part(tensor.key, at, length));
    yield slab;
    at += length;
  }
}
