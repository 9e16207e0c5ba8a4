// One suite for every set of float32 kernels: each is held to the error bounds that FloatKernels
// states, against the reference. Sets that are not built are skipped by name.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MergenError } from "../errors.ts";
import { builtFile, loadAddon } from "./addon.ts";
import type { FloatKernels, GeluForm, GemmOptions } from "./float-kernels.ts";
import { describeFloatKernels, loadFloatKernels } from "./float-load.ts";
import { createFloatNative } from "./float-native.ts";
import { floatReference } from "./float-reference.ts";
import { createFloatWasm } from "./float-wasm.ts";

const ulp = 2 ** -24;

/** Deterministic numbers in [-scale, scale): mulberry32, so that a failing seed can be replayed. */
function randomFloats(length: number, seed: number, scale = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return (((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1) * scale;
  });
}

/** Every value within its bound of the expected one; names the first that is not. */
function expectWithin(
  found: Float32Array,
  expected: Float32Array,
  bound: (index: number) => number,
): void {
  expect(found.length).toBe(expected.length);
  const bad = found.findIndex((x, i) => !(Math.abs(x - expected[i]) <= bound(i)));
  if (bad < 0) return;
  const limit = `${expected[bad]} +- ${bound(bad)}`;
  expect.fail(`element ${bad} is ${found[bad]} instead of ${limit}`);
}

function checkProduct(kernels: FloatKernels, shape: Omit<GemmOptions, "a" | "b" | "out">): void {
  const { m, n, k, accumulate } = shape;
  const a = randomFloats(m * k, m + 1);
  const b = randomFloats(k * n, n + 2);
  const start = randomFloats(m * n, k + 3, 3);
  const [out, expected, magnitude] = [start.slice(), start.slice(), start.map(Math.abs)];
  kernels.gemm({ ...shape, a, b, out });
  floatReference.gemm({ ...shape, a, b, out: expected });
  const [absA, absB] = [a.map(Math.abs), b.map(Math.abs)];
  floatReference.gemm({ ...shape, a: absA, b: absB, out: magnitude, accumulate: true });
  expectWithin(out, expected, (i) => (k + 2) * ulp * magnitude[i]);
  if (!accumulate && k === 0) expect(out.every((x) => x === 0)).toBe(true);
}

const size = (max: number) =>
  fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max }));
const forms: GeluForm[] = ["tanh", "erf"];

