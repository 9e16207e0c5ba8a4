// The matrix products of the native addon: operands are used in place, matrices live outside
// JavaScript's heap.

import { ensure } from "../errors.ts";
import type { Addon, AddonKernels, AddonMatrix } from "./addon.ts";
import { maxThreads } from "./pool.ts";
import { checkKeystream, checkLoad, checkMatmul } from "./ring-checks.ts";
import type { RingKernels, RingMatrix } from "./ring-kernels.ts";

export interface NativeProducts
  extends Pick<RingKernels, "loadInt16" | "loadRing" | "matmul" | "matmulKeystream" | "close"> {
  /** Threads that big products run on, the caller's among them; 1 at first. */
  setThreads(threads: number): void;
}

class NativeMatrix implements RingMatrix {
  readonly kind: RingMatrix["kind"];
  readonly rows: number;
  readonly columns: number;
  readonly #kernels: AddonKernels;
  #held: AddonMatrix | undefined;

  constructor(
    kernels: AddonKernels,
    held: AddonMatrix,
    shape: Pick<RingMatrix, "kind" | "rows" | "columns">,
  ) {
    this.kind = shape.kind;
    this.rows = shape.rows;
    this.columns = shape.columns;
    this.#kernels = kernels;
    this.#held = held;
  }

  free(): void {
    if (this.#held !== undefined) this.#kernels.freeMatrix(this.#held);
    this.#held = undefined;
  }

  /** The addon's matrix, if `matrix` is one of these kernels that has not been freed. */
  static heldOf(matrix: RingMatrix, kernels: AddonKernels): AddonMatrix {
    const held = #held in matrix && matrix.#kernels === kernels ? matrix.#held : undefined;
    ensure(held !== undefined, "E_KERNEL", "matmul: the matrix was freed or is another kernel's");
    return held;
  }
}

/**
 * Products of one instruction set, by default the best that the processor has.
 * @throws  E_KERNEL when the processor does not have it
 */
export function nativeProducts(addon: Addon, isa = Object.keys(addon)[0]): NativeProducts {
  const kernels = addon[isa];
  ensure(kernels !== undefined, "E_KERNEL", `the native kernels have no ${isa} here`);
  let threads = 1;
  return {
    setThreads(count) {
      const fits = Number.isInteger(count) && count >= 1 && count <= maxThreads;
      ensure(fits, "E_KERNEL", `products run on 1 to ${maxThreads} threads, not on ${count}`);
      threads = count;
    },

    loadInt16(weights, rows, columns) {
      checkLoad("loadInt16", weights.length, rows, columns);
      const held = kernels.loadInt16(weights, rows, columns, threads);
      return new NativeMatrix(kernels, held, { kind: "int16", rows, columns });
    },

    loadRing(words, rows, columns) {
      checkLoad("loadRing", words.length, rows, columns);
      const held = kernels.loadRing(words, rows, columns, threads);
      return new NativeMatrix(kernels, held, { kind: "ring", rows, columns });
    },

    matmul(out, x, matrix) {
      const m = checkMatmul(out, x, matrix);
      kernels.matmul(out, x, m, NativeMatrix.heldOf(matrix, kernels), threads);
    },

    matmulKeystream(out, x, matrix) {
      const m = checkKeystream(out, x, matrix);
      const { rows, columns, transposed, key, nonce } = matrix;
      const turned = transposed ? 1 : 0;
      kernels.matmulKeystream(out, x, m, rows, columns, turned, key, nonce, threads);
    },

    close() {
      threads = 1;
      kernels.closeThreads();
    },
  };
}
