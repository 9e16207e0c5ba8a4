// Function-secret-sharing keys in WebAssembly: lays out operands and scratch for the calls of
// assembly/tree.ts and tree-evaluate.ts, and cuts big jobs into calls for several threads.

import {
  checkEvaluateMany,
  checkGenerateMany,
  checkPrg,
  ensureInsideDomain,
  type FunctionKind,
  kindNumber,
  purposes,
  rootBytes,
} from "./function-key.ts";
import type { EvaluateManyOptions, FunctionPrg, GenerateManyOptions } from "./ring-kernels.ts";
import { type Call, cut, type Runner } from "./wasm-exports.ts";
import type { WasmMemory } from "./wasm-memory.ts";

/** WebAssembly has no AES instructions, and tables would tell the time what they are asked. */
export const wasmPrgs: readonly FunctionPrg[] = ["chacha12"];

/**
 * Tree evaluations that share scratch, for each thread: few enough that their keys stay in a
 * second-level cache while each level goes through them.
 */
const chunkPoints = 1 << 9;
/** Bytes of keys generated before they are copied out. */
const chunkKeyBytes = 1 << 20;
/** Points and key pairs that a thread is called for: some 60 us at 32 bits. */
const leastPoints = 64;
const leastPairs = 16;
/** `work` in assembly/tree.ts and, at most, in assembly/tree-evaluate.ts. */
const generateBytes = (words: number) => 768 + 8 * (48 + 8 * words) + 32 * words;
export const evaluateBytes = (points: number, words: number) =>
  768 + 4096 + 64 * words + (points + 3) * (8 + 2 * (40 + 8 * words));

const roundUp = (bytes: number) => Math.ceil(bytes / 16) * 16;

export function generateMany(
  kind: FunctionKind,
  options: GenerateManyOptions,
  at: { memory: WasmMemory; runner: Runner },
): [Uint8Array, Uint8Array] {
  const { keyBytes } = checkGenerateMany(kind, options);
  checkPrg(kind, options, wasmPrgs);
  const { alphas, payloads, random, words } = options;
  const keys = new Uint8Array(alphas.length * keyBytes);
  const others = new Uint8Array(keys.length);
  const step = Math.max(1, Math.floor(chunkKeyBytes / keyBytes));
  for (let first = 0; first < alphas.length; first += step) {
    const end = Math.min(first + step, alphas.length);
    const part = {
      ...options,
      alphas: alphas.subarray(first, end),
      payloads: payloads.subarray(first * words, end * words),
      random: random.subarray(first * rootBytes, end * rootBytes),
    };
    const range = [first * keyBytes, end * keyBytes] as const;
    generateChunk(kind, part, { ...at, keyBytes }, [
      keys.subarray(...range),
      others.subarray(...range),
    ]);
  }
  return [keys, others];
}

function generateChunk(
  kind: FunctionKind,
  options: GenerateManyOptions,
  at: { memory: WasmMemory; runner: Runner; keyBytes: number },
  [keys, others]: [Uint8Array, Uint8Array],
): void {
  const { memory, runner, keyBytes } = at;
  const { alphas, payloads, random, words, domainBits } = options;
  const parts = cut(alphas.length, leastPairs, runner);
  const workBytes = roundUp(generateBytes(words));
  const rootsAt = parts.length * workBytes;
  const payloadsAt = rootsAt + random.length;
  const alphasAt = payloadsAt + 8 * payloads.length;
  const keysAt = alphasAt + 8 * alphas.length;
  const othersAt = keysAt + roundUp(keys.length);
  const scratch = memory.scratch(othersAt + others.length, alphas, payloads, random);
  const roots = memory.bring(random, scratch + rootsAt);
  const payloadWords = memory.bring(payloads, scratch + payloadsAt);
  const alphaWords = memory.bring(alphas, scratch + alphasAt);
  const calls = parts.map(([from, to], i): Call => {
    const args = [
      scratch + keysAt + from * keyBytes,
      scratch + othersAt + from * keyBytes,
      keyBytes,
      to - from,
      roots + from * rootBytes,
      payloadWords + 8 * from * words,
      alphaWords + 8 * from,
      domainBits,
      words,
      kindNumber(kind, options),
      purposes[kind],
      scratch + i * workBytes,
    ];
    return { name: "treeGenerate", args };
  });
  runner.run(calls);
  memory.take(keys, scratch + keysAt);
  memory.take(others, scratch + othersAt);
}

export function evaluateMany(
  kind: FunctionKind,
  options: EvaluateManyOptions,
  at: { memory: WasmMemory; runner: Runner },
): void {
  const { layout, keyCount, pointsPerKey } = checkEvaluateMany(kind, options);
  checkPrg(kind, options, wasmPrgs);
  if (options.points.length === 0) return;
  const { keyBytes, words } = layout;
  const most = chunkPoints * at.runner.threads;
  const keysAtOnce = Math.max(1, Math.floor(most / pointsPerKey));
  const pointsAtOnce = Math.min(pointsPerKey, most);
  for (let first = 0; first < keyCount; first += keysAtOnce) {
    const last = Math.min(first + keysAtOnce, keyCount);
    for (let from = 0; from < pointsPerKey; from += pointsAtOnce) {
      // Either several keys with all their points or one key with some of its points.
      const start = first * pointsPerKey + from;
      const end = (last - 1) * pointsPerKey + Math.min(from + pointsAtOnce, pointsPerKey);
      const part = {
        ...options,
        keys: options.keys.subarray(first * keyBytes, last * keyBytes),
        points: options.points.subarray(start, end),
        out: options.out.subarray(start * words, end * words),
      };
      evaluateChunk(kind, part, at);
    }
  }
}

function evaluateChunk(
  kind: FunctionKind,
  options: EvaluateManyOptions,
  { memory, runner }: { memory: WasmMemory; runner: Runner },
): void {
  const { layout, keyCount, pointsPerKey } = checkEvaluateMany(kind, options);
  const { party, keys, points, out, domainBits, words } = options;
  // One key is cut between its points, several between keys.
  const least = keyCount === 1 ? leastPoints : Math.ceil(leastPoints / pointsPerKey);
  const parts = cut(keyCount === 1 ? points.length : keyCount, least, runner);
  const sizes = parts.map(([from, to]) => (to - from) * (keyCount === 1 ? 1 : pointsPerKey));
  const workBytes = roundUp(evaluateBytes(Math.max(...sizes), words));
  const keysAt = parts.length * workBytes;
  const pointsAt = keysAt + roundUp(keys.length);
  const outAt = pointsAt + 8 * points.length;
  const scratch = memory.scratch(outAt + 8 * out.length, out, keys, points);
  const to = memory.addressOf(out) ?? scratch + outAt;
  const keysFrom = memory.bring(keys, scratch + keysAt);
  const pointsFrom = memory.bring(points, scratch + pointsAt);
  let done = 0;
  const calls = parts.map(([first, end], i): Call => {
    const args = [
      to + 8 * done * words,
      keysFrom + (keyCount === 1 ? 0 : first * layout.keyBytes),
      keyCount === 1 ? 1 : end - first,
      layout.keyBytes,
      pointsFrom + 8 * done,
      keyCount === 1 ? sizes[i] : pointsPerKey,
      party,
      domainBits,
      words,
      kindNumber(kind, options),
      purposes[kind],
      scratch + i * workBytes,
    ];
    done += sizes[i];
    return { name: "treeEvaluate", args };
  });
  ensureInsideDomain(kind, runner.run(calls), domainBits);
  memory.take(out, to);
}
