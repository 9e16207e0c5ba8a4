// Conformance of the ring kernels: one suite, run on every implementation.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { functionKeys } from "../../test/function-keys.ts";
import { bytesOf, codeOf, fromHex, mod, seed, wordsOf } from "../../test/kernel-data.ts";
import { MergenError } from "../errors.ts";
import { type Addon, loadAddon } from "./addon.ts";
import { loadRingKernels } from "./load-node.ts";
import { createNativeRingKernels } from "./native.ts";
import { startPool } from "./pool-node.ts";
import { referenceRingKernels } from "./reference.ts";
import type { AttentionDims, KeystreamMatrix, RingKernels } from "./ring-kernels.ts";
import { loadWasmRingKernels, startEngine, WasmRingKernels } from "./wasm.ts";

const reference = referenceRingKernels();

conform("reference", reference);
conform("wasm", await loadRingKernels({ kernels: "wasm", threads: 1 }));
conform("wasm, 3 threads, every job cut", await eagerKernels());
const addon = addonIfBuilt();
for (const isa of ["amx", "avx512", "avx2", "portable"]) {
  if (addon?.[isa]) conform(`native, ${isa}`, await nativeKernels(addon, isa));
  else test.skip(`ring kernels: native, ${isa}: no build/native.node, or no such processor`);
}

/** Undefined when not built or not for this machine. */
function addonIfBuilt(): Addon | undefined {
  try {
    return loadAddon();
  } catch (error) {
    if (error instanceof MergenError) return undefined;
    throw error;
  }
}

function nativeKernels(from: Addon, isa: string): RingKernels {
  return createNativeRingKernels(from, { isa });
}

async function eagerKernels(): Promise<RingKernels> {
  const wasm = readFileSync(new URL("../../build/ring-threads.wasm", import.meta.url));
  const engine = await startEngine(wasm, { shared: true });
  return new WasmRingKernels(engine, await startPool({ ...engine, threads: 3, eager: true }));
}

function weightsOf(seed: number, count: number): Int16Array {
  return new Int16Array(bytesOf(seed, count * 2).buffer).map((weight) =>
    (weight & 7) === 0 ? -32768 : weight,
  );
}

const word = fc.oneof(
  fc.bigInt({ min: 0n, max: mod(-1n) }),
  fc.constantFrom(0n, 1n, 1n << 63n, mod(-1n)),
);

function conform(title: string, kernels: RingKernels): void {
  describe(`ring kernels: ${title}`, () => {
    elementwise(kernels);
    packedFields(kernels);
    products(kernels);
    keystreamProducts(kernels);
    attention(kernels);
    narrowAttention(kernels);
    keystream(kernels);
    functionKeys(kernels, { isSlow: kernels.name === "reference" });
  });
}

