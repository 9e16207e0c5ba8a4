// Function secret sharing: takes points that share no node down to their leaves, four of them in
// lanes that keep their own state of the generator, which needs no gathering of nodes.

import { chachaBlocks, storeTransposed } from "./chacha";
import {
  blocksOffset,
  isHalved,
  outputOffset,
  restOffset,
  seedBytes,
  setBranches,
  setLevel,
  setSeeds,
  setSeedWords,
  startTree,
} from "./tree";

/**
 * A node: seed 16, control bit as a mask 4, address of the key 4, of its leaf words 4, pad 4; then
 * the sums of the values along its path, rounded up to 16 bytes.
 */
export const maskAt: usize = 16;
export const keyAt: usize = 20;
export const valuesAt: usize = 32;

/**
 * Four points on their way down: the state of the generator with their seeds; then of each lane
 * the control bit as a mask, the key's address, the four levels' control corrections, the point;
 * then, value word by value word, the sums of the four.
 */
const masksOffset: usize = 256;
const keysOffset: usize = 272;
const controlsOffset: usize = 288;
const pointsOffset: usize = 304;
const valuesOffset: usize = 336;
/** Points that descend side by side: eight groups, whose keys stay in the first-level cache. */
const batchPoints: usize = 32;
const groupBytes: usize = 512;
/** Scratch of a descent, at work + restOffset. */
export const descentBytes: usize = 4096;

/** Takes the nodes of points that share none, and their values, down from a level to the leaves. */
export function descend(
  work: usize,
  total: usize,
  points: usize,
  nodes: usize,
  nodeBytes: usize,
  firstLevel: u32,
  levels: u32,
  valueWords: usize,
  words: usize,
  purpose: i32,
): void {
  const groups = work + restOffset;
  const output = work + outputOffset;
  const levelBytes = seedBytes + (valueWords << 3);
  const controlOffset = seedBytes + (levels as usize) * levelBytes + (words << 4);
  for (let first: usize = 0; first < total; first += batchPoints) {
    const end = groups + ((min(total - first, batchPoints) + 3) >> 2) * groupBytes;
    for (let group = groups, i = first; group < end; group += groupBytes, i += 4) {
      openGroup(group, i, total, points, nodes, nodeBytes, valueWords, purpose);
      takeControls(group, controlOffset + (firstLevel >> 2));
    }
    for (let level = firstLevel; level < levels; level++) {
      const shift = (levels - level) as i32;
      const levelOffset = seedBytes + (level as usize) * levelBytes;
      for (let group = groups; group < end; group += groupBytes) {
        if ((level & 3) === 0) takeControls(group, controlOffset + (level >> 2));
        stepDown(group, output, shift, level, levelOffset, valueWords);
      }
    }
    for (let group = groups, i = first; group < end; group += groupBytes, i += 4) {
      closeGroup(group, i, total, nodes, nodeBytes, valueWords, work);
    }
  }
}

/** Gathers four points' nodes; beyond the last point it stands in. */
function openGroup(
  group: usize,
  first: usize,
  total: usize,
  points: usize,
  nodes: usize,
  nodeBytes: usize,
  valueWords: usize,
  purpose: i32,
): void {
  const last = total - 1;
  startTree(group, purpose);
  setSeeds(
    group,
    nodes + first * nodeBytes,
    nodes + min(first + 1, last) * nodeBytes,
    nodes + min(first + 2, last) * nodeBytes,
    nodes + min(first + 3, last) * nodeBytes,
  );
  for (let lane: usize = 0; lane < 4; lane++) {
    const slot = min(first + lane, last);
    const node = nodes + slot * nodeBytes;
    store<u32>(group + masksOffset + (lane << 2), load<u32>(node, maskAt));
    store<u32>(group + keysOffset + (lane << 2), load<u32>(node, keyAt));
    store<u64>(group + pointsOffset + (lane << 3), load<u64>(points + (slot << 3)));
    for (let j: usize = 0; j < valueWords; j++) {
      const value = load<u64>(node + (j << 3), valuesAt);
      store<u64>(group + valuesOffset + (j << 5) + (lane << 3), value);
    }
  }
}

/** Gathers the byte of control corrections that lies at an offset in each lane's key. */
function takeControls(group: usize, offset: usize): void {
  for (let lane: usize = 0; lane < 16; lane += 4) {
    const key = load<u32>(group + keysOffset + lane) as usize;
    store<u32>(group + controlsOffset + lane, load<u8>(key + offset));
  }
}

