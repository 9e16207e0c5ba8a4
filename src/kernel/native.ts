// The ring kernels of the native addon (native/). Operands are used in place, nothing is copied. A
// typical call takes well under a microsecond, so each does its checks and one call of the addon.
// Elementwise operations, packed fields, attention and keystream are here; products and function
// keys come from files of their own.

import { ensure, MergenError } from "../errors.ts";
import { type Addon, type AddonRing, addonRemedy } from "./addon.ts";
import { nativePiecewise } from "./native-piecewise.ts";
import { nativeProducts } from "./native-product.ts";
import { nativeTrees } from "./native-tree.ts";
import {
  checkAttend,
  checkBits,
  checkChacha,
  checkPacked,
  checkSameLength,
  checkShift,
  checkSumRows,
} from "./ring-checks.ts";
import type { RingKernels } from "./ring-kernels.ts";

export interface NativeOptions {
  /** Instruction set; by default the best that the processor has. */
  readonly isa?: string | undefined;
  /** Threads of big products, the caller's among them; default 1. */
  readonly threads?: number | undefined;
}

/**
 * @throws  E_KERNEL when the addon lacks the instruction set, or comes of other sources than these
 */
export function createNativeRingKernels(addon: Addon, options: NativeOptions = {}): RingKernels {
  const { isa = Object.keys(addon)[0], threads = 1 } = options;
  const kernels = addon[isa];
  ensure(kernels !== undefined, "E_KERNEL", `the native kernels have no ${isa} here`);
  tryOut(kernels);
  const { setThreads, ...products } = nativeProducts(addon, isa);
  setThreads(threads);
  const trees = nativeTrees(addon, isa);
  return {
    name: "native",
    ...elementwise(kernels),
    ...packedFields(kernels),
    ...attention(kernels),
    chacha12(out, key, nonce, counter) {
      checkChacha(out, key, nonce, counter);
      kernels.chacha12(out, key, nonce, counter);
    },
    ...products,
    ...trees,
    piecewise: (options) => nativePiecewise(kernels, trees, options),
  };
}

/** An addon that was built from older sources, or that does not work with this Node. */
function tryOut(kernels: AddonRing): void {
  const words = BigUint64Array.of(1n, 2n);
  try {
    kernels.addScaledU64(words, words, 3n);
    ensure(words[0] === 4n && words[1] === 8n, "E_KERNEL", "it gives wrong results");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `build/native.node cannot be used (${reason}): ${addonRemedy()}`;
    throw new MergenError("E_KERNEL", message, { cause });
  }
}

type Elementwise =
  | "add"
  | "sub"
  | "mul"
  | "scale"
  | "addScaled"
  | "addConstant"
  | "shiftRight"
  | "shiftRightSigned"
  | "lowBits"
  | "sumRows";

function elementwise(kernels: AddonRing): Pick<RingKernels, Elementwise> {
  return {
    add(out, a, b) {
      checkSameLength("add", out, a, b);
      kernels.addU64(out, a, b);
    },
    sub(out, a, b) {
      checkSameLength("sub", out, a, b);
      kernels.subU64(out, a, b);
    },
    mul(out, a, b) {
      checkSameLength("mul", out, a, b);
      kernels.mulU64(out, a, b);
    },
    scale(out, a, factor) {
      checkSameLength("scale", out, a);
      kernels.scaleU64(out, a, factor);
    },
    addScaled(out, a, factor) {
      checkSameLength("addScaled", out, a);
      kernels.addScaledU64(out, a, factor);
    },
    addConstant(out, a, constant) {
      checkSameLength("addConstant", out, a);
      kernels.addConstantU64(out, a, constant);
    },
    shiftRight(out, a, bits) {
      checkSameLength("shiftRight", out, a);
      checkShift("shiftRight", bits);
      kernels.shiftRightU64(out, a, bits);
    },
    shiftRightSigned(out, a, bits) {
      checkSameLength("shiftRightSigned", out, a);
      checkShift("shiftRightSigned", bits);
      kernels.shiftRightSignedU64(out, a, bits);
    },
    lowBits(out, a, bits) {
      checkSameLength("lowBits", out, a);
      checkBits("lowBits", bits);
      kernels.lowBitsU64(out, a, bits);
    },
    sumRows(out, a, width) {
      checkSumRows(out, a, width);
      kernels.sumRowsU64(out, a, width);
    },
  };
}

function packedFields(kernels: AddonRing): Pick<RingKernels, "pack" | "unpack"> {
  return {
    pack(out, words, bits) {
      checkPacked("pack", out, words, bits);
      kernels.packU64(out, words, bits);
    },
    unpack(out, bytes, bits) {
      checkPacked("unpack", bytes, out, bits);
      kernels.unpackU64(out, bytes, bits);
    },
  };
}

function attention(kernels: AddonRing): Pick<RingKernels, "attend"> {
  return {
    attend(out, x, weights, dims) {
      checkAttend(out, x, weights, dims);
      const { heads, positions, start, columns } = dims;
      const { from, count } = dims.held ?? { from: 0, count: positions };
      if (weights instanceof Int16Array) {
        kernels.attendInt16(out, x, weights, heads, positions, start, columns, from, count);
      } else {
        kernels.attendU64(out, x, weights, heads, positions, start, columns, from, count);
      }
    },
  };
}
