import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { MergenError } from "../errors.ts";
import { parseSafetensors, type Weights, writeSafetensors } from "./safetensors.ts";

/** A file with this header text and these data bytes. */
function file(header: string | object, data: ArrayLike<number> = []): Uint8Array {
  const text = typeof header === "string" ? header : JSON.stringify(header);
  const utf8 = new TextEncoder().encode(text);
  const bytes = new Uint8Array(8 + utf8.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(utf8.length), true);
  bytes.set(utf8, 8);
  bytes.set(data, 8 + utf8.length);
  return bytes;
}

const entry = (dtype: string, shape: unknown, offsets: unknown) => ({
  dtype,
  shape,
  data_offsets: offsets,
});

describe("reading", () => {
  it("widens every number format", () => {
    const data = [
      ...[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], // F32 1, -2
      ...[0, 0x3c, 0x01, 0x80, 0xff, 0x7b], // F16 1, -2^-24, 65504
      ...[0x80, 0x3f, 0x40, 0xc0], // BF16 1, -3
      ...[0x10, 0, 0xff, 0xff], // I16 16, -1
    ];
    const header = {
      __metadata__: { format: "pt" },
      single: entry("F32", [2], [0, 8]),
      half: entry("F16", [3, 1], [8, 14]),
      brain: entry("BF16", [2], [14, 18]),
      grid: entry("I16", [1, 2], [18, 22]),
      none: entry("F32", [0, 5], [22, 22]),
    };
    const weights = parseSafetensors(file(header, data), "f", { fracBits: { grid: 4 } });
    expect([...weights.keys()]).toEqual(["single", "half", "brain", "grid", "none"]);
    expect([...weights.get("single")!.data]).toEqual([1, -2]);
    expect([...weights.get("half")!.data]).toEqual([1, -(2 ** -24), 65504]);
    expect(weights.get("half")!.shape).toEqual([3, 1]);
    expect([...weights.get("brain")!.data]).toEqual([1, -3]);
    expect([...weights.get("grid")!.data]).toEqual([1, -1 / 16]);
    expect(weights.get("none")!.data.length).toBe(0);
  });

  it("reads half precision's special values", () => {
    const data = [0, 0x7c, 0, 0xfc, 1, 0x7e, 0, 0x80];
    const { data: values } = parseSafetensors(file({ w: entry("F16", [4], [0, 8]) }, data)).get(
      "w",
    )!;
    expect([...values]).toEqual([Infinity, -Infinity, NaN, -0]);
  });

  it("does not depend on alignment or on a Node Buffer's shared memory", () => {
    const whole = file({ w: entry("F32", [1], [0, 4]) }, [0, 0, 0x80, 0x3f]);
    const shifted = Buffer.alloc(whole.length + 3);
    shifted.set(whole, 3);
    expect([...parseSafetensors(shifted.subarray(3)).get("w")!.data]).toEqual([1]);
  });

  const rejected: [name: string, bytes: Uint8Array, message: RegExp][] = [
    ["an empty file", new Uint8Array(), /shorter than/],
    ["a header beyond the file", file("{}").subarray(0, 9), /beyond the file/],
    ["a huge header length", new Uint8Array(16).fill(255), /longer than/],
    ["bytes that are not UTF-8", file("{}").map((b) => (b === 123 ? 0xff : b)), /not JSON/],
    ["half of a header", file('{"w":'), /not JSON/],
    ["a list", file("[]"), /not an object/],
    ["a key twice", file('{"w":1, "w" : 2}'), /holds "w" twice/],
    ["an escaped key twice", file('{"w":1, "\\u0077":2}'), /holds "w" twice/],
    ["a key twice within", file('{"w":{"dtype":"F32","dtype":"F16"}}'), /holds "dtype" twice/],
    ["metadata of another kind", file({ __metadata__: { a: 1 } }), /__metadata__/],
    ["an entry of another kind", file({ w: 3 }), /tensor "w".*not an object/],
    ["an unknown format", file({ w: entry("F64", [1], [0, 8]) }, Array(8)), /"w".*none of F32/],
    ["an inherited format", file({ w: entry("toString", [1], [0, 8]) }), /none of F32/],
    ["a negative size", file({ w: entry("F32", [-1], [0, 4]) }, Array(4)), /"w".*shape/],
    ["a fractional size", file({ w: entry("F32", [0.5], [0, 2]) }, Array(2)), /"w".*shape/],
    ["too many dimensions", file({ w: entry("F32", Array(9).fill(1), [0, 4]) }), /"w".*shape/],
    ["a shape that overflows", file({ w: entry("F32", [2 ** 40, 2 ** 40], [0, 4]) }), /"w"/],
    ["one offset", file({ w: entry("F32", [1], [0]) }), /two offsets/],
    ["offsets beyond the file", file({ w: entry("F32", [1], [0, 4]) }), /outside the file/],
    ["offsets in reverse", file({ w: entry("F32", [1], [4, 0]) }, Array(4)), /outside the file/],
    ["a wrong size", file({ w: entry("F32", [2], [0, 4]) }, Array(4)), /fit its shape/],
    [
      "an overlap",
      file({ a: entry("F32", [1], [0, 4]), b: entry("F16", [1], [2, 4]) }, Array(4)),
      /"b": overlaps/,
    ],
    ["a gap", file({ a: entry("F16", [1], [2, 4]) }, Array(4)), /"a": unused bytes/],
    ["bytes at the end", file({ a: entry("F16", [1], [0, 2]) }, Array(4)), /after the last/],
    ["int16 without its bits", file({ a: entry("I16", [1], [0, 2]) }, Array(2)), /weightFracBits/],
  ];
  it.each(rejected)("rejects %s", (_, bytes, message) => {
    const error = errorOf("E_MODEL", () => parseSafetensors(bytes, "some/file"));
    expect(error.message).toMatch(/^some\/file: /);
    expect(error.message).toMatch(message);
  });

  it("rejects deep nesting and long keys without running out of stack", () => {
    const deep = file(`{"w":${"[".repeat(1 << 20)}${"]".repeat(1 << 20)}}`);
    errorOf("E_MODEL", () => parseSafetensors(deep));
    const long = file(`{"${"\\n".repeat(1 << 20)}":0}`);
    expect(errorOf("E_MODEL", () => parseSafetensors(long)).message.length).toBeLessThan(400);
  });
});

