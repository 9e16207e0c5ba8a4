// Checks of a kernel set against known answers and its own algebra, on a few hundred words: quick
// enough to run where Mergen is installed, on a processor that no test has seen.

import type { FloatKernels } from "./float-kernels.ts";
import type { Checksum } from "./native-crc.ts";
import type { FunctionPrg, RingKernels } from "./ring-kernels.ts";

/** Names of what ring kernels get wrong; none if all is well. */
export function testRingKernels(kernels: RingKernels): string[] {
  const checks: [string, () => boolean][] = [
    ["chacha12", () => chachaHolds(kernels)],
    ["elementwise", () => elementwiseHolds(kernels)],
    ["packed fields", () => packingHolds(kernels)],
    ["products", () => productsHold(kernels)],
    ["attention", () => attentionHolds(kernels)],
    ...kernels.functionPrgs.map((prg): [string, () => boolean] => [
      `function keys with ${prg}`,
      () => sharesAddUp(kernels, prg),
    ]),
  ];
  return failed(checks);
}

/** Names of what float kernels get wrong. */
export function testFloatKernels(kernels: FloatKernels): string[] {
  return failed([["gemm", () => gemmHolds(kernels)]]);
}

/** Names of what a CRC-32C gets wrong. */
export function testCrc32c(crc32c: Checksum): string[] {
  return failed([["crc32c", () => checksumHolds(crc32c)]]);
}

/** Of the bytes below, by the bit-by-bit definition. */
const longChecksum = 0xb9855b08;

/** Known answers of RFC 3720, appendix B.4, and a long run whole and in parts. */
function checksumHolds(crc32c: Checksum): boolean {
  const long = Uint8Array.from({ length: 10_000 }, (_, i) => (i * 167) >>> 3);
  const parts = [0, 1, 500, 7001].map((cut) =>
    crc32c(long.subarray(cut), crc32c(long.subarray(0, cut), 0)),
  );
  return (
    crc32c(new Uint8Array(32), 0) === 0x8a9136aa &&
    crc32c(new Uint8Array(32).fill(255), 0) === 0x62a8ab43 &&
    crc32c(long, 0) === longChecksum &&
    parts.every((crc) => crc === longChecksum)
  );
}

function failed(checks: [string, () => boolean][]): string[] {
  return checks.filter(([, holds]) => !isTrue(holds)).map(([name]) => name);
}

/** A kernel that throws fails. */
function isTrue(holds: () => boolean): boolean {
  try {
    return holds();
  } catch {
    return false;
  }
}

function mod(x: bigint): bigint {
  return BigInt.asUintN(64, x);
}

/** Words with all their bits in use. */
function wordsOf(count: number, seed: bigint): BigUint64Array {
  const step = 0x9e3779b97f4a7c15n; // 2^64 divided by the golden ratio
  return BigUint64Array.from({ length: count }, (_, i) => mod((BigInt(i) + seed) * step));
}

function same(a: BigUint64Array, expected: (i: number) => bigint): boolean {
  return a.every((word, i) => word === mod(expected(i)));
}

/** First block of test vector TC1, 12 rounds, of draft-strombergson-chacha-test-vectors-01. */
const firstBlock =
  "9bf49a6a0755f953811fce125f2683d50429c3bb49e074147e0089a52eae155f" +
  "0564f879d27ae3c02ce82834acfa8c793a629f2ca0de6919610be82f411326be";

/** The first block is the vector, and the others are the same in a row and one by one. */
function chachaHolds(kernels: RingKernels): boolean {
  const [key, nonce] = [new Uint8Array(32), new Uint8Array(12)];
  const stream = new Uint8Array(64 * 40);
  kernels.chacha12(stream, key, nonce, 0);
  const hex = Array.from(stream.subarray(0, 64), (byte) => byte.toString(16).padStart(2, "0"));
  if (hex.join("") !== firstBlock) return false;
  const block = new Uint8Array(64);
  for (let i = 0; i < 40; i++) {
    kernels.chacha12(block, key, nonce, i);
    if (!block.every((byte, k) => byte === stream[64 * i + k])) return false;
  }
  return true;
}

function elementwiseHolds(kernels: RingKernels): boolean {
  const [a, b] = [wordsOf(77, 1n), wordsOf(77, 1000n)];
  const out = new BigUint64Array(77);
  const sums = new BigUint64Array(7);
  kernels.mul(out, a, b);
  kernels.addScaled(out, a, -3n);
  kernels.sumRows(sums, a, 11);
  if (!same(out, (i) => a[i] * b[i] - 3n * a[i])) return false;
  if (!same(sums, (i) => a.subarray(11 * i, 11 * i + 11).reduce((x, y) => x + y, 0n))) return false;
  kernels.shiftRightSigned(out, a, 13);
  return same(out, (i) => BigInt.asIntN(64, a[i]) >> 13n);
}

