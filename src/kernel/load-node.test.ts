// Which ring kernels are taken, what forces them, and what the errors say. What they compute:
// ring-kernels.test.ts. A package without the addon, or with a broken one: test/pack.test.ts.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type Addon, type AddonKernels, findAddon } from "./addon.ts";
import { describeKernels, loadRingKernels } from "./load-node.ts";
import { createNativeRingKernels } from "./native.ts";

const { addon } = findAddon();
const best = addon ? "native" : "wasm";

afterEach(() => vi.unstubAllEnvs());

/** What /proc/cpuinfo must list for each instruction set of the addon. */
const processorFlags: Record<string, readonly string[]> = {
  avx512: ["avx512f", "avx512dq", "avx512bw", "avx512vl"],
  avx2: ["avx2", "fma"],
  portable: [],
};

/** In CI nothing that could be tested may be skipped: elsewhere the addon is optional. */
describe.runIf(process.env.CI === "true")("in CI", () => {
  const compiler = ["g++", "c++", "clang++"].find(
    (name) => spawnSync(name, ["--version"]).status === 0,
  );

  it.runIf(compiler !== undefined)("a machine with a compiler has the addon", () => {
    expect(findAddon()).toHaveProperty("addon");
  });

  it.runIf(process.platform === "linux" && process.arch === "x64" && addon !== undefined)(
    "the addon offers every instruction set that the processor lists",
    () => {
      const flags = new Set(readFileSync("/proc/cpuinfo", "utf8").split(/\s+/));
      const wanted = Object.keys(processorFlags).filter((isa) =>
        processorFlags[isa]!.every((flag) => flags.has(flag)),
      );
      expect(Object.keys(addon!)).toEqual(expect.arrayContaining(wanted));
      const [best] = Object.values(addon!);
      expect(best!.treeEvaluateAes128 !== undefined).toBe(flags.has("aes"));
    },
  );
});

describe("loadRingKernels", () => {
  it("takes the addon where there is one, else WASM", async () => {
    vi.stubEnv("MERGEN_KERNELS", "");
    expect((await loadRingKernels()).name).toBe(best);
  });

  it("obeys its option before MERGEN_KERNELS, and that before its own choice", async () => {
    vi.stubEnv("MERGEN_KERNELS", "reference");
    expect((await loadRingKernels()).name).toBe("reference");
    expect((await loadRingKernels({ kernels: "wasm" })).name).toBe("wasm");
  });

  it("refuses unknown names and counts", async () => {
    vi.stubEnv("MERGEN_KERNELS", "gpu");
    const wrong = { code: "E_USAGE", message: expect.stringContaining("native, wasm, reference") };
    await expect(loadRingKernels()).rejects.toMatchObject(wrong);
    vi.stubEnv("MERGEN_KERNELS", "");
    for (const threads of [0, 1.5, 33, Number.NaN]) {
      await expect(loadRingKernels({ threads })).rejects.toMatchObject({ code: "E_USAGE" });
    }
  });
});

describe("describeKernels", () => {
  it("says what runs, on what, and what forced it", async () => {
    vi.stubEnv("MERGEN_KERNELS", "");
    const { ring, float, threads, processor } = await describeKernels({ threads: 2 });
    expect([ring.name, float.name]).toEqual([best, best]);
    expect(ring.refused).toHaveLength(addon ? 0 : 1);
    expect([threads, ring.forcedBy]).toEqual([2, undefined]);
    expect(processor.cores).toBeGreaterThan(0);
    vi.stubEnv("MERGEN_KERNELS", "wasm");
    const forced = await describeKernels();
    expect([forced.ring.name, forced.ring.forcedBy]).toEqual(["wasm", "MERGEN_KERNELS=wasm"]);
    expect(forced.addon.instructionSets).toEqual(Object.keys(addon ?? {}));
  });
});

describe("an addon that does not fit", () => {
  const create = (kernels: Partial<AddonKernels>) =>
    createNativeRingKernels({ portable: kernels } as unknown as Addon);
  const error = (says: RegExp) =>
    expect.objectContaining({ code: "E_KERNEL", message: expect.stringMatching(says) });

  it("of older sources, or with wrong results, is refused with the remedy", () => {
    expect(() => create({})).toThrow(error(/addScaledU64 is not a function.*build\.js --force/));
    expect(() => create({ addScaledU64() {} })).toThrow(error(/wrong results.*build\.js --force/));
  });

  it("without the instruction set", () => {
    const run = () => createNativeRingKernels({}, { isa: "avx512" });
    expect(run).toThrow(error(/have no avx512 here/));
  });
});

