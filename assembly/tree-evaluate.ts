// Function secret sharing: evaluates DCF and DPF keys, four nodes at a time; see tree.ts.
//
// Level by level: neighbouring points that share a node expand it once. From the level on where no
// two points share one, each point goes down alone (tree-descend.ts).
//
// The nodes of a level lie one after the other, in the order of the points that go through them, so
// that the children of four nodes are written without a look at where they belong. Every four are
// whole: those that fill up the last four are expanded too and never read.

import { descend, descentBytes, keyAt, maskAt, valuesAt } from "./tree-descend";
import {
  blocksOffset,
  blockWords,
  clearWords,
  firstBlockWords,
  isHalved,
  leafBranch,
  nextBlocks,
  outputOffset,
  restOffset,
  seedBytes,
  setBranches,
  setGroup,
  setLevel,
  setSeeds,
  startTree,
} from "./tree";

/** Where in `work` the nodes begin; before them a descent has its lanes. */
const nodesOffset: usize = restOffset + descentBytes;
/** Address of a node's leaf words, once they are made; beside a node's mask and key. */
const leafAt: usize = 24;

/** Bytes of a node, which tree-descend.ts describes. */
// @ts-ignore: decorator
@inline
function nodeBytesOf(valueWords: usize): usize {
  return valuesAt + (((valueWords + 1) >> 1) << 4);
}

/**
 * Evaluates keys [keyCount] (keyBytes apart) at points [keyCount, pointsPerKey]; out [points,
 * words]. work has nodesOffset + 64 * words + (points + 3) * (8 + 2 * nodeBytes) bytes. Returns
 * whether all points lie in the domain.
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
  setGroup(kind);
  const total = keyCount * pointsPerKey;
  if (!areInside(points, total, domainBits)) return false;
  const levels = domainBits - 1;
  const valueWords: usize = kind !== 0 ? words : 0;
  const nodeBytes = nodeBytesOf(valueWords);
  let nodes = work + nodesOffset;
  let nextNodes = nodes + (total + 3) * nodeBytes;
  const leaves = nextNodes + (total + 3) * nodeBytes; // [4, 2 * words]
  const leaders = leaves + (words << 6); // u32 [total]: each point's node
  const children = leaders + (total << 2); // u32 [total + 3]: see listChildren
  startTree(work, purpose);
  for (let index: usize = 0, leader = leaders; index < keyCount; index++) {
    const node = nodes + index * nodeBytes;
    const key = keys + index * keyBytes;
    v128.store(node, v128.load(key));
    store<u32>(node, 0 - party, maskAt);
    store<u32>(node, key as u32, keyAt);
    clearWords(node + valuesAt, valueWords);
    for (const end = leader + (pointsPerKey << 2); leader < end; leader += 4) {
      store<u32>(leader, node as u32);
    }
  }
  let apart = pointsPerKey === 1;
  let level: u32 = 0;
  for (; level < levels && !(apart && valueWords <= firstBlockWords); level++) {
    const shift = (levels - level) as u64;
    const count = listChildren(children, total, points, leaders, nextNodes, nodeBytes, shift);
    setLevel(work, level);
    for (let i: usize = 0; i < count; i += 4) {
      const four = nextNodes + i * nodeBytes;
      expandFour(work, children + (i << 2), four, nodeBytes, level, levels, valueWords, words);
    }
    apart = count === total;
    const swap = nodes;
    nodes = nextNodes;
    nextNodes = swap;
  }
  if (level < levels) {
    descend(work, total, points, nodes, nodeBytes, level, levels, valueWords, words, purpose);
  }
  setLevel(work, levels);
  setBranches(work, i32x4.splat(leafBranch));
  writeOutputs(
    out, work, total, points, nodes, nodeBytes, leaders, leaves, party, levels, valueWords, words
  );
  return true;
}

function areInside(points: usize, total: usize, domainBits: u32): bool {
  if (domainBits === 64) return true;
  let above: u64 = 0;
  for (let i: usize = 0; i < total; i++) above |= load<u64>(points + (i << 3));
  return above >> (domainBits as u64) === 0;
}

/**
 * Lists the children that points go through: the parent's address, and the branch in its lowest
 * bit; the last one three times more. Makes leaders the children's addresses. Returns how many
 * there are. Without branches, which would be mispredicted every few points.
 */
