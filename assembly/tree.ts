// Function secret sharing over binary trees: the generator's scratch, and the generation of DCF
// and DPF keys (tree-evaluate.ts evaluates them). Key layout and domain separation are described in
// src/kernel/function-key.ts; the plain version of every step is in src/kernel/reference.ts.
// `work` points to scratch that begins with the generator's state [16][4], for four lanes.

import { chachaBlocks, storeTransposed } from "./chacha";

/** Output of the generator, [16][4], and the same as four blocks [4][64]. */
export const outputOffset: usize = 256;
export const blocksOffset: usize = 512;
/** What generation or evaluation keep beside them. */
export const restOffset: usize = 768;

export const seedBytes: usize = 16;
export const firstBlockWords: usize = 5;
export const blockWords: usize = 8;
export const leafBranch: i32 = 2;

/**
 * The top bit of each half of a word where words are pairs of 32-bit values that add up apart, else
 * 0: what `plus` and `minus` keep carries from crossing. Set by every call that has payloads.
 */
let tops: u64 = 0;

/** kind: 0 DPF, 1 DCF, 2 DCF with halved words. */
export function setGroup(kind: u32): void {
  tops = kind === 2 ? 0x8000000080000000 : 0;
}

export function isHalved(): bool {
  return tops !== 0;
}

// @ts-ignore: decorator
@inline
export function plus(a: u64, b: u64): u64 {
  return ((a & ~tops) + (b & ~tops)) ^ ((a ^ b) & tops);
}

// @ts-ignore: decorator
@inline
export function minus(a: u64, b: u64): u64 {
  // ~(~a + b) = a - b in either group.
  return ~plus(~a, b);
}

/** Key pairs whose levels are made side by side, since those of one wait for each other. */
const batchKeys: usize = 8;
/** A key pair in the making: both parties' seeds, their control bits, sums along the path. */
const makingBytes: usize = 48;

/** Sets what stays the same in a state. */
export function startTree(state: usize, purpose: i32): void {
  v128.store(state, i32x4.splat(0x61707865));
  v128.store(state, i32x4.splat(0x3120646e), 16);
  v128.store(state, i32x4.splat(0x79622d36), 32);
  v128.store(state, i32x4.splat(0x6b206574), 48);
  v128.store(state, i64x2.splat(0), 192);
  v128.store(state, i32x4.splat(purpose), 208);
}

/** Readies a state for four seeds. */
export function setSeeds(
  state: usize,
  seed0: usize,
  seed1: usize,
  seed2: usize,
  seed3: usize,
): void {
  const a = v128.load(seed0);
  const b = v128.load(seed1);
  const c = v128.load(seed2);
  const d = v128.load(seed3);
  const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  setSeedWords(
    state,
    i64x2.shuffle(ab01, cd01, 0, 2),
    i64x2.shuffle(ab01, cd01, 1, 3),
    i64x2.shuffle(ab23, cd23, 0, 2),
    i64x2.shuffle(ab23, cd23, 1, 3),
  );
}

/** The same, given word i of the four seeds. */
// @ts-ignore: decorator
@inline
export function setSeedWords(
  state: usize,
  word0: v128,
  word1: v128,
  word2: v128,
  word3: v128,
): void {
  v128.store(state, word0, 64);
  v128.store(state, word1, 80);
  v128.store(state, word2, 96);
  v128.store(state, word3, 112);
  v128.store(state, word0, 128);
  v128.store(state, word1, 144);
  v128.store(state, word2, 160);
  v128.store(state, word3, 176);
}

// @ts-ignore: decorator
@inline
export function setLevel(state: usize, level: u32): void {
  v128.store(state, i32x4.splat(level as i32), 224);
}

// @ts-ignore: decorator
@inline
export function setBranches(state: usize, branches: v128): void {
  v128.store(state, branches, 240);
}

/** Computes the first `words` state words of block number `block` of each of the four lanes. */
export function nextBlocks(work: usize, block: i32, words: usize): void {
  v128.store(work, i32x4.splat(block), 192);
  const output = work + outputOffset;
  chachaBlocks(work, output, words);
  for (let i: usize = 0; i < words; i += 4) {
    const from = output + (i << 4);
    storeTransposed(
      work + blocksOffset + (i << 2),
      v128.load(from),
      v128.load(from, 16),
      v128.load(from, 32),
      v128.load(from, 48),
    );
  }
}

