// Words to bytes and back, each word trimmed to the bytes that its width needs, little-endian.

import { ensure } from "../errors.ts";
import type { Words } from "./ring.ts";

/** Bytes that `count` words of `bits` bits take. */
export function packedBytes(count: number, bits: number): number {
  return count * Math.ceil(bits / 8);
}

/** The low `bits` bits of each word, byte by byte. */
export function pack(words: Words, bits: number): Uint8Array {
  const width = Math.ceil(bits / 8);
  const out = new Uint8Array(words.length * width);
  if (bits === 64) {
    const view = new DataView(out.buffer);
    for (let i = 0; i < words.length; i++) view.setBigUint64(i * 8, words[i]!, true);
    return out;
  }
  const source = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
  for (let i = 0; i < words.length; i++) {
    for (let k = 0; k < width; k++) out[i * width + k] = source[i * 8 + k]!;
  }
  const spare = width * 8 - bits;
  if (spare > 0) for (let i = width - 1; i < out.length; i += width) out[i]! &= 255 >> spare;
  return out;
}

/**
 * The inverse of pack.
 * @throws E_FRAME when the length is not that of `count` words, or a bit above `bits` is set
 */
export function unpack(bytes: Uint8Array, count: number, bits: number): Words {
  const width = Math.ceil(bits / 8);
  ensure(bytes.length === count * width, "E_FRAME", `expected ${count} words of ${width} bytes`);
  const words = new BigUint64Array(count);
  const target = new Uint8Array(words.buffer);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < width; k++) target[i * 8 + k] = bytes[i * width + k]!;
  }
  const spare = width * 8 - bits;
  for (let i = width - 1; spare > 0 && i < bytes.length; i += width) {
    ensure(bytes[i]! >> (8 - spare) === 0, "E_FRAME", "a word is wider than its field");
  }
  return words;
}