describe.skipIf(addon === undefined)("the native addon", () => {
  const [two, four] = [new BigUint64Array(2), new BigUint64Array(4)];
  const [bytes, key] = [new Uint8Array(64), new Uint8Array(32)];
  const none = undefined as never;
  const cases: [string, (kernels: AddonKernels) => unknown][] = [
    ["an operand too short", (k) => k.addU64(four, four, two)],
    ["no view", (k) => k.addU64(four, four, none)],
    ["a buffer", (k) => k.addU64(four, four, new ArrayBuffer(32) as never)],
    ["a DataView", (k) => k.addU64(four, four, new DataView(new ArrayBuffer(32)) as never)],
    ["bytes that words do not fit", (k) => k.addU64(four, four, bytes.subarray(0, 31) as never)],
    ["bytes off their places", (k) => k.addU64(four, four, bytes.subarray(1, 33) as never)],
    ["a number as factor", (k) => k.scaleU64(four, four, 3 as never)],
    ["64 bits to shift", (k) => k.shiftRightU64(four, four, 64)],
    ["no bits to keep", (k) => k.lowBitsU64(four, four, 0)],
    ["rows too short", (k) => k.sumRowsU64(two, four, 3)],
    ["rows far too long", (k) => k.sumRowsU64(two, four, 2 ** 32 - 1)],
    ["a field too wide", (k) => k.packU64(bytes, two, 65)],
    ["too few bytes to pack into", (k) => k.packU64(bytes.subarray(0, 10), four, 22)],
    ["too few bytes to unpack", (k) => k.unpackU64(four, bytes.subarray(0, 10), 22)],
    ["no heads", (k) => k.attendU64(two, four, four, 0, 2, 1, 2, 0, 2)],
    ["columns that heads do not divide", (k) => k.attendU64(two, four, four, 3, 2, 1, 2, 0, 2)],
    ["a start beyond the rows", (k) => k.attendU64(two, four, four, 1, 2, 3, 2, 0, 2)],
    ["a result too short", (k) => k.attendU64(two, four, four, 1, 2, 0, 2, 0, 2)],
    ["rows that are not held", (k) => k.attendU64(two, four, four, 1, 2, 1, 2, 0, 1)],
    ["rows held after the start", (k) => k.attendU64(four, four, four, 1, 2, 0, 2, 1, 2)],
    ["more rows than positions", (k) => k.attendU64(two, four, four, 1, 1, 1, 2, 0, 4)],
    ["weights too few", (k) => k.attendU64(two, four, two, 1, 2, 1, 2, 0, 2)],
    [
      "weights whose size wraps",
      (k) => k.attendU64(two, four, four, 2, 2 ** 31, 1, 2, 0, 2 ** 31 + 2),
    ],
    [
      "weights of 16 bits too few",
      (k) => k.attendInt16(two, four, new Int16Array(3), 1, 2, 1, 2, 0, 2),
    ],
    ["a key too short", (k) => k.chacha12(bytes, key.subarray(1), key, 0)],
    ["a nonce too short", (k) => k.chacha12(bytes, key, key.subarray(0, 11), 0)],
    ["nothing", (k) => (k.addU64 as () => void)()],
  ];
  it.each(cases)("refuses %s", (_, call) => {
    for (const kernels of Object.values(addon!)) {
      expect(() => call(kernels)).toThrow(expect.objectContaining({ code: "E_KERNEL" }));
    }
  });

  it("takes in factors of any size and sign modulo 2^64", () => {
    for (const kernels of Object.values(addon!)) {
      const out = new BigUint64Array(1);
      for (const factor of [-1n, (1n << 64n) + 5n, -(1n << 70n) - 2n]) {
        kernels.scaleU64(out, BigUint64Array.of(3n), factor);
        expect(out[0]).toBe(BigInt.asUintN(64, 3n * factor));
      }
    }
  });

  it("works on memory that threads share", () => {
    for (const kernels of Object.values(addon!)) {
      const shared = new BigUint64Array(new SharedArrayBuffer(24)).fill(2n);
      kernels.mulU64(shared, shared, shared);
      expect(shared).toEqual(new BigUint64Array(3).fill(4n));
    }
  });
});
