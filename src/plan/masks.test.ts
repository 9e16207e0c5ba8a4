// D_W, which nobody stores, and B = W - D_W, which goes to D in slabs.

import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { maskedWords } from "../../test/masked-tensors.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { Random } from "../model/random.ts";
import { Prg } from "../ring/prg.ts";
import { Ring, type Words } from "../ring/ring.ts";
import { MaskTensors, maskedSlabs, SLAB_WORDS, slabLengths } from "./masks.ts";
import { type MaskedTensor, ServerTensors } from "./tensors.ts";

const kernels = await loadRingKernels();
const ring = new Ring(kernels);
const seed = new Uint8Array(32).fill(3);
const listed: readonly MaskedTensor[] = [
  { key: "a", rows: 3, columns: 4, forms: ["matrix", "transposed"] },
  { key: "b", rows: 4, columns: 3, forms: ["plain"] },
  { key: "large", rows: 373, columns: 809, forms: ["plain"] },
];
const sizes = listed.map(({ rows, columns }) => rows * columns);
const random = new Random(5);
const weights = new Map(
  listed.map(({ key }, i) => {
    // The first two hold the same numbers.
    const draw = i < 2 ? new Random(1) : random;
    const data = Float32Array.from({ length: sizes[i]! }, () => draw.normal());
    return [key, { data }] as const;
  }),
);
const numbers = { weightFracBits: { a: 12, b: 12, large: 12 } };
const server = new ServerTensors({ kernels, weights, numbers, tensors: listed });
const masks = new MaskTensors(kernels, listed, seed);

/** Where two vectors depart; -1 where they do not. A printed difference would take minutes. */
function firstDifference(a: Words, b: Words): number {
  if (a.length !== b.length) return Math.min(a.length, b.length);
  return a.findIndex((word, i) => word !== b[i]);
}

describe("slabs", () => {
  it("are whole keystream blocks, cover a tensor, and fit one frame each", () => {
    expect(SLAB_WORDS % 8).toBe(0);
    expect(8 * SLAB_WORDS).toBeLessThanOrEqual(1 << 20);
    const of = (rows: number, columns: number) =>
      slabLengths({ key: "x", rows, columns, forms: [] });
    expect(of(1, 1)).toEqual([1]);
    expect(of(1, SLAB_WORDS)).toEqual([SLAB_WORDS]);
    expect(of(1, SLAB_WORDS + 1)).toEqual([SLAB_WORDS, 1]);
    expect(of(2, SLAB_WORDS)).toEqual([SLAB_WORDS, SLAB_WORDS]);
  });

  it("of B and D_W add up to W, over the ends of slabs too", () => {
    expect(sizes[2]).toBeGreaterThan(2 * SLAB_WORDS);
    for (const tensor of listed) {
      const slabs = [...maskedSlabs(kernels, { weights: server, masks }, tensor)];
      expect(slabs.map(({ length }) => length)).toEqual(slabLengths(tensor));
      const b = maskedWords(kernels, { weights: server, masks }, tensor);
      const sum = ring.add(b, masks.words(tensor.key));
      expect(firstDifference(sum, server.words(tensor.key))).toBe(-1);
    }
  });

  it("of the same weights hide them: B alone is as good as random", () => {
    const [a, b] = listed.map((tensor) => maskedWords(kernels, { weights: server, masks }, tensor));
    expect([...server.entries("a")]).toEqual([...server.entries("b")]);
    expect(new Set([...a!, ...b!]).size).toBe(24);
  });
});

describe("D_W", () => {
  it("is what the PRG gives for the tensor's place in the list", () => {
    const prg = new Prg(kernels, seed);
    listed.forEach(({ key }, index) => {
      const place = { segment: index, gate: 0 };
      const wanted = prg.words(place, "weights", sizes[index]!, 64);
      expect(firstDifference(masks.words(key), wanted)).toBe(-1);
    });
  });

  it("follows from the seed, which is copied, and differs from tensor to tensor", () => {
    const own = seed.slice();
    const same = new MaskTensors(kernels, listed, own);
    own.fill(0);
    expect(same.words("a")).toEqual(masks.words("a"));
    const other = new MaskTensors(kernels, listed, new Uint8Array(32).fill(4));
    const all = ["a", "b"].flatMap((key) => [...masks.words(key), ...other.words(key)]);
    expect(new Set(all).size).toBe(48);
  });

  it("as a matrix is the same words, plain and turned", () => {
    const words = masks.words("a");
    const x = BigUint64Array.from({ length: 24 }, (_, i) => BigInt(i) * 0x0123456789abcdefn);
    const plain = ring.matmul(x, masks.matrix("a"));
    expect(plain).toEqual(ring.matmul(x, kernels.loadRing(words, 3, 4)));
    const turned = words.map((_, i) => words[(i % 3) * 4 + Math.floor(i / 3)]!);
    const back = ring.matmul(x, masks.matrix("a^T"));
    expect(back).toEqual(ring.matmul(x, kernels.loadRing(turned, 4, 3)));
  });

  it("is made in parts from any word on", () => {
    const whole = masks.words("large");
    for (const [from, count] of [
      [0, 1],
      [1, 20],
      [7, 9],
      [8, 8],
      [SLAB_WORDS - 3, 6],
      [sizes[2]! - 1, 1],
    ] as const) {
      expect(masks.part("large", from, count)).toEqual(whole.slice(from, from + count));
    }
  });

  it("for attention has the new positions' rows of every head, and says which they are", () => {
    const [heads, positions] = [3, 7];
    const tensor = { key: "c", rows: heads * positions, columns: positions, forms: ["plain"] };
    const one = new MaskTensors(kernels, [tensor as MaskedTensor], seed);
    const whole = one.words("c");
    for (const [start, rows] of [
      [0, 7],
      [2, 1],
      [3, 4],
      [6, 1],
    ] as const) {
      const dims = { heads, positions, start, columns: 6 };
      const { weights: given, held } = one.attention("c", dims, rows);
      expect(held).toEqual({ from: start, count: rows });
      expect(given).toHaveLength(heads * rows * positions);
      const x = BigUint64Array.from({ length: 6 * (start + rows) }, (_, i) => BigInt(i * i) << 40n);
      expect(ring.attend(x, given, { ...dims, held })).toEqual(ring.attend(x, whole, dims));
    }
  });

  it("of a tensor that is not in the plan is refused", () => {
    for (const read of [
      () => masks.words("z"),
      () => masks.matrix("z"),
      () => masks.matrix("z^T"),
      () => masks.part("z", 0, 1),
    ]) {
      errorOf("E_INTERNAL", read);
    }
  });
});
