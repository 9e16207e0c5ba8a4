// The slow, readable ring kernels: the meaning of every operation, which the fast ones must match
// bit for bit. Plain loops over bigint; ChaCha works on 32-bit words. Byte order is that of the
// platform, little-endian wherever JavaScript runs today.

import { ensure } from "../errors.ts";
import {
  asBatch,
  blockWords,
  checkEvaluateMany,
  checkGenerateMany,
  checkKey,
  ensureInsideDomain,
  type FunctionKind,
  firstBlockWords,
  type KeyLayout,
  keyBytesOf,
  leafBranch,
  purposes,
  rootBytes,
  seedBytes,
  shortKeyConstants,
} from "./function-key.ts";
import {
  checkAttend,
  checkBits,
  checkChacha,
  checkKeystream,
  checkLoad,
  checkMatmul,
  checkPacked,
  checkSameLength,
  checkShift,
  checkSumRows,
} from "./ring-checks.ts";
import type {
  AttentionDims,
  EvaluateManyOptions,
  EvaluateOptions,
  GenerateManyOptions,
  GenerateOptions,
  KeystreamMatrix,
  RingKernels,
  RingMatrix,
} from "./ring-kernels.ts";

interface ReferenceMatrix extends RingMatrix {
  entries: Int16Array | BigUint64Array | undefined;
}

export function referenceRingKernels(): RingKernels {
  return {
    name: "reference",
    functionPrgs: ["chacha12"],
    add(out, a, b) {
      checkSameLength("add", out, a, b);
      for (let i = 0; i < out.length; i++) out[i] = a[i] + b[i];
    },
    sub(out, a, b) {
      checkSameLength("sub", out, a, b);
      for (let i = 0; i < out.length; i++) out[i] = a[i] - b[i];
    },
    mul(out, a, b) {
      checkSameLength("mul", out, a, b);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asUintN(64, a[i] * b[i]);
    },
    scale(out, a, factor) {
      checkSameLength("scale", out, a);
      const f = BigInt.asUintN(64, factor);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asUintN(64, a[i] * f);
    },
    addScaled(out, a, factor) {
      checkSameLength("addScaled", out, a);
      const f = BigInt.asUintN(64, factor);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asUintN(64, out[i] + a[i] * f);
    },
    addConstant(out, a, constant) {
      checkSameLength("addConstant", out, a);
      const c = BigInt.asUintN(64, constant);
      for (let i = 0; i < out.length; i++) out[i] = a[i] + c;
    },
    shiftRight(out, a, bits) {
      checkSameLength("shiftRight", out, a);
      checkShift("shiftRight", bits);
      for (let i = 0; i < out.length; i++) out[i] = a[i] >> BigInt(bits);
    },
    shiftRightSigned(out, a, bits) {
      checkSameLength("shiftRightSigned", out, a);
      checkShift("shiftRightSigned", bits);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asIntN(64, a[i]) >> BigInt(bits);
    },
    lowBits(out, a, bits) {
      checkSameLength("lowBits", out, a);
      checkBits("lowBits", bits);
      for (let i = 0; i < out.length; i++) out[i] = BigInt.asUintN(bits, a[i]);
    },
    sumRows(out, a, width) {
      checkSumRows(out, a, width);
      for (let i = 0; i < out.length; i++) {
        let sum = 0n;
        for (let j = 0; j < width; j++) sum = BigInt.asUintN(64, sum + a[i * width + j]);
        out[i] = sum;
      }
    },
    pack,
    unpack,
    loadInt16(weights, rows, columns) {
      checkLoad("loadInt16", weights.length, rows, columns);
      return matrix("int16", weights.slice(), rows, columns);
    },
    loadRing(words, rows, columns) {
      checkLoad("loadRing", words.length, rows, columns);
      return matrix("ring", words.slice(), rows, columns);
    },
    matmul,
    matmulKeystream,
    attend,
    chacha12,
    dcfGenerate: (options) => generate("dcf", options),
    dcfGenerateMany: (options) => generateMany("dcf", options),
    dcfEvaluate: (options) => evaluate("dcf", options),
    dcfEvaluateMany: (options) => evaluateMany("dcf", options),
    dcfKeyBytes: (shape) => keyBytesOf("dcf", shape),
    dpfGenerate: (options) => generate("dpf", options),
    dpfGenerateMany: (options) => generateMany("dpf", options),
    dpfEvaluate: (options) => evaluate("dpf", options),
    dpfEvaluateMany: (options) => evaluateMany("dpf", options),
    dpfKeyBytes: (shape) => keyBytesOf("dpf", shape),
    close() {},
  };
}

