// The native function keys on every instruction set that the processor has.

import { describe, expect, test } from "vitest";
import { functionKeys } from "../../test/function-keys.ts";
import { codeOf } from "../../test/kernel-data.ts";
import { type Addon, type AddonKernels, builtFile, loadAddon } from "./addon.ts";
import { nativeTrees } from "./native-tree.ts";

const addon: Addon = builtFile("native.node") === undefined ? {} : loadAddon();

for (const isa of ["amx", "avx512", "avx2", "portable"]) {
  if (addon[isa] === undefined) {
    test.skip(`native function keys, ${isa}: no build/native.node, or not on this processor`);
    continue;
  }
  const kernels = addon[isa];
  describe(`native function keys, ${isa}`, () => {
    functionKeys(nativeTrees(addon, isa));
    boundary(kernels);
    const hasAes = kernels.treeEvaluateAes128 !== undefined;
    if (!hasAes) test.skip("aes128: no AES instructions beside this set");
  });
}

/** What the addon itself refuses, whoever calls it. */
function boundary(kernels: AddonKernels): void {
  const bytes = (count: number) => new Uint8Array(count);
  const words = (count: number) => new BigUint64Array(count);

  test("the addon checks every size again", () => {
    const { treeEvaluateChacha12: evaluate, treeGenerateChacha12: generate } = kernels;
    // A DCF key on 3 bits with a payload of 1 word has 81 bytes.
    const run = (shape: [number, number, number], key: number, points: number, out: number) =>
      codeOf(() => evaluate(...shape, 1, 1, 2, bytes(key), words(points), words(out)));
    expect(run([1, 3, 1], 81, 2, 2)).toBe("nothing thrown");
    expect(run([1, 3, 1], 80, 2, 2)).toBe("E_KERNEL");
    expect(run([1, 3, 1], 81, 1, 2)).toBe("E_KERNEL");
    expect(run([1, 3, 1], 81, 2, 1)).toBe("E_KERNEL");
    expect(run([1, 0, 1], 81, 2, 2)).toBe("E_KERNEL");
    expect(run([1, 65, 1], 9999, 2, 2)).toBe("E_KERNEL");
    expect(run([1, 3, 0], 81, 2, 2)).toBe("E_KERNEL");
    expect(run([1, 3, 257], 99999, 2, 999)).toBe("E_KERNEL");
    const party = () => evaluate(1, 3, 1, 2, 1, 2, bytes(81), words(2), words(2));
    expect(codeOf(party)).toBe("E_KERNEL");
    const huge = () => evaluate(1, 3, 1, 0, 2 ** 31, 2 ** 31, bytes(81), words(2), words(2));
    expect(codeOf(huge)).toBe("E_KERNEL");
    const other = (alphas: number, payloads: number, roots: number, key: number) =>
      codeOf(() =>
        generate(1, 3, 1, 1, words(alphas), words(payloads), bytes(roots), bytes(81), bytes(key)),
      );
    expect(other(1, 1, 32, 81)).toBe("nothing thrown");
    expect(other(0, 1, 32, 81)).toBe("E_KERNEL");
    expect(other(1, 0, 32, 81)).toBe("E_KERNEL");
    expect(other(1, 1, 31, 81)).toBe("E_KERNEL");
    expect(other(1, 1, 32, 80)).toBe("E_KERNEL");
  });
}

test("an instruction set that is not there is a named error", () => {
  expect(codeOf(() => nativeTrees({}, "avx512"))).toBe("E_KERNEL");
});
