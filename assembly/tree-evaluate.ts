// Function secret sharing: evaluates DCF and DPF keys, four nodes at a time; see tree.ts.
//
// Level by level: neighbouring points that share a node expand it once. From the level on where no
// two points share one, each point goes down alone (`descend`): four of them in lanes that keep
// their own state of the generator, which needs no gathering of nodes.

import { chachaBlocks, storeTransposed } from "./chacha";
import {
  blocksOffset,
  blockWords,
  clearWords,
  controlOf,
  firstBlockWords,
  isHalved,
  leafBranch,
  minus,
  nextBlocks,
  outputOffset,
  plus,
  restOffset,
  seedBytes,
  setBranches,
  setGroup,
  setLevel,
  setSeeds,
  setSeedWords,
  startTree,
  takeWords,
} from "./tree";

/** Four pending expansions of 12 bytes: parent slot, child slot, branch. */
const pendingOffset: usize = restOffset;
/** Then the lanes of a descent, and then the slots. */
const groupsOffset: usize = restOffset + 48;
const slotsOffset: usize = groupsOffset + 8 * 512;

/** A slot's node: seed 16, control bit 4, address of the key 4, pad 8. */
const nodeBytes: usize = 32;

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

/**
 * Evaluates keys [keyCount] (keyBytes apart) at points [keyCount, pointsPerKey]; out [points,
 * words]. work has slotsOffset + points * (2 * nodeBytes + 4 + 32 * words) bytes. Returns whether
 * all points lie in the domain.
 */
export function treeEvaluate(
  out: usize,
  keys: usize,
  keyCount: usize,
  keyBytes: usize,
  points: usize,
  pointsPerKey: usize,
  party: u32,
  domainBits: u32,
  words: usize,
  kind: u32,
  purpose: i32,
  work: usize,
): bool {
  const isDcf = kind !== 0;
  setGroup(kind);
  const total = keyCount * pointsPerKey;
  if (!areInside(points, total, domainBits)) return false;
  const levels = domainBits - 1;
  const valueWords: usize = isDcf ? words : 0;
  const valueBytes = valueWords << 3;
  let nodes = work + slotsOffset;
  let nextNodes = nodes + total * nodeBytes;
  let values = nextNodes + total * nodeBytes;
  let nextValues = values + total * valueBytes;
  const leaves = nextValues + total * valueBytes; // [total, 2 * words]
  const leaders = leaves + total * (words << 4); // u32: slot of each point's node
  startTree(work, purpose);
  for (let index: usize = 0; index < keyCount; index++) {
    const slot = index * pointsPerKey;
    const node = nodes + slot * nodeBytes;
    v128.store(node, v128.load(keys + index * keyBytes));
    store<u32>(node, party, 16);
    store<u32>(node, (keys + index * keyBytes) as u32, 20);
    clearWords(values + slot * valueBytes, valueWords);
    for (let i: usize = 0; i < pointsPerKey; i++) store<u32>(leaders + ((slot + i) << 2), slot);
  }
  let apart = pointsPerKey === 1;
  let level: u32 = 0;
  for (; level < levels && !(apart && valueWords <= firstBlockWords); level++) {
    const count = expandLevel(
      work, total, points, leaders, nodes, nextNodes, values, nextValues,
      level, levels, valueWords, words
    );
    apart = count === total;
    let swap = nodes;
    nodes = nextNodes;
    nextNodes = swap;
    swap = values;
    values = nextValues;
    nextValues = swap;
  }
  if (level < levels) {
    descend(work, total, points, nodes, values, level, levels, valueWords, words, purpose);
  }
  if (words > 1) convertLeaves(work, total, nodes, leaders, leaves, levels, words);
  writeOutputs(
    out, total, points, nodes, values, leaders, leaves, party, levels, valueWords, words
  );
  return true;
}

function areInside(points: usize, total: usize, domainBits: u32): bool {
  if (domainBits === 64) return true;
  let above: u64 = 0;
  for (let i: usize = 0; i < total; i++) above |= load<u64>(points + (i << 3));
  return above >> (domainBits as u64) === 0;
}

