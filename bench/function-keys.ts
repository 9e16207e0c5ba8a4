// How fast are function-secret-sharing keys (DCF) on one thread, by kernels and generator? M
// points/s or M key pairs/s, best (median and worst) of repeated calls, and the time of a call.
// Usage: node bench/function-keys.ts [milliseconds a line]

import { randomBytes } from "node:crypto";
import { cpus } from "node:os";
import { loadAddon } from "../src/kernel/addon.ts";
import { loadRingKernels } from "../src/kernel/load-node.ts";
import { nativeTrees } from "../src/kernel/native-tree.ts";
import type { FunctionKernels, FunctionPrg } from "../src/kernel/ring-kernels.ts";

interface Shape {
  readonly domainBits: number;
  readonly words: number;
  readonly keyCount: number;
  /** 0 asks for keys, else for their evaluation. */
  readonly perKey: number;
}

const shapes: readonly Shape[] = [
  { domainBits: 32, words: 1, keyCount: 2048, perKey: 1 },
  { domainBits: 32, words: 1, keyCount: 65_536, perKey: 1 },
  { domainBits: 32, words: 2, keyCount: 2048, perKey: 1 },
  { domainBits: 40, words: 2, keyCount: 1, perKey: 200 },
  { domainBits: 60, words: 2, keyCount: 1, perKey: 200 },
  { domainBits: 60, words: 2, keyCount: 16, perKey: 200 },
  { domainBits: 32, words: 1, keyCount: 1024, perKey: 0 },
  { domainBits: 60, words: 2, keyCount: 1, perKey: 0 },
  { domainBits: 60, words: 2, keyCount: 64, perKey: 0 },
];

const budgetMs = Number(process.argv[2] ?? 300);
const addon = loadAddon();

function randomWords(count: number, bits: number): BigUint64Array {
  const words = new BigUint64Array(new Uint8Array(randomBytes(8 * count)).buffer);
  return words.map((word) => BigInt.asUintN(bits, word));
}

/** A spline's points: A - knot in falling order, 16 knots an octave; see src/gate/spline.ts. */
function pointsOf({ domainBits, keyCount, perKey }: Shape): BigUint64Array {
  if (perKey === 1) return randomWords(keyCount, domainBits);
  const starts = randomWords(keyCount, domainBits);
  return BigUint64Array.from({ length: keyCount * perKey }, (_, i) => {
    const knot = BigInt(Math.floor(2 ** (domainBits - 24 + (i % perKey) / 16)));
    return BigInt.asUintN(domainBits, starts[Math.floor(i / perKey)] - knot);
  });
}

function jobOf(kernels: FunctionKernels, prg: FunctionPrg, shape: Shape): () => void {
  const { domainBits, words, keyCount, perKey } = shape;
  const dealt = {
    domainBits,
    words,
    prg,
    alphas: randomWords(keyCount, domainBits),
    payloads: randomWords(keyCount * words, 64),
    random: randomBytes(32 * keyCount),
  };
  if (perKey === 0) return () => void kernels.dcfGenerateMany(dealt);
  const [keys] = kernels.dcfGenerateMany(dealt);
  const points = pointsOf(shape);
  const out = new BigUint64Array(points.length * words);
  const options = { party: 0, keys, domainBits, words, prg, points, out } as const;
  return () => kernels.dcfEvaluateMany(options);
}

/** Median, best and worst milliseconds of a call; short calls are timed in groups of some 5 ms. */
function time(call: () => void): [number, number, number] {
  let group = 1;
  const timed = () => {
    const start = performance.now();
    for (let i = 0; i < group; i++) call();
    return (performance.now() - start) / group;
  };
  timed();
  group = Math.max(1, Math.ceil(5 / timed()));
  const samples: number[] = [];
  const end = performance.now() + budgetMs;
  do samples.push(timed());
  while (performance.now() < end || samples.length < 5);
  samples.sort((x, y) => x - y);
  return [samples[samples.length >> 1], samples[0], samples[samples.length - 1]];
}

const sets: [string, FunctionKernels][] = [
  ...Object.keys(addon).map((isa): [string, FunctionKernels] => [isa, nativeTrees(addon, isa)]),
  ["wasm", await loadRingKernels({ threads: 1 })],
];
console.log(`${cpus()[0].model}, node ${process.version}, at least ${budgetMs} ms a line`);
console.log(`${"".padEnd(64)} M/s best (median .. worst)   us a call, best`);
for (const shape of shapes) {
  const { domainBits, words, keyCount, perKey } = shape;
  const what = perKey === 0 ? "pairs dealt" : `keys x ${perKey} points`;
  for (const [name, kernels] of sets) {
    for (const prg of kernels.functionPrgs) {
      const times = time(jobOf(kernels, prg, shape));
      const amount = (keyCount * Math.max(perKey, 1)) / 1e3;
      const [median, best, worst] = times.map((ms) => (amount / ms).toPrecision(3));
      const title = `${domainBits} bits, ${words} words, ${keyCount} ${what}: ${name}, ${prg}`;
      const rates = `${best.padStart(6)} (${median} .. ${worst})`;
      console.log(`${title.padEnd(64)} ${rates.padEnd(28)} ${(times[1] * 1e3).toFixed(1)}`);
    }
  }
}
