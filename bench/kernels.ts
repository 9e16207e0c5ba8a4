// How fast are the kernels, one thread? Prints each figure beside the target of the feasibility
// study. Usage: node bench/kernels.ts [repetitions]

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpus } from "node:os";
import { loadRingKernels } from "../src/kernel/load-node.ts";

/** One measurement: `run` does `amount` units of work. */
interface Row {
  name: string;
  target: string;
  unit: string;
  amount: number;
  run(): void;
  free?(): void;
}

const repetitions = Number(process.argv[2] ?? 7);
const kernels = await loadRingKernels();

function randomWords(count: number): BigUint64Array {
  const words = new BigUint64Array(count);
  kernels.chacha12(new Uint8Array(words.buffer), randomBytes(32), new Uint8Array(12), 0);
  return words;
}

function matmulRow(kind: "int16" | "ring", m: number, target: string): () => Row {
  const [rows, columns] = kind === "int16" && m === 1 ? [768, 73728] : [768, 3072];
  return () => {
    const words = randomWords(kind === "ring" ? rows * columns : (rows * columns) / 4);
    const matrix =
      kind === "ring"
        ? kernels.loadRing(words, rows, columns)
        : kernels.loadInt16(new Int16Array(words.buffer), rows, columns);
    const x = randomWords(m * rows);
    const out = new BigUint64Array(m * columns);
    const [name, amount] = [
      `matmul u64 x ${kind}, [${m}, ${rows}, ${columns}]`,
      m * rows * columns,
    ];
    const run = () => kernels.matmul(out, x, matrix);
    return {
      name,
      target,
      unit: "G mul-add/s",
      amount: amount / 1e9,
      run,
      free: matrix.free.bind(matrix),
    };
  };
}

function chachaRow(): Row {
  const out = new Uint8Array(1 << 24);
  const [key, nonce] = [randomBytes(32), new Uint8Array(12)];
  const run = () => kernels.chacha12(out, key, nonce, 0);
  return { name: "ChaCha12, 16 MB", target: "2.3", unit: "GB/s", amount: out.length / 1e9, run };
}

function elementwiseRow(name: "add" | "mul"): () => Row {
  return () => {
    const [a, b] = [randomWords(1 << 20), randomWords(1 << 20)];
    const out = new BigUint64Array(a.length);
    const run = () => kernels[name](out, a, b);
    return {
      name: `${name}, 2^20 words`,
      target: "-",
      unit: "G words/s",
      amount: a.length / 1e9,
      run,
    };
  };
}

interface TreeShape {
  kind: "dcf" | "dpf";
  domainBits: number;
  words: number;
  keyCount: number;
  perKey: number;
}

function treeRow(shape: TreeShape, target: string): () => Row {
  const { kind, domainBits, words, keyCount, perKey } = shape;
  return () => {
    const payload = randomWords(words);
    const generate = (alpha: bigint) => {
      const options = { domainBits, alpha, payload, random: randomBytes(32) };
      return kind === "dcf" ? kernels.dcfGenerate(options) : kernels.dpfGenerate(options);
    };
    const cut = (x: bigint) => BigInt.asUintN(domainBits, x);
    const alphas = randomWords(keyCount).map(cut);
    const keys = new Uint8Array(Buffer.concat(Array.from(alphas, (alpha) => generate(alpha)[0])));
    const points = randomWords(keyCount * perKey).map(cut);
    const out = new BigUint64Array(points.length * words);
    const options = { party: 0, keys, domainBits, words, points, out } as const;
    const run = () =>
      kind === "dcf" ? kernels.dcfEvaluateMany(options) : kernels.dpfEvaluateMany(options);
    const name = `${kind}, ${domainBits} bits, ${words} words, ${keyCount} keys x ${perKey} points`;
    return { name, target, unit: "M points/s", amount: points.length / 1e6, run };
  };
}

function generateRow(domainBits: number, words: number): () => Row {
  return () => {
    const payload = randomWords(words);
    const random = randomBytes(32);
    const options = { domainBits, alpha: 1n, payload, random };
    const run = () => {
      for (let i = 0; i < 1000; i++) kernels.dcfGenerate(options);
    };
    const name = `dcf key pair, ${domainBits} bits, ${words} words`;
    return { name, target: "-", unit: "M keys/s", amount: 1e-3, run };
  };
}

const rows: (() => Row)[] = [
  matmulRow("ring", 128, "4.3"),
  matmulRow("ring", 1, "-"),
  matmulRow("int16", 1, "4.4"),
  matmulRow("int16", 128, "-"),
  chachaRow,
  elementwiseRow("add"),
  elementwiseRow("mul"),
  treeRow({ kind: "dcf", domainBits: 32, words: 1, keyCount: 4096, perKey: 1 }, "1.1"),
  treeRow({ kind: "dcf", domainBits: 40, words: 2, keyCount: 1, perKey: 100 }, "-"),
  treeRow({ kind: "dpf", domainBits: 10, words: 1, keyCount: 1, perKey: 1024 }, "-"),
  generateRow(32, 1),
  // Float32 rows go here.
];

/** Seconds of each repetition, after one to warm up. */
function measure(row: Row): number[] {
  row.run();
  row.run();
  return Array.from({ length: repetitions }, () => {
    const start = performance.now();
    row.run();
    return (performance.now() - start) / 1000;
  }).sort((a, b) => a - b);
}

function commit(): string {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return "unknown";
  }
}

process.stdout.write(
  `machine      ${cpus()[0]?.model}, ${cpus().length} cores, node ${process.version}\n` +
    `commit       ${commit()}\n` +
    `kernels      ${kernels.name}, one thread, ${repetitions} repetitions\n\n` +
    `${"".padEnd(48)}${"median".padStart(9)}${"min".padStart(9)}${"max".padStart(9)}` +
    `${"target".padStart(8)}  ${"unit".padEnd(13)}ms\n`,
);
for (const make of rows) {
  const row = make();
  const seconds = measure(row);
  const median = seconds[seconds.length >> 1];
  const rates = [median, seconds[seconds.length - 1], seconds[0]].map((s) =>
    (row.amount / s).toPrecision(3).padStart(9),
  );
  process.stdout.write(
    `${row.name.padEnd(48)}${rates.join("")}${row.target.padStart(8)}  ` +
      `${row.unit.padEnd(13)}${(median * 1000).toFixed(2)}\n`,
  );
  row.free?.();
}
