// Function secret sharing over binary trees: key generation and evaluation of DCF and DPF. Key
// layout and domain separation are described in src/kernel/function-key.ts; the plain version of
// every step is in src/kernel/reference.ts. `work` points to scratch that begins with the state
// and the blocks of the generator.

import { chachaBlocks } from "./chacha";

const stateBytes: usize = 256;
/** Four blocks of 64 bytes follow the state. */
const blocksOffset: usize = stateBytes;
/** Then four pending expansions of 12 bytes: parent slot, child slot, branch. */
const pendingOffset: usize = 512;
/** Then, in generation, seeds of both parties, sums and values; in evaluation, the slots. */
const restOffset: usize = 576;

const seedBytes: usize = 16;
const firstBlockWords: usize = 5;
const blockWords: usize = 8;
const leafBranch: i32 = 2;
/** A slot's node: seed 16, control bit 4, address of the key 4, pad 8. */
const nodeBytes: usize = 32;

/** Readies the state for four seeds; words 12 (block) and 15 (branch) are set apart. */
function setSeeds(
  state: usize,
  seed0: usize,
  seed1: usize,
  seed2: usize,
  seed3: usize,
  purpose: i32,
  level: i32,
): void {
  v128.store(state, i32x4.splat(0x61707865));
  v128.store(state, i32x4.splat(0x3120646e), 16);
  v128.store(state, i32x4.splat(0x79622d36), 32);
  v128.store(state, i32x4.splat(0x6b206574), 48);
  const a = v128.load(seed0);
  const b = v128.load(seed1);
  const c = v128.load(seed2);
  const d = v128.load(seed3);
  const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  const word0 = i64x2.shuffle(ab01, cd01, 0, 2);
  const word1 = i64x2.shuffle(ab01, cd01, 1, 3);
  const word2 = i64x2.shuffle(ab23, cd23, 0, 2);
  const word3 = i64x2.shuffle(ab23, cd23, 1, 3);
  v128.store(state, word0, 64);
  v128.store(state, word1, 80);
  v128.store(state, word2, 96);
  v128.store(state, word3, 112);
  v128.store(state, word0, 128);
  v128.store(state, word1, 144);
  v128.store(state, word2, 160);
  v128.store(state, word3, 176);
  v128.store(state, i64x2.splat(0), 192);
  v128.store(state, i32x4.splat(purpose), 208);
  v128.store(state, i32x4.splat(level), 224);
}

/** Computes block number `block` of each of the four lanes. */
// @ts-ignore: decorator
@inline
function nextBlocks(work: usize, block: i32): void {
  v128.store(work, i32x4.splat(block), 192);
  chachaBlocks(work, work + blocksOffset);
}

// @ts-ignore: decorator
@inline
function setBranches(work: usize, branches: v128): void {
  v128.store(work, branches, 240);
}

/** Copies value words from a block to the words [done, done + count) of `to`. */
// @ts-ignore: decorator
@inline
function takeWords(to: usize, done: usize, from: usize, count: usize): void {
  memory.copy(to + (done << 3), from, count << 3);
}

/**
 * Key pairs [count] for alphas [count] and payloads [count, words]; roots holds both parties' root
 * seeds of each pair [count, 32]. keys0 and keys1: keys of either party, keyBytes apart. work has
 * restOffset + 32 + 40 * words bytes.
 */
export function treeGenerate(
  keys0: usize,
  keys1: usize,
  keyBytes: usize,
  count: usize,
  roots: usize,
  payloads: usize,
  alphas: usize,
  domainBits: u32,
  words: usize,
  isDcf: bool,
  purpose: i32,
  work: usize,
): void {
  for (let i: usize = 0; i < count; i++) {
    const key = keys0 + i * keyBytes;
    const other = keys1 + i * keyBytes;
    const root = roots + (i << 5);
    const payload = payloads + ((i * words) << 3);
    memory.fill(key, 0, keyBytes);
    const alpha = load<u64>(alphas + (i << 3));
    generateOne(key, root, payload, alpha, domainBits, words, isDcf, purpose, work);
    memory.copy(other, key, keyBytes);
    memory.copy(key, root, seedBytes);
    memory.copy(other, root + seedBytes, seedBytes);
  }
}

