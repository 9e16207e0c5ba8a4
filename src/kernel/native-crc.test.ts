// The native checksum on every instruction set that the processor has: known answers, and the same
// as the one in TypeScript.

import fc from "fast-check";
import { afterEach, describe, expect, it, test, vi } from "vitest";
import { bytesOf, codeOf, seed } from "../../test/kernel-data.ts";
import { crc32c } from "../wire/crc32c.ts";
import { type Addon, type AddonKernels, builtFile, loadAddon } from "./addon.ts";
import { chooseChecksum, loadCrc32c } from "./crc-load.ts";
import { nativeCrc32c } from "./native-crc.ts";
import { testCrc32c } from "./self-test.ts";

const addon: Addon = builtFile("native.node") === undefined ? {} : loadAddon();

afterEach(() => vi.unstubAllEnvs());

for (const isa of ["amx", "avx512", "avx2", "portable"]) {
  if (addon[isa] === undefined) {
    test.skip(`native checksum, ${isa}: no build/native.node, or not on this processor`);
    continue;
  }
  describe(`native checksum, ${isa}`, () => conformance(isa));
}

function conformance(isa: string): void {
  const native = nativeCrc32c(addon, isa);

  it("passes the self-test", () => expect(testCrc32c(native)).toEqual([]));

  it("equals the TypeScript one on 0 to 100 bytes at every alignment, from any start", () => {
    const bytes = bytesOf(1, 108);
    for (let at = 0; at < 8; at++) {
      for (let length = 0; length <= 100; length++) {
        const part = bytes.subarray(at, at + length);
        for (const previous of [0, 1, 0x80000000, 0xffffffff]) {
          expect(native(part, previous)).toBe(crc32c(part, previous));
        }
      }
    }
  });

  it("equals it where blocks of runs begin and end", () => {
    const bytes = bytesOf(2, 13_000);
    const edges = [3 * 128, 3 * 2048, 3 * 2048 + 3 * 128, 2 * 3 * 2048].flatMap((edge) =>
      Array.from({ length: 19 }, (_, i) => edge - 9 + i),
    );
    for (const length of edges) {
      const part = bytes.subarray(3, 3 + length);
      expect(native(part, 7)).toBe(crc32c(part, 7));
    }
  });

  it("goes on from where it was", () => {
    const property = fc.property(seed, fc.nat(20_000), fc.nat(20_000), (from, length, cut) => {
      const bytes = bytesOf(from, length);
      const [head, tail] = [bytes.subarray(0, cut), bytes.subarray(cut)];
      expect(native(tail, native(head, 0))).toBe(crc32c(bytes));
    });
    fc.assert(property, { numRuns: 50 });
  });

  it("refuses what is no view, and what is no number", () => {
    const kernels = addon[isa] as AddonKernels;
    expect(codeOf(() => kernels.crc32c(new ArrayBuffer(8) as never, 0))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.crc32c(new Uint8Array(8), "0" as never))).toBe("E_KERNEL");
  });
}

describe("the choice", () => {
  it("is the addon's where it is there, unless other kernels are forced", async () => {
    vi.stubEnv("MERGEN_KERNELS", "");
    const best = await loadCrc32c();
    expect(best !== undefined).toBe(Object.keys(addon).length > 0);
    vi.stubEnv("MERGEN_KERNELS", "wasm");
    expect(await loadCrc32c()).toBeUndefined();
    expect(await chooseChecksum()).toMatchObject({ detail: "TypeScript", refused: [] });
    vi.stubEnv("MERGEN_KERNELS", "gpu");
    await expect(loadCrc32c()).rejects.toMatchObject({ code: "E_USAGE" });
  });

  it("refuses an addon of older sources, or with wrong results", () => {
    const create = (kernels: Partial<AddonKernels>) => () =>
      nativeCrc32c({ portable: kernels } as unknown as Addon);
    const error = (says: RegExp) =>
      expect.objectContaining({ code: "E_KERNEL", message: expect.stringMatching(says) });
    expect(create({})).toThrow(error(/crc32c is not a function.*build\.js --force/));
    expect(create({ crc32c: () => 0 })).toThrow(error(/checksum is wrong.*build\.js --force/));
    expect(() => nativeCrc32c({}, "avx2")).toThrow(error(/have no avx2 here/));
  });

  it("is told from a wrong one by the self-test", () => {
    expect(testCrc32c(crc32c)).toEqual([]);
    expect(testCrc32c((bytes) => crc32c(bytes))).toEqual(["crc32c"]);
    expect(testCrc32c(() => 0x8a9136aa)).toEqual(["crc32c"]);
  });
});