function elementwise(kernels: RingKernels): void {
  const lengths = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(16383, 16384, 32771));

  test("elementwise operations follow their definitions", () => {
    const property = fc.property(
      lengths,
      seed,
      word,
      fc.integer({ min: 0, max: 63 }),
      (count, start, factor, bits) => {
        const a = wordsOf(start, count);
        const b = wordsOf(start + 1, count);
        const out = wordsOf(start + 2, count);
        const old = out.slice();
        const shift = BigInt(bits);
        const check = (expected: (i: number) => bigint): void => {
          expect(out.every((value, i) => value === mod(expected(i)))).toBe(true);
        };
        kernels.addScaled(out, a, factor);
        check((i) => old[i] + a[i] * factor);
        kernels.add(out, a, b);
        check((i) => a[i] + b[i]);
        kernels.sub(out, a, b);
        check((i) => a[i] - b[i]);
        kernels.mul(out, a, b);
        check((i) => a[i] * b[i]);
        kernels.scale(out, a, factor);
        check((i) => a[i] * factor);
        kernels.scale(out, a, -factor);
        check((i) => -a[i] * factor);
        kernels.addConstant(out, a, factor);
        check((i) => a[i] + factor);
        kernels.shiftRight(out, a, bits);
        check((i) => a[i] >> shift);
        kernels.shiftRightSigned(out, a, bits);
        check((i) => BigInt.asIntN(64, a[i]) >> shift);
        kernels.lowBits(out, a, bits + 1);
        check((i) => BigInt.asUintN(bits + 1, a[i]));
      },
    );
    fc.assert(property, { numRuns: 40 });
  });

  test("results may alias operands", () => {
    const a = wordsOf(1, 20000);
    const b = wordsOf(2, 20000);
    const out = a.slice();
    kernels.sub(out, b, out);
    expect(out.every((value, i) => value === mod(b[i] - a[i]))).toBe(true);
    kernels.addScaled(out, out, 3n);
    expect(out.every((value, i) => value === mod(4n * (b[i] - a[i])))).toBe(true);
    kernels.mul(out, out, out);
    expect(out.every((value, i) => value === mod(16n * (b[i] - a[i]) ** 2n))).toBe(true);
  });

  test("views may begin at any word, and nothing around the result changes", () => {
    for (let offset = 0; offset < 9; offset++) {
      for (const count of [0, 1, 7, 8, 9, 31, 32, 33, 40, 77]) {
        const [a, b] = [1, 2].map((start) => wordsOf(start, 100).subarray(offset, offset + count));
        const room = wordsOf(3, 100);
        const expected = room.slice();
        const out = room.subarray(offset + 1, offset + 1 + count);
        kernels.mul(out, a, b);
        kernels.addScaled(out, b, 5n);
        a.forEach((x, i) => {
          expected[offset + 1 + i] = mod((x + 5n) * b[i]);
        });
        expect(room).toEqual(expected);
      }
    }
  });

  test("sumRows", () => {
    const property = fc.property(
      fc.constantFrom(0, 1, 2, 3, 17, 700, 16384, 16385, 33000),
      fc.constantFrom(0, 1, 2, 5, 24),
      seed,
      (width, rows, start) => {
        const a = wordsOf(start, width * rows);
        const out = wordsOf(start + 1, rows);
        kernels.sumRows(out, a, width);
        out.forEach((value, i) => {
          const row = a.subarray(i * width, (i + 1) * width);
          expect(value).toBe(mod(row.reduce((total, x) => total + x, 0n)));
        });
      },
    );
    fc.assert(property, { numRuns: 25 });
  });

  test("wrong sizes are named errors", () => {
    const two = new BigUint64Array(2);
    const three = new BigUint64Array(3);
    expect(codeOf(() => kernels.add(two, two, three))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.addScaled(three, two, 1n))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.shiftRight(two, two, 64))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.shiftRightSigned(two, two, -1))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.sumRows(two, three, 2))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.lowBits(two, three, 3))).toBe("E_KERNEL");
    for (const bits of [0, 65, 1.5]) {
      expect(codeOf(() => kernels.lowBits(two, two, bits))).toBe("E_KERNEL");
    }
  });
}

