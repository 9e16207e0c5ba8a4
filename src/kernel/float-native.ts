// The float32 kernels of the native addon: operands are used in place, nothing is copied.

import { ensure } from "../errors.ts";
import type { Addon } from "./addon.ts";
import {
  adamwFactors,
  checkElementwise,
  checkGemm,
  checkMixHeads,
  checkSoftmax,
  formNumber,
  gemmFlags,
} from "./float-check.ts";
import type { FloatKernels } from "./float-kernels.ts";

const empty = new Float32Array(0);

/**
 * Kernels of one instruction set, by default the best that the processor has.
 * @throws  E_KERNEL when the processor does not have it
 */
export function createFloatNative(addon: Addon, isa = Object.keys(addon)[0]): FloatKernels {
  const kernels = addon[isa];
  ensure(kernels !== undefined, "E_KERNEL", `the native kernels have no ${isa} here`);
  return {
    name: "native",

    gemm(options) {
      checkGemm(options);
      const { m, n, k, a, b, out } = options;
      kernels.gemmF32(m, n, k, a, b, out, gemmFlags(options));
    },

    mixHeads(options) {
      checkMixHeads(options);
      const { heads, rows, columns, coefficients, x, out, accumulate } = options;
      kernels.mixHeadsF32(heads, rows, columns, coefficients, x, out, accumulate ? 1 : 0);
    },

    gelu({ form, x, out }) {
      const count = checkElementwise("gelu", { x, out });
      kernels.geluF32(formNumber(form), count, x, out);
    },

    geluGradient({ form, x, dy, out }) {
      const count = checkElementwise("geluGradient", { x, dy, out });
      kernels.geluGradientF32(formNumber(form), count, x, dy, out);
    },

    softmax(options) {
      checkSoftmax(options);
      const { rows, columns, causalRows = 0, x, out, logSums } = options;
      const wantsSums = logSums === undefined ? 0 : 1;
      kernels.softmaxF32(rows, columns, causalRows, x, out, logSums ?? empty, wantsSums);
    },

    adamw(options) {
      const f = adamwFactors(options);
      const { weights, gradients, firstMoment, secondMoment } = options;
      kernels.adamwF32(
        weights.length,
        weights,
        gradients,
        firstMoment,
        secondMoment,
        f.beta1,
        f.beta2,
        f.stepSize,
        f.rootScale,
        f.epsilon,
        f.decay,
        f.gradientScale,
      );
    },
  };
}
