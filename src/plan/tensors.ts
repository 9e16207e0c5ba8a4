// The model's tensors as the secure modes use them: which ones a plan needs, as integers at S, as
// masks at C and as their difference at D.

import { ensure } from "../errors.ts";
import type { Tensors } from "../gate/gate.ts";
import type { GateSpec } from "../gate/index.ts";
import type { LinearMap } from "../gate/linear.ts";
import type { RingKernels, RingMatrix } from "../kernel/ring-kernels.ts";
import { Prg } from "../ring/prg.ts";
import type { Words } from "../ring/ring.ts";
import type { Numbers } from "./format.ts";

/** A tensor that S masks for D once per model; `^T` keys read the same tensor transposed. */
export interface MaskedTensor {
  readonly key: string;
  readonly rows: number;
  readonly columns: number;
}

/** Real weights by name, as a checkpoint has them. */
export type RealWeights = ReadonlyMap<string, { readonly data: Float32Array }>;

/** The tensors that linear maps of these gates read, in order of first use. */
export function maskedTensors(segments: Iterable<readonly GateSpec[]>): MaskedTensor[] {
  const found = new Map<string, MaskedTensor>();
  for (const gates of segments) {
    for (const gate of gates) {
      if (gate.kind !== "linear" && gate.kind !== "logits") continue;
      const tensor = tensorOf(gate.map, gate.columns);
      const known = found.get(tensor.key);
      if (!known) found.set(tensor.key, tensor);
    }
  }
  return [...found.values()];
}

function tensorOf(map: LinearMap, columns: number): MaskedTensor {
  switch (map.type) {
    case "matrix": {
      const { key, transposed } = splitKey(map.weight);
      if (transposed) return { key, rows: columns, columns: map.inner };
      return { key, rows: map.inner, columns };
    }
    case "diagonal":
      return { key: map.weight, rows: 1, columns };
    case "attention":
      return {
        key: map.weight,
        rows: map.dims.heads * map.dims.positions,
        columns: map.dims.positions,
      };
    default:
      return map satisfies never;
  }
}

function splitKey(key: string): { key: string; transposed: boolean } {
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
  const unit = 2 ** bits;
  const out = new Int16Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const value = Math.round(data[i]! * unit * (scale?.[i % tensor.columns] ?? 1));
    ensure(Math.abs(value) <= 32767, "E_RANGE", `${tensor.key} exceeds 16 bits at ${bits} bits`);
    out[i] = value;
  }
  return out;
}

function realOf(weights: RealWeights, name: string): Float32Array {
  const found = weights.get(name);
  ensure(found, "E_MODEL", `the model has no tensor ${name}`);
  return found.data;
}

/** S's view: integer weights for products, and biases at any scale. */
export class ServerTensors implements Tensors {
  readonly #kernels: RingKernels;
  readonly #weights: RealWeights;
  readonly #tensors = new Map<string, { tensor: MaskedTensor; values: Int16Array }>();
  readonly #matrices = new Map<string, RingMatrix>();
  readonly #words = new Map<string, Words>();

  constructor(options: {
    kernels: RingKernels;
    weights: RealWeights;
    numbers: Numbers;
    tensors: readonly MaskedTensor[];
  }) {
    this.#kernels = options.kernels;
    this.#weights = options.weights;
    for (const tensor of options.tensors) {
      const values = quantise(options.weights, tensor, options.numbers);
      ensure(values.length === tensor.rows * tensor.columns, "E_MODEL", `${tensor.key}: bad size`);
      this.#tensors.set(tensor.key, { tensor, values });
    }
  }