/** The control bit of a lane's child, in the first block. */
// @ts-ignore: decorator
@inline
export function controlOf(work: usize, lane: usize): u32 {
  return load<u32>(work + outputOffset + 240 + (lane << 2)) & 1;
}

/**
 * Copies value words from a block to the words [done, done + count) of `to`; word by word, since
 * memory.copy is a call out of the module.
 */
// @ts-ignore: decorator
@inline
export function takeWords(to: usize, done: usize, from: usize, count: usize): void {
  to += done << 3;
  for (let i: usize = 0; i < count; i++) store<u64>(to + (i << 3), load<u64>(from + (i << 3)));
}

// @ts-ignore: decorator
@inline
export function clearWords(to: usize, count: usize): void {
  for (let i: usize = 0; i < count; i++) store<u64>(to + (i << 3), 0);
}

/**
 * Key pairs [count] for alphas [count] and payloads [count, words]; roots holds both parties' root
 * seeds of each pair [count, 32]. keys0 and keys1: keys of either party, keyBytes apart. work has
 * restOffset + 8 * (48 + 8 * words) + 32 * words bytes.
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
  kind: u32,
  purpose: i32,
  work: usize,
): void {
  const isDcf = kind !== 0;
  setGroup(kind);
  startTree(work, purpose);
  const pairBytes = makingBytes + (words << 3);
  const pairs = work + restOffset;
  const values = pairs + batchKeys * pairBytes;
  const levels = domainBits - 1;
  const valueWords: usize = isDcf ? words : 0;
  for (let first: usize = 0; first < count; first += batchKeys) {
    const end = min(first + batchKeys, count);
    for (let i = first; i < end; i++) {
      const pair = pairs + (i - first) * pairBytes;
      v128.store(pair, v128.load(roots + (i << 5)));
      v128.store(pair, v128.load(roots + (i << 5), 16), 16);
      store<u64>(pair, 0x100000000, 32); // control bits 0 and 1
      clearWords(pair + makingBytes, words);
      memory.fill(keys0 + i * keyBytes, 0, keyBytes);
    }
    for (let level: u32 = 0; level < levels; level++) {
      setLevel(work, level);
      for (let i = first; i < end; i++) {
        const key = keys0 + i * keyBytes;
        const pair = pairs + (i - first) * pairBytes;
        const payload = payloads + ((i * words) << 3);
        const alpha = load<u64>(alphas + (i << 3));
        generateLevel(key, pair, payload, alpha, level, levels, words, valueWords, values, work);
      }
    }
    for (let i = first; i < end; i++) {
      const key = keys0 + i * keyBytes;
      const other = keys1 + i * keyBytes;
      const pair = pairs + (i - first) * pairBytes;
      const payload = payloads + ((i * words) << 3);
      const alpha = load<u64>(alphas + (i << 3));
      generateLeaf(key, pair, payload, alpha, levels, words, isDcf, values, work);
      memory.copy(other, key, keyBytes);
      v128.store(key, v128.load(roots + (i << 5)));
      v128.store(other, v128.load(roots + (i << 5), 16));
    }
  }
}

/** Writes the corrections of one level into a key, and moves the pair on to the next. */
function generateLevel(
  key: usize,
  pair: usize,
  payload: usize,
  alpha: u64,
  level: u32,
  levels: u32,
  words: usize,
  valueWords: usize,
  values: usize,
  work: usize,
): void {
  const levelBytes = seedBytes + (valueWords << 3);
  const correction = key + seedBytes + (level as usize) * levelBytes;
  const keep = ((alpha >> ((levels - level) as u64)) & 1) as usize;
  const lose: usize = 1 - keep;
  const control0 = load<u32>(pair, 32);
  const control1 = load<u32>(pair, 36);
  const inFirst = min(valueWords, firstBlockWords);
  // Lanes: party 0 left, party 0 right, party 1 left, party 1 right.
  setSeeds(work, pair, pair, pair + 16, pair + 16);
  setBranches(work, i32x4(0, 1, 0, 1));
  nextBlocks(work, 0, 4 + (inFirst << 1));
  const zero = work + blocksOffset;
  const one = zero + 128;
  const seedCorrection = v128.xor(v128.load(zero + (lose << 6)), v128.load(one + (lose << 6)));
  v128.store(correction, seedCorrection);
  const tLeft = controlOf(work, 0) ^ controlOf(work, 2) ^ (keep as u32) ^ 1;
  const tRight = controlOf(work, 1) ^ controlOf(work, 3) ^ (keep as u32);
  const leafOffset = seedBytes + (levels as usize) * levelBytes;
  const controls = key + leafOffset + (words << 4) + (level >> 2);
  store<u8>(controls, load<u8>(controls) | ((tLeft | (tRight << 1)) << ((level & 3) << 1)));
  // The next seeds and control bits, before further blocks overwrite these.
  const t = keep ? tRight : tLeft;
  const seed0 = v128.load(zero + (keep << 6));
  const seed1 = v128.load(one + (keep << 6));
  v128.store(pair, v128.xor(seed0, v128.and(seedCorrection, i32x4.splat(-(control0 as i32)))));
  v128.store(pair, v128.xor(seed1, v128.and(seedCorrection, i32x4.splat(-(control1 as i32)))), 16);
  store<u32>(pair, controlOf(work, keep) ^ (t & control0), 32);
  store<u32>(pair, controlOf(work, 2 + keep) ^ (t & control1), 36);
  if (valueWords === 0) return;
  takeValues(values, valueWords, work);
  const party = valueWords << 4;
  const loseValues = values + lose * (valueWords << 3);
  const keepValues = values + keep * (valueWords << 3);
  const pathSum = pair + makingBytes;
  for (let i: usize = 0; i < valueWords; i++) {
    const at = i << 3;
    const sum = load<u64>(pathSum + at);
    let value = minus(load<u64>(loseValues + party + at), load<u64>(loseValues + at));
    value = minus(value, sum);
    if (lose === 0) value = plus(value, load<u64>(payload + at));
    store<u64>(correction + seedBytes + at, control1 ? minus(0, value) : value);
    const kept = minus(load<u64>(keepValues + at), load<u64>(keepValues + party + at));
    store<u64>(pathSum + at, plus(plus(sum, kept), value));
  }
}