function pack(out: Uint8Array, words: BigUint64Array, bits: number): void {
  checkPacked("pack", out, words, bits);
  let [held, heldBits, at] = [0n, 0, 0];
  for (const word of words) {
    held |= BigInt.asUintN(bits, word) << BigInt(heldBits);
    for (heldBits += bits; heldBits >= 8; heldBits -= 8) {
      out[at++] = Number(held & 255n);
      held >>= 8n;
    }
  }
  if (heldBits > 0) out[at] = Number(held);
}

function unpack(out: BigUint64Array, bytes: Uint8Array, bits: number): void {
  checkPacked("unpack", bytes, out, bits);
  let [held, heldBits, at] = [0n, 0, 0];
  for (let i = 0; i < out.length; i++) {
    for (; heldBits < bits; heldBits += 8) held |= BigInt(bytes[at++]) << BigInt(heldBits);
    out[i] = BigInt.asUintN(bits, held);
    held >>= BigInt(bits);
    heldBits -= bits;
  }
}

function matrix(
  kind: "int16" | "ring",
  entries: Int16Array | BigUint64Array,
  rows: number,
  columns: number,
): ReferenceMatrix {
  return {
    rows,
    columns,
    kind,
    entries,
    free() {
      this.entries = undefined;
    },
  };
}

function matmul(out: BigUint64Array, x: BigUint64Array, weights: RingMatrix): void {
  const m = checkMatmul(out, x, weights);
  const { entries, rows, columns } = weights as ReferenceMatrix;
  ensure(entries !== undefined, "E_KERNEL", "matmul: the matrix was freed or is another kernel's");
  out.fill(0n);
  for (let i = 0; i < m; i++) {
    for (let k = 0; k < rows; k++) {
      const factor = x[i * rows + k];
      for (let j = 0; j < columns; j++) {
        const product = BigInt.asUintN(64, factor * BigInt(entries[k * columns + j]));
        out[i * columns + j] += product;
      }
    }
  }
}

function matmulKeystream(out: BigUint64Array, x: BigUint64Array, matrix: KeystreamMatrix): void {
  const m = checkKeystream(out, x, matrix);
  const { rows, columns, transposed, key, nonce } = matrix;
  const words = new BigUint64Array(rows * columns);
  chacha12(new Uint8Array(words.buffer), key, nonce, 0);
  const [inner, outer] = transposed ? [columns, rows] : [rows, columns];
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < outer; j++) {
      let sum = 0n;
      for (let k = 0; k < inner; k++) {
        sum += x[i * inner + k] * words[transposed ? j * columns + k : k * columns + j];
      }
      out[i * outer + j] = BigInt.asUintN(64, sum);
    }
  }
}

function attend(
  out: BigUint64Array,
  x: BigUint64Array,
  weights: BigUint64Array | Int16Array,
  dims: AttentionDims,
): void {
  const rows = checkAttend(out, x, weights, dims);
  const { heads, positions, start, columns } = dims;
  const held = dims.held ?? { from: 0, count: positions };
  const width = columns / heads;
  out.fill(0n);
  for (let row = start; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const head = Math.floor(column / width);
      const weightRow = (head * held.count + row - held.from) * positions;
      let sum = 0n;
      for (let j = 0; j <= row; j++) {
        sum += BigInt(weights[weightRow + j]) * x[j * columns + column];
      }
      out[(row - start) * columns + column] = BigInt.asUintN(64, sum);
    }
  }
}

// ChaCha12

/** "expand 32-byte k". */
const longKeyConstants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

function chacha12(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, counter: number): void {
  checkChacha(out, key, nonce, counter);
  const input = new Uint32Array(16);
  input.set(longKeyConstants, 0);
  input.set(toWords(key), 4);
  input.set(toWords(nonce), 13);
  for (let offset = 0; offset < out.length; offset += 64) {
    input[12] = counter + offset / 64;
    const bytes = new Uint8Array(chachaBlock(input).buffer);
    out.set(bytes.subarray(0, out.length - offset), offset);
  }
}

function toWords(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.slice().buffer);
}

/** One block: 12 rounds (6 double rounds) and the feed-forward. */
function chachaBlock(input: Uint32Array): Uint32Array<ArrayBuffer> {
  const s = Uint32Array.from(input);
  for (let round = 0; round < 12; round += 2) {
    quarterRound(s, 0, 4, 8, 12);
    quarterRound(s, 1, 5, 9, 13);
    quarterRound(s, 2, 6, 10, 14);
    quarterRound(s, 3, 7, 11, 15);
    quarterRound(s, 0, 5, 10, 15);
    quarterRound(s, 1, 6, 11, 12);
    quarterRound(s, 2, 7, 8, 13);
    quarterRound(s, 3, 4, 9, 14);
  }
  for (let i = 0; i < 16; i++) s[i] += input[i];
  return s;
}

