// The loops that benchmarks measure a core by: that they do what was asked for, where they can.

import { describe, expect, it, test } from "vitest";
import { codeOf } from "../../test/kernel-data.ts";
import { type Addon, type AddonLimits, builtFile, loadAddon } from "./addon.ts";

const addon: Addon = builtFile("native.node") === undefined ? {} : loadAddon();

for (const isa of ["amx", "avx512", "avx2", "portable"]) {
  const kernels: AddonLimits | undefined = addon[isa];
  if (kernels === undefined) {
    test.skip(`limits, ${isa}: no build/native.node, or not on this processor`);
    continue;
  }
  describe(`limits, ${isa}`, () => conformance(isa, kernels));
}

function conformance(isa: string, kernels: AddonLimits): void {
  it("do as many operations as asked for, or a few more", () => {
    const names = ["limitMultiplyAdds64", "limitMultiplyAddsF32", "limitQuarterRounds"] as const;
    for (const name of names) {
      for (const least of [1, 1000, 100_000]) {
        expect(kernels[name](least)).toBeGreaterThanOrEqual(least);
        expect(kernels[name](least)).toBeLessThan(least + 1000);
      }
      expect(kernels[name](0)).toBe(0);
    }
  });

  it("have tiles with that set alone, and AES not in plain C++", () => {
    // The set is there although an old assembler left its limit out.
    if (isa !== "amx") expect(kernels.limitMultiplyAdds8(1)).toBe(0);
    expect([0, 6 * 16 * 16 * 64]).toContain(kernels.limitMultiplyAdds8(1));
    if (isa === "portable") expect(kernels.limitAesRounds(1)).toBe(0);
    else expect([0, 1]).toContain(Math.min(1, kernels.limitAesRounds(1)));
  });

  it("read what was asked for, rounded up, and free it", () => {
    expect(kernels.limitRead(5000)).toBe(5120);
    expect(kernels.limitRead(5000)).toBe(5120);
    expect(kernels.limitRead(3_000_000)).toBe(3_000_320);
    expect(kernels.limitRead(0)).toBe(0);
  });

  it("refuse what is no number", () => {
    expect(codeOf(() => kernels.limitRead("1" as never))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.limitAesRounds(undefined as never))).toBe("E_KERNEL");
  });
}
