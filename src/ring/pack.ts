// Words to bytes and back, each word trimmed to the bytes that its width needs, little-endian (as
// every platform that runs JavaScript today stores them).
//
// Bytes are moved in units of 16 or 32 bits where a field's width allows: four words of 3 or 5
// bytes fill 3 or 5 units of 32 bits. 2^17 words of 40 bits take 0.26 ms so, byte by byte 1.1 ms.

import { ensure } from "../errors.ts";
import type { Words } from "./ring.ts";

/** Bytes that `count` words of `bits` bits take. */
export function packedBytes(count: number, bits: number): number {
  return count * Math.ceil(bits / 8);
}

/** Masks of the low and high half of a word of which `bits` bits count. */
function halfMasks(bits: number): readonly [number, number] {
  const maskOf = (count: number) => (count >= 32 ? -1 : count <= 0 ? 0 : (1 << count) - 1);
  return [maskOf(bits), maskOf(bits - 32)];
}

/** Keeps the low `bits` bits of each word, in place. */
export function trim(words: Words, bits: number): Words {
  if (bits >= 64) return words;
  const [low, high] = halfMasks(bits);
  const halves = new Int32Array(words.buffer, words.byteOffset, 2 * words.length);
  for (let i = 0; i < halves.length; i += 2) {
    halves[i]! &= low;
    halves[i + 1]! &= high;
  }
  return words;
}

/** The low `bits` bits of each word, byte by byte. */
export function pack(words: Words, bits: number): Uint8Array {
  const width = Math.ceil(bits / 8);
  const source = width * 8 === bits ? words : trim(words.slice(), bits);
  const out = new Uint8Array(words.length * width);
  const units = new Uint32Array(source.buffer, source.byteOffset, 2 * source.length);
  switch (width) {
    case 2:
      packHalves(new Uint16Array(out.buffer), units);
      return out;
    case 3:
      packBytes(out, source, width, packThrees(out, units));
      return out;
    case 4:
      packQuads(new Uint32Array(out.buffer), units);
      return out;
    case 5:
      packBytes(out, source, width, packFives(out, units));
      return out;
    case 8:
      out.set(new Uint8Array(source.buffer, source.byteOffset, source.byteLength));
      return out;
    default:
      packBytes(out, source, width, 0);
      return out;
  }
}

/** Packs words from number `from` on, byte by byte. */
function packBytes(out: Uint8Array, words: Words, width: number, from: number): void {
  const source = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
  for (let i = from; i < words.length; i++) {
    for (let k = 0; k < width; k++) out[i * width + k] = source[i * 8 + k]!;
  }
}

function packHalves(out: Uint16Array, units: Uint32Array): void {
  for (let i = 0; i < out.length; i++) out[i] = units[2 * i]!;
}

function packQuads(out: Uint32Array, units: Uint32Array): void {
  for (let i = 0; i < out.length; i++) out[i] = units[2 * i]!;
}

/** Packs four words at a time; returns how many. */
function packThrees(bytes: Uint8Array, units: Uint32Array): number {
  const end = Math.floor(units.length / 8);
  const out = new Uint32Array(bytes.buffer, 0, 3 * end);
  for (let i = 0; i < end; i++) {
    const b = units[8 * i + 2]!;
    const c = units[8 * i + 4]!;
    out[3 * i] = (units[8 * i]! & 0xffffff) | (b << 24);
    out[3 * i + 1] = ((b >>> 8) & 0xffff) | (c << 16);
    out[3 * i + 2] = ((c >>> 16) & 0xff) | (units[8 * i + 6]! << 8);
  }
  return 4 * end;
}

/** Packs four words at a time; returns how many. */
function packFives(bytes: Uint8Array, units: Uint32Array): number {
  const end = Math.floor(units.length / 8);
  const out = new Uint32Array(bytes.buffer, 0, 5 * end);
  for (let i = 0; i < end; i++) {
    const b = units[8 * i + 2]!;
    const c = units[8 * i + 4]!;
    const d = units[8 * i + 6]!;
    out[5 * i] = units[8 * i]!;
    out[5 * i + 1] = (units[8 * i + 1]! & 0xff) | (b << 8);
    out[5 * i + 2] = (b >>> 24) | ((units[8 * i + 3]! & 0xff) << 8) | (c << 16);
    out[5 * i + 3] = (c >>> 16) | ((units[8 * i + 5]! & 0xff) << 16) | (d << 24);
    out[5 * i + 4] = (d >>> 8) | (units[8 * i + 7]! << 24);
  }
  return 4 * end;
}

