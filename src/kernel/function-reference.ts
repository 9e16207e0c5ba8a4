// The slow, readable function-secret-sharing keys: the meaning of every step, which the fast
// kernels must match bit for bit. For tests alone, not least since its AES is a table. Names follow
// Boyle et al. 2021, Fig. 1: t control bits, V values.

import { encryptAesBlock, expandAesKey } from "./aes-reference.ts";
import { chachaBlock } from "./chacha-reference.ts";
import {
  aesKeys,
  asBatch,
  blockWords,
  checkEvaluateMany,
  checkGenerateMany,
  checkKey,
  checkPrg,
  ensureInsideDomain,
  type FunctionKind,
  firstBlockWords,
  type KeyLayout,
  leafBranch,
  purposes,
  rootBytes,
  seedBytes,
  shortKeyConstants,
} from "./function-key.ts";
import type {
  EvaluateManyOptions,
  EvaluateOptions,
  FunctionPrg,
  FunctionShape,
  GenerateManyOptions,
  GenerateOptions,
} from "./ring-kernels.ts";

interface Node {
  seed: Uint32Array; // [4]
  control: number;
}

interface Child extends Node {
  values: BigUint64Array; // [valueWords]
}

interface Generator {
  root(seed: Uint32Array, party: number): Node;
  expand(node: Node, at: { level: number; branch: number }, layout: KeyLayout): Child;
  /** Pseudo-random leaf words, [2 * words]. */
  leaf(node: Node, layout: KeyLayout): BigUint64Array;
  /** What of a seed correction a key holds. */
  seedCorrection(whole: Uint32Array): Uint32Array;
  /** The child of a node whose control bit is set. */
  correct(child: Node, seedCorrection: Uint32Array, controlCorrection: number): Node;
}

const generators: Record<FunctionPrg, (kind: FunctionKind) => Generator> = {
  chacha12: chachaGenerator,
  aes128: aesGenerator,
};

export const referencePrgs = ["chacha12", "aes128"] as const satisfies FunctionPrg[];

function xor(a: Uint32Array, b: Uint32Array): Uint32Array<ArrayBuffer> {
  return new Uint32Array(a.map((word, i) => word ^ b[i]));
}

function chachaGenerator(kind: FunctionKind): Generator {
  /** One block of the tree's generator; see function-key.ts. */
  function block(
    seed: Uint32Array,
    place: { level: number; branch: number; block: number },
  ): Uint32Array<ArrayBuffer> {
    const input = new Uint32Array(16);
    input.set(shortKeyConstants, 0);
    input.set(seed, 4);
    input.set(seed, 8);
    input.set([place.block, purposes[kind], place.level, place.branch], 12);
    return chachaBlock(input);
  }

  return {
    root: (seed, party) => ({ seed, control: party }),
    expand({ seed }, place, { valueWords }) {
      const first = block(seed, { ...place, block: 0 });
      const values = new BigUint64Array(valueWords);
      const inFirst = Math.min(valueWords, firstBlockWords);
      values.set(new BigUint64Array(first.buffer, 16, inFirst));
      for (let done = firstBlockWords, i = 1; done < valueWords; done += blockWords, i++) {
        const next = new BigUint64Array(block(seed, { ...place, block: i }).buffer);
        values.set(next.subarray(0, valueWords - done), done);
      }
      return { seed: first.slice(0, 4), control: first[15] & 1, values };
    },
    leaf({ seed }, { words, levels }) {
      const count = 2 * words;
      if (count === 2) return new BigUint64Array(seed.slice().buffer);
      const values = new BigUint64Array(count);
      for (let done = 0, i = 0; done < count; done += blockWords, i++) {
        const place = { level: levels, branch: leafBranch, block: i };
        const next = new BigUint64Array(block(seed, place).buffer);
        values.set(next.subarray(0, count - done), done);
      }
      return values;
    },
    seedCorrection: (whole) => whole,
    correct: (child, seedCorrection, controlCorrection) => ({
      seed: xor(child.seed, seedCorrection),
      control: child.control ^ controlCorrection,
    }),
  };
}