/** Expands the nodes of a level that points go through; returns how many children that makes. */
function expandLevel(
  work: usize,
  total: usize,
  points: usize,
  leaders: usize,
  nodes: usize,
  nextNodes: usize,
  values: usize,
  nextValues: usize,
  level: u32,
  levels: u32,
  valueWords: usize,
  words: usize,
): usize {
  const pending = work + pendingOffset;
  const shift = (levels - level) as u64;
  let children: usize = 0;
  let count: usize = 0;
  let lastParent: u32 = u32.MAX_VALUE;
  let lastBranch: u32 = 0;
  let leader: u32 = 0;
  setLevel(work, level);
  for (let i: usize = 0; i < total; i++) {
    const parent = load<u32>(leaders + (i << 2));
    const branch = ((load<u64>(points + (i << 3)) >> shift) & 1) as u32;
    if (parent !== lastParent || branch !== lastBranch) {
      lastParent = parent;
      lastBranch = branch;
      leader = i as u32;
      const item = pending + count * 12;
      store<u32>(item, parent);
      store<u32>(item, leader, 4);
      store<u32>(item, branch, 8);
      children++;
      if (++count === 4) {
        expandPending(
          work, 4, nodes, nextNodes, values, nextValues, level, levels, valueWords, words
        );
        count = 0;
      }
    }
    store<u32>(leaders + (i << 2), leader);
  }
  if (count > 0) {
    expandPending(
      work, count, nodes, nextNodes, values, nextValues, level, levels, valueWords, words
    );
  }
  return children;
}

/** Expands the pending children of one level and applies the corrections. */
function expandPending(
  work: usize,
  count: usize,
  nodes: usize,
  nextNodes: usize,
  values: usize,
  nextValues: usize,
  level: u32,
  levels: u32,
  valueWords: usize,
  words: usize,
): void {
  const pending = work + pendingOffset;
  // Lanes beyond count repeat the first item; their blocks are not used.
  for (let lane = count; lane < 4; lane++) {
    const item = pending + lane * 12;
    store<u64>(item, load<u64>(pending));
    store<u32>(item, load<u32>(pending, 8), 8);
  }
  setSeeds(
    work,
    nodes + (load<u32>(pending) as usize) * nodeBytes,
    nodes + (load<u32>(pending, 12) as usize) * nodeBytes,
    nodes + (load<u32>(pending, 24) as usize) * nodeBytes,
    nodes + (load<u32>(pending, 36) as usize) * nodeBytes,
  );
  for (let lane: usize = 0; lane < 4; lane++) {
    store<u32>(work + 240 + (lane << 2), load<u32>(pending + lane * 12, 8));
  }
  const inFirst = min(valueWords, firstBlockWords);
  nextBlocks(work, 0, 4 + (inFirst << 1));
  const valueBytes = valueWords << 3;
  const levelOffset = seedBytes + (level as usize) * (seedBytes + valueBytes);
  const controlOffset =
    seedBytes + (levels as usize) * (seedBytes + valueBytes) + (words << 4) + (level >> 2);
  for (let lane: usize = 0; lane < count; lane++) {
    const item = pending + lane * 12;
    const parentNode = nodes + (load<u32>(item) as usize) * nodeBytes;
    const childNode = nextNodes + (load<u32>(item, 4) as usize) * nodeBytes;
    const branch = load<u32>(item, 8);
    const block = work + blocksOffset + (lane << 6);
    const control = load<u32>(parentNode, 16);
    const key = load<u32>(parentNode, 20) as usize;
    const mask = i32x4.splat(-(control as i32));
    const correction = v128.and(v128.load(key + levelOffset), mask);
    v128.store(childNode, v128.xor(v128.load(block), correction));
    const bit = ((load<u8>(key + controlOffset) as u32) >> (((level & 3) << 1) + branch)) & 1;
    store<u32>(childNode, controlOf(work, lane) ^ (bit & control), 16);
    store<u32>(childNode, key as u32, 20);
  }
  addValues(work, count, 0, inFirst, nodes, values, nextValues, levelOffset, valueWords);
  for (let done = firstBlockWords, index = 1; done < valueWords; done += blockWords, index++) {
    const inBlock = min(valueWords - done, blockWords);
    nextBlocks(work, index, inBlock << 1);
    addValues(work, count, done, inBlock, nodes, values, nextValues, levelOffset, valueWords);
  }
}

/** Value words [first, first + taken) of the pending children, from the blocks at hand. */
function addValues(
  work: usize,
  count: usize,
  first: usize,
  taken: usize,
  nodes: usize,
  values: usize,
  nextValues: usize,
  levelOffset: usize,
  valueWords: usize,
): void {
  const pending = work + pendingOffset;
  for (let lane: usize = 0; lane < count; lane++) {
    const parent = load<u32>(pending + lane * 12) as usize;
    const child = load<u32>(pending + lane * 12, 4) as usize;
    const node = nodes + parent * nodeBytes;
    const block = work + blocksOffset + (lane << 6) + (first > 0 ? 0 : seedBytes);
    const mask = 0 - (load<u32>(node, 16) as u64);
    const key = load<u32>(node, 20) as usize;
    const correction = key + levelOffset + seedBytes + (first << 3);
    const from = values + ((parent * valueWords + first) << 3);
    const to = nextValues + ((child * valueWords + first) << 3);
    for (let j: usize = 0; j < taken; j++) {
      const at = j << 3;
      const corrected = plus(load<u64>(block + at), load<u64>(correction + at) & mask);
      store<u64>(to + at, plus(load<u64>(from + at), corrected));
    }
  }
}

