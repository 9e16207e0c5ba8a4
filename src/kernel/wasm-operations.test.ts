// The WebAssembly kernels beyond what every kernel set is tested for: packed fields of every width,
// keystream matrices in tiles, attention on part of the weights, and operands that lie in the
// kernels' own memory. On one thread, and on two with every job cut.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { startPool } from "./pool-node.ts";
import { referenceRingKernels } from "./reference.ts";
import { startEngine, WasmRingKernels } from "./wasm.ts";

const reference = referenceRingKernels();
const [one, two] = [await kernelsOn(1), await kernelsOn(2)];
afterAll(() => two.close());
const sets: [string, WasmRingKernels][] = [
  ["one thread", one],
  ["two threads", two],
];
const seed = fc.integer({ min: 0, max: 2 ** 31 });
const guard = 0xa5;

async function kernelsOn(threads: number): Promise<WasmRingKernels> {
  const name = threads === 1 ? "ring.wasm" : "ring-threads.wasm";
  const wasm = readFileSync(new URL(`../../build/${name}`, import.meta.url));
  const engine = await startEngine(wasm, { shared: threads > 1 });
  return new WasmRingKernels(engine, await startPool({ ...engine, threads, eager: true }));
}

function bytesOf(from: number, count: number): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(32);
  new DataView(key.buffer).setUint32(0, from);
  const bytes = new Uint8Array(count);
  reference.chacha12(bytes, key, new Uint8Array(12), 0);
  return bytes;
}

/** Words from a seed, every fourth with all bits or none set. */
function wordsOf(from: number, count: number): BigUint64Array<ArrayBuffer> {
  return new BigUint64Array(bytesOf(from, 8 * count).buffer).map((word) =>
    (word & 3n) > 0n ? word : (word & 4n) > 0n ? 2n ** 64n - 1n : 0n,
  );
}

/** `count` bytes that begin `ahead` bytes into a block between guards, and a look at the guards. */
function guarded(ahead: number, count: number) {
  const all = new Uint8Array(ahead + count + 40).fill(guard);
  const bytes = all.subarray(ahead, ahead + count);
  const rest = () => [...all.subarray(0, ahead), ...all.subarray(ahead + count)];
  return { bytes, whole: () => rest().every((byte) => byte === guard) };
}

function sameBytes(a: ArrayBufferView, b: ArrayBufferView): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
    new Uint8Array(buffer, byteOffset, byteLength);
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}

describe("packed fields", () => {
  const source = wordsOf(1, 70);

  test.each(Array.from({ length: 64 }, (_, i) => i + 1))("%i bits, up to 70 words", (bits) => {
    for (let count = 0; count <= 70; count++) {
      const words = source.subarray(0, count);
      const size = Math.ceil((count * bits) / 8);
      const { bytes, whole } = guarded(count % 9, size);
      one.pack(bytes, words, bits);
      const expected = new Uint8Array(size);
      reference.pack(expected, words, bits);
      if (!sameBytes(bytes, expected) || !whole()) throw new Error(`pack ${count} words`);
      const spare = 8 * size - count * bits;
      if (size > 0) bytes[size - 1] |= 256 - (256 >> spare);
      const back = new BigUint64Array(count);
      one.unpack(back, bytes, bits);
      const low = words.map((word) => BigInt.asUintN(bits, word));
      if (!sameBytes(back, low) || !whole()) throw new Error(`unpack ${count} words`);
    }
  });

  test("more words than a chunk, and the low bits of words", () => {
    const words = wordsOf(2, 40_003);
    for (const bits of [1, 7, 16, 24, 31, 32, 33, 40, 57, 58, 63, 64]) {
      const low = words.map((word) => BigInt.asUintN(bits, word));
      const out = new BigUint64Array(words.length);
      one.lowBits(out, words, bits);
      expect(sameBytes(out, low)).toBe(true);
      const bytes = new Uint8Array(Math.ceil((words.length * bits) / 8));
      one.pack(bytes, words, bits);
      one.unpack(out, bytes, bits);
      expect(sameBytes(out, low)).toBe(true);
    }
  });

  test("strings in the kernels' memory: what lies beside them stays", () => {
    const { memory } = one;
    const start = memory.allocate(1 << 12);
    const all = new Uint8Array(memory.memory.buffer, start, 1 << 12);
    for (const bits of [1, 8, 13, 24, 32, 40, 56, 57, 61, 64]) {
      for (const count of [1, 2, 3, 8, 9, 17, 63]) {
        all.fill(guard);
        const bytes = all.subarray(5, 5 + Math.ceil((count * bits) / 8));
        const words = memory.words(start + 1024, count);
        words.set(wordsOf(bits, count));
        const low = words.map((word) => BigInt.asUintN(bits, word));
        one.pack(bytes, words, bits);
        words.fill(0n);
        one.unpack(words, bytes, bits);
        expect(words).toEqual(low);
        const beside = (byte: number, at: number) =>
          byte === guard || (at >= 5 && at < 5 + bytes.length) || (at >= 1024 && at < 1024 + 504);
        expect(all.every(beside)).toBe(true);
        expect(all.subarray(1024 + 8 * count, 1600).every((byte) => byte === guard)).toBe(true);
      }
    }
    memory.release(start, 1 << 12);
  });

  test("strings at the very end of the kernels' memory", () => {
    const end = one.memory.memory.buffer.byteLength;
    for (const bits of [1, 24, 40, 41, 57, 60]) {
      const words = wordsOf(3, 11);
      const size = Math.ceil((11 * bits) / 8);
      const bytes = new Uint8Array(one.memory.memory.buffer, end - size, size);
      one.pack(bytes, words, bits);
      const back = new BigUint64Array(11);
      one.unpack(back, bytes, bits);
      expect(back).toEqual(words.map((word) => BigInt.asUintN(bits, word)));
    }
  });
});