function listChildren(
  children: usize,
  total: usize,
  points: usize,
  leaders: usize,
  nextNodes: usize,
  nodeBytes: usize,
  shift: u64,
): usize {
  let item = children;
  let child = nextNodes - nodeBytes;
  let last: u32 = 0; // is no node's address
  for (let i: usize = 0; i < total; i++) {
    const leader = leaders + (i << 2);
    const wanted = load<u32>(leader) | (((load<u64>(points + (i << 3)) >> shift) as u32) & 1);
    // Overwritten by the next child unless it is a new one.
    store<u32>(item, wanted);
    const isNew = (wanted !== last) as usize;
    item += isNew << 2;
    child += (0 - isNew) & nodeBytes;
    store<u32>(leader, child as u32);
    last = wanted;
  }
  store<u32>(item, last);
  store<u32>(item, last, 4);
  store<u32>(item, last, 8);
  return (item - children) >> 2;
}

/** Expands four children of one level into nodes [4] and applies the corrections. */
function expandFour(
  work: usize,
  children: usize,
  nodes: usize,
  nodeBytes: usize,
  level: u32,
  levels: u32,
  valueWords: usize,
  words: usize,
): void {
  const controls = work + outputOffset + 240;
  const inFirst = min(valueWords, firstBlockWords);
  setSeeds(
    work,
    parentOf(children),
    parentOf(children + 4),
    parentOf(children + 8),
    parentOf(children + 12),
  );
  setBranches(work, v128.and(v128.load(children), i32x4.splat(1)));
  nextBlocks(work, 0, 4 + (inFirst << 1));
  const levelBytes = seedBytes + (valueWords << 3);
  const levelOffset = seedBytes + (level as usize) * levelBytes;
  const controlOffset = seedBytes + (levels as usize) * levelBytes + (words << 4) + (level >> 2);
  for (let lane: usize = 0; lane < 4; lane++) {
    const parent = parentOf(children + (lane << 2));
    const branch = load<u32>(children + (lane << 2)) & 1;
    const node = nodes + lane * nodeBytes;
    const block = work + blocksOffset + (lane << 6);
    const key = load<u32>(parent, keyAt) as usize;
    const mask = v128.load32_splat(parent, maskAt);
    v128.store(node, v128.xor(v128.load(block), v128.and(v128.load(key + levelOffset), mask)));
    // Bit 0 of a level's two corrects the left child, bit 1 the right one.
    const bit = (load<u8>(key + controlOffset) as u32) >> (((level & 3) << 1) + branch);
    const control = load<u32>(controls + (lane << 2)) ^ (bit & load<u32>(parent, maskAt));
    store<u32>(node, 0 - (control & 1), maskAt);
    store<u32>(node, key as u32, keyAt);
    const own = block + seedBytes;
    const corrections = key + levelOffset + seedBytes;
    addValues(node + valuesAt, parent + valuesAt, own, corrections, mask, inFirst);
  }
  for (let done = firstBlockWords, index = 1; done < valueWords; done += blockWords, index++) {
    const inBlock = min(valueWords - done, blockWords);
    nextBlocks(work, index, inBlock << 1);
    const at = valuesAt + (done << 3);
    for (let lane: usize = 0; lane < 4; lane++) {
      const parent = parentOf(children + (lane << 2));
      const corrections =
        (load<u32>(parent, keyAt) as usize) + levelOffset + seedBytes + (done << 3);
      const mask = v128.load32_splat(parent, maskAt);
      const own = work + blocksOffset + (lane << 6);
      addValues(nodes + lane * nodeBytes + at, parent + at, own, corrections, mask, inBlock);
    }
  }
}

// @ts-ignore: decorator
@inline
function parentOf(child: usize): usize {
  return (load<u32>(child) & ~1) as usize;
}

