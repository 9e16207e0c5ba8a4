// How fast are function-secret-sharing keys on one thread, by instruction set and generator?

import { randomBytes } from "node:crypto";
import { loadRingKernels } from "../../src/index.ts";
import { findAddon } from "../../src/kernel/addon.ts";
import { nativeTrees } from "../../src/kernel/native-tree.ts";
import type { FunctionKernels, FunctionPrg } from "../../src/kernel/ring-kernels.ts";
import type { BenchContext, Group } from "../context.ts";
import { makeRow, type Row } from "../rows.ts";
import { timeCalls } from "../timing.ts";
import { blockLimit, limitedBy } from "./limits.ts";

interface Shape {
  readonly kind: "dcf" | "dpf";
  readonly domainBits: number;
  readonly words: number;
  readonly keyCount: number;
  /** 0 asks for keys, else for their evaluation. */
  readonly perKey: number;
}

const shapes: readonly Shape[] = [
  { kind: "dcf", domainBits: 32, words: 1, keyCount: 2048, perKey: 1 },
  { kind: "dcf", domainBits: 60, words: 2, keyCount: 1, perKey: 200 },
  { kind: "dcf", domainBits: 32, words: 1, keyCount: 1024, perKey: 0 },
  { kind: "dcf", domainBits: 60, words: 2, keyCount: 64, perKey: 0 },
  { kind: "dpf", domainBits: 10, words: 1, keyCount: 1, perKey: 1024 },
  { kind: "dcf", domainBits: 32, words: 1, keyCount: 65_536, perKey: 1 },
  { kind: "dcf", domainBits: 32, words: 2, keyCount: 2048, perKey: 1 },
  { kind: "dcf", domainBits: 40, words: 2, keyCount: 1, perKey: 200 },
  { kind: "dcf", domainBits: 60, words: 2, keyCount: 16, perKey: 200 },
  { kind: "dcf", domainBits: 60, words: 2, keyCount: 1, perKey: 0 },
  { kind: "dpf", domainBits: 16, words: 1, keyCount: 16, perKey: 0 },
];
/** So many of them when quick. */
const QUICK_SHAPES = 5;

function randomWords(count: number, bits: number): BigUint64Array {
  const words = new BigUint64Array(new Uint8Array(randomBytes(8 * count)).buffer);
  return words.map((word) => BigInt.asUintN(bits, word));
}

/** A spline's points: A - knot in falling order, 16 knots an octave; see src/gate/spline.ts. */
function pointsOf({ kind, domainBits, keyCount, perKey }: Shape): BigUint64Array {
  if (perKey === 1) return randomWords(keyCount, domainBits);
  if (kind === "dpf") return BigUint64Array.from({ length: perKey }, (_, i) => BigInt(i));
  const starts = randomWords(keyCount, domainBits);
  return BigUint64Array.from({ length: keyCount * perKey }, (_, i) => {
    const knot = BigInt(Math.floor(2 ** (domainBits - 24 + (i % perKey) / 16)));
    return BigInt.asUintN(domainBits, starts[Math.floor(i / perKey)]! - knot);
  });
}

function jobOf(kernels: FunctionKernels, prg: FunctionPrg, shape: Shape): () => void {
  const { kind, domainBits, words, keyCount, perKey } = shape;
  const dealt = {
    domainBits,
    words,
    prg,
    alphas: randomWords(keyCount, domainBits),
    payloads: randomWords(keyCount * words, 64),
    random: randomBytes(32 * keyCount),
  };
  const generate = () =>
    kind === "dcf" ? kernels.dcfGenerateMany(dealt) : kernels.dpfGenerateMany(dealt);
  if (perKey === 0) return () => void generate();
  const [keys] = generate();
  const points = pointsOf(shape);
  const out = new BigUint64Array(points.length * words);
  const options = { party: 0, keys, domainBits, words, prg, points, out } as const;
  return kind === "dcf"
    ? () => kernels.dcfEvaluateMany(options)
    : () => kernels.dpfEvaluateMany(options);
}

/**
 * Blocks of the generator for one point or one pair of keys, where no points share a path: with
 * AES two a level for a DCF, and for a pair those of both branches and parties. ChaCha12 gives
 * both branches, and values of one or two words, in one block.
 */
function blocksEach({ kind, domainBits, perKey }: Shape, prg: FunctionPrg): number {
  const evaluated = prg === "aes128" && kind === "dcf" ? 2 : 1;
  const branches = prg === "aes128" ? 2 : 1;
  return domainBits * evaluated * (perKey === 0 ? 2 * branches : 1);
}

function rowOf(
  context: BenchContext,
  set: { name: string; kernels: FunctionKernels; prg: FunctionPrg; isBest: boolean },
  shape: Shape,
): Row {
  const { kind, domainBits, words, keyCount, perKey } = shape;
  const what = perKey === 0 ? "pairs dealt" : `keys x ${perKey} points`;
  const amount = (keyCount * Math.max(perKey, 1)) / 1e6;
  const seconds = timeCalls(jobOf(set.kernels, set.prg, shape), context.budgetMs);
  // Limits are those of the best instruction set, and of points that share nothing.
  const comparable = perKey <= 1 && set.isBest;
  const limited = limitedBy(context, (limits) => ({
    name: set.prg === "aes128" ? "AES rounds" : "ChaCha quarter-rounds",
    value: blockLimit(limits, set.prg) / blocksEach(shape, set.prg) / 1e6,
  }));
  return makeRow({
    name:
      `${kind}, ${domainBits} bits, ${words} words, ${keyCount} ${what}: ` +
      `${set.name}, ${set.prg}`,
    unit: perKey === 0 ? "M pairs/s" : "M points/s",
    better: "more",
    samples: seconds.map((each) => amount / each),
    ...(comparable && limited),
  });
}

async function run(context: BenchContext): Promise<Row[]> {
  const { addon = {} } = findAddon();
  const native = Object.keys(addon).map((name) => ({ name, kernels: nativeTrees(addon, name) }));
  // The set with tiles has the function keys of the one below it.
  const distinct = native.filter(({ name }) => name !== "amx" || native.length === 1);
  const wasm = { name: "wasm", kernels: await loadRingKernels({ kernels: "wasm", threads: 1 }) };
  const sets = [...(context.quick ? distinct.slice(0, 1) : distinct), wasm];
  const rows: Row[] = [];
  for (const shape of context.quick ? shapes.slice(0, QUICK_SHAPES) : shapes) {
    for (const { name, kernels } of sets) {
      for (const prg of kernels.functionPrgs) {
        const isBest = name === distinct[0]?.name;
        rows.push(rowOf(context, { name, kernels, prg, isBest }, shape));
      }
    }
  }
  return rows;
}

export const functionKeys: Group = {
  name: "function-keys",
  question: "function-secret-sharing keys on one thread, by instruction set and generator",
  run,
};