/**
 * The inverse of pack.
 * @throws E_FRAME when the length is not that of `count` words, or a bit above `bits` is set
 */
export function unpack(bytes: Uint8Array, count: number, bits: number): Words {
  const width = Math.ceil(bits / 8);
  ensure(bytes.length === count * width, "E_FRAME", `expected ${count} words of ${width} bytes`);
  const words = new BigUint64Array(count);
  const units = new Uint32Array(words.buffer);
  // Bytes within a frame lie anywhere; units need an address of their own size.
  const aligned = () => bytes.slice().buffer;
  switch (width) {
    case 2:
      unpackUnits(units, new Uint16Array(aligned()));
      break;
    case 3:
      unpackBytes(words, bytes, width, unpackThrees(units, aligned()));
      break;
    case 4:
      unpackUnits(units, new Uint32Array(aligned()));
      break;
    case 5:
      unpackBytes(words, bytes, width, unpackFives(units, aligned()));
      break;
    case 8:
      new Uint8Array(words.buffer).set(bytes);
      break;
    default:
      unpackBytes(words, bytes, width, 0);
  }
  const spare = width * 8 - bits;
  if (spare > 0) {
    let above = 0;
    for (let i = width - 1; i < bytes.length; i += width) above |= bytes[i]!;
    ensure(above >> (8 - spare) === 0, "E_FRAME", "a word is wider than its field");
  }
  return words;
}

/** Unpacks words from number `from` on, byte by byte. */
function unpackBytes(words: Words, bytes: Uint8Array, width: number, from: number): void {
  const target = new Uint8Array(words.buffer);
  for (let i = from; i < words.length; i++) {
    for (let k = 0; k < width; k++) target[i * 8 + k] = bytes[i * width + k]!;
  }
}

function unpackUnits(units: Uint32Array, source: Uint16Array | Uint32Array): void {
  for (let i = 0; i < source.length; i++) units[2 * i] = source[i]!;
}

/** Unpacks four words at a time; returns how many. */
function unpackThrees(units: Uint32Array, buffer: ArrayBuffer): number {
  const end = Math.floor(units.length / 8);
  const source = new Uint32Array(buffer, 0, 3 * end);
  for (let i = 0; i < end; i++) {
    const a = source[3 * i]!;
    const b = source[3 * i + 1]!;
    const c = source[3 * i + 2]!;
    units[8 * i] = a & 0xffffff;
    units[8 * i + 2] = (a >>> 24) | ((b & 0xffff) << 8);
    units[8 * i + 4] = (b >>> 16) | ((c & 0xff) << 16);
    units[8 * i + 6] = c >>> 8;
  }
  return 4 * end;
}

/** Unpacks four words at a time; returns how many. */
function unpackFives(units: Uint32Array, buffer: ArrayBuffer): number {
  const end = Math.floor(units.length / 8);
  const source = new Uint32Array(buffer, 0, 5 * end);
  for (let i = 0; i < end; i++) {
    const b = source[5 * i + 1]!;
    const c = source[5 * i + 2]!;
    const d = source[5 * i + 3]!;
    const e = source[5 * i + 4]!;
    units[8 * i] = source[5 * i]!;
    units[8 * i + 1] = b & 0xff;
    units[8 * i + 2] = (b >>> 8) | (c << 24);
    units[8 * i + 3] = (c >>> 8) & 0xff;
    units[8 * i + 4] = (c >>> 16) | (d << 16);
    units[8 * i + 5] = (d >>> 16) & 0xff;
    units[8 * i + 6] = (d >>> 24) | (e << 8);
    units[8 * i + 7] = e >>> 24;
  }
  return 4 * end;
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
