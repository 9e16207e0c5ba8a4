// How fast are the ring kernels on one thread, and the big jobs on two?

import { randomBytes } from "node:crypto";
import { cpus } from "node:os";
import { crc32c, loadCrc32c, loadRingKernels, type RingKernels } from "../../src/index.ts";
import { packedBytes } from "../../src/ring/pack.ts";
import type { BenchContext, Group } from "../context.ts";
import { makeRow, type Reference, type Row } from "../rows.ts";
import { timeCalls } from "../timing.ts";
import { chachaLimit, type Limits, limitedBy, productLimit, readLimit } from "./limits.ts";

/** One measurement: `run` does `amount` units of work. */
interface Job {
  readonly name: string;
  readonly unit: string;
  readonly amount: number;
  /** In the job's unit. */
  readonly limit?: (limits: Limits) => Reference;
  run(): void;
  free?(): void;
}

/** A kernel set, and what its rows say about its threads. */
interface Set {
  readonly kernels: RingKernels;
  readonly suffix: string;
}

/** Of `count` units of so many bytes each. */
const readingLimit =
  (bytesEach: number, count: number) =>
  (limits: Limits): Reference => {
    const { name, value } = readLimit(limits, bytesEach * count);
    return { name, value: value / bytesEach / 1e9 };
  };

const chacha12Limit = (limits: Limits): Reference => ({
  name: "ChaCha quarter-rounds",
  value: chachaLimit(limits) / 1e9,
});

function randomWords(kernels: RingKernels, count: number): BigUint64Array {
  const words = new BigUint64Array(count);
  kernels.chacha12(new Uint8Array(words.buffer), randomBytes(32), new Uint8Array(12), 0);
  return words;
}

/** u64 [m, rows] times a matrix: from memory for one row, else held by the multiplier. */
function product({ kernels, suffix }: Set, kind: "int16" | "ring", m: number): Job {
  const [rows, columns] = m === 1 ? [768, 73728] : [768, 3072];
  const entries = rows * columns;
  const words = randomWords(kernels, kind === "ring" ? entries : entries / 4);
  const matrix =
    kind === "ring"
      ? kernels.loadRing(words, rows, columns)
      : kernels.loadInt16(new Int16Array(words.buffer), rows, columns);
  const [x, out] = [randomWords(kernels, m * rows), new BigUint64Array(m * columns)];
  const multiplier = (limits: Limits): Reference => ({
    name: "multiply-adds",
    value: productLimit(limits, kind) / 1e9,
  });
  return {
    name: `u64 x ${kind}, [${m}, ${rows}, ${columns}]${suffix}`,
    unit: "G mul-add/s",
    amount: (m * entries) / 1e9,
    limit: m === 1 ? readingLimit(kind === "ring" ? 8 : 2, entries) : multiplier,
    run: () => kernels.matmul(out, x, matrix),
    free: () => matrix.free(),
  };
}

/** x [m, 768] times a matrix [768, 3072] that is never stored, or a matrix's transpose. */
function keystream({ kernels, suffix }: Set, m: number, transposed: boolean): Job {
  const [rows, columns] = transposed ? [3072, 768] : [768, 3072];
  const matrix = { rows, columns, transposed, key: randomBytes(32), nonce: new Uint8Array(12) };
  const [x, out] = [randomWords(kernels, m * 768), new BigUint64Array(m * 3072)];
  return {
    name: `u64 x keystream${transposed ? "^T" : ""}, [${m}, 768, 3072]${suffix}`,
    unit: "G mul-add/s",
    amount: (m * rows * columns) / 1e9,
    limit: (limits) => {
      const [made, used] = [(m * chachaLimit(limits)) / 8, productLimit(limits, "ring")];
      const name = made < used ? "ChaCha quarter-rounds" : "multiply-adds";
      return { name, value: Math.min(made, used) / 1e9 };
    },
    run: () => kernels.matmulKeystream(out, x, matrix),
  };
}

function attend({ kernels }: Set, count: number, kind: "u64" | "int16"): Job {
  const dims = { heads: 12, positions: 128, start: 128 - count, columns: 768 };
  const x = randomWords(kernels, 128 * 768);
  const words = randomWords(kernels, 12 * 128 * 128);
  const weights = kind === "u64" ? words : new Int16Array(words.buffer, 0, words.length);
  const out = new BigUint64Array(count * 768);
  const pairs = (128 * 129 - dims.start * (dims.start + 1)) / 2;
  return {
    name: `attend, ${kind}, 12 heads, ${count} of 128 rows, 768 columns`,
    unit: "G mul-add/s",
    amount: (pairs * 768) / 1e9,
    limit: ({ multiplyAdds64 }) => ({ name: "multiply-adds", value: multiplyAdds64 / 1e9 }),
    run: () => kernels.attend(out, x, weights, dims),
  };
}