function conformance(make: () => Promise<FloatKernels>): void {
  it("multiplies any shape, transposed and accumulating", async () => {
    const kernels = await make();
    const shape = fc.record({
      m: size(140),
      n: size(140),
      k: size(140),
      transposeA: fc.boolean(),
      transposeB: fc.boolean(),
      accumulate: fc.boolean(),
    });
    fc.assert(
      fc.property(shape, (s) => checkProduct(kernels, s)),
      { numRuns: 150 },
    );
  });

  it.each([
    { m: 29, n: 37, k: 1037 },
    { m: 601, n: 17, k: 23 },
    { m: 3, n: 2111, k: 9 },
    { m: 14, n: 33, k: 700 },
  ])("multiplies across block borders: %o", async (shape) => {
    const kernels = await make();
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        checkProduct(kernels, { ...shape, transposeA, transposeB, accumulate: transposeA });
      }
    }
  });

  it.each([1, 2, 3, 4])("multiplies %i rows with matrices of any size", async (m) => {
    const kernels = await make();
    const sizes = [1, 3, 4, 8, 9, 17, 33, 300];
    for (const n of [...sizes, 2049, 5000]) {
      for (const k of sizes) {
        const shape = { m, n, k, transposeA: k % 2 === 0, accumulate: n % 3 === 0 };
        checkProduct(kernels, { ...shape, transposeB: false });
        checkProduct(kernels, { ...shape, transposeB: true });
      }
    }
    // Several of the pieces in which a large matrix is read, the last one not full.
    checkProduct(kernels, { m, n: 3072, k: 77, accumulate: true });
    checkProduct(kernels, { m, n: 301, k: 768, transposeB: true });
    checkProduct(kernels, { m, n: 70001, k: 3 });
  });

  it("mixes the heads of a row", async () => {
    const kernels = await make();
    const shape = fc.record({
      heads: fc.integer({ min: 1, max: 12 }),
      rows: fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 600 })),
      width: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(64, 65)),
      accumulate: fc.boolean(),
    });
    fc.assert(
      fc.property(shape, ({ heads, rows, width, accumulate }) => {
        const columns = heads * width;
        const coefficients = randomFloats(heads * rows, rows + 1);
        const x = randomFloats(rows * columns, columns);
        const start = randomFloats(columns, heads, 3);
        const [out, expected, magnitude] = [start.slice(), start.slice(), start.map(Math.abs)];
        const shape = { heads, rows, columns };
        kernels.mixHeads({ ...shape, coefficients, x, out, accumulate });
        floatReference.mixHeads({ ...shape, coefficients, x, out: expected, accumulate });
        const absolute = { coefficients: coefficients.map(Math.abs), x: x.map(Math.abs) };
        floatReference.mixHeads({ ...shape, ...absolute, out: magnitude, accumulate: true });
        expectWithin(out, expected, (i) => (rows + 2) * ulp * magnitude[i]);
      }),
      { numRuns: 100 },
    );
  });

  it("touches nothing outside out, and takes offset views of shared memory", async () => {
    const kernels = await make();
    const memory = new Float32Array(new SharedArrayBuffer(4 * 1000)).fill(7);
    const out = memory.subarray(601, 601 + 15 * 17);
    kernels.gemm({
      m: 15,
      n: 17,
      k: 3,
      a: memory.subarray(1, 46),
      b: memory.subarray(50, 101),
      out,
    });
    expect(out.every((x) => x === 3 * 49)).toBe(true);
    expect(memory.filter((x) => x === 7).length).toBe(1000 - 15 * 17);
  });

  it("refuses wrong sizes and aliasing", async () => {
    const kernels = await make();
    const six = () => new Float32Array(6);
    const good = { m: 2, n: 2, k: 3, a: six(), b: six(), out: new Float32Array(4) };
    kernels.gemm(good);
    const bad: Partial<GemmOptions>[] = [
      { a: new Float32Array(5) },
      { b: new Float32Array(7) },
      { out: six() },
      { m: -1 },
      { k: 1.5 },
      { n: Number.NaN },
      { out: good.a.subarray(0, 4) },
    ];
    for (const change of bad) {
      expect(() => kernels.gemm({ ...good, ...change })).toThrow(
        expect.objectContaining({ code: "E_KERNEL" }),
      );
    }
  });

  it.each(forms)("gelu, %s form, with its gradient", async (form) => {
    const kernels = await make();
    for (const [length, scale] of [
      [1, 1],
      [37, 4],
      [40000, 12],
      [1000, 1e4],
    ]) {
      const x = randomFloats(length, length, scale);
      x[0] = 0;
      const dy = randomFloats(length, 5);
      const [out, expected] = [x.slice(), x.slice()];
      kernels.gelu({ form, x, out });
      floatReference.gelu({ form, x, out: expected });
      expectWithin(out, expected, (i) => 2 ** -21 * Math.abs(x[i]));
      kernels.geluGradient({ form, x, dy, out });
      floatReference.geluGradient({ form, x, dy, out: expected });
      expectWithin(out, expected, (i) => 2 ** -19 * Math.abs(dy[i]));
      const inPlace = x.slice();
      kernels.geluGradient({ form, x: inPlace, dy, out: inPlace });
      expect(inPlace).toEqual(out);
    }
  });

  it("softmax, full and causal", async () => {
    const kernels = await make();
    const shape = fc.record({
      rows: fc.integer({ min: 1, max: 30 }),
      columns: fc.integer({ min: 1, max: 90 }),
      causalShare: fc.double({ min: 0, max: 1, noNaN: true }),
      scale: fc.constantFrom(0.1, 3, 60),
    });
    fc.assert(
      fc.property(shape, ({ rows, columns, causalShare, scale }) => {
        const x = randomFloats(rows * columns, rows + columns, scale);
        if (columns > 1) x[1] = -Infinity;
        const shared = { rows, columns, causalRows: Math.floor(causalShare * columns) };
        const [out, expected] = [x.slice(), x.slice()];
        const [logSums, expectedSums] = [new Float32Array(rows), new Float32Array(rows)];
        kernels.softmax({ ...shared, x, out, logSums });
        floatReference.softmax({ ...shared, x, out: expected, logSums: expectedSums });
        const relative = (columns + 16 + 2 * scale) * ulp;
        expectWithin(out, expected, (i) => relative * expected[i] + 2 ** -120);
        expectWithin(logSums, expectedSums, (i) => relative + 4 * ulp * Math.abs(expectedSums[i]));
        const inPlace = x.slice();
        kernels.softmax({ ...shared, x: inPlace, out: inPlace });
        expect(inPlace).toEqual(out);
      }),
      { numRuns: 60 },
    );
  });

  it("softmax in several pieces", async () => {
    const kernels = await make();
    const x = randomFloats(50 * 2000, 1, 8);
    const [out, expected] = [x.slice(), x.slice()];
    kernels.softmax({ rows: 50, columns: 2000, causalRows: 7, x, out });
    floatReference.softmax({ rows: 50, columns: 2000, causalRows: 7, x, out: expected });
    expectWithin(out, expected, (i) => 2032 * ulp * expected[i] + 2 ** -120);
  });

  it("adamw follows the reference for a few steps", async () => {
    const kernels = await make();
    for (const count of [1, 7, 20011]) {
      const zeros = () => new Float32Array(count);
      const weights = randomFloats(count, 1);
      const found = { weights: weights.slice(), firstMoment: zeros(), secondMoment: zeros() };
      const expected = { weights: weights.slice(), firstMoment: zeros(), secondMoment: zeros() };
      const settings = { learningRate: 0.01, beta1: 0.9, beta2: 0.98, epsilon: 1e-8 };
      for (let step = 1; step <= 4; step++) {
        const gradients = randomFloats(count, step + 10, 0.1);
        const rest = { ...settings, gradients, step, weightDecay: 0.1, gradientScale: 0.5 };
        kernels.adamw({ ...found, ...rest });
        floatReference.adamw({ ...expected, ...rest });
      }
      // Moments: a rounding of each of the three parts in each of four steps, parts below 0.05.
      expectWithin(found.firstMoment, expected.firstMoment, () => 12 * ulp * 0.05);
      expectWithin(found.secondMoment, expected.secondMoment, () => 12 * ulp * 0.0025);
      // A move is at most 4 learning rates; its error is the first moment's over the root.
      const root = (i: number) => Math.sqrt(expected.secondMoment[i] / (1 - 0.98 ** 4));
      const moveError = (i: number) => 0.01 * (4 * 32 * ulp + (12 * ulp * 0.05 * 3) / root(i));
      expectWithin(found.weights, expected.weights, (i) => 4 * (2 * ulp + moveError(i)));
    }
  });

  it("refuses unequal lengths in the elementwise kernels", async () => {
    const kernels = await make();
    const [two, three] = [new Float32Array(2), new Float32Array(3)];
    const moments = { firstMoment: two, secondMoment: two };
    const rates = { learningRate: 1, beta1: 0.9, beta2: 0.9, epsilon: 1e-8, weightDecay: 0 };
    const adamw = { weights: two, gradients: two, ...moments, ...rates };
    const ones = { coefficients: new Float32Array(2), x: new Float32Array(2) };
    const mix = { heads: 2, rows: 1, columns: 2, ...ones, out: new Float32Array(2) };
    const bad = [
      () => kernels.gelu({ form: "tanh", x: two, out: three }),
      () => kernels.geluGradient({ form: "erf", x: two, dy: three, out: two }),
      () => kernels.mixHeads({ ...mix, heads: 3 }),
      () => kernels.mixHeads({ ...mix, rows: 2 }),
      () => kernels.mixHeads({ ...mix, coefficients: three }),
      () => kernels.mixHeads({ ...mix, out: three }),
      () => kernels.mixHeads({ ...mix, out: mix.x }),
      () => kernels.softmax({ rows: 1, columns: 2, x: three, out: two }),
      () => kernels.softmax({ rows: 1, columns: 2, causalRows: 3, x: two, out: two }),
      () => kernels.softmax({ rows: 1, columns: 2, x: two, out: two, logSums: two }),
      () => kernels.adamw({ ...adamw, step: 1, gradients: three }),
      () => kernels.adamw({ ...adamw, step: 0 }),
    ];
    for (const call of bad) {
      expect(call).toThrow(expect.objectContaining({ code: "E_KERNEL" }));
    }
  });
}