function packedFields(kernels: RingKernels): void {
  const guard = 0xa5;

  /** The string of bits by its definition: the sum of words[i] * 2^(i * bits). */
  function packedOf(words: BigUint64Array, bits: number): Uint8Array {
    const size = Math.ceil((words.length * bits) / 8);
    if (size === 0) return new Uint8Array(0);
    const fields = Array.from(words, (each) => BigInt.asUintN(bits, each));
    const binary = fields.map((field) => field.toString(2).padStart(bits, "0")).reverse();
    const hex = BigInt(`0b${binary.join("")}`).toString(16);
    return new Uint8Array(Buffer.from(hex.padStart(2 * size, "0"), "hex").reverse());
  }

  /** Both ways, between guards; the first byte lies anywhere. */
  function check(words: BigUint64Array, bits: number): void {
    const packed = packedOf(words, bits);
    const start = 1 + ((words.length + bits) % 9);
    const room = new Uint8Array(start + packed.length + 70).fill(guard);
    const out = room.subarray(start, start + packed.length);
    kernels.pack(out, words, bits);
    expect(Buffer.compare(out, packed), `pack ${words.length} x ${bits} bits`).toBe(0);
    out.fill(guard);
    expect(room.every((byte) => byte === guard)).toBe(true);

    out.set(packed);
    const spare = 8 * packed.length - words.length * bits;
    if (spare > 0) out[out.length - 1] |= 0xff << (8 - spare);
    const wide = BigInt(guard);
    const wordRoom = new BigUint64Array(words.length + 18).fill(wide);
    const back = wordRoom.subarray(1, 1 + words.length);
    kernels.unpack(back, out, bits);
    const right = back.every((each, i) => each === BigInt.asUintN(bits, words[i]));
    expect(right, `unpack ${words.length} x ${bits} bits`).toBe(true);
    back.fill(wide);
    expect(wordRoom.every((each) => each === wide)).toBe(true);
  }

  test.each(Array.from({ length: 64 }, (_, i) => i + 1))("fields of %i bits", (bits) => {
    for (let count = 0; count <= 70; count++) check(wordsOf(count, count), bits);
    for (const count of [255, 768, 1537]) check(wordsOf(bits, count), bits);
  });

  test("wrong sizes are named errors", () => {
    const three = new BigUint64Array(3);
    const bytes = (count: number) => new Uint8Array(count);
    for (const name of ["pack", "unpack"] as const) {
      const run = (count: number, bits: number) =>
        name === "pack"
          ? codeOf(() => kernels.pack(bytes(count), three, bits))
          : codeOf(() => kernels.unpack(three, bytes(count), bits));
      expect(run(9, 22)).toBe("nothing thrown");
      expect(run(8, 22)).toBe("E_KERNEL");
      expect(run(10, 22)).toBe("E_KERNEL");
      expect(run(0, 0)).toBe("E_KERNEL");
      expect(run(25, 65)).toBe("E_KERNEL");
      expect(run(9, 22.5)).toBe("E_KERNEL");
    }
  });
}

