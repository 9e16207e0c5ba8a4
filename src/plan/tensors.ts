// The model's tensors as the secure modes use them: which ones a plan needs, as integers at S, and
// less their masks at D. The masks themselves, which C and S make from a seed: masks.ts.

import { ensure } from "../errors.ts";
import type { AttentionWeights, Tensors } from "../gate/gate.ts";
import type { GateSpec } from "../gate/index.ts";
import type { LinearMap } from "../gate/linear.ts";
import type { RingKernels, RingMatrix } from "../kernel/ring-kernels.ts";
import type { AnyMatrix, Words } from "../ring/ring.ts";
import type { Numbers } from "./format.ts";

/** How linear maps read a tensor: as a matrix, as its transpose (`^T` keys), or plain. */
export type TensorForm = "matrix" | "transposed" | "plain";

/** A tensor that S masks for D once per model. */
export interface MaskedTensor {
  readonly key: string;
  readonly rows: number;
  readonly columns: number;
  readonly forms: readonly TensorForm[];
}

/** Real weights by name, as a checkpoint has them. */
export type RealWeights = ReadonlyMap<
  string,
  { readonly data: Float32Array; readonly columnShifts?: Uint8Array | undefined }
>;

/** Of the layer that re-sent states pass. */
const RESEND = "resend.weight";

/**
 * The tensors that linear maps of these gates read, in order of first use, but what re-sent states
 * pass last: masks go by the place in this list, which must not depend on where the head stands.
 */
export function maskedTensors(segments: Iterable<readonly GateSpec[]>): MaskedTensor[] {
  const found = new Map<string, MaskedTensor>();
  for (const gates of segments) {
    for (const gate of gates) {
      if (gate.kind !== "linear" && gate.kind !== "logits") continue;
      const tensor = tensorOf(gate.map, gate.columns);
      const forms = new Set([...(found.get(tensor.key)?.forms ?? []), ...tensor.forms]);
      found.set(tensor.key, { ...tensor, forms: [...forms].sort() });
    }
  }
  const isLast = ({ key }: MaskedTensor) => Number(key === RESEND);
  return [...found.values()].sort((a, b) => isLast(a) - isLast(b));
}

function tensorOf(map: LinearMap, columns: number): MaskedTensor {
  switch (map.type) {
    case "matrix": {
      const { key, transposed } = splitKey(map.weight);
      if (transposed) return { key, rows: columns, columns: map.inner, forms: ["transposed"] };
      return { key, rows: map.inner, columns, forms: ["matrix"] };
    }
    case "diagonal":
      return { key: map.weight, rows: 1, columns, forms: ["plain"] };
    case "attention": {
      const { heads, positions } = map.dims;
      const [rows, forms] = [heads * positions, ["plain"] as const];
      return { key: map.weight, rows, columns: positions, forms };
    }
    default:
      return map satisfies never;
  }
}

export function splitKey(key: string): { key: string; transposed: boolean } {
  return key.endsWith("^T")
    ? { key: key.slice(0, -2), transposed: true }
    : { key, transposed: false };
}

/**
 * The weights on the int16 grid that config.json states; a key `a*b` is a with its columns scaled
 * by b, on a's grid.
 * @throws E_RANGE naming the tensor that does not fit 16 bits
 */
export function quantise(weights: RealWeights, tensor: MaskedTensor, numbers: Numbers): Int16Array {
  const [name, scaleName] = tensor.key.split("*") as [string, string | undefined];
  const data = realOf(weights, name);
  const bits = numbers.weightFracBits?.[name];
  ensure(bits !== undefined, "E_MODEL", `config.json has no weightFracBits for ${name}`);
  const scale = scaleName === undefined ? undefined : realOf(weights, scaleName);
  const units = unitsOf(weights.get(name)!, tensor, 2 ** bits);
  const out = new Int16Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const column = i % tensor.columns;
    const value = Math.round(data[i]! * units[column]! * (scale?.[column] ?? 1));
    ensure(Math.abs(value) <= 32767, "E_RANGE", `${tensor.key} exceeds 16 bits at ${bits} bits`);
    out[i] = value;
  }
  return out;
}

/**
 * Entries a unit, by column: fewer where the tensor has column shifts, W = entries << shift.
 * @throws E_MODEL when a shifted tensor is read otherwise than as a matrix
 */
