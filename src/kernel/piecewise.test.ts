import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "./load-node.ts";
import { composedPiecewise } from "./piecewise.ts";
import { startPool } from "./pool-node.ts";
import { referenceRingKernels } from "./reference.ts";
import type { PiecewiseOptions, RingKernels } from "./ring-kernels.ts";
import { startEngine, WasmRingKernels } from "./wasm.ts";

const inUse = await loadRingKernels();
const [one, two] = [await wasmOn(1), await wasmOn(2)];
afterAll(() => two.close());
const wasmSets: [string, WasmRingKernels][] = [
  ["WebAssembly on one thread", one],
  ["WebAssembly on two threads", two],
];
const sets: [string, RingKernels][] = [["the kernels in use", inUse], ...wasmSets];

async function wasmOn(threads: number): Promise<WasmRingKernels> {
  const name = threads === 1 ? "ring.wasm" : "ring-threads.wasm";
  const wasm = readFileSync(new URL(`../../build/${name}`, import.meta.url));
  const engine = await startEngine(wasm, { shared: threads > 1 });
  return new WasmRingKernels(engine, await startPool({ ...engine, threads, eager: true }));
}

/** A task with random keys, table and shares. */
function task(options: {
  degree: number;
  knots: number;
  domainBits: number;
  blockBits?: number;
  entries: number;
}) {
  const { degree, knots, domainBits, blockBits = 0, entries } = options;
  const words = degree + 1;
  const [mine] = inUse.dcfGenerateMany({
    domainBits: domainBits - blockBits,
    words,
    alphas: uniform(1, entries, domainBits - blockBits),
    payloads: uniform(2, entries * words, 64),
    random: new Uint8Array(uniform(3, 4 * entries, 64).buffer),
  });
  const block = BigInt(blockBits);
  // Only the first knot lies at 0.
  const offsets = uniform(4, knots, domainBits).map((offset, k) => {
    const whole = offset >> block || 1n;
    return k === 0 ? 0n : whole << block;
  });
  const lists = (seed: number, count: number) =>
    Array.from({ length: words }, (_, i) => {
      const list = uniform(seed + i, count, 64);
      // The factor of r^j has no power of x above degree - j.
      return list.map((word, at) => ((at % words) + i > degree ? 0n : word));
    });
  return {
    domainBits,
    blockBits,
    party: 1,
    keys: mine,
    a: uniform(5, entries, domainBits),
    powers: Array.from({ length: degree }, (_, j) => uniform(20 + j, entries, 64)),
    offsets,
    coefficients: lists(30, knots * words),
    first: lists(40, words),
    out: new BigUint64Array(entries),
  } satisfies PiecewiseOptions;
}

describe.each(sets)("piecewise of %s", (_, kernels) => {
  for (const [degree, knots, domainBits, blockBits, entries] of [
    [1, 1, 1, 0, 3],
    [1, 25, 40, 0, 600],
    [1, 7, 9, 8, 61],
    [2, 9, 18, 0, 1025],
    [3, 4, 63, 0, 5],
    [3, 16, 18, 9, 1025],
    [2, 5, 63, 50, 9],
    [2, 3, 7, 0, 512],
    // More points of a key than a thread holds side by side.
    [3, 600, 12, 2, 5],
  ] as const) {
    const bits = `${domainBits} bits, ${blockBits} in a block`;
    it(`is what the other kernels give: degree ${degree}, ${knots} knots, ${bits}`, () => {
      for (const party of [0, 1] as const) {
        const options = { ...task({ degree, knots, domainBits, blockBits, entries }), party };
        kernels.piecewise(options);
        const composed = { ...options, out: new BigUint64Array(entries) };
        composedPiecewise(inUse, composed);
        expect(options.out).toEqual(composed.out);
      }
    });
  }

  it("is nothing of nothing", () => {
    const options = task({ degree: 2, knots: 3, domainBits: 8, entries: 1 });
    const none = { ...options, keys: options.keys.subarray(0, 0), a: options.a.subarray(0, 0) };
    const powers = options.powers.map((power) => power.subarray(0, 0));
    const out = new BigUint64Array(0);
    kernels.piecewise({ ...none, powers, out });
    expect(out).toHaveLength(0);
  });
});

describe.each(wasmSets)("piecewise of %s, its operands", (_, kernels) => {
  it("writes its result only, in an array or over the entries", () => {
    const options = task({ degree: 3, knots: 5, domainBits: 30, entries: 77 });
    const all = uniform(50, 80, 64);
    const expected = all.slice();
    const run = (set: Pick<RingKernels, "piecewise">, changes: Partial<PiecewiseOptions>) =>
      set.piecewise({ ...options, ...changes });
    run(referenceRingKernels(), { out: expected.subarray(2, 79) });
    run(kernels, { out: all.subarray(2, 79) });
    expect(all).toEqual(expected);
    const a = options.a.slice();
    run(kernels, { a, out: a });
    expect(a).toEqual(expected.slice(2, 79));
  });

  it("takes operands that lie in the kernels' memory", () => {
    const options = task({ degree: 3, knots: 5, domainBits: 30, blockBits: 4, entries: 77 });
    referenceRingKernels().piecewise(options);
    const { memory } = kernels;
    const place = (words: BigUint64Array) => {
      const there = memory.words(memory.allocate(8 * words.length), words.length);
      there.set(words);
      return there;
    };
    const start = memory.allocate(options.keys.length + 1);
    const keys = new Uint8Array(memory.memory.buffer, start + 1, options.keys.length);
    keys.set(options.keys);
    const [a, out, ...powers] = [options.a, new BigUint64Array(77), ...options.powers].map(place);
    kernels.piecewise({ ...options, keys, a, out, powers });
    expect(out.slice()).toEqual(options.out);
  });

  it("names what does not fit", () => {
    const options = task({ degree: 2, knots: 3, domainBits: 8, entries: 4 });
    const named = expect.objectContaining({ code: "E_KERNEL" });
    const run = (changes: Partial<PiecewiseOptions>) => () =>
      kernels.piecewise({ ...options, ...changes });
    expect(run({})).not.toThrow();
    expect(run({ keys: options.keys.subarray(1) })).toThrow(named);
    expect(run({ a: options.a.subarray(1) })).toThrow(named);
    expect(run({ out: options.out.subarray(1) })).toThrow(named);
    expect(run({ powers: options.powers.slice(1) })).toThrow(named);
    expect(run({ powers: options.powers.map((power) => power.subarray(1)) })).toThrow(named);
    expect(run({ offsets: options.offsets.subarray(1) })).toThrow(named);
    expect(run({ coefficients: options.coefficients.slice(1) })).toThrow(named);
    expect(run({ first: options.first.slice(1) })).toThrow(named);
    expect(run({ domainBits: 9 })).toThrow(named);
    expect(run({ blockBits: 8 })).toThrow(named);
    expect(run({ blockBits: -1 })).toThrow(named);
    expect(run({ prg: "aes128" })).toThrow(named);
  });
});