function products(kernels: RingKernels): void {
  const side = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(31, 62, 63, 124, 130));

  test("int16 products equal the reference", () => {
    const property = fc.property(
      fc.integer({ min: 0, max: 5 }),
      side,
      side,
      seed,
      (m, rows, columns, start) => {
        const weights = weightsOf(start, rows * columns);
        compare(m, wordsOf(start + 1, m * rows), { rows, columns }, (which) =>
          which.loadInt16(weights, rows, columns),
        );
      },
    );
    fc.assert(property, { numRuns: 60 });
  });

  test("ring products equal the reference", () => {
    const property = fc.property(
      fc.integer({ min: 0, max: 5 }),
      side,
      side,
      seed,
      (m, rows, columns, start) => {
        const words = wordsOf(start, rows * columns);
        compare(m, wordsOf(start + 1, m * rows), { rows, columns }, (which) =>
          which.loadRing(words, rows, columns),
        );
      },
    );
    fc.assert(property, { numRuns: 60 });
  });

  test("limb sums do not overflow at the extremes", () => {
    // Every limb of these words is extreme: 11-bit limbs -1024 or 1023, 10-bit -512 or 511.
    const lowest = mod(-1024n - (1024n << 11n) - (512n << 22n));
    const highest = 1023n + (1023n << 11n) + (511n << 22n);
    for (const value of [lowest, highest, mod(-1n), 1n << 63n, (1n << 63n) - 1n]) {
      for (const weight of [-32768, 32767]) {
        const rows = 1000;
        const matrix = kernels.loadInt16(new Int16Array(rows * 9).fill(weight), rows, 9);
        const out = new BigUint64Array(9);
        kernels.matmul(out, new BigUint64Array(rows).fill(value), matrix);
        expect(out).toEqual(out.map(() => mod(value * BigInt(weight * rows))));
        matrix.free();
      }
    }
  });

  test("tall matrices: blocks of rows", () => {
    for (const rows of [511, 512, 1025, 3001]) {
      const words = wordsOf(rows, rows * 6);
      compare(3, wordsOf(1, 3 * rows), { rows, columns: 6 }, (which) =>
        which.loadRing(words, rows, 6),
      );
    }
  });

  test("freed memory is used again, other matrices stay whole", () => {
    const first = kernels.loadInt16(weightsOf(1, 700 * 900), 700, 900);
    const kept = wordsOf(2, 30 * 20);
    const second = kernels.loadRing(kept, 30, 20);
    first.free();
    first.free();
    const third = kernels.loadInt16(weightsOf(3, 500 * 40), 500, 40);
    const x = wordsOf(4, 30);
    const out = new BigUint64Array(20);
    kernels.matmul(out, x, second);
    const expected = new BigUint64Array(20);
    reference.matmul(expected, x, reference.loadRing(kept, 30, 20));
    expect(out).toEqual(expected);
    expect(codeOf(() => kernels.matmul(out, x, first))).toBe("E_KERNEL");
    second.free();
    third.free();
  });

  test("wrong sizes are named errors", () => {
    expect(codeOf(() => kernels.loadInt16(new Int16Array(5), 2, 3))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.loadRing(new BigUint64Array(0), 0, 3))).toBe("E_KERNEL");
    const matrix = kernels.loadRing(new BigUint64Array(6), 2, 3);
    const words = (count: number) => new BigUint64Array(count);
    expect(codeOf(() => kernels.matmul(words(3), words(3), matrix))).toBe("E_KERNEL");
    expect(codeOf(() => kernels.matmul(words(4), words(2), matrix))).toBe("E_KERNEL");
    const shared = words(5);
    const overlap = () => kernels.matmul(shared.subarray(0, 3), shared.subarray(2, 4), matrix);
    expect(codeOf(overlap)).toBe("E_KERNEL");
    const foreign = () => {
      const other = kernels.name === "reference" ? undefined : reference;
      if (other === undefined)
        kernels.matmul(words(3), words(2), { ...matrix, entries: undefined } as never);
      else kernels.matmul(words(3), words(2), other.loadRing(words(6), 2, 3));
    };
    expect(codeOf(foreign)).toBe("E_KERNEL");
  });

  function compare(
    m: number,
    x: BigUint64Array,
    shape: { rows: number; columns: number },
    load: (which: RingKernels) => ReturnType<RingKernels["loadRing"]>,
  ): void {
    const out = wordsOf(9, m * shape.columns);
    const expected = out.slice();
    const matrix = load(kernels);
    kernels.matmul(out, x, matrix);
    matrix.free();
    reference.matmul(expected, x, load(reference));
    expect(out).toEqual(expected);
  }
}