function unitsOf(
  { columnShifts }: { readonly columnShifts?: Uint8Array | undefined },
  { key, columns, forms }: MaskedTensor,
  unit: number,
): Float64Array {
  if (!columnShifts) return new Float64Array(columns).fill(unit);
  const plain = columnShifts.length === columns && forms.every((form) => form === "matrix");
  ensure(plain && !key.includes("*"), "E_MODEL", `${key} has column shifts but is no plain matrix`);
  return Float64Array.from(columnShifts, (shift) => unit * 2 ** -shift);
}

function realOf(weights: RealWeights, name: string): Float32Array {
  const found = weights.get(name);
  ensure(found, "E_MODEL", `the model has no tensor ${name}`);
  return found.data;
}

/** S's view: integer weights for products, and biases at any scale. */
export class ServerTensors implements Tensors {
  readonly #weights: RealWeights;
  readonly #tensors = new Map<string, Int16Array>();
  readonly #matrices = new Map<string, AnyMatrix>();
  readonly #words = new Map<string, Words>();

  constructor(options: {
    kernels: RingKernels;
    weights: RealWeights;
    numbers: Numbers;
    tensors: readonly MaskedTensor[];
  }) {
    this.#weights = options.weights;
    for (const tensor of options.tensors) {
      const values = quantise(options.weights, tensor, options.numbers);
      ensure(values.length === tensor.rows * tensor.columns, "E_MODEL", `${tensor.key}: bad size`);
      this.#tensors.set(tensor.key, values);
      this.#load(options.kernels, tensor, values);
    }
  }