/** Writes level, leaf and control corrections of a zeroed key (all but the root seed). */
function generateOne(
  key: usize,
  random: usize,
  payload: usize,
  alpha: u64,
  domainBits: u32,
  words: usize,
  isDcf: bool,
  purpose: i32,
  work: usize,
): void {
  const levels = domainBits - 1;
  const valueWords: usize = isDcf ? words : 0;
  const levelBytes = seedBytes + (valueWords << 3);
  const leafOffset = seedBytes + (levels as usize) * levelBytes;
  const controlOffset = leafOffset + (words << 4);
  const seeds = work + restOffset;
  const pathSum = seeds + 32; // [words]
  const values = pathSum + (words << 3); // [4, valueWords] or [2, 2 * words]
  memory.copy(seeds, random, 32);
  memory.fill(pathSum, 0, words << 3);
  let control0: u32 = 0;
  let control1: u32 = 1;
  for (let level: u32 = 0; level < levels; level++) {
    const correction = key + seedBytes + (level as usize) * levelBytes;
    const keep = ((alpha >> ((levels - level) as u64)) & 1) as usize;
    const lose: usize = 1 - keep;
    // Lanes: party 0 left, party 0 right, party 1 left, party 1 right.
    setSeeds(work, seeds, seeds, seeds + 16, seeds + 16, purpose, level as i32);
    setBranches(work, i32x4(0, 1, 0, 1));
    nextBlocks(work, 0);
    const blocks = work + blocksOffset;
    const zero = blocks;
    const one = blocks + 128;
    const negative = control1 !== 0;
    const seedCorrection = v128.xor(v128.load(zero + (lose << 6)), v128.load(one + (lose << 6)));
    v128.store(correction, seedCorrection);
    const tLeft = (load<u32>(zero, 60) ^ load<u32>(one, 60) ^ (keep as u32) ^ 1) & 1;
    const tRight = (load<u32>(zero, 124) ^ load<u32>(one, 124) ^ (keep as u32)) & 1;
    const controls = key + controlOffset + (level >> 2);
    store<u8>(controls, load<u8>(controls) | ((tLeft | (tRight << 1)) << ((level & 3) << 1)));
    // The next seeds, before further blocks overwrite these.
    const t = keep ? tRight : tLeft;
    const keep0 = zero + (keep << 6);
    const keep1 = one + (keep << 6);
    const next0 = v128.xor(
      v128.load(keep0),
      v128.and(seedCorrection, i32x4.splat(-(control0 as i32))),
    );
    const next1 = v128.xor(
      v128.load(keep1),
      v128.and(seedCorrection, i32x4.splat(-(control1 as i32))),
    );
    control0 = (load<u32>(keep0, 60) & 1) ^ (t & control0);
    control1 = (load<u32>(keep1, 60) & 1) ^ (t & control1);
    if (isDcf) {
      for (let lane: usize = 0; lane < 4; lane++) {
        const count = min(valueWords, firstBlockWords);
        takeWords(values + lane * (valueWords << 3), 0, blocks + (lane << 6) + 16, count);
      }
      for (let done = firstBlockWords, block = 1; done < valueWords; done += blockWords, block++) {
        nextBlocks(work, block);
        const count = min(valueWords - done, blockWords);
        for (let lane: usize = 0; lane < 4; lane++) {
          takeWords(values + lane * (valueWords << 3), done, blocks + (lane << 6), count);
        }
      }
      const party = valueWords << 4;
      const loseValues = values + lose * (valueWords << 3);
      const keepValues = values + keep * (valueWords << 3);
      for (let i: usize = 0; i < valueWords; i++) {
        const at = i << 3;
        const sum = load<u64>(pathSum + at);
        let value = load<u64>(loseValues + party + at) - load<u64>(loseValues + at) - sum;
        if (lose === 0) value += load<u64>(payload + at);
        store<u64>(correction + seedBytes + at, negative ? 0 - value : value);
        const kept = load<u64>(keepValues + at) - load<u64>(keepValues + party + at);
        store<u64>(pathSum + at, sum + kept + value);
      }
    }
    v128.store(seeds, next0);
    v128.store(seeds, next1, 16);
  }
  const leaves = values;
  const leafWords = words << 1;
  if (leafWords === 2) {
    memory.copy(leaves, seeds, 32);
  } else {
    setSeeds(work, seeds, seeds + 16, seeds, seeds + 16, purpose, levels as i32);
    setBranches(work, i32x4.splat(leafBranch));
    for (let done: usize = 0, block = 0; done < leafWords; done += blockWords, block++) {
      nextBlocks(work, block);
      const count = min(leafWords - done, blockWords);
      takeWords(leaves, done, work + blocksOffset, count);
      takeWords(leaves + (leafWords << 3), done, work + blocksOffset + 64, count);
    }
  }
  const leafBit = (alpha & 1) as usize;
  for (let i: usize = 0; i < leafWords; i++) {
    const side: usize = i < words ? 0 : 1;
    const at = (i < words ? i : i - words) << 3;
    const hit = isDcf ? side < leafBit : side === leafBit;
    const target: u64 = hit ? load<u64>(payload + at) : 0;
    const other = load<u64>(leaves + (leafWords << 3) + (i << 3));
    const value = target - load<u64>(pathSum + at) - load<u64>(leaves + (i << 3)) + other;
    store<u64>(key + leafOffset + (i << 3), control1 ? 0 - value : value);
  }
}