function keystreamProducts(kernels: RingKernels): void {
  const side = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(31, 64, 129, 300));

  /** The same product with the matrix written out. */
  function expectedOf(x: BigUint64Array, matrix: KeystreamMatrix): BigUint64Array {
    const { rows, columns, key, nonce, transposed } = matrix;
    const entries = new BigUint64Array(rows * columns);
    reference.chacha12(new Uint8Array(entries.buffer), key, nonce, 0);
    const [inner, outer] = transposed ? [columns, rows] : [rows, columns];
    const m = x.length / inner;
    return BigUint64Array.from({ length: m * outer }, (_, at) => {
      const [i, j] = [Math.floor(at / outer), at % outer];
      let sum = 0n;
      for (let k = 0; k < inner; k++) {
        sum += x[i * inner + k] * entries[transposed ? j * columns + k : k * columns + j];
      }
      return mod(sum);
    });
  }

  test.each([false, true])("products with a keystream, transposed: %s", (transposed) => {
    const property = fc.property(
      fc.integer({ min: 0, max: 5 }),
      side,
      side,
      seed,
      (m, rows, columns, start) => {
        const key = bytesOf(start, 32);
        const matrix = { rows, columns, key, nonce: bytesOf(start + 1, 12), transposed };
        const x = wordsOf(start + 2, m * (transposed ? columns : rows));
        const out = wordsOf(start + 3, m * (transposed ? rows : columns));
        kernels.matmulKeystream(out, x, matrix);
        expect(out).toEqual(expectedOf(x, matrix));
      },
    );
    fc.assert(property, { numRuns: 25 });
  });

  test("wrong sizes are named errors", () => {
    const words = (count: number) => new BigUint64Array(count);
    const good = {
      rows: 2,
      columns: 3,
      key: new Uint8Array(32),
      nonce: new Uint8Array(12),
      transposed: false,
    };
    const run = (change: Partial<KeystreamMatrix>, x = 4, out = 6) =>
      codeOf(() => kernels.matmulKeystream(words(out), words(x), { ...good, ...change }));
    expect(run({})).toBe("nothing thrown");
    expect(run({ transposed: true })).toBe("E_KERNEL");
    expect(run({ transposed: true }, 6, 4)).toBe("nothing thrown");
    expect(run({ rows: 0 }, 0, 0)).toBe("E_KERNEL");
    expect(run({ key: new Uint8Array(31) })).toBe("E_KERNEL");
    expect(run({ nonce: new Uint8Array(8) })).toBe("E_KERNEL");
    expect(run({}, 4, 5)).toBe("E_KERNEL");
    const shared = words(9);
    const overlap = () =>
      kernels.matmulKeystream(shared.subarray(0, 6), shared.subarray(5, 9), good);
    expect(codeOf(overlap)).toBe("E_KERNEL");
  });
}

interface NarrowCase {
  dims: Required<AttentionDims>;
  x: BigUint64Array;
  /** [heads, positions, positions] */
  weights: Int16Array;
}

/** Of every head's matrix the rows that are held. */
function heldRows<T extends Int16Array | BigUint64Array>(weights: T, dims: NarrowCase["dims"]): T {
  const { heads, positions, held } = dims;
  const out = weights.slice(0, heads * held!.count * positions) as T;
  for (let head = 0; head < heads; head++) {
    const first = (head * positions + held!.from) * positions;
    const part = weights.subarray(first, first + held!.count * positions);
    out.set(part as never, head * held!.count * positions);
  }
  return out;
}