/** Takes a group one level down. output: 256 bytes of scratch. */
function stepDown(
  group: usize,
  output: usize,
  shift: i32,
  level: u32,
  levelOffset: usize,
  valueWords: usize,
): void {
  const bits = i32x4.shuffle(
    i64x2.shr_u(v128.load(group, pointsOffset), shift),
    i64x2.shr_u(v128.load(group, pointsOffset + 16), shift),
    0, 2, 4, 6
  );
  const branches = v128.and(bits, i32x4.splat(1));
  setLevel(group, level);
  setBranches(group, branches);
  chachaBlocks(group, output, 4 + (valueWords << 1));
  const mask = v128.load(group, masksOffset);
  const key0 = (load<u32>(group, keysOffset) as usize) + levelOffset;
  const key1 = (load<u32>(group, keysOffset + 4) as usize) + levelOffset;
  const key2 = (load<u32>(group, keysOffset + 8) as usize) + levelOffset;
  const key3 = (load<u32>(group, keysOffset + 12) as usize) + levelOffset;
  const a = v128.load(key0);
  const b = v128.load(key1);
  const c = v128.load(key2);
  const d = v128.load(key3);
  const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  setSeedWords(
    group,
    v128.xor(v128.load(output), v128.and(i64x2.shuffle(ab01, cd01, 0, 2), mask)),
    v128.xor(v128.load(output, 16), v128.and(i64x2.shuffle(ab01, cd01, 1, 3), mask)),
    v128.xor(v128.load(output, 32), v128.and(i64x2.shuffle(ab23, cd23, 0, 2), mask)),
    v128.xor(v128.load(output, 48), v128.and(i64x2.shuffle(ab23, cd23, 1, 3), mask)),
  );
  const mask01 = i32x4.shuffle(mask, mask, 0, 0, 1, 1);
  const mask23 = i32x4.shuffle(mask, mask, 2, 2, 3, 3);
  for (let j: usize = 0; j < valueWords; j++) {
    const low = v128.load(output + (j << 5), 64);
    const high = v128.load(output + (j << 5), 80);
    const at = seedBytes + (j << 3);
    const corrections01 = v128.load64_lane(key1 + at, v128.load64_zero(key0 + at), 1);
    const corrections23 = v128.load64_lane(key3 + at, v128.load64_zero(key2 + at), 1);
    const values01 = i32x4.shuffle(low, high, 0, 4, 1, 5);
    const values23 = i32x4.shuffle(low, high, 2, 6, 3, 7);
    const sums = group + valuesOffset + (j << 5);
    const sums01 = v128.load(sums);
    const sums23 = v128.load(sums, 16);
    const own01 = v128.and(corrections01, mask01);
    const own23 = v128.and(corrections23, mask23);
    if (isHalved()) {
      v128.store(sums, i32x4.add(sums01, i32x4.add(values01, own01)));
      v128.store(sums, i32x4.add(sums23, i32x4.add(values23, own23)), 16);
    } else {
      v128.store(sums, i64x2.add(sums01, i64x2.add(values01, own01)));
      v128.store(sums, i64x2.add(sums23, i64x2.add(values23, own23)), 16);
    }
  }
  // Bit 0 of a level's two corrects the left child, bit 1 the right one.
  const pair = i32x4.shr_u(v128.load(group, controlsOffset), (level & 3) << 1);
  const chosen = v128.bitselect(i32x4.shr_u(pair, 1), pair, i32x4.neg(branches));
  const control = v128.xor(v128.load(output, 240), v128.and(chosen, mask));
  v128.store(group, i32x4.neg(v128.and(control, i32x4.splat(1))), masksOffset);
}

/** Puts a group's nodes and values back. */
function closeGroup(
  group: usize,
  first: usize,
  total: usize,
  nodes: usize,
  nodeBytes: usize,
  valueWords: usize,
  work: usize,
): void {
  const blocks = work + blocksOffset;
  storeTransposed(
    blocks,
    v128.load(group, 64),
    v128.load(group, 80),
    v128.load(group, 96),
    v128.load(group, 112),
  );
  const count = min(total - first, 4);
  for (let lane: usize = 0; lane < count; lane++) {
    const slot = first + lane;
    const node = nodes + slot * nodeBytes;
    v128.store(node, v128.load(blocks + (lane << 6)));
    store<u32>(node, load<u32>(group + masksOffset + (lane << 2)), maskAt);
    for (let j: usize = 0; j < valueWords; j++) {
      const value = load<u64>(group + valuesOffset + (j << 5) + (lane << 3));
      store<u64>(node + (j << 3), value, valuesAt);
    }
  }
}