  #load(kernels: RingKernels, tensor: MaskedTensor, values: Int16Array): void {
    const { key, rows, columns, forms } = tensor;
    if (forms.includes("matrix")) {
      const matrix = kernels.loadInt16(values, rows, columns);
      const factors = this.#factors(key);
      this.#matrices.set(key, factors ? { matrix, rows, columns, factors } : matrix);
    }
    if (forms.includes("transposed")) {
      const turned = transpose(values, tensor, new Int16Array(values.length));
      this.#matrices.set(`${key}^T`, kernels.loadInt16(turned, columns, rows));
    }
  }

  matrix(key: string): AnyMatrix {
    return listed(this.#matrices, key);
  }

  attention(key: string): AttentionWeights {
    return { weights: listed(this.#tensors, key), held: undefined };
  }

  /** Words from..from+count-1 of a tensor, row-major, its column shifts applied. */
  effective(key: string, { from, count }: { from: number; count: number }): Words {
    const entries = listed(this.#tensors, key).subarray(from, from + count);
    const shifts = this.#weights.get(key)?.columnShifts;
    return shifts ? shiftedWords(entries, shifts, from) : widened(entries);
  }

  /** 2^shift for each column of a tensor that has shifts. */
  #factors(key: string): Words | undefined {
    const shifts = this.#weights.get(key)?.columnShifts;
    return shifts && BigUint64Array.from(shifts, (shift) => 1n << BigInt(shift));
  }

  /** A tensor's words, or with `name@bits` a bias at that scale. */
  words(key: string): Words {
    const known = this.#words.get(key);
    if (known) return known;
    const at = key.lastIndexOf("@");
    const made =
      at >= 0
        ? this.#biasWords(key.slice(0, at), Number(key.slice(at + 1)))
        : this.effective(key, { from: 0, count: listed(this.#tensors, key).length });
    this.#words.set(key, made);
    return made;
  }

  /** The int16 entries of one tensor. */
  entries(key: string): Int16Array {
    return listed(this.#tensors, key);
  }

  #biasWords(name: string, bits: number): Words {
    const [base, scaleName] = name.split("*") as [string, string | undefined];
    const data = realOf(this.#weights, base);
    const scale = scaleName === undefined ? undefined : realOf(this.#weights, scaleName);
    return BigUint64Array.from(data, (value, i) => {
      const real = value * (scale?.[i % scale.length] ?? 1);
      return BigInt.asUintN(64, toInteger(real, bits));
    });
  }
}

function listed<V>(map: ReadonlyMap<string, V>, key: string): V {
  const found = map.get(key);
  ensure(found, "E_INTERNAL", `tensor ${key} is not part of the plan in this form`);
  return found;
}

/** int16 entries as ring words. */
export function widened(values: Int16Array): Words {
  const out = new BigUint64Array(values.length);
  const halves = new Int32Array(out.buffer);
  for (let i = 0; i < values.length; i++) {
    halves[2 * i] = values[i]!;
    halves[2 * i + 1] = values[i]! >> 31;
  }
  return out;
}

/** The same, entry i of them shifted as column (from + i) mod columns is, by less than 32 bits. */
function shiftedWords(values: Int16Array, shifts: Uint8Array, from: number): Words {
  const out = new BigUint64Array(values.length);
  const halves = new Int32Array(out.buffer);
  for (let i = 0; i < values.length; i++) {
    const shift = shifts[(from + i) % shifts.length]!;
    halves[2 * i] = values[i]! << shift;
    halves[2 * i + 1] = shift === 0 ? values[i]! >> 31 : values[i]! >> (32 - shift);
  }
  return out;
}

/** round(real * 2^bits), exact beyond 53 bits where the real number is. */
function toInteger(real: number, bits: number): bigint {
  const coarse = Math.min(bits, 30);
  return BigInt(Math.round(real * 2 ** coarse)) << BigInt(bits - coarse);
}

/** D's view: B at full width. Takes one tensor after the other and keeps it as gates read it. */
export class RingTensors implements Tensors {
  readonly #kernels: RingKernels;
  readonly #matrices = new Map<string, RingMatrix>();
  readonly #words = new Map<string, Words>();

  constructor(kernels: RingKernels) {
    this.#kernels = kernels;
  }

  /** @throws E_INTERNAL when the words are not those of the tensor's shape */
  add(tensor: MaskedTensor, words: Words): void {
    const { key, rows, columns, forms } = tensor;
    ensure(words.length === rows * columns, "E_INTERNAL", `tensor ${key} has a bad size`);
    if (forms.includes("plain")) this.#words.set(key, words);
    if (forms.includes("matrix")) {
      this.#matrices.set(key, this.#kernels.loadRing(words, rows, columns));
    }
    if (forms.includes("transposed")) {
      const turned = new BigUint64Array(words.length);
      transposeWords(words, tensor, turned);
      this.#matrices.set(`${key}^T`, this.#kernels.loadRing(turned, columns, rows));
    }
  }

  matrix(key: string): RingMatrix {
    return listed(this.#matrices, key);
  }

  attention(key: string): AttentionWeights {
    return { weights: listed(this.#words, key), held: undefined };
  }

  words(key: string): Words {
    return listed(this.#words, key);
  }

  /** Gives the matrices' memory back; nothing can be read afterwards. */
  free(): void {
    for (const matrix of this.#matrices.values()) matrix.free();
    this.#matrices.clear();
    this.#words.clear();
  }
}

/** Rows and columns of a block that is turned at one time: both its sides stay in the cache. */
const BLOCK = 32;

/** [rows, columns] to [columns, rows], block by block. */
function transpose(
  source: Int16Array,
  { rows, columns }: MaskedTensor,
  target: Int16Array,
): Int16Array {
  for (let top = 0; top < rows; top += BLOCK) {
    const bottom = Math.min(rows, top + BLOCK);
    for (let j = 0; j < columns; j++) {
      for (let i = top; i < bottom; i++) target[j * rows + i] = source[i * columns + j]!;
    }
  }
  return target;
}

/** The same for words, as pairs of 32-bit halves: bigint elements would be made one by one. */
function transposeWords(source: Words, shape: MaskedTensor, target: Words): void {
  const { rows, columns } = shape;
  const from = new Int32Array(source.buffer, source.byteOffset, 2 * source.length);
  const to = new Int32Array(target.buffer, target.byteOffset, 2 * target.length);
  for (let top = 0; top < rows; top += BLOCK) {
    const bottom = Math.min(rows, top + BLOCK);
    for (let j = 0; j < columns; j++) {
      for (let i = top; i < bottom; i++) {
        const at = 2 * (j * rows + i);
        to[at] = from[2 * (i * columns + j)]!;
        to[at + 1] = from[2 * (i * columns + j) + 1]!;
      }
    }
  }
}
