// Size checks that every ring kernel set makes before it touches data.

import { ensure } from "../errors.ts";
import type {
  AttentionDims,
  KeystreamMatrix,
  PiecewiseOptions,
  RingMatrix,
} from "./ring-kernels.ts";

/** Largest matrix side; keeps every size and offset exact in 32 bits. */
const maxSide = 1 << 24;

export function checkSameLength(
  name: string,
  out: BigUint64Array,
  ...operands: BigUint64Array[]
): void {
  for (const operand of operands) {
    ensure(
      operand.length === out.length,
      "E_KERNEL",
      `${name}: operand has ${operand.length} words, result has ${out.length}`,
    );
  }
}

export function checkShift(name: string, bits: number): void {
  const fits = Number.isInteger(bits) && bits >= 0 && bits < 64;
  ensure(fits, "E_KERNEL", `${name}: shift by ${bits} bits, must be 0..63`);
}

/** Widths of words, in lowBits and in packed fields. */
export function checkBits(name: string, bits: number): void {
  const fits = Number.isInteger(bits) && bits >= 1 && bits <= 64;
  ensure(fits, "E_KERNEL", `${name}: words of ${bits} bits, must be 1..64`);
}

export function checkSumRows(out: BigUint64Array, a: BigUint64Array, width: number): void {
  ensure(
    Number.isInteger(width) && width >= 0 && a.length === out.length * width,
    "E_KERNEL",
    `sumRows: operand has ${a.length} words, must be ${out.length} rows times ${width}`,
  );
}

export function checkLoad(name: string, length: number, rows: number, columns: number): void {
  ensure(
    isSide(rows) && isSide(columns) && length === rows * columns,
    "E_KERNEL",
    `${name}: ${length} entries given for a matrix [${rows}, ${columns}]`,
  );
}

function isSide(side: number): boolean {
  return Number.isInteger(side) && side >= 1 && side <= maxSide;
}

/** Returns the number of rows m of x and out. */
export function checkMatmul(
  out: BigUint64Array,
  x: BigUint64Array,
  matrix: Pick<RingMatrix, "rows" | "columns">,
): number {
  const { rows, columns } = matrix;
  const m = x.length / rows;
  ensure(
    Number.isInteger(m) && out.length === m * columns,
    "E_KERNEL",
    `matmul: x has ${x.length} words and out ${out.length} for a matrix [${rows}, ${columns}]`,
  );
  ensure(areApart(out, x) || m === 0, "E_KERNEL", "matmul: out overlaps x");
  return m;
}

function areApart(a: BigUint64Array, b: BigUint64Array | Int16Array): boolean {
  return (
    a.buffer !== b.buffer ||
    a.byteOffset + a.byteLength <= b.byteOffset ||
    b.byteOffset + b.byteLength <= a.byteOffset
  );
}

/** Returns the number of rows of x. */
export function checkAttend(
  out: BigUint64Array,
  x: BigUint64Array,
  weights: BigUint64Array | Int16Array,
  dims: AttentionDims,
): number {
  const { heads, positions, start, columns } = dims;
  const { from, count } = dims.held ?? { from: 0, count: positions };
  const sides = isSide(heads) && isSide(positions) && isSide(columns) && columns % heads === 0;
  ensure(sides, "E_KERNEL", `attend: ${heads} heads, ${positions} positions, ${columns} columns`);
  const rows = x.length / columns;
  ensure(
    Number.isInteger(rows) &&
      rows <= positions &&
      Number.isInteger(start) &&
      start >= 0 &&
      start <= rows &&
      out.length === (rows - start) * columns &&
      isHeld(from, start) &&
      rows <= from + count &&
      weights.length === heads * count * positions,
    "E_KERNEL",
    `attend: x has ${x.length} words, out ${out.length}, weights ${weights.length} for ` +
      `[${heads}, ${positions}, ${positions}] from row ${start} of ${columns} columns`,
  );
  ensure(areApart(out, x) && areApart(out, weights), "E_KERNEL", "attend: out overlaps an operand");
  return rows;
}

function isHeld(from: number, start: number): boolean {
  return Number.isInteger(from) && from >= 0 && from <= start;
}

/** Checks a field width and that the bytes are those of the words. */
export function checkPacked(
  name: string,
  bytes: Uint8Array,
  words: BigUint64Array,
  bits: number,
): void {
  checkBits(name, bits);
  ensure(
    bytes.length === Math.ceil((words.length * bits) / 8),
    "E_KERNEL",
    `${name}: ${bytes.length} bytes for ${words.length} words of ${bits} bits`,
  );
}

/** Returns the number of rows m of x and out. */
export function checkKeystream(
  out: BigUint64Array,
  x: BigUint64Array,
  matrix: KeystreamMatrix,
): number {
  const { rows, columns, transposed, key, nonce } = matrix;
  const sides = isSide(rows) && isSide(columns) && rows * columns <= 2 ** 35;
  ensure(sides, "E_KERNEL", `matmulKeystream: a matrix [${rows}, ${columns}]`);
  ensure(key.length === 32 && nonce.length === 12, "E_KERNEL", "matmulKeystream: key or nonce");
  const [inner, outer] = transposed ? [columns, rows] : [rows, columns];
  return checkMatmul(out, x, { rows: inner, columns: outer });
}

/** Checks sizes, and that the 32-bit block counter does not wrap (the keystream would repeat). */
export function checkChacha(
  out: Uint8Array,
  key: Uint8Array,
  nonce: Uint8Array,
  counter: number,
): void {
  ensure(key.length === 32, "E_KERNEL", `chacha12: key has ${key.length} bytes, must be 32`);
  ensure(nonce.length === 12, "E_KERNEL", `chacha12: nonce has ${nonce.length} bytes, must be 12`);
  const fits =
    Number.isInteger(counter) && counter >= 0 && counter + Math.ceil(out.length / 64) <= 2 ** 32;
  ensure(fits, "E_KERNEL", `chacha12: counter ${counter} wraps within ${out.length} bytes`);
}

/** keyBytes: those of a key of this shape. */
export function checkPiecewise(options: PiecewiseOptions, keyBytes: number): void {
  const { domainBits, blockBits, party, keys, a, powers, offsets, coefficients, first } = options;
  const fits = domainBits <= 63 && Number.isInteger(blockBits) && blockBits >= 0;
  ensure(fits, "E_KERNEL", `piecewise: ${domainBits} bits in blocks of ${blockBits}`);
  ensure(party === 0 || party === 1, "E_KERNEL", `piecewise: party is ${party}, must be 0 or 1`);
  const [entries, knots, words] = [a.length, offsets.length, first.length];
  const whole =
    keys.length === entries * keyBytes &&
    options.out.length === entries &&
    powers.every((power) => power.length === entries);
  ensure(whole, "E_KERNEL", `piecewise: operands are not of ${entries} entries`);
  const isTable =
    words >= 2 &&
    words <= 4 &&
    knots > 0 &&
    powers.length === words - 1 &&
    coefficients.length === words &&
    coefficients.every((list) => list.length === knots * words) &&
    first.every((list) => list.length === words);
  ensure(isTable, "E_KERNEL", `piecewise: no table of ${knots} knots and degree ${words - 1}`);
}