/** Value words of a child: its parent's, its own and, where the mask says so, corrections. */
// @ts-ignore: decorator
@inline
function addValues(
  to: usize,
  from: usize,
  own: usize,
  corrections: usize,
  mask: v128,
  count: usize,
): void {
  let at: usize = 0;
  for (const end = (count & ~1) << 3; at < end; at += 16) {
    const sum = plusPair(v128.load(own + at), v128.and(v128.load(corrections + at), mask));
    v128.store(to + at, plusPair(sum, v128.load(from + at)));
  }
  if (count & 1) {
    const corrected = v128.and(v128.load64_zero(corrections + at), mask);
    const sum = plusPair(v128.load64_zero(own + at), corrected);
    v128.store64_lane(to + at, plusPair(sum, v128.load64_zero(from + at)), 0);
  }
}

/** Adds words, or halved words. */
// @ts-ignore: decorator
@inline
function plusPair(a: v128, b: v128): v128 {
  return isHalved() ? i32x4.add(a, b) : i64x2.add(a, b);
}

/** out [total, words]: each point's sum along its path plus its leaf. */
function writeOutputs(
  out: usize,
  work: usize,
  total: usize,
  points: usize,
  nodes: usize,
  nodeBytes: usize,
  leaders: usize,
  leaves: usize,
  party: u32,
  levels: u32,
  valueWords: usize,
  words: usize,
): void {
  const sideBytes = words << 3;
  const leafOffset = seedBytes + (levels as usize) * (seedBytes + (valueWords << 3));
  let made = nodes;
  for (let i: usize = 0; i < total; i++, out += sideBytes) {
    const node = load<u32>(leaders + (i << 2)) as usize;
    if (words > 1 && node >= made) {
      convertLeaves(work, made, nodeBytes, leaves, words);
      made += nodeBytes << 2;
    }
    const side = ((load<u64>(points + (i << 3)) & 1) as usize) * sideBytes;
    const leaf = (words > 1 ? (load<u32>(node, leafAt) as usize) : node) + side;
    const correction = (load<u32>(node, keyAt) as usize) + leafOffset + side;
    writeOutput(out, leaf, correction, node, party, valueWords, words);
  }
}

// @ts-ignore: decorator
@inline
function writeOutput(
  out: usize,
  leaf: usize,
  correction: usize,
  node: usize,
  party: u32,
  valueWords: usize,
  words: usize,
): void {
  const mask = v128.load32_splat(node, maskAt);
  const flip = i32x4.splat(-(party as i32));
  let at: usize = 0;
  for (const end = (words & ~1) << 3; at < end; at += 16) {
    let sum = plusPair(v128.load(leaf + at), v128.and(v128.load(correction + at), mask));
    if (valueWords > 0) sum = plusPair(sum, v128.load(node + at, valuesAt));
    v128.store(out + at, signed(sum, flip));
  }
  if (words & 1) {
    const own = v128.and(v128.load64_zero(correction + at), mask);
    let sum = plusPair(v128.load64_zero(leaf + at), own);
    if (valueWords > 0) sum = plusPair(sum, v128.load64_zero(node + at, valuesAt));
    v128.store64_lane(out + at, signed(sum, flip), 0);
  }
}

/** -x where `flip` has all bits set, x where it has none. */
// @ts-ignore: decorator
@inline
function signed(x: v128, flip: v128): v128 {
  const flipped = v128.xor(x, flip);
  return isHalved() ? i32x4.sub(flipped, flip) : i64x2.sub(flipped, flip);
}

/** leaves [4, 2 * words]: pseudo-random words of four nodes, which learn where theirs are. */
function convertLeaves(
  work: usize,
  nodes: usize,
  nodeBytes: usize,
  leaves: usize,
  words: usize,
): void {
  const leafWords = words << 1;
  const nodes2 = nodes + (nodeBytes << 1);
  setSeeds(work, nodes, nodes + nodeBytes, nodes2, nodes2 + nodeBytes);
  for (let done: usize = 0, block = 0; done < leafWords; done += blockWords, block++) {
    const inBlock = min(leafWords - done, blockWords);
    nextBlocks(work, block, inBlock << 1);
    for (let lane: usize = 0; lane < 4; lane++) {
      const from = work + blocksOffset + (lane << 6);
      const to = leaves + lane * (words << 4);
      store<u32>(nodes + lane * nodeBytes, to as u32, leafAt);
      for (let at: usize = 0; at < inBlock << 3; at += 16) {
        v128.store(to + (done << 3) + at, v128.load(from + at));
      }
    }
  }
}