function quarterRound(s: Uint32Array, a: number, b: number, c: number, d: number): void {
  s[a] += s[b];
  s[d] = rotateLeft(s[d] ^ s[a], 16);
  s[c] += s[d];
  s[b] = rotateLeft(s[b] ^ s[c], 12);
  s[a] += s[b];
  s[d] = rotateLeft(s[d] ^ s[a], 8);
  s[c] += s[d];
  s[b] = rotateLeft(s[b] ^ s[c], 7);
}

function rotateLeft(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}

// Function secret sharing. Names follow Boyle et al. 2021, Fig. 1: t control bits, V values.

interface Node {
  seed: Uint32Array; // [4]
  control: number;
}

interface Child extends Node {
  values: BigUint64Array; // [valueWords]
}

/** One block of the tree's generator; see function-key.ts. */
function treeBlock(
  seed: Uint32Array,
  place: { purpose: number; level: number; branch: number; block: number },
): Uint32Array<ArrayBuffer> {
  const input = new Uint32Array(16);
  input.set(shortKeyConstants, 0);
  input.set(seed, 4);
  input.set(seed, 8);
  input.set([place.block, place.purpose, place.level, place.branch], 12);
  return chachaBlock(input);
}

function expand(
  seed: Uint32Array,
  place: { purpose: number; level: number; branch: number },
  valueWords: number,
): Child {
  const first = treeBlock(seed, { ...place, block: 0 });
  const values = new BigUint64Array(valueWords);
  const inFirst = Math.min(valueWords, firstBlockWords);
  values.set(new BigUint64Array(first.buffer, 16, inFirst));
  for (let done = firstBlockWords, block = 1; done < valueWords; done += blockWords, block++) {
    const next = new BigUint64Array(treeBlock(seed, { ...place, block }).buffer);
    values.set(next.subarray(0, valueWords - done), done);
  }
  return { seed: first.slice(0, 4), control: first[15] & 1, values };
}

/** Pseudo-random leaf words [2 * words] of a seed. */
function convertLeaf(seed: Uint32Array, purpose: number, layout: KeyLayout): BigUint64Array {
  const count = 2 * layout.words;
  if (count === 2) return new BigUint64Array(seed.slice().buffer);
  const values = new BigUint64Array(count);
  const place = { purpose, level: layout.levels, branch: leafBranch };
  for (let done = 0, block = 0; done < count; done += blockWords, block++) {
    const next = new BigUint64Array(treeBlock(seed, { ...place, block }).buffer);
    values.set(next.subarray(0, count - done), done);
  }
  return values;
}

function bitAt(value: bigint, position: number): number {
  return Number((value >> BigInt(position)) & 1n);
}

function generate(kind: FunctionKind, options: GenerateOptions): [Uint8Array, Uint8Array] {
  return generateMany(kind, asBatch(kind, options));
}

