import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import type { GateSpec } from "../gate/index.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { Random } from "../model/random.ts";
import { Ring } from "../ring/ring.ts";
import {
  type MaskedTensor,
  maskedTensors,
  quantise,
  RingTensors,
  ServerTensors,
  type TensorForm,
  widened,
} from "./tensors.ts";

const kernels = await loadRingKernels();
const ring = new Ring(kernels);
const numbers = { weightFracBits: { a: 12, b: 12, s: 4 } };
const real = (entries: Record<string, number[]>) =>
  new Map(Object.entries(entries).map(([name, data]) => [name, { data: Float32Array.from(data) }]));
const tensor = (
  key: string,
  rows: number,
  columns: number,
  ...forms: readonly TensorForm[]
): MaskedTensor => ({ key, rows, columns, forms });
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
  const listed = [tensor("a", 2, 3, "transposed"), tensor("a*s", 2, 3, "plain")];
  const make = () => {
    const small = real({ a: [1, 1, 1, 0.5, 0.5, -1], b: [0.5, -0.25], s: [2, 3, 4] });
    return new ServerTensors({ kernels, weights: small, numbers, tensors: listed });
  };

  it("multiply plain and transposed", () => {
    const both = [tensor("a", 2, 3, "matrix", "transposed")];
    const tensors = new ServerTensors({ kernels, weights, numbers, tensors: both });
    const out = ring.matmul(words([1, 1]), tensors.matrix("a"));
    expect(out).toEqual(words([5 * 4096, 7 * 4096, -3 * 4096]));
    const turned = ring.matmul(words([1, 0, 2]), tensors.matrix("a^T"));
    expect(turned).toEqual(words([7 * 4096, -8 * 4096]));
    expect(tensors.matrix("a")).toBe(tensors.matrix("a"));
  });

  it("multiply columns that have shifts, and give their words", () => {
    const shifted = new Map([
      ["a", { data: Float32Array.of(1, 40, -7, -40), columnShifts: Uint8Array.of(0, 3) }],
    ]);
    const given = { kernels, weights: shifted, numbers };
    const tensors = new ServerTensors({ ...given, tensors: [tensor("a", 2, 2, "matrix")] });
    expect([...tensors.entries("a")]).toEqual([4096, 20480, -28672, -20480]);
    const out = ring.matmul(words([3, 1, 1n << 60n, -2]), tensors.matrix("a"));
    const wanted = [-4 * 4096, 80 * 4096, (1n << 72n) + 14n * 4096n, 80 * 4096];
    expect(out).toEqual(words(wanted));
    expect(tensors.effective("a", { from: 1, count: 3 })).toEqual(
      words([40 * 4096, -7 * 4096, -40 * 4096]),
    );
    for (const form of ["transposed", "plain"] as const) {
      const wrong = { ...given, tensors: [tensor("a", 2, 2, form)] };
      errorOf("E_MODEL", () => new ServerTensors(wrong));
    }
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
    errorOf("E_INTERNAL", () => make().attention("b"));
  });

  it("hold matrices in the forms that the plan names, and in no other", () => {
    const tensors = make();
    expect([tensors.matrix("a^T").rows, tensors.matrix("a^T").columns]).toEqual([3, 2]);
    errorOf("E_INTERNAL", () => tensors.matrix("a"));
    errorOf("E_INTERNAL", () => tensors.matrix("a*s"));
  });

  it("give constant attention its int16 entries, all rows", () => {
    const { weights: entries, held } = make().attention("a*s");
    expect(entries).toEqual(Int16Array.of(8192, 12288, 16384, 4096, 6144, -16384));
    expect(held).toBeUndefined();
  });

  it("turn a matrix of more than a block of rows and columns", () => {
    const [rows, columns] = [37, 70];
    const random = new Random(2);
    const values = Array.from({ length: rows * columns }, () => random.normal());
    const form = [tensor("a", rows, columns, "transposed")];
    const large = new ServerTensors({
      kernels,
      weights: real({ a: values }),
      numbers,
      tensors: form,
    });
    const entries = large.entries("a");
    const one = new BigUint64Array(columns);
    for (const column of [0, 31, 32, 63, 69]) {
      one.fill(0n)[column] = 1n;
      const out = ring.matmul(one, large.matrix("a^T"));
      const wanted = Array.from({ length: rows }, (_, row) => entries[row * columns + column]!);
      expect(out).toEqual(words(wanted));
    }
  });
});

describe("the dealer's tensors", () => {
  const values = words(Array.from({ length: 40 * 33 }, (_, i) => BigInt(i) * 0x9e3779b97f4a7c15n));

  it("multiply plain and transposed, and give words, in the forms that the plan names", () => {
    const tensors = new RingTensors(kernels);
    tensors.add(tensor("m", 40, 33, "matrix", "plain"), values);
    tensors.add(tensor("t", 40, 33, "transposed"), values);
    const x = words(Array.from({ length: 40 }, (_, i) => 7 - i));
    const [out, turned] = [new BigUint64Array(33), new BigUint64Array(40)];
    kernels.matmul(out, x, tensors.matrix("m"));
    kernels.matmul(turned, x.slice(0, 33), tensors.matrix("t^T"));
    const sum = (length: number, at: (k: number) => bigint) =>
      BigInt.asUintN(
        64,
        x.subarray(0, length).reduce((total, word, k) => total + word * at(k), 0n),
      );
    for (const column of [0, 31, 32]) {
      expect(out[column]).toBe(sum(40, (k) => values[k * 33 + column]!));
    }
    for (const row of [0, 31, 32, 39]) {
      expect(turned[row]).toBe(sum(33, (k) => values[row * 33 + k]!));
    }
    expect(tensors.words("m")).toEqual(values);
    expect(tensors.attention("m")).toEqual({ weights: values, held: undefined });
    for (const missing of ["m^T", "t", "z"]) errorOf("E_INTERNAL", () => tensors.matrix(missing));
    for (const missing of ["t", "z"]) errorOf("E_INTERNAL", () => tensors.words(missing));
    tensors.free();
    errorOf("E_INTERNAL", () => tensors.matrix("m"));
    errorOf("E_INTERNAL", () => tensors.words("m"));
  });

  it("are refused at another size", () => {
    const tensors = new RingTensors(kernels);
    errorOf("E_INTERNAL", () => tensors.add(tensor("m", 4, 3, "plain"), new BigUint64Array(11)));
    errorOf("E_INTERNAL", () => tensors.words("m"));
  });
});

describe("int16 entries as words", () => {
  it("keep their signs", () => {
    const entries = Int16Array.of(0, 1, -1, 32767, -32768);
    expect(widened(entries)).toEqual(words([0, 1, -1, 32767, -32768]));
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
      tensor("e", 5, 8, "matrix", "transposed"),
      tensor("g", 1, 8, "plain"),
      tensor("c", 12, 6, "plain"),
    ]);
    // Whatever order it is met in, its forms are listed alike: they are a part of the digest.
    expect(maskedTensors([gates.toReversed()]).at(0)).toEqual(
      tensor("e", 5, 8, "matrix", "transposed"),
    );
    expect(maskedTensors([gates.slice(1)]).map(({ key }) => key)).toEqual(["g", "c", "e"]);
  });
});
