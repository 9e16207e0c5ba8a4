// Words for tests, from numbered seeds.

import { referenceRingKernels } from "../../src/kernel/reference.ts";
import { Prg } from "../../src/ring/prg.ts";
import type { Ring, Words } from "../../src/ring/ring.ts";
import { type InputWire, seedOf } from "./harness.ts";

const kernels = referenceRingKernels();

/** Uniform words of `bits` bits. */
export function uniform(seed: number, count: number, bits: number): Words {
  return new Prg(kernels, seedOf(seed)).words({ segment: 0, gate: 0 }, "mask", count, bits);
}

/** Signed words with |x| < bound, every fourth at or beside an end of the range or zero. */
export function within(ring: Ring, bound: bigint, seed: number, count: number): Words {
  const edges = [bound - 1n, 1n - bound, 0n, 1n, -1n].filter((x) => x < bound && -x < bound);
  return uniform(seed, count, 64).map((word) => {
    const value = (word >> 8n) % (2n * bound - 1n);
    const edge = edges[Number((word >> 8n) % BigInt(edges.length))]!;
    return ring.residue((word & 3n) === 0n ? edge : value - bound + 1n);
  });
}

/** A shared wire of these words, C's share uniform. */
export function sharedWire(ring: Ring, values: Words, seed: number): InputWire {
  return { form: "shared", values, clientShare: uniform(seed, values.length, ring.bits) };
}

/** A client-masked wire of these words, of which `bits` bits are needed: the ring's, or fewer. */
export function maskedWire(ring: Ring, values: Words, seed: number, bits = ring.bits): InputWire {
  const width = Math.min(bits, ring.bits);
  return { form: "client", values, mask: uniform(seed, values.length, width), bits: width };
}