describe("writing", () => {
  const tensor = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 }).chain((shape) => {
    const length = shape.reduce((product, size) => product * size, 1);
    const values = fc.float32Array({ minLength: length, maxLength: length });
    return values.map((data) => ({ shape, data }));
  });
  const name = fc.string({ minLength: 1 }).filter((text) => text !== "__metadata__");
  const tensors = fc.array(fc.tuple(name, tensor), { maxLength: 5 }).map((list) => new Map(list));

  it("gives back what was written", () => {
    fc.assert(
      fc.property(tensors, (weights: Weights) => {
        const read = parseSafetensors(writeSafetensors(weights));
        expect([...read.keys()].sort()).toEqual([...weights.keys()].sort());
        for (const [key, { shape, data }] of weights) {
          expect(read.get(key)!.shape).toEqual(shape);
          expect(Object.is(String(read.get(key)!.data), String(data))).toBe(true);
        }
      }),
    );
  });

  it("rounds to the nearest point of an int16 grid", () => {
    const weights: Weights = new Map([["w", { shape: [3], data: Float32Array.of(0.3, -0.3, 1) }]]);
    const options = { fracBits: { w: 2 } };
    const bytes = writeSafetensors(weights, options);
    expect([...parseSafetensors(bytes, "f", options).get("w")!.data]).toEqual([0.25, -0.25, 1]);
  });

  it("rejects what fits neither grid nor shape", () => {
    const of = (...data: number[]): Weights =>
      new Map([["w", { shape: [1], data: Float32Array.from(data) }]]);
    expect(errorOf("E_SHAPE", () => writeSafetensors(of(1, 2))).message).toMatch(/"w"/);
    const write = (value: number) => () => writeSafetensors(of(value), { fracBits: { w: 14 } });
    expect(errorOf("E_RANGE", write(2)).message).toMatch(/"w".*14 bits/);
    errorOf("E_RANGE", write(NaN));
    write(-2)();
  });
});

describe("fuzzing", () => {
  const valid = writeSafetensors(
    new Map([
      ["embedding", { shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
      ["layer.0.bias", { shape: [2], data: Float32Array.of(0.5, -0.5) }],
    ]),
  );

  it("answers every mutated file with tensors within it or E_MODEL", () => {
    const edit = fc.tuple(fc.nat(valid.length - 1), fc.nat(255));
    const cut = fc.nat(valid.length);
    fc.assert(
      fc.property(
        fc.array(edit, { minLength: 1, maxLength: 6 }),
        cut,
        fc.boolean(),
        (edits, end, cuts) => {
          const bytes = valid.slice();
          for (const [at, value] of edits) bytes[at] = value;
          expectContained(cuts ? bytes.subarray(0, end) : bytes);
        },
      ),
      { numRuns: 5000 },
    );
  });

  it("answers arbitrary headers likewise", () => {
    fc.assert(
      fc.property(fc.json(), fc.uint8Array({ maxLength: 16 }), (header, data) => {
        expectContained(file(header, data));
      }),
    );
  });

  function expectContained(bytes: Uint8Array): void {
    try {
      let total = 0;
      for (const { data } of parseSafetensors(bytes).values()) total += data.byteLength;
      expect(total).toBeLessThanOrEqual(2 * bytes.length);
    } catch (error) {
      if (!(error instanceof MergenError)) throw error;
      expect(error.code).toBe("E_MODEL");
    }
  }
});