describe.each(sets)("on %s", (_, kernels) => {
  describe("keystream matrices", () => {
    const key = bytesOf(4, 33).subarray(1); // not aligned
    const nonce = bytesOf(5, 12);

    function check(shape: { rows: number; columns: number; m: number }, from: number): void {
      const { rows, columns, m } = shape;
      for (const transposed of [false, true]) {
        const matrix = { rows, columns, key, nonce, transposed };
        const x = wordsOf(from, m * (transposed ? columns : rows));
        const out = wordsOf(from + 1, m * (transposed ? rows : columns));
        const expected = out.slice();
        kernels.matmulKeystream(out, x, matrix);
        reference.matmulKeystream(expected, x, matrix);
        if (!sameBytes(out, expected)) throw new Error(JSON.stringify({ ...shape, transposed }));
      }
    }

    test("small ones equal the reference", () => {
      const side = fc.integer({ min: 1, max: 20 });
      const property = fc.property(side, side, fc.integer({ min: 0, max: 3 }), seed, (...given) => {
        const [rows, columns, m, from] = given;
        check({ rows, columns, m }, from);
      });
      fc.assert(property, { numRuns: 60 });
    });

    test.each([
      { rows: 385, columns: 161, m: 1 },
      { rows: 384, columns: 160, m: 2 },
      { rows: 3, columns: 501, m: 2 },
      { rows: 801, columns: 24, m: 1 },
      { rows: 2, columns: 771, m: 1 },
    ])("tiles: $rows rows, $columns columns, $m rows of x", (shape) => check(shape, 7));

    test("wrong sizes are named errors", () => {
      const matrix = { rows: 4, columns: 3, key, nonce, transposed: false };
      const run = (out: number, x: number, changes = {}) => {
        const [to, from] = [new BigUint64Array(out), new BigUint64Array(x)];
        return () => kernels.matmulKeystream(to, from, { ...matrix, ...changes });
      };
      const named = expect.objectContaining({ code: "E_KERNEL" });
      expect(run(3, 4)).not.toThrow();
      expect(run(4, 3)).toThrow(named);
      expect(run(4, 3, { transposed: true })).not.toThrow();
      expect(run(3, 4, { key: key.subarray(1) })).toThrow(named);
      expect(run(3, 4, { nonce: key })).toThrow(named);
      expect(run(0, 0, { rows: 0 })).toThrow(named);
    });
  });

  describe("attention", () => {
    test("words and int16, all rows of the weights or some", () => {
      const small = (max: number) => fc.integer({ min: 0, max });
      const shape = fc.record({
        heads: fc.integer({ min: 1, max: 3 }),
        width: fc.integer({ min: 1, max: 9 }),
        from: small(3),
        before: small(3),
        count: small(6),
        after: small(2),
        beyond: small(2),
      });
      const property = fc.property(shape, fc.boolean(), fc.boolean(), seed, (...given) => {
        const [{ heads, width, from, before, count, after, beyond }, int16, part, start] = given;
        const first = from + before;
        const rows = first + count;
        const positions = Math.max(1, rows + after + beyond);
        const held = part ? { from, count: before + count + after } : undefined;
        const dims = { heads, positions, start: first, columns: heads * width, held };
        const entries = heads * positions * (held?.count ?? positions);
        const words = wordsOf(start, entries);
        const weights = int16 ? new Int16Array(words.buffer, 0, entries) : words;
        const x = wordsOf(start + 1, rows * dims.columns);
        const out = wordsOf(start + 2, count * dims.columns);
        const expected = out.slice();
        kernels.attend(out, x, weights, dims);
        reference.attend(expected, x, weights, dims);
        expect(out).toEqual(expected);
      });
      fc.assert(property, { numRuns: 150 });
    });

    test("operands in the kernels' memory", () => {
      const { memory } = kernels;
      const dims = { heads: 2, positions: 9, start: 5, columns: 6, held: { from: 3, count: 5 } };
      const place = (words: BigUint64Array) => {
        const there = memory.words(memory.allocate(8 * words.length), words.length);
        there.set(words);
        return there;
      };
      const words = wordsOf(6, 2 * 5 * 9);
      const [there, x, out] = [words, wordsOf(7, 8 * 6), wordsOf(8, 3 * 6)].map(place);
      for (const int16 of [false, true]) {
        const entries = (of: BigUint64Array) =>
          int16 ? new Int16Array(of.buffer, of.byteOffset, of.length) : of;
        kernels.attend(out, x, entries(there), dims);
        const expected = new BigUint64Array(3 * 6);
        reference.attend(expected, x.slice(), entries(words), dims);
        expect(out.slice()).toEqual(expected);
      }
      for (const view of [there, x, out]) memory.release(view.byteOffset, view.byteLength);
    });
  });

  test("products of all numbers of rows and columns around the panels' and runs' sizes", () => {
    const sizes = [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 59, 60, 61, 73, 767, 768, 769];
    for (const rows of sizes) {
      for (const columns of [1, 4, 9]) {
        const words = wordsOf(rows, rows * columns);
        const halves = new Int16Array(words.buffer, 0, words.length);
        const x = wordsOf(columns, 2 * rows);
        const outs = [kernels, reference].flatMap((set) =>
          [set.loadRing(words, rows, columns), set.loadInt16(halves, rows, columns)].map((w) => {
            const out = new BigUint64Array(2 * columns);
            set.matmul(out, x, w);
            w.free();
            return out;
          }),
        );
        expect(outs.slice(0, 2)).toEqual(outs.slice(2));
      }
    }
  });

  test("a result that follows x in the kernels' memory, with a last row of its own", () => {
    const { memory } = kernels;
    const start = memory.allocate(8 * (7 + 8));
    const all = memory.words(start, 15);
    const [x, out] = [all.subarray(0, 7), all.subarray(7)];
    x.set(wordsOf(10, 7));
    const entries = wordsOf(9, 7 * 8);
    const matrix = kernels.loadRing(entries, 7, 8);
    const key = { key: bytesOf(1, 32), nonce: bytesOf(2, 12) };
    const keystream = { rows: 7, columns: 8, transposed: false, ...key };
    const expected = new BigUint64Array(8);
    for (const old of [0n, 77n]) {
      out.fill(old);
      kernels.matmul(out, x, matrix);
      reference.matmul(expected, x.slice(), reference.loadRing(entries, 7, 8));
      expect(out.slice()).toEqual(expected);
      kernels.matmulKeystream(out, x, keystream);
      reference.matmulKeystream(expected, x.slice(), keystream);
      expect(out.slice()).toEqual(expected);
    }
    expect(x.slice()).toEqual(wordsOf(10, 7));
    matrix.free();
    memory.release(start, 8 * 15);
  });

  test.each([
    { bits: 40, words: 2, keyCount: 1, perKey: 45 },
    { bits: 32, words: 1, keyCount: 37, perKey: 1 },
    { bits: 64, words: 5, keyCount: 2, perKey: 7 },
    { bits: 21, words: 6, keyCount: 5, perKey: 1 },
    { bits: 3, words: 1, keyCount: 9, perKey: 1 },
  ])("function keys: $keyCount of $bits bits, $perKey points each", (shape) => {
    const { bits: domainBits, words, keyCount, perKey } = shape;
    const cut = (word: bigint) => BigInt.asUintN(domainBits, word);
    const alphas = wordsOf(11, keyCount).map(cut);
    const [payloads, random] = [wordsOf(12, keyCount * words), bytesOf(13, 32 * keyCount)];
    const dealt = { domainBits, words, alphas, payloads, random };
    // Far apart, near each other, and the same: paths that part early, late and never.
    const points = wordsOf(14, keyCount * perKey).map((word, i) =>
      cut([word, alphas[0] + BigInt(i), alphas[0]][i % 3]),
    );
    for (const kind of ["dcf", "dpf"] as const) {
      const generate = kind === "dcf" ? "dcfGenerateMany" : "dpfGenerateMany";
      const evaluate = kind === "dcf" ? "dcfEvaluateMany" : "dpfEvaluateMany";
      const pairs = kernels[generate](dealt);
      expect(pairs).toEqual(reference[generate](dealt));
      for (const party of [0, 1] as const) {
        const outs = [kernels, reference].map((set) => {
          const out = new BigUint64Array(points.length * words);
          set[evaluate]({ domainBits, words, party, keys: pairs[party], points, out });
          return out;
        });
        expect(outs[0]).toEqual(outs[1]);
      }
    }
  });
});