/** values [4, valueWords]: those of the lanes' children, whose first blocks are made. */
function takeValues(values: usize, valueWords: usize, work: usize): void {
  const blocks = work + blocksOffset;
  const laneBytes = valueWords << 3;
  for (let lane: usize = 0; lane < 4; lane++) {
    const count = min(valueWords, firstBlockWords);
    takeWords(values + lane * laneBytes, 0, blocks + (lane << 6) + 16, count);
  }
  for (let done = firstBlockWords, block = 1; done < valueWords; done += blockWords, block++) {
    const count = min(valueWords - done, blockWords);
    nextBlocks(work, block, count << 1);
    for (let lane: usize = 0; lane < 4; lane++) {
      takeWords(values + lane * laneBytes, done, blocks + (lane << 6), count);
    }
  }
}

/** Writes the leaf's correction. values: [2, 2 * words] words of scratch. */
function generateLeaf(
  key: usize,
  pair: usize,
  payload: usize,
  alpha: u64,
  levels: u32,
  words: usize,
  isDcf: bool,
  values: usize,
  work: usize,
): void {
  const leafWords = words << 1;
  if (leafWords === 2) {
    v128.store(values, v128.load(pair));
    v128.store(values, v128.load(pair, 16), 16);
  } else {
    setSeeds(work, pair, pair + 16, pair, pair + 16);
    setLevel(work, levels);
    setBranches(work, i32x4.splat(leafBranch));
    for (let done: usize = 0, block = 0; done < leafWords; done += blockWords, block++) {
      const count = min(leafWords - done, blockWords);
      nextBlocks(work, block, count << 1);
      takeWords(values, done, work + blocksOffset, count);
      takeWords(values + (leafWords << 3), done, work + blocksOffset + 64, count);
    }
  }
  const valueBytes: usize = isDcf ? words << 3 : 0;
  const leaf = key + seedBytes + (levels as usize) * (seedBytes + valueBytes);
  const pathSum = pair + makingBytes;
  const leafBit = (alpha & 1) as usize;
  for (let i: usize = 0; i < leafWords; i++) {
    const side: usize = i < words ? 0 : 1;
    const at = (i < words ? i : i - words) << 3;
    const hit = isDcf ? side < leafBit : side === leafBit;
    const target: u64 = hit ? load<u64>(payload + at) : 0;
    const other = load<u64>(values + (leafWords << 3) + (i << 3));
    const own = plus(load<u64>(pathSum + at), load<u64>(values + (i << 3)));
    const value = plus(minus(target, own), other);
    store<u64>(leaf + (i << 3), load<u32>(pair, 36) ? minus(0, value) : value);
  }
}