/** Weights of 16 bits, and of some rows only. */
function narrowAttention(kernels: RingKernels): void {
  function check({ dims, x, weights }: NarrowCase): void {
    const wide = BigUint64Array.from(weights, BigInt);
    const expected = new BigUint64Array(x.length - dims.start * dims.columns);
    reference.attend(expected, x, wide, { ...dims, held: undefined });
    const whole = { ...dims, held: undefined };
    for (const [given, at] of [
      [weights, whole],
      [heldRows(weights, dims), dims],
      [heldRows(wide, dims), dims],
    ] as const) {
      const out = wordsOf(1, expected.length);
      kernels.attend(out, x, given, at);
      expect(out).toEqual(expected);
    }
  }

  test("attend with weights of 16 bits, all of them or some rows", () => {
    const property = fc.property(
      fc.record({
        heads: fc.integer({ min: 1, max: 3 }),
        width: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom(32, 75)),
        rows: fc.integer({ min: 1, max: 40 }),
        more: fc.integer({ min: 0, max: 3 }),
        fresh: fc.integer({ min: 0, max: 40 }),
        before: fc.integer({ min: 0, max: 3 }),
        after: fc.integer({ min: 0, max: 3 }),
      }),
      seed,
      ({ heads, width, rows, more, fresh, before, after }, start) => {
        const positions = rows + more;
        const from = Math.max(0, rows - fresh);
        const held = { from: Math.max(0, from - before), count: 0 };
        held.count = Math.min(positions, rows + after) - held.from;
        const dims = { heads, positions, start: from, columns: heads * width, held };
        const x = wordsOf(start, rows * dims.columns);
        check({ dims, x, weights: weightsOf(start + 1, heads * positions * positions) });
      },
    );
    fc.assert(property, { numRuns: 40 });
  });

  test("one row with all that its matrices hold", () => {
    const [positions, start] = [70, 69];
    const held = { from: start, count: 1 };
    const dims = { heads: 2, positions, start, columns: 150, held };
    check({ dims, x: wordsOf(1, 70 * 150), weights: weightsOf(2, 2 * 70 * 70) });
  });

  test("rows that are not held are named errors", () => {
    const words = (count: number) => new BigUint64Array(count);
    const run = (held: { from: number; count: number }, weights = held.count * 6) => {
      const dims = { heads: 2, positions: 3, start: 1, columns: 4, held };
      return codeOf(() => kernels.attend(words(8), words(12), new Int16Array(weights), dims));
    };
    expect(run({ from: 1, count: 2 })).toBe("nothing thrown");
    expect(run({ from: 2, count: 1 })).toBe("E_KERNEL");
    expect(run({ from: 1, count: 1 })).toBe("E_KERNEL");
    expect(run({ from: -1, count: 4 })).toBe("E_KERNEL");
    expect(run({ from: 0, count: 3 }, 12)).toBe("E_KERNEL");
  });
}

function attention(kernels: RingKernels): void {
  test("attend equals the reference", () => {
    const property = fc.property(
      fc.record({
        heads: fc.integer({ min: 1, max: 3 }),
        width: fc.integer({ min: 1, max: 9 }),
        rows: fc.integer({ min: 0, max: 7 }),
        more: fc.integer({ min: 0, max: 3 }),
      }),
      fc.integer({ min: 0, max: 7 }),
      seed,
      ({ heads, width, rows, more }, from, start) => {
        const columns = heads * width;
        const positions = Math.max(1, rows + more);
        const dims = { heads, positions, start: Math.min(from, rows), columns };
        const x = wordsOf(start, rows * columns);
        const weights = wordsOf(start + 1, heads * positions * positions);
        const out = wordsOf(start + 2, (rows - dims.start) * columns);
        const expected = out.slice();
        kernels.attend(out, x, weights, dims);
        reference.attend(expected, x, weights, dims);
        expect(out).toEqual(expected);
      },
    );
    fc.assert(property, { numRuns: 80 });
  });

  test("attend: one row and all rows of a longer text", () => {
    const dims = { heads: 2, positions: 70, columns: 150 };
    const x = wordsOf(1, 70 * 150);
    const weights = wordsOf(2, 2 * 70 * 70);
    for (const start of [0, 60, 64, 69]) {
      const out = new BigUint64Array((70 - start) * 150);
      const expected = out.slice();
      kernels.attend(out, x, weights, { ...dims, start });
      reference.attend(expected, x, weights, { ...dims, start });
      expect(out).toEqual(expected);
    }
  });

  test("attend: wrong sizes are named errors", () => {
    const good = { heads: 2, positions: 3, start: 1, columns: 4 };
    const words = (count: number) => new BigUint64Array(count);
    const run = (dims: typeof good, out = 8, x = 12, weights = 18) =>
      codeOf(() => kernels.attend(words(out), words(x), words(weights), dims));
    expect(run(good)).toBe("nothing thrown");
    expect(run(good, 4)).toBe("E_KERNEL");
    expect(run(good, 8, 11)).toBe("E_KERNEL");
    expect(run(good, 12, 16)).toBe("E_KERNEL");
    expect(run(good, 8, 12, 17)).toBe("E_KERNEL");
    expect(run({ ...good, heads: 3 })).toBe("E_KERNEL");
    expect(run({ ...good, start: 4 }, 0)).toBe("E_KERNEL");
    const shared = words(20);
    const overlap = () =>
      kernels.attend(shared.subarray(0, 8), shared.subarray(7, 19), words(18), good);
    expect(codeOf(overlap)).toBe("E_KERNEL");
  });
}