/** Loads, or undefined when not built or not for this machine. */
function nativeIsas(): string[] {
  try {
    return Object.keys(loadAddon());
  } catch (error) {
    if (error instanceof MergenError) return [];
    throw error;
  }
}

describe("reference", () => conformance(async () => floatReference));

for (const isa of ["avx512", "avx2", "portable"]) {
  describe.skipIf(!nativeIsas().includes(isa))(`native ${isa}`, () =>
    conformance(async () => createFloatNative(loadAddon(), isa)),
  );
}

for (const file of ["float.wasm", "float-simd.wasm"]) {
  const path = builtFile(file);
  describe.skipIf(path === undefined)(`wasm ${file}`, () =>
    conformance(async () => createFloatWasm(await readFile(path!))),
  );
}

describe.skipIf(nativeIsas().length === 0)("native addon", () => {
  it("checks for itself what it is handed", () => {
    const kernels = Object.values(loadAddon())[0];
    const [two, four] = [new Float32Array(2), new Float32Array(4)];
    const doubles = new Float64Array(4) as unknown as Float32Array;
    for (const call of [
      () => kernels.gemmF32(2, 2, 2, four, two, four, 0),
      () => kernels.gemmF32(2, 2, 2, four, doubles, four, 0),
      () => kernels.gemmF32(2 ** 31, 2, 2 ** 31, four, four, four, 0),
      () => kernels.mixHeadsF32(3, 1, 4, four, four, four, 0),
      () => kernels.mixHeadsF32(2, 2, 4, two, four, four, 0),
      () => kernels.mixHeadsF32(0, 2, 4, four, four, four, 0),
      () => kernels.geluF32(0, 4, four, two),
      () => kernels.softmaxF32(2, 2, 0, four, four, new Float32Array(1), 1),
      () => (kernels.gemmF32 as () => void)(),
      () => (kernels.geluF32 as (x: unknown) => void)("x"),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: "E_KERNEL" }));
    }
  });

  it("runs in several at once over shared memory, and again after they ended", async () => {
    const [m, n, k] = [70, 50, 400];
    const shared = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));
    const [a, b] = [shared(m * k), shared(k * n)];
    a.set(randomFloats(m * k, 1));
    b.set(randomFloats(k * n, 2));
    const expected = new Float32Array(m * n);
    const kernels = createFloatNative(loadAddon());
    kernels.gemm({ m, n, k, a, b, out: expected });
    // Plain JavaScript: a worker made from a string has no type stripping.
    const code = `const { workerData } = require("node:worker_threads");
      const { path, sizes, a, b, out } = workerData;
      const kernels = Object.values(require(path))[0];
      for (let i = 0; i < 50; i++) kernels.gemmF32(...sizes, a, b, out, 0);`;
    for (let round = 0; round < 2; round++) {
      const outs = [shared(m * n), shared(m * n), shared(m * n)];
      const ended = outs.map(async (out) => {
        const workerData = { path: builtFile("native.node"), sizes: [m, n, k], a, b, out };
        const [exitCode] = await once(new Worker(code, { eval: true, workerData }), "exit");
        expect(exitCode).toBe(0);
      });
      await Promise.all(ended);
      for (const out of outs) expect(new Float32Array(out)).toEqual(expected);
    }
  });
});