  matrix(key: string): RingMatrix {
    return cached(this.#matrices, key, () => {
      const { tensor, values, transposed } = this.#find(key);
      if (!transposed) return this.#kernels.loadInt16(values, tensor.rows, tensor.columns);
      const turned = transpose(values, tensor, new Int16Array(values.length));
      return this.#kernels.loadInt16(turned, tensor.columns, tensor.rows);
    });
  }

  /** A tensor's words, or with `name@bits` a bias at that scale. */
  words(key: string): Words {
    return cached(this.#words, key, () => {
      const at = key.lastIndexOf("@");
      if (at >= 0) return this.#biasWords(key.slice(0, at), Number(key.slice(at + 1)));
      return BigUint64Array.from(this.#find(key).values, (value) =>
        BigInt.asUintN(64, BigInt(value)),
      );
    });
  }

  /** B = W - D_W of one tensor, what D gets once per model. */
  masked(key: string, masks: MaskTensors): Words {
    const out = new BigUint64Array(this.words(key).length);
    this.#kernels.sub(out, this.words(key), masks.words(key));
    return out;
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

  #find(key: string) {
    const split = splitKey(key);
    const found = this.#tensors.get(split.key);
    ensure(found, "E_INTERNAL", `tensor ${key} is not part of the plan`);
    return { ...found, transposed: split.transposed };
  }
}

/** round(real * 2^bits), exact beyond 53 bits where the real number is. */
function toInteger(real: number, bits: number): bigint {
  const coarse = Math.min(bits, 30);
  return BigInt(Math.round(real * 2 ** coarse)) << BigInt(bits - coarse);
}

/** Full-width tensors: D_W at C (and at S while it masks), B at D. */
export class RingTensors implements Tensors {
  readonly #kernels: RingKernels;
  readonly #tensors: ReadonlyMap<string, MaskedTensor>;
  readonly #wordsOf: (tensor: MaskedTensor, index: number) => Words;
  readonly #index = new Map<string, number>();
  readonly #matrices = new Map<string, RingMatrix>();
  readonly #words = new Map<string, Words>();

  constructor(
    kernels: RingKernels,
    tensors: readonly MaskedTensor[],
    wordsOf: (tensor: MaskedTensor, index: number) => Words,
  ) {
    this.#kernels = kernels;
    this.#tensors = new Map(tensors.map((tensor) => [tensor.key, tensor]));
    for (const [index, tensor] of tensors.entries()) this.#index.set(tensor.key, index);
    this.#wordsOf = wordsOf;
  }

  matrix(key: string): RingMatrix {
    return cached(this.#matrices, key, () => {
      const split = splitKey(key);
      const tensor = this.#find(split.key);
      const words = this.words(split.key);
      if (!split.transposed) return this.#kernels.loadRing(words, tensor.rows, tensor.columns);
      const turned = transpose(words, tensor, new BigUint64Array(words.length));
      return this.#kernels.loadRing(turned, tensor.columns, tensor.rows);
    });
  }

  words(key: string): Words {
    return cached(this.#words, key, () => {
      const tensor = this.#find(key);
      const words = this.#wordsOf(tensor, this.#index.get(key)!);
      const fits = words.length === tensor.rows * tensor.columns;
      ensure(fits, "E_INTERNAL", `tensor ${key} has a bad size`);
      return words;
    });
  }

  #find(key: string): MaskedTensor {
    const found = this.#tensors.get(key);
    ensure(found, "E_INTERNAL", `tensor ${key} is not part of the plan`);
    return found;
  }
}

export type MaskTensors = RingTensors;

/** D_W of a plan's tensors from the model's mask seed, known to C and S, not to D. */
export function maskTensors(
  kernels: RingKernels,
  tensors: readonly MaskedTensor[],
  seed: Uint8Array,
): MaskTensors {
  const prg = new Prg(kernels, seed);
  return new RingTensors(kernels, tensors, (tensor, index) =>
    prg.words({ segment: index, gate: 0 }, "weights", tensor.rows * tensor.columns, 64),
  );
}

function cached<V>(map: Map<string, V>, key: string, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

function transpose<A extends Int16Array | BigUint64Array>(
  source: A,
  { rows, columns }: MaskedTensor,
  target: A,
): A {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) target[j * rows + i] = source[i * columns + j]!;
  }
  return target;
}
