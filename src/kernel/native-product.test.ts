// The addon's matrix products, on every instruction set that this processor has, against the
// reference. Skipped by name when the addon is not built.

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { MergenError } from "../errors.ts";
import { type Addon, builtFile, loadAddon } from "./addon.ts";
import { type NativeProducts, nativeProducts } from "./native-product.ts";
import { referenceRingKernels } from "./reference.ts";
import type { KeystreamMatrix } from "./ring-kernels.ts";

const reference = referenceRingKernels();
const ones = 2n ** 64n - 1n;

interface Shape {
  m: number;
  rows: number;
  columns: number;
}

function bytesOf(seed: number, count: number): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(32);
  new DataView(key.buffer).setUint32(0, seed);
  const bytes = new Uint8Array(count);
  reference.chacha12(bytes, key, new Uint8Array(12), 0);
  return bytes;
}

/** Words from a seed: a quarter boundary values, the rest keystream. */
function wordsOf(seed: number, count: number): BigUint64Array {
  const edges = [0n, 1n, 1n << 32n, (1n << 32n) - 1n, 1n << 63n, (1n << 63n) - 1n, ones];
  return new BigUint64Array(bytesOf(seed, count * 8).buffer).map((word) =>
    (word & 3n) === 0n ? edges[Number((word >> 8n) % 7n)] : word,
  );
}

function weightsOf(seed: number, count: number): Int16Array {
  return new Int16Array(bytesOf(seed, count * 2).buffer).map((weight) =>
    (weight & 7) === 0 ? -32768 : weight,
  );
}

/** x [m, rows] times entries [rows, columns] by these kernels; out held something before. */
function product(
  kernels: NativeProducts | typeof reference,
  { m, rows, columns }: Shape,
  x: BigUint64Array,
  entries: Int16Array | BigUint64Array,
): BigUint64Array {
  const matrix =
    entries instanceof Int16Array
      ? kernels.loadInt16(entries, rows, columns)
      : kernels.loadRing(entries, rows, columns);
  const out = new BigUint64Array(m * columns).fill(77n);
  kernels.matmul(out, x, matrix);
  matrix.free();
  return out;
}

function expectSame(found: BigUint64Array, expected: BigUint64Array): void {
  expect(found.length).toBe(expected.length);
  const bad = found.findIndex((word, i) => word !== expected[i]);
  if (bad >= 0) expect.fail(`word ${bad} is ${found[bad]} instead of ${expected[bad]}`);
}

function checkProducts(kernels: NativeProducts, shape: Shape, seed: number): void {
  const { m, rows, columns } = shape;
  const x = wordsOf(seed, m * rows);
  for (const entries of [weightsOf(seed, rows * columns), wordsOf(seed + 1, rows * columns)]) {
    expectSame(product(kernels, shape, x, entries), product(reference, shape, x, entries));
  }
}

/** The keystream matrix [rows, columns], or its transpose, by m rows. */
function checkKeystreamProduct(
  kernels: NativeProducts,
  { m, rows, columns }: Shape,
  transposed: boolean,
): void {
  const [key, nonce] = [bytesOf(rows, 32), bytesOf(columns, 12)];
  const matrix: KeystreamMatrix = { rows, columns, key, nonce, transposed };
  const x = wordsOf(m, m * (transposed ? columns : rows));
  const outs = [kernels, reference].map((each) => {
    const out = new BigUint64Array(m * (transposed ? rows : columns)).fill(77n);
    each.matmulKeystream(out, x, matrix);
    return out;
  });
  expectSame(outs[0], outs[1]);
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as MergenError).code;
  }
  return "nothing thrown";
}

const side = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 80 }));
const shapes = fc.record({ m: fc.integer({ min: 0, max: 20 }), rows: side, columns: side });
const seeds = fc.integer({ min: 0, max: 2 ** 31 });

