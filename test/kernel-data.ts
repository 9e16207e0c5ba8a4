// Repeatable operands for the tests of kernels, boundary values among them, and the code of what a
// call throws.

import fc from "fast-check";
import type { MergenError } from "../src/errors.ts";
import { referenceRingKernels } from "../src/kernel/reference.ts";

const reference = referenceRingKernels();

/** A seed for the functions below. */
export const seed = fc.integer({ min: 0, max: 2 ** 31 });

export function mod(x: bigint): bigint {
  return BigInt.asUintN(64, x);
}

export function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as MergenError).code;
  }
  return "nothing thrown";
}

/** Words from a seed: a quarter boundary values, the rest keystream. */
export function wordsOf(seed: number, count: number): BigUint64Array {
  const edges = [0n, 1n, 1n << 32n, (1n << 32n) - 1n, 1n << 63n, (1n << 63n) - 1n, mod(-1n)];
  const bytes = bytesOf(seed, count * 8);
  return new BigUint64Array(bytes.buffer).map((word) =>
    (word & 3n) === 0n ? edges[Number((word >> 8n) % 7n)] : word,
  );
}

export function bytesOf(seed: number, count: number): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(32);
  new DataView(key.buffer).setUint32(0, seed);
  const bytes = new Uint8Array(count);
  reference.chacha12(bytes, key, new Uint8Array(12), 0);
  return bytes;
}

export function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}
