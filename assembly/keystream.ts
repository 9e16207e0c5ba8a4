// Products with a matrix that is a keystream: tiles of it are made, packed into panels (see
// product.ts) and used up before the next ones, all in the caches.

import { chachaGroups, groupBlocks, startState } from "./chacha";
import { addBlock, blockBytes, packBlock, startProduct } from "./product";

/**
 * A tile: columns and rows of the matrix that x is multiplied by; half a megabyte. Its columns are
 * four groups of keystream blocks.
 */
const tilePanels: usize = 40;
const tileRows: usize = 384;
/** Rows made before they are packed. */
const pieceRows: usize = 16;
const stateBytes: usize = 256;
const groupBytes: usize = groupBlocks << 6;

/** Bytes between pieces of `count` words: whole groups, and words before the first. */
// @ts-ignore: decorator
@inline
function pieceBytes(count: usize): usize {
  return 64 + (((count << 3) + 56 + groupBytes - 1) / groupBytes) * groupBytes;
}

/** Bytes of scratch that `productKeystream` needs. */
export function keystreamWorkBytes(): usize {
  const pieces = max(pieceRows * pieceBytes(tilePanels << 2), 4 * pieceBytes(tileRows));
  return stateBytes + pieces + tilePanels * blockBytes(tileRows);
}

/** Words [first, first + count) of the keystream at `out`; some before and after them as well. */
// @ts-ignore: decorator
@inline
function makePiece(out: usize, state: usize, first: u64, count: usize): void {
  const ahead = (first & 7) as usize;
  const groups = (((ahead + count) << 3) + groupBytes - 1) / groupBytes;
  chachaGroups(out - (ahead << 3), groups, state, (first >> 3) as u32);
}

/** Rows [row, row + count) and columns [column, column + width) of a matrix, as panels. */
function makeTile(
  tile: usize,
  work: usize,
  matrixColumns: usize,
  row: usize,
  count: usize,
  column: usize,
  width: usize,
): void {
  const apart = pieceBytes(tilePanels << 2);
  const piece = work + stateBytes + 64;
  for (let i: usize = 0; i < count; i += pieceRows) {
    const taken = min(count - i, pieceRows);
    for (let k: usize = 0; k < taken; k++) {
      const first = ((row + i + k) as u64) * matrixColumns + column;
      makePiece(piece + k * apart, work, first, width);
    }
    for (let j: usize = 0; j < width; j += 4) {
      const block = tile + (j >> 2) * blockBytes(tileRows);
      packBlock(block, piece + (j << 3), apart, 8, i, taken, min(width - j, 4));
    }
  }
}

/** The same of the matrix's transpose: rows are columns of the matrix. */
function makeTransposedTile(
  tile: usize,
  work: usize,
  matrixColumns: usize,
  row: usize,
  count: usize,
  column: usize,
  width: usize,
): void {
  const apart = pieceBytes(tileRows);
  const piece = work + stateBytes + 64;
  for (let j: usize = 0; j < width; j += 4) {
    const taken = min(width - j, 4);
    for (let k: usize = 0; k < taken; k++) {
      const first = ((column + j + k) as u64) * matrixColumns + row;
      makePiece(piece + k * apart, work, first, count);
    }
    const block = tile + (j >> 2) * blockBytes(tileRows);
    packBlock(block, piece, 8, apart, 0, count, taken);
  }
}

/**
 * Panels [firstPanel, endPanel) of out [m, stride] = x times the keystream matrix [rows, columns]
 * or its transpose; stride is the number of the product's columns rounded up to a multiple of 4.
 * input: the 16 state words of block 0; work: keystreamWorkBytes() bytes.
 */
export function productKeystream(
  out: usize,
  x: usize,
  input: usize,
  m: usize,
  rows: usize,
  columns: usize,
  transposed: bool,
  stride: usize,
  firstPanel: usize,
  endPanel: usize,
  work: usize,
): void {
  const inner = transposed ? columns : rows;
  const outer = transposed ? rows : columns;
  const tile = work + keystreamWorkBytes() - tilePanels * blockBytes(tileRows);
  startState(work, input);
  startProduct(out, x, m, inner, stride, firstPanel << 2, (endPanel - firstPanel) << 2);
  for (let index = firstPanel; index < endPanel; index += tilePanels) {
    const column = index << 2;
    const width = min(min(endPanel - index, tilePanels) << 2, outer - column);
    for (let row: usize = 0; row < inner; row += tileRows) {
      const count = min(inner - row, tileRows);
      if (transposed) makeTransposedTile(tile, work, columns, row, count, column, width);
      else makeTile(tile, work, columns, row, count, column, width);
      for (let j: usize = 0; j < width; j += 4) {
        const block = tile + (j >> 2) * blockBytes(tileRows);
        const from = x + (row << 3);
        addBlock(out + ((column + j) << 3), stride << 3, from, inner << 3, m, block, count);
      }
    }
  }
}