/**
 * Evaluates keys [keyCount] (keyBytes apart) at points [keyCount, pointsPerKey]; out [points,
 * words]. Level by level: neighbouring points that share a node expand it once, and expansions
 * are done four at a time, whatever key they belong to. work has restOffset + points *
 * (2 * nodeBytes + 4 + 32 * words) bytes. Returns whether all points lie in the domain.
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
  isDcf: bool,
  purpose: i32,
  work: usize,
): bool {
  const total = keyCount * pointsPerKey;
  if (domainBits < 64) {
    for (let i: usize = 0; i < total; i++) {
      if (load<u64>(points + (i << 3)) >> (domainBits as u64)) return false;
    }
  }
  const levels = domainBits - 1;
  const valueWords: usize = isDcf ? words : 0;
  const valueBytes = valueWords << 3;
  let nodes = work + restOffset;
  let nextNodes = nodes + total * nodeBytes;
  let values = nextNodes + total * nodeBytes;
  let nextValues = values + total * valueBytes;
  const leaves = nextValues + total * valueBytes; // [total, 2 * words]
  const leaders = leaves + total * (words << 4); // u32: slot of each point's node
  for (let index: usize = 0; index < keyCount; index++) {
    const slot = index * pointsPerKey;
    const node = nodes + slot * nodeBytes;
    v128.store(node, v128.load(keys + index * keyBytes));
    store<u32>(node, party, 16);
    store<u32>(node, (keys + index * keyBytes) as u32, 20);
    memory.fill(values + slot * valueBytes, 0, valueBytes);
    for (let i: usize = 0; i < pointsPerKey; i++) store<u32>(leaders + ((slot + i) << 2), slot);
  }
  const pending = work + pendingOffset;
  for (let level: u32 = 0; level < levels; level++) {
    const shift = (levels - level) as u64;
    let count: usize = 0;
    let lastParent: u32 = u32.MAX_VALUE;
    let lastBranch: u32 = 0;
    let leader: u32 = 0;
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
        if (++count === 4) {
          expandPending(
            work, 4, nodes, nextNodes, values, nextValues,
            level, levels, valueWords, words, purpose
          );
          count = 0;
        }
      }
      store<u32>(leaders + (i << 2), leader);
    }
    if (count > 0) {
      expandPending(
        work, count, nodes, nextNodes, values, nextValues,
        level, levels, valueWords, words, purpose
      );
    }
    let swap = nodes;
    nodes = nextNodes;
    nextNodes = swap;
    swap = values;
    values = nextValues;
    nextValues = swap;
  }
  if (words > 1) convertLeaves(work, total, nodes, leaders, leaves, levels, words, purpose);
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
      let value = load<u64>(leaf + at) + (load<u64>(correction + at) & mask);
      if (isDcf) value += load<u64>(values + slot * valueBytes + at);
      store<u64>(out + ((i * words) << 3) + at, party ? 0 - value : value);
    }
  }
  return true;
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
  purpose: i32,
): void {
  const pending = work + pendingOffset;
  const blocks = work + blocksOffset;
  // Lanes beyond count repeat stale but readable items; their blocks are not used.
  for (let lane = count; lane < 4; lane++) {
    memory.copy(pending + lane * 12, pending, 12);
  }
  setSeeds(
    work,
    nodes + (load<u32>(pending) as usize) * nodeBytes,
    nodes + (load<u32>(pending, 12) as usize) * nodeBytes,
    nodes + (load<u32>(pending, 24) as usize) * nodeBytes,
    nodes + (load<u32>(pending, 36) as usize) * nodeBytes,
    purpose,
    level as i32,
  );
  for (let lane: usize = 0; lane < 4; lane++) {
    store<u32>(work + 240 + (lane << 2), load<u32>(pending + lane * 12, 8));
  }
  nextBlocks(work, 0);
  const valueBytes = valueWords << 3;
  const levelOffset = seedBytes + (level as usize) * (seedBytes + valueBytes);
  const controlOffset =
    seedBytes + (levels as usize) * (seedBytes + valueBytes) + (words << 4) + (level >> 2);
  const inFirst = min(valueWords, firstBlockWords);
  for (let lane: usize = 0; lane < count; lane++) {
    const item = pending + lane * 12;
    const parent = load<u32>(item) as usize;
    const child = load<u32>(item, 4) as usize;
    const branch = load<u32>(item, 8);
    const parentNode = nodes + parent * nodeBytes;
    const childNode = nextNodes + child * nodeBytes;
    const block = blocks + (lane << 6);
    const control = load<u32>(parentNode, 16);
    const key = load<u32>(parentNode, 20) as usize;
    const correction = key + levelOffset;
    const mask = i32x4.splat(-(control as i32));
    v128.store(childNode, v128.xor(v128.load(block), v128.and(v128.load(correction), mask)));
    const bit = ((load<u8>(key + controlOffset) as u32) >> (((level & 3) << 1) + branch)) & 1;
    store<u32>(childNode, (load<u32>(block, 60) & 1) ^ (bit & control), 16);
    store<u32>(childNode, key as u32, 20);
    const from = values + parent * valueBytes;
    const to = nextValues + child * valueBytes;
    const wide = 0 - (control as u64);
    for (let j: usize = 0; j < inFirst; j++) {
      const at = j << 3;
      const corrected = load<u64>(block + at, 16) + (load<u64>(correction + at, 16) & wide);
      store<u64>(to + at, load<u64>(from + at) + corrected);
    }
  }
  for (let done = firstBlockWords, index = 1; done < valueWords; done += blockWords, index++) {
    nextBlocks(work, index);
    const inBlock = min(valueWords - done, blockWords);
    for (let lane: usize = 0; lane < count; lane++) {
      const item = pending + lane * 12;
      const parent = load<u32>(item) as usize;
      const child = load<u32>(item, 4) as usize;
      const parentNode = nodes + parent * nodeBytes;
      const block = blocks + (lane << 6);
      const wide = 0 - (load<u32>(parentNode, 16) as u64);
      const correction = (load<u32>(parentNode, 20) as usize) + levelOffset + (done << 3);
      const from = values + parent * valueBytes + (done << 3);
      const to = nextValues + child * valueBytes + (done << 3);
      for (let j: usize = 0; j < inBlock; j++) {
        const at = j << 3;
        const corrected = load<u64>(block + at) + (load<u64>(correction + at, 16) & wide);
        store<u64>(to + at, load<u64>(from + at) + corrected);
      }
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
  purpose: i32,
): void {
  const leafWords = words << 1;
  const pending = work + pendingOffset;
  let count: usize = 0;
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
      purpose,
      levels as i32,
    );
    setBranches(work, i32x4.splat(leafBranch));
    for (let done: usize = 0, block = 0; done < leafWords; done += blockWords, block++) {
      nextBlocks(work, block);
      const inBlock = min(leafWords - done, blockWords);
      for (let lane: usize = 0; lane < count; lane++) {
        const slot = load<u32>(pending + (lane << 2)) as usize;
        takeWords(leaves + slot * (words << 4), done, work + blocksOffset + (lane << 6), inBlock);
      }
    }
    count = 0;
  }
}