/** One new row at the end of a text, with 16-bit weights of that row only. */
function attendLast({ kernels }: Set): Job {
  const [positions, columns, start] = [512, 768, 511];
  const x = randomWords(kernels, positions * columns);
  const weights = new Int16Array(randomWords(kernels, 3 * positions).buffer);
  const dims = { heads: 12, positions, start, columns, held: { from: start, count: 1 } };
  const out = new BigUint64Array(columns);
  return {
    name: "attend, 12 heads, last of 512 rows, 768 columns",
    unit: "GB/s",
    amount: x.byteLength / 1e9,
    limit: readingLimit(1, x.byteLength),
    run: () => kernels.attend(out, x, weights, dims),
  };
}

function fields({ kernels }: Set, bits: number, count: number, back: boolean): Job {
  const words = randomWords(kernels, count);
  const bytes = new Uint8Array(packedBytes(count, bits));
  kernels.pack(bytes, words, bits);
  const run = back
    ? () => kernels.unpack(words, bytes, bits)
    : () => kernels.pack(bytes, words, bits);
  const name = `${back ? "unpack" : "pack"}, ${count} words of ${bits} bits`;
  return { name, unit: "G words/s", amount: count / 1e9, run };
}

function elementwise({ kernels }: Set, name: "add" | "mul" | "lowBits", count: number): Job {
  const [a, b] = [randomWords(kernels, count), randomWords(kernels, count)];
  const out = new BigUint64Array(count);
  const run =
    name === "lowBits" ? () => kernels.lowBits(out, a, 40) : () => kernels[name](out, a, b);
  return { name: `${name}, ${count} words`, unit: "G words/s", amount: count / 1e9, run };
}

function chacha({ kernels, suffix }: Set, bytes: number): Job {
  const out = new Uint8Array(bytes);
  const [key, nonce] = [randomBytes(32), new Uint8Array(12)];
  const run = () => kernels.chacha12(out, key, nonce, 0);
  const name = `ChaCha12, ${bytes} bytes${suffix}`;
  return { name, unit: "GB/s", amount: bytes / 1e9, limit: chacha12Limit, run };
}

async function checksums(): Promise<Job[]> {
  const native = await loadCrc32c();
  const sets = [["TypeScript", crc32c] as const, ...(native ? [["native", native] as const] : [])];
  return sets.flatMap(([set, checksum]) =>
    [1000, 25_000, 1_000_000].map((count) => {
      const bytes = new Uint8Array(randomBytes(count));
      const run = () => void checksum(bytes, 0);
      return { name: `CRC-32C, ${set}, ${count} bytes`, unit: "GB/s", amount: count / 1e9, run };
    }),
  );
}

/** Jobs are made when it is their turn, so that not all their memory is held at a time. */
function jobs(one: Set, two: Set | undefined): (() => Job)[] {
  const list: (() => Job)[] = [];
  for (const set of two ? [one, two] : [one]) {
    list.push(
      () => product(set, "ring", 128),
      () => product(set, "ring", 1),
      () => product(set, "int16", 1),
      () => keystream(set, 128, false),
      () => chacha(set, 1 << 24),
    );
  }
  list.push(
    () => product(one, "int16", 128),
    () => keystream(one, 1, false),
    () => keystream(one, 128, true),
    () => attend(one, 128, "u64"),
    () => attend(one, 1, "u64"),
    () => attend(one, 1, "int16"),
    () => attendLast(one),
    () => chacha(one, 6144),
  );
  for (const count of [768, 1 << 20]) {
    for (const name of ["add", "mul", "lowBits"] as const) {
      list.push(() => elementwise(one, name, count));
    }
  }
  for (const bits of [22, 24, 40, 58, 64]) {
    for (const count of [768, 50_000]) {
      for (const back of [false, true]) list.push(() => fields(one, bits, count, back));
    }
  }
  return list;
}

function measure(context: BenchContext, { name, unit, amount, limit, run, free }: Job): Row {
  const samples = timeCalls(run, context.budgetMs).map((seconds) => amount / seconds);
  free?.();
  // A limit is one core's.
  const limited = limit && !name.endsWith("threads") ? limitedBy(context, limit) : {};
  return makeRow({ name, unit, better: "more", samples, ...limited });
}

async function run(context: BenchContext): Promise<Row[]> {
  const one = { kernels: await loadRingKernels({ threads: 1 }), suffix: "" };
  const more = cpus().length > 1 ? await loadRingKernels({ threads: 2 }) : undefined;
  const two = more && { kernels: more, suffix: ", 2 threads" };
  const rows = jobs(one, two).map((make) => measure(context, make()));
  more?.close();
  return [...rows, ...(await checksums()).map((job) => measure(context, job))];
}

export const ringKernels: Group = {
  name: "ring-kernels",
  question: "ring kernels, one thread unless said, against the machine's limits",
  run,
};