/** Here a seed is the whole node, its control bit with it: bit 0 of the third 32-bit word. */
function aesGenerator(kind: FunctionKind): Generator {
  const bytes = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const keys: Record<string, string> = aesKeys[kind];
  const roundKeys = (block: string) => expandAesKey(bytes(keys[block]));
  const [seedKey, leafKey] = [roundKeys("seed"), roundKeys("leaf")];
  const valueKey = kind === "dcf" ? roundKeys("value") : seedKey;

  /** f(node xor branch xor block, from bit 65 on). */
  function hash(key: Uint8Array, node: Uint32Array, branch: number, block: number): Uint32Array {
    const input = xor(node, Uint32Array.of(branch, 0, 2 * block, 0));
    const output = encryptAesBlock(key, new Uint8Array(input.buffer));
    return xor(new Uint32Array(output.buffer), input);
  }

  function wordsOf(key: Uint8Array, node: Uint32Array, branch: number, count: number) {
    const words = new BigUint64Array(count);
    for (let done = 0; done < count; done += 2) {
      const block = new BigUint64Array(hash(key, node, branch, done / 2).slice().buffer);
      words.set(block.subarray(0, count - done), done);
    }
    return words;
  }

  const replaceBit = (seed: Uint32Array, bit: number) => {
    const out = seed.slice();
    out[2] = (out[2] & ~1) | bit;
    return out;
  };

  return {
    root: (seed, party) => ({ seed: replaceBit(seed, party), control: party }),
    expand({ seed }, { branch }, { valueWords }) {
      const child = hash(seedKey, seed, branch, 0);
      const values = wordsOf(valueKey, seed, branch, valueWords);
      return { seed: child, control: child[2] & 1, values };
    },
    leaf({ seed }, { words }) {
      const values = new BigUint64Array(2 * words);
      for (const side of [0, 1]) values.set(wordsOf(leafKey, seed, side, words), side * words);
      return values;
    },
    seedCorrection: (whole) => replaceBit(whole, 0),
    correct(child, seedCorrection, controlCorrection) {
      const seed = xor(child.seed, xor(seedCorrection, Uint32Array.of(0, 0, controlCorrection, 0)));
      return { seed, control: seed[2] & 1 };
    },
  };
}

/** Where payload words add up; all values are below 2^64. */
interface Group {
  add(a: bigint, b: bigint): bigint;
  negate(a: bigint): bigint;
}

const whole: Group = {
  add: (a, b) => BigInt.asUintN(64, a + b),
  negate: (a) => BigInt.asUintN(64, -a),
};

const lowOf = (a: bigint) => BigInt.asUintN(32, a);

const inHalves: Group = {
  add: (a, b) => (lowOf((a >> 32n) + (b >> 32n)) << 32n) | lowOf(a + b),
  negate: (a) => (lowOf(-(a >> 32n)) << 32n) | lowOf(-a),
};

const groupOf = ({ halved }: Pick<FunctionShape, "halved">) => (halved ? inHalves : whole);

function toWords(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.slice().buffer);
}

function bitAt(value: bigint, position: number): number {
  return Number((value >> BigInt(position)) & 1n);
}

export function generate(kind: FunctionKind, options: GenerateOptions): [Uint8Array, Uint8Array] {
  return generateMany(kind, asBatch(kind, options));
}

export function generateMany(
  kind: FunctionKind,
  options: GenerateManyOptions,
): [Uint8Array, Uint8Array] {
  const layout = checkGenerateMany(kind, options);
  const generator = generators[checkPrg(kind, options, referencePrgs)](kind);
  const { domainBits, halved, words, alphas, payloads, random } = options;
  const keys = new Uint8Array(alphas.length * layout.keyBytes);
  const others = new Uint8Array(keys.length);
  alphas.forEach((alpha, i) => {
    const [key, other] = generateOne(kind, generator, layout, {
      domainBits,
      halved,
      alpha,
      payload: payloads.subarray(i * words, (i + 1) * words),
      random: random.subarray(i * rootBytes, (i + 1) * rootBytes),
    });
    keys.set(key, i * layout.keyBytes);
    others.set(other, i * layout.keyBytes);
  });
  return [keys, others];
}

function generateOne(
  kind: FunctionKind,
  generator: Generator,
  layout: KeyLayout,
  { alpha, payload, random, domainBits, halved }: GenerateOptions,
): [Uint8Array, Uint8Array] {
  const { levels, words, valueWords } = layout;
  const { add, negate } = groupOf({ halved });
  const key = new Uint8Array(layout.keyBytes);
  const root = toWords(random);
  let parties = [0, 1].map((party) => generator.root(root.slice(4 * party, 4 * party + 4), party));
  const pathSum = new BigUint64Array(valueWords); // V_alpha
  for (let level = 0; level < levels; level++) {
    const keep = bitAt(alpha, domainBits - 1 - level);
    const lose = 1 - keep;
    // children[party][branch]
    const children = parties.map((node) =>
      [0, 1].map((branch) => generator.expand(node, { level, branch }, layout)),
    );
    const [zero, one] = children;
    const negative = parties[1].control === 1;
    const seedCorrection = generator.seedCorrection(xor(zero[lose].seed, one[lose].seed));
    const controlCorrection = [
      zero[0].control ^ one[0].control ^ keep ^ 1,
      zero[1].control ^ one[1].control ^ keep,
    ];
    const valueCorrection = new BigUint64Array(valueWords);
    for (let i = 0; i < valueWords; i++) {
      const lost = add(one[lose].values[i], negate(zero[lose].values[i]));
      const hit = lose === 0 ? payload[i] : 0n;
      const value = add(add(lost, negate(pathSum[i])), hit);
      valueCorrection[i] = negative ? negate(value) : value;
      const kept = add(zero[keep].values[i], negate(one[keep].values[i]));
      pathSum[i] = add(pathSum[i], add(kept, value));
    }
    writeLevel(key, layout, { level, seedCorrection, valueCorrection, controlCorrection });
    parties = children.map((pair, party) =>
      parties[party].control === 1
        ? generator.correct(pair[keep], seedCorrection, controlCorrection[keep])
        : pair[keep],
    );
  }
  const leafBit = bitAt(alpha, 0);
  const [leafZero, leafOne] = parties.map((node) => generator.leaf(node, layout));
  const leaf = new BigUint64Array(2 * words);
  for (let i = 0; i < 2 * words; i++) {
    const side = i < words ? 0 : 1;
    const hit = kind === "dcf" ? side < leafBit : side === leafBit;
    const target = add(hit ? payload[i % words] : 0n, negate(pathSum[i % words] ?? 0n));
    const value = add(add(target, negate(leafZero[i])), leafOne[i]);
    leaf[i] = parties[1].control === 1 ? negate(value) : value;
  }
  key.set(new Uint8Array(leaf.buffer), layout.leafOffset);
  const other = key.slice();
  key.set(random.subarray(0, seedBytes));
  other.set(random.subarray(seedBytes));
  return [key, other];
}

