// Function-secret-sharing keys on the native addon: operands are used in place. Generators are
// "aes128", where the processor has instructions for it, and "chacha12".

import { ensure } from "../errors.ts";
import type { Addon, AddonKernels } from "./addon.ts";
import {
  areInside,
  asBatch,
  checkEvaluateMany,
  checkGenerateMany,
  checkKey,
  checkPrg,
  ensureInsideDomain,
  type FunctionKind,
  keyBytesOf,
  kindNumber,
} from "./function-key.ts";
import type {
  EvaluateManyOptions,
  EvaluateOptions,
  FunctionKernels,
  FunctionPrg,
  GenerateManyOptions,
} from "./ring-kernels.ts";

interface Trees {
  readonly prgs: readonly FunctionPrg[];
  readonly evaluate: {
    readonly [prg in FunctionPrg]?: AddonKernels["treeEvaluateChacha12"] | undefined;
  };
  readonly generate: {
    readonly [prg in FunctionPrg]?: AddonKernels["treeGenerateChacha12"] | undefined;
  };
}

/**
 * Keys on one instruction set, by default the best that the processor has.
 * @throws  E_KERNEL when the processor does not have it
 */
export function nativeTrees(addon: Addon, isa = Object.keys(addon)[0]): FunctionKernels {
  const kernels = addon[isa];
  ensure(kernels !== undefined, "E_KERNEL", `the native kernels have no ${isa} here`);
  const trees: Trees = {
    prgs: kernels.treeEvaluateAes128 === undefined ? ["chacha12"] : ["aes128", "chacha12"],
    evaluate: { chacha12: kernels.treeEvaluateChacha12, aes128: kernels.treeEvaluateAes128 },
    generate: { chacha12: kernels.treeGenerateChacha12, aes128: kernels.treeGenerateAes128 },
  };
  return {
    functionPrgs: trees.prgs,
    dcfGenerate: (options) => generateMany("dcf", asBatch("dcf", options), trees),
    dcfGenerateMany: (options) => generateMany("dcf", options, trees),
    dcfEvaluate: (options) => evaluate("dcf", options, trees),
    dcfEvaluateMany: (options) => evaluateMany("dcf", options, trees),
    dcfKeyBytes: (shape) => keyBytesOf("dcf", shape),
    dpfGenerate: (options) => generateMany("dpf", asBatch("dpf", options), trees),
    dpfGenerateMany: (options) => generateMany("dpf", options, trees),
    dpfEvaluate: (options) => evaluate("dpf", options, trees),
    dpfEvaluateMany: (options) => evaluateMany("dpf", options, trees),
    dpfKeyBytes: (shape) => keyBytesOf("dpf", shape),
  };
}

function generateMany(
  kind: FunctionKind,
  options: GenerateManyOptions,
  trees: Trees,
): [Uint8Array, Uint8Array] {
  const { keyBytes } = checkGenerateMany(kind, options);
  const generate = trees.generate[checkPrg(kind, options, trees.prgs)]!;
  const { domainBits, words, alphas, payloads, random, room = newBytes } = options;
  const count = alphas.length;
  const keys = room(count * keyBytes);
  const others = room(keys.length);
  generate(
    kindNumber(kind, options),
    domainBits,
    words,
    count,
    alphas,
    payloads,
    random,
    keys,
    others,
  );
  return [keys, others];
}

const newBytes = (byteLength: number) => new Uint8Array(byteLength);

function evaluate(kind: FunctionKind, { key, ...options }: EvaluateOptions, trees: Trees): void {
  checkKey(kind, { key, ...options });
  evaluateMany(kind, { ...options, keys: key }, trees);
}

function evaluateMany(kind: FunctionKind, options: EvaluateManyOptions, trees: Trees): void {
  const { keyCount, pointsPerKey } = checkEvaluateMany(kind, options);
  const run = trees.evaluate[checkPrg(kind, options, trees.prgs)]!;
  const { domainBits, words, party, keys, points, out } = options;
  ensureInsideDomain(kind, areInside(points, domainBits), domainBits);
  run(
    kindNumber(kind, options),
    domainBits,
    words,
    party,
    keyCount,
    pointsPerKey,
    keys,
    points,
    out,
  );
}