/** Takes the nodes of points that share none, and their values, down from a level to the leaves. */
function descend(
  work: usize,
  total: usize,
  points: usize,
  nodes: usize,
  values: usize,
  firstLevel: u32,
  levels: u32,
  valueWords: usize,
  words: usize,
  purpose: i32,
): void {
  const groups = work + groupsOffset;
  const output = work + outputOffset;
  const levelBytes = seedBytes + (valueWords << 3);
  const controlOffset = seedBytes + (levels as usize) * levelBytes + (words << 4);
  for (let first: usize = 0; first < total; first += batchPoints) {
    const end = groups + ((min(total - first, batchPoints) + 3) >> 2) * groupBytes;
    for (let group = groups, i = first; group < end; group += groupBytes, i += 4) {
      openGroup(group, i, total, points, nodes, values, valueWords, purpose);
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
      closeGroup(group, i, total, nodes, values, valueWords, work);
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
  values: usize,
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
    store<u32>(group + masksOffset + (lane << 2), 0 - load<u32>(node, 16));
    store<u32>(group + keysOffset + (lane << 2), load<u32>(node, 20));
    store<u64>(group + pointsOffset + (lane << 3), load<u64>(points + (slot << 3)));
    for (let j: usize = 0; j < valueWords; j++) {
      const value = load<u64>(values + ((slot * valueWords + j) << 3));
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
  values: usize,
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
    store<u32>(node, load<u32>(group + masksOffset + (lane << 2)) & 1, 16);
    for (let j: usize = 0; j < valueWords; j++) {
      const value = load<u64>(group + valuesOffset + (j << 5) + (lane << 3));
      store<u64>(values + ((slot * valueWords + j) << 3), value);
    }
  }
}

/** out [total, words]: each point's sum along its path plus its leaf. */
function writeOutputs(
  out: usize,
  total: usize,
  points: usize,
  nodes: usize,
  values: usize,
  leaders: usize,
  leaves: usize,
  party: u32,
  levels: u32,
  valueWords: usize,
  words: usize,
): void {
  const valueBytes = valueWords << 3;
  const leafOffset = seedBytes + (levels as usize) * (seedBytes + valueBytes);
  for (let i: usize = 0; i < total; i++) {
    const slot = load<u32>(leaders + (i << 2)) as usize;
    const node = nodes + slot * nodeBytes;
    const side = ((load<u64>(points + (i << 3)) & 1) as usize) * (words << 3);
    const leaf = (words > 1 ? leaves + slot * (words << 4) : node) + side;
    const correction = (load<u32>(node, 20) as usize) + leafOffset + side;
    const mask = 0 - (load<u32>(node, 16) as u64);
    for (let j: usize = 0; j < words; j++) {
      const at = j << 3;
      let value = plus(load<u64>(leaf + at), load<u64>(correction + at) & mask);
      if (valueWords > 0) value = plus(value, load<u64>(values + slot * valueBytes + at));
      store<u64>(out + ((i * words) << 3) + at, party ? minus(0, value) : value);
    }
  }
}

/** leaves[slot] = pseudo-random words of each node that some point ends at. */
function convertLeaves(
  work: usize,
  total: usize,
  nodes: usize,
  leaders: usize,
  leaves: usize,
  levels: u32,
  words: usize,
): void {
  const leafWords = words << 1;
  const pending = work + pendingOffset;
  let count: usize = 0;
  setLevel(work, levels);
  setBranches(work, i32x4.splat(leafBranch));
  for (let i: usize = 0; i < total; i++) {
    if ((load<u32>(leaders + (i << 2)) as usize) === i) {
      store<u32>(pending + (count << 2), i as u32);
      count++;
    }
    if (count === 0 || (count < 4 && i + 1 < total)) continue;
    for (let lane = count; lane < 4; lane++) {
      store<u32>(pending + (lane << 2), load<u32>(pending));
    }
    setSeeds(
      work,
      nodes + (load<u32>(pending) as usize) * nodeBytes,
      nodes + (load<u32>(pending, 4) as usize) * nodeBytes,
      nodes + (load<u32>(pending, 8) as usize) * nodeBytes,
      nodes + (load<u32>(pending, 12) as usize) * nodeBytes,
    );
    for (let done: usize = 0, block = 0; done < leafWords; done += blockWords, block++) {
      const inBlock = min(leafWords - done, blockWords);
      nextBlocks(work, block, inBlock << 1);
      for (let lane: usize = 0; lane < count; lane++) {
        const slot = load<u32>(pending + (lane << 2)) as usize;
        takeWords(leaves + slot * (words << 4), done, work + blocksOffset + (lane << 6), inBlock);
      }
    }
    count = 0;
  }
}
