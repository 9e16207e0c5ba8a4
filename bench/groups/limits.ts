// What one core can do at the most: the loops of native/limits_*.cc, over registers and over memory
// that is read once. Other groups hold their figures against these.

import { type Addon, findAddon } from "../../src/kernel/addon.ts";
import type { BenchContext } from "../context.ts";
import { makeRow, type Reference, type Row, type RowOptions } from "../rows.ts";
import { timeCalls } from "../timing.ts";

/** Operations a second on one thread. */
export interface Limits {
  /** Bytes read from memory. */
  readonly readBytes: number;
  /** Bytes that were read a moment ago, from caches. */
  readonly readCachedBytes: number;
  /** x y + z modulo 2^64, on vector registers. */
  readonly multiplyAdds64: number;
  /** Products of bytes on tile registers; 0 where there are none. */
  readonly multiplyAdds8: number;
  readonly multiplyAddsF32: number;
  /** Of ChaCha. */
  readonly quarterRounds: number;
  /** On one block each; 0 where there are no instructions. */
  readonly aesRounds: number;
}

/** More than caches hold, as a rule: a shared third level may hold it. */
const READ_BYTES = 512e6;
/** As large as GPT-2's matrices: what a token reads again and again. */
const CACHED_BYTES = 8e6;
/** Quarter-rounds in 64 bytes of ChaCha12. */
const QUARTER_ROUNDS_A_BLOCK = 48;

const kinds = [
  { key: "readBytes", name: "memory read, 512 MB once", unit: "GB/s" },
  { key: "readCachedBytes", name: "memory read, 8 MB over and over", unit: "GB/s" },
  { key: "multiplyAdds64", name: "64-bit multiply-adds, vectors", unit: "G/s" },
  { key: "multiplyAdds8", name: "8-bit multiply-adds, tiles", unit: "G/s" },
  { key: "multiplyAddsF32", name: "float32 multiply-adds", unit: "G/s" },
  { key: "quarterRounds", name: "ChaCha quarter-rounds", unit: "G/s" },
  { key: "aesRounds", name: "AES rounds of a block", unit: "G/s" },
] as const;

/** Measures all limits; none without the native addon, whose loops they are. */
export function measureLimits(context: Pick<BenchContext, "budgetMs">): {
  limits: Limits | undefined;
  rows: Row[];
} {
  const { addon } = findAddon();
  if (addon === undefined) return { limits: undefined, rows: [] };
  const rates = kinds.map(({ key }) => sample(addon, key, context.budgetMs));
  const rows = kinds.flatMap(({ name, unit }, i) => {
    const samples = rates[i]!.map((rate) => rate / 1e9);
    return samples[0] === 0 ? [] : [makeRow({ name, unit, better: "more", samples })];
  });
  // What slows a sample is no limit of the core, so the best one counts.
  const best = (i: number) => Math.max(...rates[i]!);
  const limits = Object.fromEntries(kinds.map(({ key }, i) => [key, best(i)]));
  return { limits: limits as unknown as Limits, rows };
}

/** Operations a second, again and again. */
function sample(addon: Addon, key: keyof Limits, budgetMs: number): number[] {
  const kernels = Object.values(addon)[0]!;
  let done = 0;
  const calls: Record<keyof Limits, () => number> = {
    readBytes: () => kernels.limitRead(READ_BYTES),
    readCachedBytes: () => kernels.limitRead(CACHED_BYTES),
    multiplyAdds64: () => kernels.limitMultiplyAdds64(1e7),
    multiplyAdds8: () => kernels.limitMultiplyAdds8(1e9),
    multiplyAddsF32: () => kernels.limitMultiplyAddsF32(1e8),
    quarterRounds: () => kernels.limitQuarterRounds(1e7),
    aesRounds: () => kernels.limitAesRounds(1e7),
  };
  const call = calls[key];
  if (call() === 0) return [0];
  const seconds = timeCalls(() => {
    done = call();
  }, budgetMs);
  kernels.limitRead(0); // frees what was read
  return seconds.map((each) => done / each);
}

type Limited = Pick<RowOptions, "reference">;

/** A row's reference to a limit, if limits are known; `rate` in the row's unit. */
export function limitedBy(
  context: Pick<BenchContext, "limits">,
  limit: (limits: Limits) => Reference,
): Limited {
  const { limits } = context;
  const reference = limits && limit(limits);
  return reference && reference.value > 0 ? { reference } : {};
}

/** Bytes a second of reading so many, again and again. */
export function readLimit(limits: Limits, bytes: number): Reference {
  return bytes <= 2 * CACHED_BYTES
    ? { name: "memory read, cached", value: limits.readCachedBytes }
    : { name: "memory read", value: limits.readBytes };
}

/** Ring multiply-adds of a matrix's entries by words: a word has 36 products of bytes, int16 15. */
export function productLimit(limits: Limits, kind: "int16" | "ring"): number {
  const tiles = limits.multiplyAdds8 / (kind === "int16" ? 15 : 36);
  return Math.max(tiles, limits.multiplyAdds64);
}

/** Bytes of ChaCha12 a second. */
export function chachaLimit(limits: Limits): number {
  return (64 * limits.quarterRounds) / QUARTER_ROUNDS_A_BLOCK;
}

/** Blocks of a function key's generator a second. */
export function blockLimit(limits: Limits, prg: "aes128" | "chacha12"): number {
  return prg === "aes128" ? limits.aesRounds / 10 : chachaLimit(limits) / 64;
}