function generateMany(kind: FunctionKind, options: GenerateManyOptions): [Uint8Array, Uint8Array] {
  const layout = checkGenerateMany(kind, options);
  const { domainBits, words, alphas, payloads, random } = options;
  const keys = new Uint8Array(alphas.length * layout.keyBytes);
  const others = new Uint8Array(keys.length);
  alphas.forEach((alpha, i) => {
    const [key, other] = generateOne(kind, layout, {
      domainBits,
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
  layout: KeyLayout,
  { alpha, payload, random, domainBits }: GenerateOptions,
): [Uint8Array, Uint8Array] {
  const { levels, words, valueWords } = layout;
  const purpose = purposes[kind];
  const key = new Uint8Array(layout.keyBytes);
  const root = toWords(random);
  let parties: Node[] = [
    { seed: root.slice(0, 4), control: 0 },
    { seed: root.slice(4, 8), control: 1 },
  ];
  const pathSum = new BigUint64Array(valueWords); // V_alpha
  for (let level = 0; level < levels; level++) {
    const keep = bitAt(alpha, domainBits - 1 - level);
    const lose = 1 - keep;
    // children[party][branch]
    const children = parties.map((node) =>
      [0, 1].map((branch) => expand(node.seed, { purpose, level, branch }, valueWords)),
    );
    const [zero, one] = children;
    const negative = parties[1].control === 1;
    const seedCorrection = zero[lose].seed.map((word, i) => word ^ one[lose].seed[i]);
    const controlCorrection = [
      zero[0].control ^ one[0].control ^ keep ^ 1,
      zero[1].control ^ one[1].control ^ keep,
    ];
    const valueCorrection = new BigUint64Array(valueWords);
    for (let i = 0; i < valueWords; i++) {
      let value = one[lose].values[i] - zero[lose].values[i] - pathSum[i];
      if (lose === 0) value += payload[i];
      valueCorrection[i] = negative ? -value : value;
      pathSum[i] += zero[keep].values[i] - one[keep].values[i] + value;
    }
    writeLevel(key, layout, { level, seedCorrection, valueCorrection, controlCorrection });
    parties = children.map((pair, party) =>
      correct(pair[keep], parties[party].control, seedCorrection, controlCorrection[keep]),
    );
  }
  const leafBit = bitAt(alpha, 0);
  const [leafZero, leafOne] = parties.map((node) => convertLeaf(node.seed, purpose, layout));
  const leaf = new BigUint64Array(2 * words);
  for (let i = 0; i < 2 * words; i++) {
    const side = i < words ? 0 : 1;
    const hit = kind === "dcf" ? side < leafBit : side === leafBit;
    const target = (hit ? payload[i % words] : 0n) - (pathSum[i % words] ?? 0n);
    const value = target - leafZero[i] + leafOne[i];
    leaf[i] = parties[1].control === 1 ? -value : value;
  }
  key.set(new Uint8Array(leaf.buffer), layout.leafOffset);
  const other = key.slice();
  key.set(random.subarray(0, seedBytes));
  other.set(random.subarray(seedBytes));
  return [key, other];
}

function correct(
  child: Node,
  control: number,
  seedCorrection: Uint32Array,
  controlCorrection: number,
): Node {
  if (control === 0) return child;
  return {
    seed: child.seed.map((word, i) => word ^ seedCorrection[i]),
    control: child.control ^ controlCorrection,
  };
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

function evaluate(kind: FunctionKind, { key, ...options }: EvaluateOptions): void {
  checkKey(kind, { key, ...options });
  evaluateMany(kind, { ...options, keys: key });
}

function evaluateMany(kind: FunctionKind, options: EvaluateManyOptions): void {
  const { layout, pointsPerKey } = checkEvaluateMany(kind, options);
  const { party, keys, points, out, words, domainBits } = options;
  const limit = (1n << BigInt(domainBits)) - 1n;
  const inside = points.every((point) => point <= limit);
  ensureInsideDomain(kind, inside, domainBits);
  points.forEach((point, i) => {
    const offset = Math.floor(i / pointsPerKey) * layout.keyBytes;
    const key = keys.slice(offset, offset + layout.keyBytes); // aligned
    const value = evaluatePoint(kind, { key, party, point, layout });
    out.set(party === 0 ? value : value.map((word) => -word), i * words);
  });
}

/** Party 0's share, or minus party 1's. */
function evaluatePoint(
  kind: FunctionKind,
  at: { key: Uint8Array<ArrayBuffer>; party: 0 | 1; point: bigint; layout: KeyLayout },
): BigUint64Array {
  const { key, layout, point } = at;
  const { levels, words, valueWords } = layout;
  const purpose = purposes[kind];
  const sum = new BigUint64Array(words);
  let node: Node = { seed: toWords(key.subarray(0, seedBytes)), control: at.party };
  for (let level = 0; level < levels; level++) {
    const branch = bitAt(point, levels - level);
    const child = expand(node.seed, { purpose, level, branch }, valueWords);
    const offset = seedBytes + level * layout.levelBytes;
    const seedCorrection = new Uint32Array(key.buffer, offset, 4);
    const valueCorrection = new BigUint64Array(key.buffer, offset + seedBytes, valueWords);
    const controls = key[layout.controlOffset + (level >> 2)] >> (2 * (level & 3));
    for (let i = 0; i < valueWords; i++) {
      sum[i] += child.values[i] + (node.control === 1 ? valueCorrection[i] : 0n);
    }
    node = correct(child, node.control, seedCorrection, (controls >> branch) & 1);
  }
  const leafBit = bitAt(point, 0);
  const leaf = convertLeaf(node.seed, purpose, layout);
  const leafCorrection = new BigUint64Array(key.buffer, layout.leafOffset, 2 * words);
  for (let i = 0; i < words; i++) {
    const j = leafBit * words + i;
    sum[i] += leaf[j] + (node.control === 1 ? leafCorrection[j] : 0n);
  }
  return sum;
}
