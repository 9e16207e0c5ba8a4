// Layout and domain separation of function-secret-sharing keys (DCF and DPF), the same in every
// kernel set, so that a key dealt by one can be evaluated by another.
//
// Key of one party, with L = domainBits - 1 levels and w payload words (all little-endian):
//   16             root seed, the only part that differs between the two parties
//   L * (16 + 8v)  per level: seed correction, then v value-correction words
//   16 w           leaf correction, w words for leaf bit 0 and w for leaf bit 1
//   ceil(L / 4)    control-bit corrections, two bits a level (left, then right), low bits first
// v = w for the DCF and 0 for the DPF. The last domain bit has no level of its own (early
// termination): one leaf holds both payloads, which saves 16 bytes and one expansion. Words are
// elements of Z_(2^64), or, in a DCF that is asked for `halved`, of Z_(2^32) x Z_(2^32): then all
// sums and differences below are taken in halves.
//
// Generators that a key may be made for; the key itself does not say which.
//
// "chacha12" is ChaCha12 with a 16-byte key (constants "expand 16-byte k", key repeated, as in
// Bernstein 2008), so its input blocks never meet those of `chacha12`, whose key has 32 bytes.
// Words 13..15 of the state are purpose, level and branch; word 12 counts blocks. A child is read
// from its own block: words 0..3 seed, words 4..13 the first five value words, bit 0 of word 15
// the control bit; value words from the sixth on come from the next blocks, eight to a block.
// Leaf words are the seed itself when two suffice, else blocks of branch `leafBranch`.
//
// "aes128" is f(x) = AES(x) xor x (Matyas, Meyer, Oseas) under fixed keys, `aesKeys`: one for each
// kind of function and of block. A node is 16 bytes, a seed of 127 bits and the control bit; the
// latter is bit 64, the lowest of the second 64-bit word. In a root it is the party, whatever the
// key has there. A child's input is its parent's node with the branch (0 or 1) xored into bit 0.
//   seed block       f(input): the child's node
//   value block j    f(input xor j 2^65): value words 2j and 2j + 1
// Where the parent's control bit is set, the child's node is corrected: xored with the seed
// correction (whose bit 64 is zero in the key) and, at bit 64, the control-bit correction of the
// branch. The leaf words of a side (0 or 1) are value blocks under the leaf's key, with the side in
// the place of the branch. Why this is a pseudo-random generator:
// docs/decisions/0014-function-keys-on-aes.md.

import { ensure } from "../errors.ts";
import type {
  EvaluateManyOptions,
  EvaluateOptions,
  FunctionPrg,
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

/** AES-128 keys, 16 characters each. A DPF has no values above the leaf. */
export const aesKeys = {
  dcf: { seed: "mergen:dcf:seed\0", value: "mergen:dcf:value", leaf: "mergen:dcf:leaf\0" },
  dpf: { seed: "mergen:dpf:seed\0", leaf: "mergen:dpf:leaf\0" },
} as const;

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

/** The kind of function as the native and WebAssembly calls take it: 0 DPF, 1 DCF, 2 halved DCF. */
export const kindNumber = (kind: FunctionKind, { halved }: Pick<FunctionShape, "halved">) =>
  kind === "dpf" ? 0 : halved ? 2 : 1;

/** @throws E_KERNEL */
function checkHalved(kind: FunctionKind, { halved }: Pick<FunctionShape, "halved">): void {
  ensure(!halved || kind === "dcf", "E_KERNEL", `${kind}: its words are not halved`);
}

/** The generator that a call asks for; @throws E_KERNEL when these kernels do not have it. */
export function checkPrg(
  kind: FunctionKind,
  { prg = "chacha12" }: Pick<FunctionShape, "prg">,
  known: readonly FunctionPrg[],
): FunctionPrg {
  const has = known.includes(prg);
  ensure(has, "E_KERNEL", `${kind}: keys on ${prg} asked for, these kernels have ${known.join()}`);
  return prg;
}

/** One key pair as a batch of one; `checkGenerateMany` checks the rest. */
export function asBatch(kind: FunctionKind, options: GenerateOptions): GenerateManyOptions {
  const { domainBits, prg, halved, alpha, payload, random } = options;
  const inside = alpha >= 0n && alpha >> 64n === 0n;
  ensure(inside, "E_RANGE", `${kind}: alpha lies outside ${domainBits} bits`);
  const alphas = BigUint64Array.of(alpha);
  return { domainBits, prg, halved, words: payload.length, alphas, payloads: payload, random };
}

/** @throws E_KERNEL on wrong sizes, E_RANGE when an alpha lies outside the domain. */
export function checkGenerateMany(kind: FunctionKind, options: GenerateManyOptions): KeyLayout {
  const { domainBits, words, alphas, payloads, random } = options;
  checkHalved(kind, options);
  const layout = keyLayout(kind, domainBits, words);
  ensure(
    random.length === alphas.length * rootBytes && payloads.length === alphas.length * words,
    "E_KERNEL",
    `${kind}: ${random.length} random bytes and ${payloads.length} payload words given for ` +
      `${alphas.length} keys of ${rootBytes} and ${words}`,
  );
  const inside = areInside(alphas, domainBits);
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
  checkHalved(kind, options);
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

/** Whether every word lies below 2^bits, 1 <= bits <= 64. Makes no BigInt of any: they are many. */
export function areInside(words: BigUint64Array, bits: number): boolean {
  const halves = new Uint32Array(words.buffer, words.byteOffset, 2 * words.length);
  const [lowBits, highBits] = [Math.min(bits, 32), Math.max(bits - 32, 0)];
  let [low, high] = [0, 0];
  for (let i = 0; i < halves.length; i += 2) {
    low |= halves[i];
    high |= halves[i + 1];
  }
  return low >>> 0 < 2 ** lowBits && high >>> 0 < 2 ** highBits;
}

/** @throws E_RANGE */
export function ensureInsideDomain(kind: FunctionKind, inside: boolean, domainBits: number): void {
  ensure(inside, "E_RANGE", `${kind}: a point lies outside ${domainBits} bits`);
}
