// How fast are the kernels on one thread, and the big jobs on two? Prints each figure beside the
// target of the feasibility study. Usage: node bench/kernels.ts [repetitions]

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpus } from "node:os";
import { loadRingKernels } from "../src/kernel/load-node.ts";
import type { RingKernels } from "../src/kernel/ring-kernels.ts";
import { packedBytes } from "../src/ring/pack.ts";

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
const one = await loadRingKernels({ threads: 1 });
const two = await loadRingKernels({ threads: 2 });
/** What the name of a row says about its threads. */
const titleOf = (kernels: RingKernels) => (kernels === two ? ", 2 threads" : "");

function randomWords(count: number): BigUint64Array {
  const words = new BigUint64Array(count);
  one.chacha12(new Uint8Array(words.buffer), randomBytes(32), new Uint8Array(12), 0);
  return words;
}

function matmulRow(
  kernels: RingKernels,
  kind: "int16" | "ring",
  m: number,
  target: string,
): () => Row {
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
      `u64 x ${kind}, [${m}, ${rows}, ${columns}]${titleOf(kernels)}`,
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

/** x [m, 768] times a matrix [768, 3072] that is never stored, or a matrix's transpose. */
function keystreamRow(kernels: RingKernels, m: number, transposed: boolean): () => Row {
  return () => {
    const [rows, columns] = transposed ? [3072, 768] : [768, 3072];
    const matrix = { rows, columns, transposed, key: randomBytes(32), nonce: new Uint8Array(12) };
    const [x, out] = [randomWords(m * 768), new BigUint64Array(m * 3072)];
    const run = () => kernels.matmulKeystream(out, x, matrix);
    const kind = transposed ? "keystream^T" : "keystream";
    const name = `u64 x ${kind}, [${m}, 768, 3072]${titleOf(kernels)}`;
    return { name, target: "-", unit: "G mul-add/s", amount: (m * rows * columns) / 1e9, run };
  };
}

function attendRow(count: number, kind: "u64" | "int16"): () => Row {
  return () => {
    const dims = { heads: 12, positions: 128, start: 128 - count, columns: 768 };
    const x = randomWords(128 * 768);
    const words = randomWords(12 * 128 * 128);
    const weights = kind === "u64" ? words : new Int16Array(words.buffer, 0, words.length);
    const out = new BigUint64Array(count * 768);
    const run = () => one.attend(out, x, weights, dims);
    const pairs = (128 * 129 - dims.start * (dims.start + 1)) / 2;
    const name = `attend, ${kind}, 12 heads, ${count} of 128 rows, 768 columns`;
    return { name, target: "-", unit: "G mul-add/s", amount: (pairs * 768) / 1e9, run };
  };
}

function packRow(bits: number, back: boolean): () => Row {
  return () => {
    const words = randomWords(1 << 17);
    const bytes = new Uint8Array(packedBytes(words.length, bits));
    one.pack(bytes, words, bits);
    const run = back ? () => one.unpack(words, bytes, bits) : () => one.pack(bytes, words, bits);
    const name = `${back ? "unpack" : "pack"} 2^17 words of ${bits} bits`;
    return { name, target: "-", unit: "G words/s", amount: words.length / 1e9, run };
  };
}

/** What a call costs on the short vectors of decoding, a thousand times over. */
function shortRow(name: "add" | "lowBits" | "pack" | "chacha12", count: number): () => Row {
  return () => {
    const [a, b, out] = [randomWords(count), randomWords(count), new BigUint64Array(count)];
    const bytes = new Uint8Array(8 * count);
    const packed = bytes.subarray(0, 5 * count);
    const [key, nonce] = [randomBytes(32), new Uint8Array(12)];
    const calls = {
      add: () => one.add(out, a, b),
      lowBits: () => one.lowBits(out, a, 40),
      pack: () => one.pack(packed, a, 40),
      chacha12: () => one.chacha12(bytes, key, nonce, 0),
    };
    const run = () => {
      for (let i = 0; i < 1000; i++) calls[name]();
    };
    const title = `${name}, ${count} words, 1000 calls`;
    return { name: title, target: "-", unit: "M calls/s", amount: 1e-3, run };
  };
}

function chachaRow(kernels: RingKernels, target: string): () => Row {
  return () => {
    const out = new Uint8Array(1 << 24);
    const [key, nonce] = [randomBytes(32), new Uint8Array(12)];
    const run = () => kernels.chacha12(out, key, nonce, 0);
    const name = `ChaCha12, 16 MB${titleOf(kernels)}`;
    return { name, target, unit: "GB/s", amount: out.length / 1e9, run };
  };
}

/** Small jobs are run as often as makes 2^20 words. */
function wordsRow(name: string, count: number, run: () => void): Row {
  const times = Math.ceil(2 ** 20 / count);
  const amount = (times * count) / 1e9;
  const all = () => {
    for (let i = 0; i < times; i++) run();
  };
  return { name: `${name}, ${count} words`, target: "-", unit: "G words/s", amount, run: all };
}

function elementwiseRow(name: "add" | "mul", count: number): () => Row {
  return () => {
    const [a, b] = [randomWords(count), randomWords(count)];
    const out = new BigUint64Array(count);
    return wordsRow(name, count, () => one[name](out, a, b));
  };
}

/** Dense fields; `back` unpacks. */
function fieldsRow(bits: number, count: number, back: boolean): () => Row {
  return () => {
    const words = randomWords(count);
    const bytes = new Uint8Array(Math.ceil((count * bits) / 8));
    const run = back ? () => one.unpack(words, bytes, bits) : () => one.pack(bytes, words, bits);
    return wordsRow(`fields of ${bits} bits${back ? ", back" : ""}`, count, run);
  };
}

/** One new row at the end of a text, with 16-bit weights of that row only. */
function attendLastRow(): () => Row {
  return () => {
    const [positions, columns, start] = [512, 768, 511];
    const x = randomWords(positions * columns);
    const weights = new Int16Array(randomWords(3 * positions).buffer);
    const dims = { heads: 12, positions, start, columns, held: { from: start, count: 1 } };
    const out = new BigUint64Array(columns);
    const run = () => one.attend(out, x, weights, dims);
    const name = "attend, 12 heads, last of 512 rows, 768 columns";
    return { name, target: "-", unit: "GB/s", amount: x.byteLength / 1e9, run };
  };
}

interface TreeShape {
  kind: "dcf" | "dpf";
  domainBits: number;
  words: number;
  keyCount: number;
  perKey: number;
}

function treeRow(kernels: RingKernels, shape: TreeShape, target: string): () => Row {
  const { kind, domainBits, words, keyCount, perKey } = shape;
  return () => {
    const cut = (x: bigint) => BigInt.asUintN(domainBits, x);
    const alphas = randomWords(keyCount).map(cut);
    const payloads = randomWords(keyCount * words);
    const dealt = { domainBits, words, alphas, payloads, random: randomBytes(32 * keyCount) };
    const [keys] = kind === "dcf" ? one.dcfGenerateMany(dealt) : one.dpfGenerateMany(dealt);
    const points = randomWords(keyCount * perKey).map(cut);
    const out = new BigUint64Array(points.length * words);
    const options = { party: 0, keys, domainBits, words, points, out } as const;
    const run = () =>
      kind === "dcf" ? kernels.dcfEvaluateMany(options) : kernels.dpfEvaluateMany(options);
    const shapeName = `${domainBits} bits, ${words} words, ${keyCount} keys x ${perKey} points`;
    const name = `${kind}, ${shapeName}${titleOf(kernels)}`;
    return { name, target, unit: "M points/s", amount: points.length / 1e6, run };
  };
}

function generateRow(kernels: RingKernels, domainBits: number, words: number): () => Row {
  return () => {
    const count = 1000;
    const options = {
      domainBits,
      words,
      alphas: new BigUint64Array(count).fill(1n),
      payloads: randomWords(count * words),
      random: randomBytes(32 * count),
    };
    const run = () => void kernels.dcfGenerateMany(options);
    const name = `dcf, 1000 key pairs, ${domainBits} bits, ${words} words${titleOf(kernels)}`;
    return { name, target: "-", unit: "M keys/s", amount: 1e-3, run };
  };
}

const rows: (() => Row)[] = [
  matmulRow(one, "ring", 128, "4.3"),
  matmulRow(two, "ring", 128, "-"),
  matmulRow(one, "ring", 1, "-"),
  matmulRow(two, "ring", 1, "-"),
  matmulRow(one, "int16", 1, "4.4"),
  matmulRow(two, "int16", 1, "-"),
  matmulRow(one, "int16", 128, "-"),
  ...[1, 128].map((m) => keystreamRow(one, m, false)),
  keystreamRow(two, 128, false),
  keystreamRow(one, 128, true),
  attendRow(128, "u64"),
  attendRow(1, "u64"),
  attendRow(1, "int16"),
  chachaRow(one, "2.3"),
  chachaRow(two, "-"),
  attendLastRow(),
  ...[768, 1 << 20].flatMap((count) => [
    elementwiseRow("add", count),
    elementwiseRow("mul", count),
  ]),
  ...[22, 58].flatMap((bits) => [
    fieldsRow(bits, 768, false),
    fieldsRow(bits, 768, true),
    fieldsRow(bits, 50_000, false),
    fieldsRow(bits, 50_000, true),
  ]),
  ...[40, 24, 64].flatMap((bits) => [packRow(bits, false), packRow(bits, true)]),
  ...(["add", "lowBits", "pack", "chacha12"] as const).flatMap((name) =>
    [768, 3072].map((count) => shortRow(name, count)),
  ),
  treeRow(one, { kind: "dcf", domainBits: 32, words: 1, keyCount: 4096, perKey: 1 }, "1.1"),
  treeRow(two, { kind: "dcf", domainBits: 32, words: 1, keyCount: 4096, perKey: 1 }, "-"),
  treeRow(one, { kind: "dcf", domainBits: 40, words: 2, keyCount: 1, perKey: 100 }, "-"),
  treeRow(one, { kind: "dpf", domainBits: 10, words: 1, keyCount: 1, perKey: 1024 }, "-"),
  generateRow(one, 32, 1),
  generateRow(two, 32, 1),
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
    `kernels      ${one.name}, ${repetitions} repetitions, one thread unless said\n\n` +
    `${"".padEnd(54)}${"median".padStart(9)}${"min".padStart(9)}${"max".padStart(9)}` +
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
    `${row.name.padEnd(54)}${rates.join("")}${row.target.padStart(8)}  ` +
      `${row.unit.padEnd(13)}${(median * 1000).toFixed(2)}\n`,
  );
  row.free?.();
}
