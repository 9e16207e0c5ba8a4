// Words as dense strings of bits and back; see `pack` in src/kernel/ring-kernels.ts. Nothing is
// written beyond the last byte of a string, and nothing read beyond it.
//
// In the first-level cache, G words/s: whole bytes pack and unpack at 3.4; other widths pack at 1.9
// (few bits) to 0.8 and unpack at 1.7, from 58 bits on at 0.6.

/** Packs words of `bits` bits, 1..64; work: 16 bytes of scratch. */
export function pack(out: usize, words: usize, count: usize, bits: u32, work: usize): void {
  if (bits === 64) {
    memory.copy(out, words, count << 3);
    return;
  }
  const done = bits & 7 ? 0 : packBytes(out, words, count, bits >> 3, work);
  packBits(out + done * (bits >> 3), words + (done << 3), count - done, bits);
}

/** Unpacks words of `bits` bits, 1..64; work: 16 bytes of scratch. */
export function unpack(out: usize, bytes: usize, count: usize, bits: u32, work: usize): void {
  if (bits === 64) {
    memory.copy(out, bytes, count << 3);
    return;
  }
  const end = bytes + (((count as u64) * bits + 7) >> 3) as usize;
  const done =
    bits & 7
      ? unpackEights(out, bytes, count, bits, end)
      : unpackBytes(out, bytes, count, bits >> 3, work);
  unpackBits(out + (done << 3), bytes + ((done * bits) >> 3), count - done, bits, end);
}

/** Pairs of words of `width` bytes that a string takes 16 bytes each for, at least. */
// @ts-ignore: decorator
@inline
function pairsWithin(count: usize, width: usize): usize {
  const bytes = count * width;
  return bytes < 16 ? 0 : (bytes - 16) / (width << 1) + 1;
}

/**
 * Packs pairs of words of `width` bytes with a shuffle each, while 16 bytes may be stored. Returns
 * how many words that makes.
 */
function packBytes(out: usize, words: usize, count: usize, width: usize, work: usize): usize {
  // Taken from memory: an engine builds a constant anew for every use.
  for (let i: usize = 0; i < 16; i++) {
    const from = i < width ? i : i < width << 1 ? i - width + 8 : 128;
    store<u8>(work + i, from);
  }
  const order = v128.load(work);
  const pairBytes = width << 1;
  const pairs = pairsWithin(count, width);
  for (const end = words + (pairs << 4); words < end; words += 16, out += pairBytes) {
    v128.store(out, i8x16.swizzle(v128.load(words), order));
  }
  return pairs << 1;
}

/** The inverse, while 16 bytes may be loaded. */
function unpackBytes(out: usize, bytes: usize, count: usize, width: usize, work: usize): usize {
  for (let i: usize = 0; i < 16; i++) {
    const within = i & 7;
    store<u8>(work + i, within < width ? within + (i >> 3) * width : 128);
  }
  const order = v128.load(work);
  const pairBytes = width << 1;
  const pairs = pairsWithin(count, width);
  for (const end = out + (pairs << 4); out < end; out += 16, bytes += pairBytes) {
    v128.store(out, i8x16.swizzle(v128.load(bytes), order));
  }
  return pairs << 1;
}

function packBits(out: usize, words: usize, count: usize, bits: u64): void {
  const mask = u64.MAX_VALUE >> (64 - bits);
  const end = words + (count << 3);
  let held: u64 = 0;
  let heldBits: u64 = 0;
  if (bits <= 32) {
    const both = bits << 1;
    for (; words + 16 <= end; words += 16) {
      const pair = (load<u64>(words) & mask) | ((load<u64>(words, 8) & mask) << bits);
      held |= pair << heldBits;
      heldBits += both;
      if (heldBits >= 64) {
        store<u64>(out, held);
        out += 8;
        heldBits -= 64;
        held = heldBits ? pair >> (both - heldBits) : 0;
      }
    }
  }
  for (; words < end; words += 8) {
    const word = load<u64>(words) & mask;
    held |= word << heldBits;
    heldBits += bits;
    if (heldBits >= 64) {
      store<u64>(out, held);
      out += 8;
      heldBits -= 64;
      held = heldBits ? word >> (bits - heldBits) : 0;
    }
  }
  for (; heldBits > 0; heldBits -= min<u64>(heldBits, 8)) {
    store<u8>(out++, held);
    held >>= 8;
  }
}

/**
 * Unpacks words of up to 57 bits by eights, which begin at whole bytes; each takes one load of
 * eight bytes. Returns how many words have so many bytes from their first on.
 */
function unpackEights(out: usize, bytes: usize, count: usize, bits: usize, end: usize): usize {
  if (bits > 57) return 0;
  const mask = u64.MAX_VALUE >> (64 - (bits as u64));
  const bits2 = bits << 1;
  const bits3 = bits2 + bits;
  const bits4 = bits << 2;
  const bits5 = bits4 + bits;
  const bits6 = bits4 + bits2;
  const bits7 = bits4 + bits3;
  let done: usize = 0;
  for (; done + 8 <= count && bytes + bits + 8 <= end; done += 8) {
    store<u64>(out, load<u64>(bytes) & mask);
    store<u64>(out, (load<u64>(bytes + (bits >> 3)) >> ((bits & 7) as u64)) & mask, 8);
    store<u64>(out, (load<u64>(bytes + (bits2 >> 3)) >> ((bits2 & 7) as u64)) & mask, 16);
    store<u64>(out, (load<u64>(bytes + (bits3 >> 3)) >> ((bits3 & 7) as u64)) & mask, 24);
    store<u64>(out, (load<u64>(bytes + (bits4 >> 3)) >> ((bits4 & 7) as u64)) & mask, 32);
    store<u64>(out, (load<u64>(bytes + (bits5 >> 3)) >> ((bits5 & 7) as u64)) & mask, 40);
    store<u64>(out, (load<u64>(bytes + (bits6 >> 3)) >> ((bits6 & 7) as u64)) & mask, 48);
    store<u64>(out, (load<u64>(bytes + (bits7 >> 3)) >> ((bits7 & 7) as u64)) & mask, 56);
    out += 64;
    bytes += bits;
  }
  return done;
}

function unpackBits(out: usize, bytes: usize, count: usize, bits: u64, end: usize): void {
  const mask = u64.MAX_VALUE >> (64 - bits);
  let held: u64 = 0;
  let heldBits: u64 = 0;
  for (const outEnd = out + (count << 3); out < outEnd; out += 8) {
    if (heldBits >= bits) {
      store<u64>(out, held & mask);
      held >>= bits;
      heldBits -= bits;
    } else {
      const next = bytes + 8 <= end ? load<u64>(bytes) : lastBytes(bytes, end);
      bytes += 8;
      store<u64>(out, (held | (next << heldBits)) & mask);
      held = next >> (bits - heldBits);
      heldBits += 64 - bits;
    }
  }
}

/** The fewer than eight bytes before the end. */
function lastBytes(bytes: usize, end: usize): u64 {
  let word: u64 = 0;
  while (end > bytes) word = (word << 8) | load<u8>(--end);
  return word;
}