describe("the reference's own values", () => {
  // x/2 erfc(-x/sqrt(2)) and x/2 (1 + tanh(...)), computed with Python's math module.
  it.each([
    ["erf", -3, -0.004049694094890287],
    ["erf", 0.5, 0.34573123063700656],
    ["erf", 3.5, 3.4991857982233756],
    ["tanh", 0.5, 0.34571400982514394],
    ["tanh", -3, -0.0036373920817729943],
  ] as const)("gelu %s of %f", (form, x, expected) => {
    const out = new Float32Array(1);
    floatReference.gelu({ form, x: Float32Array.of(x), out });
    expect(out[0]).toBe(Math.fround(expected));
  });

  it.each(forms)("geluGradient, %s, is the slope of gelu", (form) => {
    const step = 2 ** -6;
    for (let x = -5; x <= 5; x += 0.25) {
      const [ends, slope] = [new Float32Array(2), new Float32Array(1)];
      floatReference.gelu({ form, x: Float32Array.of(x - step, x + step), out: ends });
      const dy = Float32Array.of(1);
      floatReference.geluGradient({ form, x: Float32Array.of(x), dy, out: slope });
      expect(Math.abs((ends[1] - ends[0]) / (2 * step) - slope[0])).toBeLessThan(2e-4);
    }
  });
});

describe("loadFloatKernels", () => {
  it("takes what it is told to prefer, and says so", async () => {
    expect((await loadFloatKernels({ prefer: "reference" })).name).toBe("reference");
    expect(await describeFloatKernels({ prefer: "reference" })).toBe("reference");
    expect(await describeFloatKernels()).toContain((await loadFloatKernels()).name);
  });

  it("obeys MERGEN_KERNELS and refuses unknown names", async () => {
    const before = process.env.MERGEN_KERNELS;
    try {
      process.env.MERGEN_KERNELS = "reference";
      expect((await loadFloatKernels({ prefer: "native" })).name).toBe("reference");
      process.env.MERGEN_KERNELS = "gpu";
      await expect(loadFloatKernels()).rejects.toMatchObject({ code: "E_USAGE" });
    } finally {
      if (before === undefined) delete process.env.MERGEN_KERNELS;
      else process.env.MERGEN_KERNELS = before;
    }
  });
});
