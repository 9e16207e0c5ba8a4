// Layout and domain separation of function-secret-sharing keys (DCF and DPF), the same in every
// kernel set, so that a key dealt by one can be evaluated by another.
//
// Key of one party, with L = domainBits - 1 levels and w payload words (all little-endian):
//   16             root seed, the only part that differs between the two parties
//   L * (16 + 8v)  per level: seed correction, then v value-correction words
//   16 w           leaf correction, w words for leaf bit 0 and w for leaf bit 1
//   ceil(L / 4)    control-bit corrections, two bits a level (left, then right), low bits first
// v = w for the DCF and 0 for the DPF. The last domain bit has no level of its own (early
// termination): one leaf holds both payloads, which saves 16 bytes and one expansion.
//
// The generator is ChaCha12 with a 16-byte key (constants "expand 16-byte k", key repeated, as in
// Bernstein 2008), so its input blocks never meet those of `chacha12`, whose key has 32 bytes.
// Words 13..15 of the state are purpose, level and branch; word 12 counts blocks. A child is read
// from its own block: words 0..3 seed, words 4..13 the first five value words, bit 0 of word 15
// the control bit; value words from the sixth on come from the next blocks, eight to a block.
// Leaf words are the seed itself when two suffice, else blocks of branch `leafBranch`.

import { ensure } from "../errors.ts";
import type {
  EvaluateManyOptions,
  EvaluateOptions,
  FunctionShape,
  GenerateManyOptions,
  GenerateOptions,
} from "./ring-kernels.ts";

export const seedBytes = 16;
/** Root seeds of both parties, as `random` supplies them. */
export const rootBytes = 2 * seedBytes;
/** "expand 16-byte k". */
export const shortKeyConstants = [0x61707865, 0x3120646e, 0x79622d36, 0x6b206574] as const;
/** Value words that fit beside seed and control bit in a child's first block. */
export const firstBlockWords = 5;
export const blockWords = 8;
/** Branch number of leaf blocks; 0 and 1 are the children. */
export const leafBranch = 2;
export const maxPayloadWords = 256;

export type FunctionKind = "dcf" | "dpf";

/** State word 13: "DCF\0" and "DPF\0". */
export const purposes: Record<FunctionKind, number> = { dcf: 0x00464344, dpf: 0x00465044 };

export interface KeyLayout {
  readonly levels: number;
  /** Payload words. */
  readonly words: number;
  /** Value-correction words a level. */
  readonly valueWords: number;
  readonly levelBytes: number;
  readonly leafOffset: number;
  readonly controlOffset: number;
  readonly keyBytes: number;
}

/** Bytes of one party's key. */
export function keyBytesOf(kind: FunctionKind, { domainBits, words }: FunctionShape): number {
  return keyLayout(kind, domainBits, words).keyBytes;
}

export function keyLayout(kind: FunctionKind, domainBits: number, words: number): KeyLayout {
  ensure(
    Number.isInteger(domainBits) && domainBits >= 1 && domainBits <= 64,
    "E_KERNEL",
    `${kind}: domainBits is ${domainBits}, must be 1..64`,
  );
  ensure(
    Number.isInteger(words) && words >= 1 && words <= maxPayloadWords,
    "E_KERNEL",
    `${kind}: payload has ${words} words, must be 1..${maxPayloadWords}`,
  );
  const levels = domainBits - 1;
  const valueWords = kind === "dcf" ? words : 0;
  const levelBytes = seedBytes + 8 * valueWords;
  const leafOffset = seedBytes + levels * levelBytes;
  const controlOffset = leafOffset + 16 * words;
  const keyBytes = controlOffset + Math.ceil(levels / 4);
  return { levels, words, valueWords, levelBytes, leafOffset, controlOffset, keyBytes };
}

/** One key pair as a batch of one; `checkGenerateMany` checks the rest. */
export function asBatch(kind: FunctionKind, options: GenerateOptions): GenerateManyOptions {
  const { domainBits, alpha, payload, random } = options;
  const inside = alpha >= 0n && alpha >> 64n === 0n;
  ensure(inside, "E_RANGE", `${kind}: alpha lies outside ${domainBits} bits`);
  const alphas = BigUint64Array.of(alpha);
  return { domainBits, words: payload.length, alphas, payloads: payload, random };
}

/** @throws E_KERNEL on wrong sizes, E_RANGE when an alpha lies outside the domain. */
export function checkGenerateMany(kind: FunctionKind, options: GenerateManyOptions): KeyLayout {
  const { domainBits, words, alphas, payloads, random } = options;
  const layout = keyLayout(kind, domainBits, words);
  ensure(
    random.length === alphas.length * rootBytes && payloads.length === alphas.length * words,
    "E_KERNEL",
    `${kind}: ${random.length} random bytes and ${payloads.length} payload words given for ` +
      `${alphas.length} keys of ${rootBytes} and ${words}`,
  );
  const limit = (1n << BigInt(domainBits)) - 1n;
  const inside = alphas.every((alpha) => alpha <= limit);
  ensure(inside, "E_RANGE", `${kind}: alpha lies outside ${domainBits} bits`);
  return layout;
}

/** @throws E_KERNEL on a wrong key size; `checkEvaluateMany` checks the rest. */
export function checkKey(kind: FunctionKind, options: EvaluateOptions): void {
  const { keyBytes } = keyLayout(kind, options.domainBits, options.words);
  const given = options.key.length;
  ensure(given === keyBytes, "E_KERNEL", `${kind}: key has ${given} bytes, must be ${keyBytes}`);
}

/** @throws E_KERNEL on wrong sizes. */
export function checkEvaluateMany(
  kind: FunctionKind,
  options: EvaluateManyOptions,
): { layout: KeyLayout; keyCount: number; pointsPerKey: number } {
  const layout = keyLayout(kind, options.domainBits, options.words);
  const { party, keys, points, out, words } = options;
  ensure(party === 0 || party === 1, "E_KERNEL", `${kind}: party is ${party}, must be 0 or 1`);
  const keyCount = keys.length / layout.keyBytes;
  ensure(
    Number.isInteger(keyCount),
    "E_KERNEL",
    `${kind}: keys have ${keys.length} bytes, must be a multiple of ${layout.keyBytes}`,
  );
  const pointsPerKey = keyCount === 0 ? 0 : points.length / keyCount;
  ensure(
    Number.isInteger(pointsPerKey) && pointsPerKey * keyCount === points.length,
    "E_KERNEL",
    `${kind}: ${points.length} points given for ${keyCount} keys`,
  );
  ensure(
    out.length === points.length * words,
    "E_KERNEL",
    `${kind}: out has ${out.length} words, must be ${points.length} points times ${words}`,
  );
  return { layout, keyCount, pointsPerKey };
}

/** @throws E_RANGE */
export function ensureInsideDomain(kind: FunctionKind, inside: boolean, domainBits: number): void {
  ensure(inside, "E_RANGE", `${kind}: a point lies outside ${domainBits} bits`);
}