function products(addon: Addon, isa: string): void {
  const kernels = nativeProducts(addon, isa);

  it("multiplies any shape", () => {
    fc.assert(
      fc.property(shapes, seeds, (shape, seed) => checkProducts(kernels, shape, seed)),
      { numRuns: 60 },
    );
  });

  it.each([
    { m: 1, rows: 1, columns: 1 },
    { m: 1, rows: 129, columns: 300 },
    { m: 2, rows: 301, columns: 129 },
    { m: 3, rows: 64, columns: 64 },
    { m: 33, rows: 241, columns: 25 },
    { m: 9, rows: 1027, columns: 9 },
    { m: 1, rows: 8257, columns: 17 },
    { m: 18, rows: 8193, columns: 1 },
  ])("multiplies across the borders of blocks: %o", (shape) => {
    checkProducts(kernels, shape, shape.rows);
  });

  it.each([1, 2, 3, 17])("wraps sums of the largest values, %i rows", (m) => {
    const [rows, columns] = [8300, 3];
    // Five signed digits of 11, 11, 10, 16 and 16 bits.
    const composed = (digits: bigint[]) =>
      digits.reduce((sum, digit, i) => sum + (digit << [0n, 11n, 22n, 32n, 48n][i]), 0n);
    const lowest = BigInt.asUintN(64, composed([-1024n, -1024n, -512n, -32768n, -32768n]));
    const highest = composed([1023n, 1023n, 511n, 32767n, 32767n]);
    for (const word of [ones, 2n ** 63n, lowest, highest]) {
      const x = new BigUint64Array(m * rows).fill(word);
      for (const entry of [-32768, 32767, ones, 2n ** 63n]) {
        const entries =
          typeof entry === "number"
            ? new Int16Array(rows * columns).fill(entry)
            : new BigUint64Array(rows * columns).fill(entry);
        const sum = BigInt.asUintN(64, word * BigInt(entry) * BigInt(rows));
        const found = product(kernels, { m, rows, columns }, x, entries);
        expectSame(found, new BigUint64Array(m * columns).fill(sum));
      }
    }
  });

  it("works in arrays that begin anywhere in a buffer", () => {
    const [m, rows, columns] = [3, 70, 41];
    const x = wordsOf(1, m * rows + 1).subarray(1);
    const weights = weightsOf(2, rows * columns + 3).subarray(3);
    const room = new BigUint64Array(m * columns + 5).fill(5n);
    const out = room.subarray(3, -2);
    const matrix = kernels.loadInt16(weights, rows, columns);
    kernels.matmul(out, x, matrix);
    expectSame(out.slice(), product(reference, { m, rows, columns }, x, weights));
    expect([...room.subarray(0, 3), ...room.subarray(-2)]).toEqual([5n, 5n, 5n, 5n, 5n]);
  });
}

function keystreams(addon: Addon, isa: string): void {
  const kernels = nativeProducts(addon, isa);

  it("multiplies by a keystream of any shape, and by its transpose", () => {
    fc.assert(
      fc.property(shapes, fc.boolean(), (shape, transposed) =>
        checkKeystreamProduct(kernels, shape, transposed),
      ),
      { numRuns: 60 },
    );
  });

  it.each([
    { m: 2, rows: 131, columns: 400 },
    { m: 17, rows: 3, columns: 1027 },
    { m: 1, rows: 1537, columns: 20 },
    { m: 3, rows: 416, columns: 49 },
    { m: 0, rows: 5, columns: 8 },
  ])("multiplies by a keystream across the borders of slabs: %o", (shape) => {
    checkKeystreamProduct(kernels, shape, false);
    checkKeystreamProduct(kernels, shape, true);
  });
}

/** Sizes from which threads take part, whose reference would take seconds. */
function threading(addon: Addon, isa: string): void {
  const { m, rows, columns } = { m: 3, rows: 301, columns: 2400 };
  const x = wordsOf(1, m * rows);
  const words = new BigUint64Array(rows * columns).map((_, i) => BigInt(i) ** 6n);
  const weights = new Int16Array(words.buffer, 0, words.length);
  const keystream = { rows, columns, key: bytesOf(1, 32), nonce: bytesOf(2, 12) };
  const turned = { ...keystream, rows: columns, columns: rows };

  function run(kernels: NativeProducts): BigUint64Array[] {
    const outs = [1, 2, 3, 4].map(() => new BigUint64Array(m * columns));
    const int16 = kernels.loadInt16(weights, rows, columns);
    const ring = kernels.loadRing(words, rows, columns);
    kernels.matmul(outs[0], x, int16);
    kernels.matmul(outs[1], x, ring);
    kernels.matmulKeystream(outs[2], x, { ...keystream, transposed: false });
    kernels.matmulKeystream(outs[3], x, { ...turned, transposed: true });
    int16.free();
    ring.free();
    return outs;
  }

  it.each([2, 3, 5])("gives the same on %i threads", (threads) => {
    const kernels = nativeProducts(addon, isa);
    const expected = run(kernels);
    kernels.setThreads(threads);
    for (let i = 0; i < 10; i++) {
      run(kernels).forEach((out, kind) => {
        expectSame(out, expected[kind]);
      });
    }
    kernels.close();
    expectSame(run(kernels)[0], expected[0]);
  });

  it("refuses a count of threads that is none", () => {
    for (const wrong of [0, 33, 1.5]) {
      expect(codeOf(() => nativeProducts(addon, isa).setThreads(wrong))).toBe("E_KERNEL");
    }
  });
}