function packingHolds(kernels: RingKernels): boolean {
  const words = wordsOf(77, 3n);
  return [7, 22, 38, 58].every((bits) => {
    const bytes = new Uint8Array(Math.ceil((77 * bits) / 8));
    const back = new BigUint64Array(77);
    kernels.pack(bytes, words, bits);
    kernels.unpack(back, bytes, bits);
    const firstByte = Number(words[0] & 127n);
    return (bytes[0] & 127) === firstByte && same(back, (i) => BigInt.asUintN(bits, words[i]));
  });
}

function productsHold(kernels: RingKernels): boolean {
  const [rows, columns] = [37, 41];
  const [x, entries] = [wordsOf(rows, 7n), wordsOf(rows * columns, 9n)];
  const narrow = Int16Array.from(entries, (word) => Number(BigInt.asIntN(16, word)));
  const key = new Uint8Array(32).fill(7);
  const nonce = new Uint8Array(12);
  const stream = new BigUint64Array(rows * columns);
  kernels.chacha12(new Uint8Array(stream.buffer), key, nonce, 0);
  const out = new BigUint64Array(columns);
  const column = (matrix: BigUint64Array | Int16Array) => (j: number) =>
    x.reduce((sum, each, k) => sum + each * BigInt(matrix[k * columns + j]), 0n);
  const ring = kernels.loadRing(entries, rows, columns);
  const int16 = kernels.loadInt16(narrow, rows, columns);
  try {
    kernels.matmul(out, x, ring);
    if (!same(out, column(entries))) return false;
    kernels.matmul(out, x, int16);
    if (!same(out, column(narrow))) return false;
  } finally {
    ring.free();
    int16.free();
  }
  kernels.matmulKeystream(out, x, { rows, columns, key, nonce, transposed: false });
  return same(out, column(stream));
}

/** The last of 20 rows, of two heads. */
function attentionHolds(kernels: RingKernels): boolean {
  const [rows, columns, start] = [20, 26, 19];
  const x = wordsOf(rows * columns, 4n);
  const weights = Int16Array.from(wordsOf(2 * rows, 5n), (word) => Number(BigInt.asIntN(16, word)));
  const held = { from: start, count: 1 };
  const out = new BigUint64Array(columns);
  kernels.attend(out, x, weights, { heads: 2, positions: rows, start, columns, held });
  return same(out, (i) => {
    const head = i < columns / 2 ? 0 : 1;
    let sum = 0n;
    for (let j = 0; j < rows; j++) sum += BigInt(weights[head * rows + j]) * x[j * columns + i];
    return sum;
  });
}

/** Both parties' shares of [x < alpha] and of [x = alpha] at points around alpha. */
function sharesAddUp(kernels: RingKernels, prg: FunctionPrg): boolean {
  const [domainBits, alpha] = [20, 4711n];
  const payload = wordsOf(2, 11n);
  const random = new Uint8Array(wordsOf(4, 13n).buffer);
  const points = BigUint64Array.of(0n, alpha - 1n, alpha, alpha + 1n, 65536n, 1048575n);
  const options = { domainBits, prg, alpha, payload, random };
  const sums = (keys: [Uint8Array, Uint8Array], evaluate: RingKernels["dcfEvaluate"]) => {
    const outs = ([0, 1] as const).map((party) => {
      const out = new BigUint64Array(2 * points.length);
      evaluate({ domainBits, prg, words: 2, party, key: keys[party], points, out });
      return out;
    });
    return outs[0].map((word, i) => word + outs[1][i]);
  };
  const dcf = sums(kernels.dcfGenerate(options), (at) => kernels.dcfEvaluate(at));
  const dpf = sums(kernels.dpfGenerate(options), (at) => kernels.dpfEvaluate(at));
  const at = (i: number) => points[i >> 1];
  return (
    same(dcf, (i) => (at(i) < alpha ? payload[i & 1] : 0n)) &&
    same(dpf, (i) => (at(i) === alpha ? payload[i & 1] : 0n))
  );
}

/** Small integers, so that every order of summation gives the same. */
function gemmHolds(kernels: FloatKernels): boolean {
  const [m, n, k] = [5, 37, 19];
  const a = Float32Array.from({ length: m * k }, (_, i) => ((i * 7) % 11) - 5);
  const b = Float32Array.from({ length: k * n }, (_, i) => ((i * 5) % 13) - 6);
  const out = new Float32Array(m * n);
  kernels.gemm({ m, n, k, a, b, out });
  return out.every((value, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let l = 0; l < k; l++) sum += a[i * k + l] * b[l * n + j];
    return value === sum;
  });
}