function writeLevel(
  key: Uint8Array,
  layout: KeyLayout,
  at: {
    level: number;
    seedCorrection: Uint32Array;
    valueCorrection: BigUint64Array;
    controlCorrection: number[];
  },
): void {
  const offset = seedBytes + at.level * layout.levelBytes;
  key.set(new Uint8Array(at.seedCorrection.slice().buffer), offset);
  key.set(new Uint8Array(at.valueCorrection.buffer), offset + seedBytes);
  const bits = at.controlCorrection[0] | (at.controlCorrection[1] << 1);
  key[layout.controlOffset + (at.level >> 2)] |= bits << (2 * (at.level & 3));
}

export function evaluate(kind: FunctionKind, { key, ...options }: EvaluateOptions): void {
  checkKey(kind, { key, ...options });
  evaluateMany(kind, { ...options, keys: key });
}

export function evaluateMany(kind: FunctionKind, options: EvaluateManyOptions): void {
  const { layout, pointsPerKey } = checkEvaluateMany(kind, options);
  const generator = generators[checkPrg(kind, options, referencePrgs)](kind);
  const { party, keys, points, out, words, domainBits } = options;
  const group = groupOf(options);
  const limit = (1n << BigInt(domainBits)) - 1n;
  const inside = points.every((point) => point <= limit);
  ensureInsideDomain(kind, inside, domainBits);
  points.forEach((point, i) => {
    const offset = Math.floor(i / pointsPerKey) * layout.keyBytes;
    const key = keys.slice(offset, offset + layout.keyBytes); // aligned
    const value = evaluatePoint(generator, { key, party, point, layout, group });
    out.set(party === 0 ? value : value.map((word) => group.negate(word)), i * words);
  });
}

/** Party 0's share, or minus party 1's. */
function evaluatePoint(
  generator: Generator,
  at: {
    key: Uint8Array<ArrayBuffer>;
    party: 0 | 1;
    point: bigint;
    layout: KeyLayout;
    group: Group;
  },
): BigUint64Array {
  const { key, layout, point } = at;
  const { add } = at.group;
  const { levels, words, valueWords } = layout;
  const sum = new BigUint64Array(words);
  let node = generator.root(toWords(key.subarray(0, seedBytes)), at.party);
  for (let level = 0; level < levels; level++) {
    const branch = bitAt(point, levels - level);
    const child = generator.expand(node, { level, branch }, layout);
    const offset = seedBytes + level * layout.levelBytes;
    const seedCorrection = new Uint32Array(key.buffer, offset, 4);
    const valueCorrection = new BigUint64Array(key.buffer, offset + seedBytes, valueWords);
    const controls = key[layout.controlOffset + (level >> 2)] >> (2 * (level & 3));
    const corrected = node.control === 1;
    for (let i = 0; i < valueWords; i++) {
      sum[i] = add(sum[i], add(child.values[i], corrected ? valueCorrection[i] : 0n));
    }
    node = corrected ? generator.correct(child, seedCorrection, (controls >> branch) & 1) : child;
  }
  const leafBit = bitAt(point, 0);
  const leaf = generator.leaf(node, layout);
  const leafCorrection = new BigUint64Array(key.buffer, layout.leafOffset, 2 * words);
  for (let i = 0; i < words; i++) {
    const j = leafBit * words + i;
    sum[i] = add(sum[i], add(leaf[j], node.control === 1 ? leafCorrection[j] : 0n));
  }
  return sum;
}