function refusals(addon: Addon, isa: string): void {
  const kernels = nativeProducts(addon, isa);
  const raw = addon[isa];
  const words = (count: number) => new BigUint64Array(count);

  it("refuses matrices that were freed or are not its own", () => {
    const freed = kernels.loadInt16(new Int16Array(12), 4, 3);
    freed.free();
    freed.free();
    expect(codeOf(() => kernels.matmul(words(3), words(4), freed))).toBe("E_KERNEL");
    const foreign = reference.loadRing(words(12), 4, 3);
    expect(codeOf(() => kernels.matmul(words(3), words(4), foreign))).toBe("E_KERNEL");
    const other = Object.keys(addon).find((name) => name !== isa);
    if (other !== undefined) {
      const elsewhere = nativeProducts(addon, other).loadRing(words(12), 4, 3);
      expect(codeOf(() => kernels.matmul(words(3), words(4), elsewhere))).toBe("E_KERNEL");
    }
  });

  it("refuses sizes that do not fit, and out on top of x", () => {
    expect(codeOf(() => kernels.loadInt16(new Int16Array(11), 4, 3))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.loadRing(words(12), 0, 3))).toBe("E_KERNEL");
    const matrix = kernels.loadRing(words(9), 3, 3);
    expect(codeOf(() => kernels.matmul(words(4), words(3), matrix))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.matmul(words(3), words(4), matrix))).toBe("E_KERNEL");
    const room = words(5);
    const overlap = () => kernels.matmul(room.subarray(0, 3), room.subarray(2), matrix);
    expect(codeOf(overlap)).toBe("E_KERNEL");
    const keystream = { rows: 3, columns: 3, key: bytesOf(1, 32), nonce: bytesOf(1, 12) };
    const refused = (change: object) =>
      codeOf(() =>
        kernels.matmulKeystream(words(3), words(3), { ...keystream, transposed: false, ...change }),
      );
    expect(refused({})).toBe("nothing thrown");
    expect(refused({ key: bytesOf(1, 31) })).toBe("E_KERNEL");
    expect(refused({ nonce: bytesOf(1, 11) })).toBe("E_KERNEL");
    expect(refused({ columns: 4 })).toBe("E_KERNEL");
    expect(refused({ rows: 2 ** 20, columns: 2 ** 20 })).toBe("E_KERNEL");
  });

  it("checks operands again in the addon", () => {
    const matrix = raw.loadRing(words(12), 4, 3, 1);
    const [key, nonce] = [bytesOf(1, 32), bytesOf(1, 12)];
    const calls: (() => unknown)[] = [
      () => raw.matmul(words(2), words(4), 1, matrix, 1),
      () => raw.matmul(words(3), words(3), 1, matrix, 1),
      () => raw.matmul(words(3), words(4), 1, {} as never, 1),
      () => raw.matmul(words(3), words(4), 1, undefined as never, 1),
      () => raw.matmul(new Float64Array(3) as never, "4" as never, 1, matrix, 1),
      () => raw.freeMatrix(null as never),
      () => raw.loadInt16(new Int16Array(11), 4, 3, 1),
      () => raw.loadRing(words(12), 2 ** 25, 1, 1),
      () => raw.matmulKeystream(words(3), words(3), 1, 4, 3, 0, key, nonce, 1),
      () => raw.matmulKeystream(words(3), words(4), 1, 4, 3, 0, key, nonce.subarray(1), 1),
      () => raw.matmulKeystream(words(0), words(0), 0, 2 ** 20, 2 ** 20, 0, key, nonce, 1),
    ];
    expect(calls.map(codeOf)).toEqual(calls.map(() => "E_KERNEL"));
    raw.freeMatrix(matrix);
    expect(codeOf(() => raw.matmul(words(3), words(4), 1, matrix, 1))).toBe("E_KERNEL");
    expect(codeOf(() => raw.freeMatrix(matrix))).toBe("nothing thrown");
  });
}

