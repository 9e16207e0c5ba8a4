// Sizes of packed words, and byte strings of several parts. A packed vector is a dense string of
// bits: a word of b bits takes b bits, and only the last byte of a vector may have bits to spare.

/** Bytes that `count` words of `bits` bits take. */
export function packedBytes(count: number, bits: number): number {
  return Math.ceil((count * bits) / 8);
}

/** Byte strings one after the other. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