function keystream(kernels: RingKernels): void {
  const url = new URL("../../test/vectors/chacha12.json", import.meta.url);
  const { vectors } = JSON.parse(readFileSync(url, "utf8")) as {
    vectors: { name: string; key: string; nonce: string; counter: number; keystream: string }[];
  };

  test.each(vectors)("chacha12 vector: $name", ({ key, nonce, counter, keystream: expected }) => {
    const out = new Uint8Array(expected.length / 2);
    kernels.chacha12(out, fromHex(key), fromHex(nonce), counter);
    expect(Buffer.from(out).toString("hex")).toBe(expected);
  });

  test("chacha12 equals the reference, at any length and offset", () => {
    const property = fc.property(
      fc.oneof(fc.integer({ min: 0, max: 700 }), fc.constantFrom(131072, 131073, 262209)),
      seed,
      (length, start) => {
        const key = bytesOf(start, 33).subarray(1); // not aligned
        const nonce = bytesOf(start + 1, 12);
        const out = new Uint8Array(length + 2).subarray(1, length + 1);
        const expected = new Uint8Array(length);
        kernels.chacha12(out, key, nonce, start);
        reference.chacha12(expected, key, nonce, start);
        expect(Buffer.compare(out, expected)).toBe(0);
        expect(new Uint8Array(out.buffer)[length + 1]).toBe(0);
      },
    );
    fc.assert(property, { numRuns: 30 });
  });

  test("wrong sizes and a wrapping counter are named errors", () => {
    const bytes = (count: number) => new Uint8Array(count);
    const run = (out: number, key: number, nonce: number, counter: number) =>
      codeOf(() => kernels.chacha12(bytes(out), bytes(key), bytes(nonce), counter));
    expect(run(64, 31, 12, 0)).toBe("E_KERNEL");
    expect(run(64, 32, 8, 0)).toBe("E_KERNEL");
    expect(run(64, 32, 12, -1)).toBe("E_KERNEL");
    expect(run(65, 32, 12, 2 ** 32 - 1)).toBe("E_KERNEL");
    expect(run(64, 32, 12, 2 ** 32 - 1)).toBe("nothing thrown");
  });
}

test("wasm operands that lie in its memory are used in place", async () => {
  const file = new URL("../../build/ring.wasm", import.meta.url);
  const kernels = await loadWasmRingKernels(readFileSync(file));
  const { memory } = kernels;
  const matrix = kernels.loadRing(wordsOf(1, 30 * 8), 30, 8);
  const [from, to] = [memory.allocate(8 * 30), memory.allocate(8 * 30)];
  const x = memory.words(from, 30);
  x.set(wordsOf(2, 30));
  const out = memory.words(to, 30);
  kernels.addScaled(out, x, 5n);
  kernels.addScaled(out, out, 2n);
  expect(out.every((value, i) => value === mod(15n * x[i]))).toBe(true);
  kernels.matmul(out.subarray(0, 8), x, matrix);
  const expected = new BigUint64Array(8);
  reference.matmul(expected, x, reference.loadRing(wordsOf(1, 30 * 8), 30, 8));
  expect(out.slice(0, 8)).toEqual(expected);
  expect(codeOf(() => memory.scratch(1 << 24, out))).toBe("E_KERNEL");
  expect(out.length).toBe(30);
  memory.release(from, 8 * 30);
  expect(codeOf(() => memory.release(from, 8 * 30))).toBe("E_INTERNAL");
});

test("bytes that are no kernel module are a named error", async () => {
  const failure = await loadWasmRingKernels(new Uint8Array(8)).catch((error) => error.code);
  expect(failure).toBe("E_KERNEL");
});