const path = builtFile("native.node");
if (path === undefined) {
  it.skip("native products (build/native.node is not built)", () => {});
} else {
  const addon = loadAddon();
  describe.each(Object.keys(addon))("native products, %s", (isa) => {
    products(addon, isa);
    keystreams(addon, isa);
    threading(addon, isa);
    refusals(addon, isa);
  });
  memory(path);
  environments(path);
}

/** In a process of its own, whose memory nobody else uses. */
function memory(addonPath: string): void {
  const run = (script: string) => {
    const code = `const kernels = Object.values(require(${JSON.stringify(addonPath)}))[0];
      const weights = new Int16Array(1 << 24).fill(1);
      const load = () => kernels.loadInt16(weights, 1 << 12, 1 << 12, 1);
      const start = process.memoryUsage.rss();
      const print = (figure) => process.stdout.write(String(figure));
      const grown = () => (process.memoryUsage.rss() - start) / weights.byteLength;
      ${script}`;
    return Number(execFileSync(process.execPath, ["-e", code], { timeout: 20_000 }));
  };

  describe("native products, memory", () => {
    it("keep two bytes an entry of an int16 matrix", () => {
      const grown = run("const held = load(); print(held && grown());");
      expect(grown).toBeGreaterThan(0.9);
      expect(grown).toBeLessThan(1.3);
    });

    it("give a freed matrix back at once", () => {
      const grown = run(`for (let i = 0; i < 20; i++) kernels.freeMatrix(load());
        print(grown());`);
      expect(grown).toBeLessThan(0.3);
    });

    it("leave matrices that nobody holds to the collector, which knows their size", () => {
      const grown = run(`let most = 0;
        const step = (left) => {
          load();
          most = Math.max(most, grown());
          left > 0 ? setImmediate(step, left - 1) : print(most);
        };
        step(60);`);
      expect(grown).toBeLessThan(30);
    });
  });
}

function environments(addonPath: string): void {
  // Plain JavaScript: neither a worker made from a string nor `node -e` strips types.
  const code = `
    const kernels = Object.values(require(addonPath))[0];
    const [m, rows, columns] = [2, 500, 2500];
    const x = new BigUint64Array(m * rows).map((_, i) => BigInt(i) ** 6n);
    const weights = new Int16Array(rows * columns).map((_, i) => i * i);
    const matrix = kernels.loadInt16(weights, rows, columns, 3);
    const outs = [1, 3].map((threads) => {
      const out = new BigUint64Array(m * columns);
      for (let i = 0; i < 100; i++) kernels.matmul(out, x, m, matrix, threads);
      return out;
    });
    if (outs[0].some((word, i) => word !== outs[1][i])) process.exit(3);`;

  describe("native products, threads", () => {
    it("serve several environments at once, which end", async () => {
      const inWorker = `const addonPath = require("node:worker_threads").workerData;${code}`;
      for (let round = 0; round < 2; round++) {
        const workers = Array.from(
          { length: 3 },
          () => new Worker(inWorker, { eval: true, workerData: addonPath }),
        );
        const ended = await Promise.all(workers.map((worker) => once(worker, "exit")));
        expect(ended).toEqual([[0], [0], [0]]);
      }
    });

    it("end with an environment that is terminated", async () => {
      const script = `const addonPath = require("node:worker_threads").workerData;${code}
        require("node:worker_threads").parentPort.postMessage(0);
        for (;;) kernels.matmul(outs[0], x, m, matrix, 3);`;
      const worker = new Worker(script, { eval: true, workerData: addonPath });
      await once(worker, "message");
      expect(await worker.terminate()).toBe(1);
    });

    it("do not keep a process alive", () => {
      const script = `const addonPath = ${JSON.stringify(addonPath)};${code}`;
      execFileSync(process.execPath, ["-e", script], { timeout: 20_000 });
    });
  });
}
