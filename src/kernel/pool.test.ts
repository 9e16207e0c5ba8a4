// The pool of kernel threads: same results as one thread, named errors, and an end.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { loadRingKernels } from "./load-node.ts";
import { createControl, mayPark, Pool } from "./pool.ts";
import { startPool } from "./pool-node.ts";
import { startEngine } from "./wasm.ts";
import { type Call, cut, type RingExports } from "./wasm-exports.ts";

const one = await loadRingKernels({ kernels: "wasm", threads: 1 });
const two = await loadRingKernels({ kernels: "wasm", threads: 2 });
afterAll(() => two.close());

function words(seed: number, count: number): BigUint64Array {
  const out = new BigUint64Array(count);
  one.chacha12(new Uint8Array(out.buffer), new Uint8Array(32).fill(seed), new Uint8Array(12), 0);
  return out;
}

describe("big jobs, which two threads share, give what one gives", () => {
  test("products", () => {
    const [m, rows, columns] = [3, 500, 1001];
    const entries = words(1, rows * columns);
    const x = words(2, m * rows);
    const outs = [one, two].flatMap((kernels) =>
      [
        kernels.loadRing(entries, rows, columns),
        kernels.loadInt16(new Int16Array(entries.buffer, 0, rows * columns), rows, columns),
      ].map((matrix) => {
        const out = new BigUint64Array(m * columns);
        kernels.matmul(out, x, matrix);
        matrix.free();
        return out;
      }),
    );
    expect(outs[2]).toEqual(outs[0]);
    expect(outs[3]).toEqual(outs[1]);
  });

  test("keystream", () => {
    const outs = [one, two].map((kernels) => {
      const out = new Uint8Array(1_000_003);
      kernels.chacha12(out, new Uint8Array(32).fill(7), new Uint8Array(12).fill(3), 5);
      return out;
    });
    expect(Buffer.compare(outs[0], outs[1])).toBe(0);
  });

  test("function keys: many keys, and many points of one", () => {
    const alphas = words(3, 100).map((x) => x >> 40n);
    const shape = { domainBits: 24, words: 2 };
    const random = new Uint8Array(words(5, 400).buffer);
    const options = { ...shape, alphas, payloads: words(4, 200), random };
    const pairs = [one.dcfGenerateMany(options), two.dcfGenerateMany(options)];
    expect(pairs[1]).toEqual(pairs[0]);
    const [keys] = pairs[0];
    const points = words(6, 300).map((x) => x >> 40n);
    for (const part of [keys, keys.subarray(0, keys.length / 100)]) {
      const outs = [one, two].map((kernels) => {
        const out = new BigUint64Array(2 * points.length);
        kernels.dcfEvaluateMany({ ...shape, party: 0, keys: part, points, out });
        return out;
      });
      expect(outs[1]).toEqual(outs[0]);
    }
  });
});

test("jobs are cut into parts that cover them", () => {
  const runner = { threads: 2, eager: false, run: () => true, close() {} };
  expect(cut(100, 51, runner)).toEqual([[0, 100]]);
  expect(cut(100, 50, runner)).toEqual([[0, 50], [50, 100]]); // biome-ignore format: one line
  expect(cut(1000, 1, runner)).toHaveLength(8);
  expect(cut(1000, 1, { ...runner, threads: 1 })).toHaveLength(1);
  expect(cut(0, 1, runner)).toEqual([[0, 0]]);
});

test("closed kernels go on alone", async () => {
  const kernels = await loadRingKernels({ kernels: "wasm", threads: 3 });
  kernels.close();
  kernels.close();
  const out = new Uint8Array(1 << 20);
  kernels.chacha12(out, new Uint8Array(32), new Uint8Array(12), 0);
  expect(out.some((byte) => byte !== 0)).toBe(true);
});

test("a call that fails in any thread is a named error, and the pool goes on", async () => {
  const wasm = readFileSync(new URL("../../build/ring-threads.wasm", import.meta.url));
  const engine = await startEngine(wasm, { shared: true });
  const pool = await startPool({ ...engine, threads: 2 });
  const bad: Call = { name: "chachaStream", args: [2 ** 31 - 1, 1, 2048, 4096] };
  const good: Call = { name: "chachaStream", args: [8192, 1, 2048, 4096] };
  for (let i = 0; i < 20; i++) {
    expect(() => pool.run([good, bad, good])).toThrow(
      expect.objectContaining({ code: "E_KERNEL" }),
    );
    expect(pool.run([good, good, good, good])).toBe(true);
  }
  pool.close();
});

test("without threads that serve, the caller does every call", () => {
  let calls = 0;
  const wasm = { chachaStream: () => void calls++ } as unknown as RingExports;
  const pool = new Pool(createControl(), wasm, { workers: 4, eager: false });
  const call: Call = { name: "chachaStream", args: [1, 2, 3, 4] };
  expect(pool.run(Array.from({ length: 9 }, () => call))).toBe(true);
  expect(calls).toBe(9);
  pool.fail();
  expect(() => pool.run([call, call])).toThrow(expect.objectContaining({ code: "E_KERNEL" }));
});

test("parked threads do not keep a process alive; a bad count is an error", async () => {
  const path = new URL("./load-node.ts", import.meta.url).href;
  const script = `const { loadRingKernels } = await import(${JSON.stringify(path)});
    const kernels = await loadRingKernels({ kernels: "wasm" });
    kernels.chacha12(new Uint8Array(1 << 20), new Uint8Array(32), new Uint8Array(12), 0);`;
  const run = (threads: string) =>
    promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
      env: { ...process.env, MERGEN_THREADS: threads },
      timeout: 30_000,
    });
  await run("3");
  await expect(run("two")).rejects.toThrow("1 to 32 threads");
  expect(mayPark()).toBe(true);
});
