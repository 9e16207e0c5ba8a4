import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import type { GateSpec } from "../gate/index.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { Random } from "../model/random.ts";
import {
  type MaskedTensor,
  maskedTensors,
  maskTensors,
  quantise,
  RingTensors,
  ServerTensors,
} from "./tensors.ts";

const kernels = await loadRingKernels();
const numbers = { weightFracBits: { a: 12, b: 12, s: 4 } };
const real = (entries: Record<string, number[]>) =>
  new Map(Object.entries(entries).map(([name, data]) => [name, { data: Float32Array.from(data) }]));
const tensor = (key: string, rows: number, columns: number): MaskedTensor => ({
  key,
  rows,
  columns,
});
const words = (values: readonly (number | bigint)[]) =>
  BigUint64Array.from(values, (value) => BigInt.asUintN(64, BigInt(value)));

describe("quantise", () => {
  it("rounds to the stated grid", () => {
    const weights = real({ a: [0, 1, -1, 2.5 / 4096, -7.99975] });
    expect([...quantise(weights, tensor("a", 1, 5), numbers)]).toEqual([0, 4096, -4096, 3, -32767]);
  });

  it("refuses what exceeds 16 bits, and names the tensor", () => {
    for (const value of [8, -8, 1e30, Number.NaN]) {
      const weights = real({ a: [0, value] });
      const { message } = errorOf("E_RANGE", () => quantise(weights, tensor("a", 1, 2), numbers));
      expect(message).toContain("a exceeds 16 bits at 12 bits");
    }
    quantise(real({ a: [32767 / 4096, -32767 / 4096] }), tensor("a", 1, 2), numbers);
  });

  it("scales columns before it rounds, on the first tensor's grid", () => {
    const weights = real({ a: [1, 2, 3, 1 / 4096, 2 / 4096, 3 / 4096], s: [0.5, -1, 0.1] });
    const scaled = quantise(weights, tensor("a*s", 2, 3), numbers);
    expect([...scaled]).toEqual([2048, -8192, 1229, 1, -2, 0]);
    const tooLarge = real({ a: [7], s: [1.5] });
    const { message } = errorOf("E_RANGE", () => quantise(tooLarge, tensor("a*s", 1, 1), numbers));
    expect(message).toContain("a*s");
  });

  it("refuses a tensor that the model or its grid does not know", () => {
    const weights = real({ a: [1], c: [1] });
    for (const key of ["b", "c", "a*t"]) {
      const { message } = errorOf("E_MODEL", () => quantise(weights, tensor(key, 1, 1), numbers));
      expect(message).toContain(key.split("*").at(-1)!);
    }
  });
});

describe("the server's tensors", () => {
  const weights = real({ a: [1, 2, 3, 4, 5, -6], b: [0.5, -0.25], s: [2, 3, 4] });
  const listed = [tensor("a", 2, 3), tensor("a*s", 2, 3)];
  const make = () => {
    const small = real({ a: [1, 1, 1, 0.5, 0.5, -1], b: [0.5, -0.25], s: [2, 3, 4] });
    return new ServerTensors({ kernels, weights: small, numbers, tensors: listed });
  };

  it("multiply plain and transposed", () => {
    const tensors = new ServerTensors({ kernels, weights, numbers, tensors: [tensor("a", 2, 3)] });
    const out = new BigUint64Array(3);
    kernels.matmul(out, words([1, 1]), tensors.matrix("a"));
    expect(out).toEqual(words([5 * 4096, 7 * 4096, -3 * 4096]));
    const turned = new BigUint64Array(2);
    kernels.matmul(turned, words([1, 0, 2]), tensors.matrix("a^T"));
    expect(turned).toEqual(words([7 * 4096, -8 * 4096]));
    expect(tensors.matrix("a")).toBe(tensors.matrix("a"));
  });

  it("give words, and biases at any scale, also scaled", () => {
    const tensors = make();
    expect(tensors.words("a*s")).toEqual(words([8192, 12288, 16384, 4096, 6144, -16384]));
    expect(tensors.words("b@3")).toEqual(words([4, -2]));
    expect(tensors.words("b@50")).toEqual(words([1n << 49n, -(1n << 48n)]));
    expect(tensors.words("s*b@2").slice(0, 2)).toEqual(words([4, -3]));
  });

  it("refuse a size that is not the plan's, and a key that is not in it", () => {
    const given = { kernels, weights, numbers };
    errorOf("E_MODEL", () => new ServerTensors({ ...given, tensors: [tensor("a", 3, 3)] }));
    errorOf("E_INTERNAL", () => make().words("b"));
    errorOf("E_INTERNAL", () => make().matrix("c"));
  });
});

describe("masks", () => {
  const random = new Random(5);
  const values = Array.from({ length: 12 }, () => random.normal());
  const listed = [tensor("a", 3, 4), tensor("b", 4, 3)];
  const weights = real({ a: values, b: values });
  const server = new ServerTensors({ kernels, weights, numbers, tensors: listed });
  const seed = new Uint8Array(32).fill(3);

  it("D_W and B = W - D_W add up to W", () => {
    const masks = maskTensors(kernels, listed, seed);
    for (const { key } of listed) {
      const sum = new BigUint64Array(12);
      kernels.add(sum, server.masked(key, masks), masks.words(key));
      expect(sum).toEqual(server.words(key));
    }
  });

  it("follow from the seed, and differ from tensor to tensor", () => {
    const [one, same] = [maskTensors(kernels, listed, seed), maskTensors(kernels, listed, seed)];
    const other = maskTensors(kernels, listed, new Uint8Array(32).fill(4));
    expect(one.words("a")).toEqual(same.words("a"));
    const all = [one.words("a"), one.words("b"), other.words("a"), other.words("b")];
    expect(new Set(all.flatMap((list) => [...list])).size).toBe(48);
  });

  it("of the same weights hide them: B alone is as good as random", () => {
    const masks = maskTensors(kernels, listed, seed);
    expect(server.masked("a", masks)).not.toEqual(server.masked("b", masks));
  });

  it("are refused at another size", () => {
    const wrong = new RingTensors(kernels, listed, () => new BigUint64Array(5));
    errorOf("E_INTERNAL", () => wrong.words("a"));
    errorOf("E_INTERNAL", () => wrong.words("z"));
  });
});

describe("maskedTensors", () => {
  it("lists every tensor of a linear map once, in order, transposed ones as they are stored", () => {
    const base = { inputs: [], output: 0, rows: 1 };
    const gates = [
      {
        ...base,
        id: 0,
        kind: "linear",
        columns: 8,
        map: { type: "matrix", weight: "e", inner: 5 },
      },
      { ...base, id: 1, kind: "linear", columns: 8, map: { type: "diagonal", weight: "g" } },
      {
        ...base,
        id: 2,
        kind: "linear",
        columns: 8,
        map: {
          type: "attention",
          weight: "c",
          dims: { heads: 2, positions: 6, start: 0, columns: 8 },
        },
      },
      { ...base, id: 3, kind: "load", columns: 8, name: "x" },
      {
        ...base,
        id: 4,
        kind: "logits",
        columns: 5,
        map: { type: "matrix", weight: "e^T", inner: 8 },
      },
    ] as unknown as GateSpec[];
    expect(maskedTensors([gates, gates])).toEqual([
      tensor("e", 5, 8),
      tensor("g", 1, 8),
      tensor("c", 12, 6),
    ]);
  });
});
