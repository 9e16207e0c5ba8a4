// One party's shares of a piecewise polynomial at many entries, from a DCF key for each:
// src/gate/piecewise.ts says what it computes, src/kernel/piecewise.ts has the plain version and
// src/kernel/wasm-piecewise.ts lays out the operands.

import { treeEvaluate } from "./tree-evaluate";

/**
 * A table begins with what all entries share, u32 each: payload words, bits of the domain and of a
 * block, the party, bytes of a key, knots, entries evaluated side by side.
 */
const wordsAt: usize = 0;
const domainBitsAt: usize = 4;
const blockBitsAt: usize = 8;
const partyAt: usize = 12;
const keyBytesAt: usize = 16;
const knotsAt: usize = 20;
const sideBySideAt: usize = 24;
/** Then the rows of the knots, and that of the first piece. */
const rowsAt: usize = 32;
/** Offset; coefficients of the factors of r^0 (4), r^1 (3), r^2 (2) and r^3, lowest first. */
const rowBytes: usize = 88;

/** As in src/kernel/function-key.ts: "DCF\0", and the kind's number. */
const purpose: i32 = 0x00464344;
const kind: u32 = 1;

/**
 * out [count]: shares of the polynomials at a [count]. keys: [count], over the bits of the domain
 * less those of a block. powers: shares of r^1 and, up to the degree, r^2 and r^3, [count] each,
 * stride bytes apart. work has 8 * points * (1 + words) bytes for the points of entries side by
 * side, and then what treeEvaluate needs for them.
 */
export function piecewise(
  out: usize,
  keys: usize,
  count: usize,
  a: usize,
  powers: usize,
  stride: usize,
  table: usize,
  work: usize,
): void {
  const words = load<u32>(table, wordsAt) as usize;
  const knots = load<u32>(table, knotsAt) as usize;
  const keyBytes = load<u32>(table, keyBytesAt) as usize;
  const sideBySide = load<u32>(table, sideBySideAt) as usize;
  const bits = load<u32>(table, domainBitsAt) - load<u32>(table, blockBitsAt);
  const party = load<u32>(table, partyAt);
  const values = work + ((sideBySide * knots) << 3);
  const rest = values + ((sideBySide * knots * words) << 3);
  for (let first: usize = 0; first < count; first += sideBySide) {
    const rows = min(sideBySide, count - first);
    const own = keys + first * keyBytes;
    blocksOf(work, a + (first << 3), rows, table);
    treeEvaluate(values, own, rows, keyBytes, work, knots, party, bits, words, kind, purpose, rest);
    for (let row: usize = 0; row < rows; row++) {
      const at = (first + row) << 3;
      const found = values + ((row * knots * words) << 3);
      store<u64>(out + at, sumOf(found, load<u64>(a + at), powers + at, stride, table));
    }
  }
}

// @ts-ignore: decorator
@inline
function domainOf(table: usize): u64 {
  return ((1 as u64) << (load<u32>(table, domainBitsAt) as u64)) - 1;
}

/** points [rows, knots]: the blocks at which the keys are evaluated. */
function blocksOf(points: usize, a: usize, rows: usize, table: usize): void {
  const domain = domainOf(table);
  const blockBits = load<u32>(table, blockBitsAt) as u64;
  const first = table + rowsAt;
  const last = first + (load<u32>(table, knotsAt) as usize) * rowBytes;
  for (const end = a + (rows << 3); a < end; a += 8) {
    const entry = load<u64>(a);
    for (let row = first; row < last; row += rowBytes, points += 8) {
      store<u64>(points, ((entry + load<u64>(row)) & domain) >> blockBits);
    }
  }
}

/** The share of one entry a, given what its key's evaluation found. found: [knots, words]. */
function sumOf(found: usize, a: u64, powers: usize, stride: usize, table: usize): u64 {
  const words = load<u32>(table, wordsAt) as usize;
  const domain = domainOf(table);
  const share0 = load<u32>(table, partyAt) as u64;
  const share1 = load<u64>(powers);
  const share2 = words > 2 ? load<u64>(powers + stride) : 0;
  const share3 = words > 3 ? load<u64>(powers + (stride << 1)) : 0;
  const first = table + rowsAt;
  const last = first + (load<u32>(table, knotsAt) as usize) * rowBytes;
  let sum = product(last, a, share0, share1, share2, share3);
  for (let row = first; row < last; row += rowBytes, found += words << 3) {
    const x = (a + load<u64>(row)) & domain;
    // Knot 0 lies at 0, where x is a: it is never certain.
    const certain = (0 as u64) - ((((row !== first) as u32) & ((x <= a) as u32)) as u64);
    const value0 = load<u64>(found) - (share0 & certain);
    const value1 = load<u64>(found, 8) - (share1 & certain);
    const value2 = words > 2 ? load<u64>(found, 16) - (share2 & certain) : 0;
    const value3 = words > 3 ? load<u64>(found, 24) - (share3 & certain) : 0;
    sum += product(row, x, value0, value1, value2, value3);
  }
  return sum;
}

/** The sum over j of value j times the row's polynomial j at x, of degree 3 - j. */
// @ts-ignore: decorator
@inline
function product(row: usize, x: u64, value0: u64, value1: u64, value2: u64, value3: u64): u64 {
  const upper = load<u64>(row, 24) + load<u64>(row, 32) * x;
  const p0 = load<u64>(row, 8) + (load<u64>(row, 16) + upper * x) * x;
  const p1 = load<u64>(row, 40) + (load<u64>(row, 48) + load<u64>(row, 56) * x) * x;
  const p2 = load<u64>(row, 64) + load<u64>(row, 72) * x;
  return value0 * p0 + value1 * p1 + value2 * p2 + value3 * load<u64>(row, 80);
}
