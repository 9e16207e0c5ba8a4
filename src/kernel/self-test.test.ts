// The self-test passes what is right, and names whatever is broken.

import { describe, expect, it } from "vitest";
import type { FloatKernels } from "./float-kernels.ts";
import { floatReference } from "./float-reference.ts";
import { referenceRingKernels } from "./reference.ts";
import type { RingKernels } from "./ring-kernels.ts";
import { testFloatKernels, testRingKernels } from "./self-test.ts";

const good = referenceRingKernels();

/** The reference with one operation spoilt: it runs, and then the first byte of out is changed. */
function spoilt(name: keyof RingKernels, outOf: (args: never[]) => ArrayBufferView): RingKernels {
  const original = good[name] as (...args: never[]) => unknown;
  const wrong = (...args: never[]) => {
    const result = original.apply(good, args);
    const { buffer, byteOffset } = outOf(args);
    new Uint8Array(buffer, byteOffset)[0] += 1;
    return result;
  };
  return { ...good, [name]: wrong };
}

const first = ([out]: never[]) => out as ArrayBufferView;
const outOption = ([options]: { out: BigUint64Array }[]) => options.out;

describe("the self-test of ring kernels", () => {
  it("passes the reference", () => {
    expect(testRingKernels(good)).toEqual([]);
  });

  it.each([
    ["chacha12", "chacha12"],
    ["mul", "elementwise"],
    ["addScaled", "elementwise"],
    ["sumRows", "elementwise"],
    ["shiftRightSigned", "elementwise"],
    ["pack", "packed fields"],
    ["unpack", "packed fields"],
    ["matmul", "products"],
    ["matmulKeystream", "products"],
    ["attend", "attention"],
  ] as const)("notices a wrong %s", (operation, named) => {
    expect(testRingKernels(spoilt(operation, first))).toContain(named);
  });

  it.each(["dcfEvaluate", "dpfEvaluate"] as const)("notices a wrong %s", (operation) => {
    const kernels = spoilt(operation, outOption as typeof first);
    const named = good.functionPrgs.map((prg) => `function keys with ${prg}`);
    expect(testRingKernels(kernels)).toEqual(named);
  });

  it("takes an operation that throws for a wrong one", () => {
    const attend = () => {
      throw new RangeError("no");
    };
    expect(testRingKernels({ ...good, attend })).toEqual(["attention"]);
  });
});

describe("the self-test of float kernels", () => {
  it("passes the reference and notices a wrong product", () => {
    expect(testFloatKernels(floatReference)).toEqual([]);
    const gemm: FloatKernels["gemm"] = (options) => {
      floatReference.gemm(options);
      options.out[3] += 1;
    };
    expect(testFloatKernels({ ...floatReference, gemm })).toEqual(["gemm"]);
  });
});
