// Rounds matrices to int16 with one public number of bits f after the point per tensor, and a shift
// k >= 0 per column that stays with the weights: column j holds 15-bit integers times 2^(k_j - f).
// Columns of small numbers keep their precision, and the public f says nothing of the others.

import { ensure } from "../errors.ts";
import type { ModelConfig } from "./config.ts";
import { SHIFT_LIMIT, type Weights, type WeightTensor } from "./safetensors.ts";

const LIMIT = 32767;
/** Bits after the point at the most: more would leave wires too few for their magnitudes. */
export const MOST_FRAC_BITS = 16;

/**
 * The model with every matrix and table that stands in a product on its grid. The data of `weights`
 * are rounded in place. Biases and positions, which are only added, stay as they are.
 * @throws E_MODEL naming the tensor whose columns have no common grid
 */
export function roundToColumnGrid(
  { config, weights }: { config: ModelConfig; weights: Weights },
  { mostFracBits = MOST_FRAC_BITS }: { mostFracBits?: number | undefined } = {},
): { config: ModelConfig; weights: Weights } {
  const rounded: Weights = new Map();
  const weightFracBits: Record<string, number> = {};
  for (const [name, tensor] of weights) {
    if (!isMultiplied(name)) {
      rounded.set(name, tensor);
      continue;
    }
    // A tied table is read by rows and by columns: one scale for all of it.
    const whole = name === "embedding.weight" && config.tiedHead;
    const columns = whole ? 1 : tensor.shape.at(-1)!;
    const { fracBits, shifts } = columnGrid(tensor.data, columns, mostFracBits);
    const spread = shifts.some((shift) => shift > SHIFT_LIMIT);
    const message = `tensor ${name}: its columns are too far apart in size for an int16 grid`;
    ensure(!spread, "E_MODEL", `${message}: mend the weights`);
    roundColumns(tensor.data, { fracBits, shifts });
    weightFracBits[name] = fracBits;
    const shifted = shifts.some((shift) => shift > 0);
    rounded.set(name, shifted ? { ...tensor, columnShifts: shifts } : tensor);
  }
  return { config: { ...config, weightFracBits }, weights: rounded };
}

function isMultiplied(name: string): boolean {
  return name.endsWith(".weight") && name !== "position.weight";
}

interface ColumnGrid {
  readonly fracBits: number;
  /** One per column. */
  readonly shifts: Uint8Array;
}

/**
 * The public number of bits that the finest column can use, at most `most`, and how many fewer the
 * others have. A column of zeros has shift 0.
 */
export function columnGrid(data: Float32Array, columns: number, most: number): ColumnGrid {
  const greatest = new Float32Array(columns);
  for (let at = 0; at < data.length; at += columns) {
    for (let j = 0; j < columns; j++) {
      const size = Math.abs(data[at + j]!);
      if (size > greatest[j]!) greatest[j] = size;
    }
  }
  const bits = Array.from(greatest, (size) => (size === 0 ? Number.NaN : bitsFor(size, most)));
  const known = bits.filter((each) => !Number.isNaN(each));
  const fracBits = known.reduce((finest, each) => Math.max(finest, each), -Infinity);
  const finest = known.length === 0 ? most : fracBits;
  const shifts = Uint8Array.from(bits, (each) => (Number.isNaN(each) ? 0 : finest - each));
  return { fracBits: finest, shifts };
}

/** Most bits after the point with which a number of this size fits; negative for large ones. */
function bitsFor(size: number, most: number): number {
  let bits = most;
  while (Math.round(size * 2 ** bits) > LIMIT) bits--;
  return bits;
}

function roundColumns(data: Float32Array, { fracBits, shifts }: ColumnGrid): void {
  const units = Float64Array.from(shifts, (shift) => 2 ** (shift - fracBits));
  const inverses = units.map((unit) => 1 / unit);
  const columns = shifts.length;
  for (let at = 0; at < data.length; at += columns) {
    for (let j = 0; j < columns; j++) {
      // + 0 makes 0 of -0, which no integer holds.
      data[at + j] = Math.round(data[at + j]! * inverses[j]!) * units[j]! + 0;
    }
  }
}

/** Columns of a tensor as its int16 file has them: column j divided by 2^shift. */
export function unshifted({ shape, data, columnShifts }: WeightTensor): Float32Array {
  if (!columnShifts) return data;
  const columns = shape.at(-1)!;
  const factors = Float64Array.from(columnShifts, (shift) => 2 ** -shift);
  const out = new Float32Array(data.length);
  for (let at = 0; at < out.length; at += columns) {
    for (let j = 0; j < columns; j++) out[at + j] = data[at + j]! * factors[j]!;
  }
  return out;
}
