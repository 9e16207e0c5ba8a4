// Reads and writes the safetensors format, without input or output: eight bytes of header length,
// a JSON header, then the tensors' bytes, little-endian, without gaps.
// Source: the format's description in the safetensors repository. Every length is checked against
// the bytes at hand before anything is allocated, so a corrupt file costs no more than its size.

import { MergenError } from "../errors.ts";
import { unshifted } from "./grid.ts";

/** Number formats that are understood; all are widened to 32-bit floats. */
export type TensorType = "F32" | "F16" | "BF16" | "I16";

export interface WeightTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
  /**
   * On the int16 grid, column j holds multiples of 2^columnShifts[j] alone, so that 16 bits
   * suffice. Known to S only; a tensor `NAME.columnShifts` of the file.
   */
  readonly columnShifts?: Uint8Array | undefined;
}

export type Weights = Map<string, WeightTensor>;

/** Where one tensor lies: byte offsets within the file. */
export interface TensorEntry {
  readonly name: string;
  readonly type: TensorType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsOptions {
  /**
   * Bits after the point of each tensor kept as int16, by name: such a tensor is I16 in the file,
   * value * 2^bits on its grid.
   */
  readonly fracBits?: Readonly<Record<string, number>> | undefined;
  /** Tensors that are passed over, whatever their number format. */
  readonly ignore?: ((name: string) => boolean) | undefined;
}

const elementBytes: Record<TensorType, number> = { F32: 4, F16: 2, BF16: 2, I16: 2 };
const HEADER_LIMIT_BYTES = 16 << 20;
const RANK_LIMIT = 8;
const TENSOR_LIMIT = 1 << 16;
const COLUMN_SHIFTS = ".columnShifts";
/** Greatest shift of a column that a file may tell. */
export const SHIFT_LIMIT = 24;

type Fail = (message: string) => never;

function failureOf(origin: string): Fail {
  return (message) => {
    throw new MergenError("E_MODEL", `${origin}: ${message}; copy the file anew`);
  };
}

/**
 * The tensors of a safetensors file as 32-bit floats.
 * @throws E_MODEL naming the file and the tensor that is wrong
 */
export function parseSafetensors(
  bytes: Uint8Array,
  origin = "model.safetensors",
  options: SafetensorsOptions = {},
): Weights {
  const weights: Weights = new Map();
  for (const entry of safetensorsEntries(bytes, origin, { ignore: options.ignore })) {
    // new Uint8Array copies and aligns; slice() of a Node Buffer would be a view.
    const copy = new Uint8Array(bytes.subarray(entry.begin, entry.end));
    weights.set(entry.name, tensorOf(entry, copy.buffer, origin, options));
  }
  shiftColumns(weights, origin);
  return weights;
}

/**
 * Multiplies columns by the powers of two that `NAME.columnShifts` tensors tell, in place.
 * @throws E_MODEL naming such a tensor that does not fit another
 */
export function shiftColumns(weights: Weights, origin: string): void {
  for (const [name, { data: listed }] of [...weights]) {
    if (!name.endsWith(COLUMN_SHIFTS)) continue;
    const target = name.slice(0, -COLUMN_SHIFTS.length);
    const tensor = weights.get(target);
    const valid = listed.every((shift) => shift >= 0 && shift <= SHIFT_LIMIT);
    if (!tensor || tensor.shape.at(-1) !== listed.length || !valid) {
      failureOf(origin)(
        `tensor ${quote(name)}: is no list of shifts of ${quote(target)}'s columns`,
      );
    }
    const columnShifts = Uint8Array.from(listed);
    weights.delete(name);
    weights.set(target, shifted({ ...tensor!, columnShifts }));
  }
}

function shifted(tensor: WeightTensor & { columnShifts: Uint8Array }): WeightTensor {
  const { data, columnShifts } = tensor;
  const factors = Float64Array.from(columnShifts, (shift) => 2 ** shift);
  for (let at = 0; at < data.length; at += factors.length) {
    for (let j = 0; j < factors.length; j++) data[at + j]! *= factors[j]!;
  }
  return tensor;
}

/**
 * One tensor from its bytes alone; F32 stays where it is.
 * @throws E_MODEL when it is I16 and `fracBits` does not name it
 */
export function tensorOf(
  { name, type, shape }: TensorEntry,
  buffer: ArrayBuffer,
  origin: string,
  { fracBits = {} }: SafetensorsOptions = {},
): WeightTensor {
  if (type !== "I16") return { shape, data: widen(buffer, type) };
  const given = Object.hasOwn(fracBits, name) ? fracBits[name] : undefined;
  const bits = given ?? (name.endsWith(COLUMN_SHIFTS) ? 0 : undefined);
  if (bits === undefined) {
    const message = `${origin}: tensor ${quote(name)}: is I16 but has no weightFracBits`;
    throw new MergenError("E_MODEL", `${message}; add its number of bits to config.json`);
  }
  const grid = new Int16Array(buffer);
  const data = new Float32Array(grid.length);
  const unit = 2 ** -bits;
  for (let i = 0; i < grid.length; i++) data[i] = grid[i] * unit;
  return { shape, data };
}

/**
 * Where the tensors' bytes begin, from the first eight bytes of a file.
 * @throws E_MODEL naming the file
 */
export function safetensorsStart(first: Uint8Array, fileBytes: number, origin: string): number {
  const fail = failureOf(origin);
  if (fileBytes < 8) return fail("is shorter than its 8 bytes of header length");
  const view = new DataView(first.buffer, first.byteOffset, 8);
  const headerBytes = Number(view.getBigUint64(0, true));
  if (headerBytes > HEADER_LIMIT_BYTES) return fail("the header is longer than 16 MiB");
  const dataStart = 8 + headerBytes;
  if (dataStart > fileBytes) return fail("the header ends beyond the file");
  return dataStart;
}

/**
 * Checks header and layout and tells where each tensor lies, in the order of the bytes. `bytes`
 * may be the file up to its data alone. Tensors to ignore are checked for their place only.
 * @throws E_MODEL naming the file and the tensor that is wrong
 */
export function safetensorsEntries(
  bytes: Uint8Array,
  origin: string,
  {
    fileBytes = bytes.length,
    ignore = () => false,
  }: { fileBytes?: number; ignore?: SafetensorsOptions["ignore"] } = {},
): TensorEntry[] {
  const fail = failureOf(origin);
  const dataStart = safetensorsStart(bytes, fileBytes, origin);
  const header = readHeader(bytes.subarray(8, dataStart), fail);
  const entries: TensorEntry[] = [];
  const names = Object.keys(header);
  if (names.length > TENSOR_LIMIT) fail(`holds more than ${TENSOR_LIMIT} tensors`);
  for (const name of names) {
    if (name === "__metadata__") checkMetadata(header[name], fail);
    else entries.push(readEntry(name, header[name], { dataStart, fileBytes, ignore }, fail));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let position = dataStart;
  for (const { name, begin, end } of entries) {
    if (begin < position) fail(`tensor ${quote(name)}: overlaps another`);
    if (begin > position) fail(`tensor ${quote(name)}: unused bytes stand before it`);
    position = end;
  }
  if (position !== fileBytes) fail("unused bytes stand after the last tensor");
  return entries.filter(({ name }) => !ignore(name));
}

/**
 * The bytes of a safetensors file, tensors in the order of their names.
 * Tensors named in `fracBits` are rounded to int16, the others written as F32.
 * @throws E_RANGE when a value does not fit its grid, E_SHAPE when shape and data differ
 */
export function writeSafetensors(
  weights: ReadonlyMap<string, WeightTensor>,
  options: SafetensorsOptions = {},
): Uint8Array {
  const parts = [...safetensorsParts(weights, options)];
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * The same bytes, header first, then a tensor at a time: a model of any size can be written with
 * one rounded tensor in memory.
 */
export function* safetensorsParts(
  weights: ReadonlyMap<string, WeightTensor>,
  { fracBits = {} }: SafetensorsOptions = {},
): Generator<Uint8Array> {
  const header: [string, unknown][] = [["__metadata__", { format: "pt" }]];
  const listed = [...weights.keys()].sort().map((name) => {
    const bits = Object.hasOwn(fracBits, name) ? fracBits[name] : undefined;
    return { name, bits, ...weights.get(name)! };
  });
  const shifts = listed.flatMap(({ name, bits, columnShifts }) =>
    bits === undefined || !columnShifts ? [] : [shiftTensor(name, columnShifts)],
  );
  listed.push(...shifts);
  let position = 0;
  for (const { name, bits, shape, data } of listed) {
    if (shape.reduce((product, size) => product * size, 1) !== data.length) {
      throw new MergenError("E_SHAPE", `tensor ${quote(name)}: data does not fill [${shape}]`);
    }
    const dtype = bits === undefined ? "F32" : "I16";
    const end = position + elementBytes[dtype] * data.length;
    header.push([name, { dtype, shape: [...shape], data_offsets: [position, end] }]);
    position = end;
  }
  const text = headerText(header);
  const first = new Uint8Array(8 + text.length);
  new DataView(first.buffer).setBigUint64(0, BigInt(text.length), true);
  first.set(text, 8);
  yield first;
  for (const { name, bits, ...tensor } of listed) {
    const values = bits === undefined ? tensor.data : toGrid(unshifted(tensor), { bits, name });
    yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  }
}

function shiftTensor(name: string, columnShifts: Uint8Array) {
  const data = Float32Array.from(columnShifts);
  return { name: `${name}${COLUMN_SHIFTS}`, bits: 0, shape: [data.length], data };
}

/** Object.fromEntries, so that a tensor named `__proto__` is a key like any other. */
function headerText(header: [string, unknown][]): Uint8Array {
  const text = JSON.stringify(Object.fromEntries(header));
  const utf8 = new TextEncoder().encode(text);
  const padded = new Uint8Array(Math.ceil(utf8.length / 8) * 8).fill(0x20);
  padded.set(utf8);
  return padded;
}

function readHeader(bytes: Uint8Array, fail: Fail): Record<string, unknown> {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch {
    return fail("the header is not JSON in UTF-8");
  }
  if (!isRecord(header)) return fail("the header is not an object");
  const repeated = repeatedKey(text);
  if (repeated !== undefined) return fail(`the header holds ${quote(repeated)} twice`);
  return header;
}

function readEntry(
  name: string,
  value: unknown,
  {
    dataStart,
    fileBytes,
    ignore,
  }: { dataStart: number; fileBytes: number; ignore: (name: string) => boolean },
  fail: Fail,
): TensorEntry {
  const wrong: Fail = (message) => fail(`tensor ${quote(name)}: ${message}`);
  if (!isRecord(value)) return wrong("its entry is not an object");
  const { dtype, shape, data_offsets: offsets } = value;
  const ignored = ignore(name);
  if (!ignored && (typeof dtype !== "string" || !Object.hasOwn(elementBytes, dtype))) {
    return wrong(`its number format is none of ${Object.keys(elementBytes).join(", ")}`);
  }
  const type = dtype as TensorType;
  if (!Array.isArray(shape) || shape.length > RANK_LIMIT || !shape.every(isSize)) {
    return wrong(`its shape is not a list of at most ${RANK_LIMIT} sizes`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return wrong("its data_offsets are not two offsets");
  }
  const begin = dataStart + offsets[0];
  const end = dataStart + offsets[1];
  if (begin > end || end > fileBytes) return wrong("its data_offsets lie outside the file");
  const count = shape.reduce((product, size) => product * size, 1);
  if (!ignored && count * elementBytes[type] !== end - begin) {
    return wrong("its data_offsets do not fit its shape");
  }
  return { name, type, shape, begin, end };
}

function checkMetadata(value: unknown, fail: Fail): void {
  const valid = isRecord(value) && Object.values(value).every((text) => typeof text === "string");
  if (!valid) fail("__metadata__ is not a map of texts");
}

/** The first key that stands twice in one object of a valid JSON text. */
function repeatedKey(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === "{") open.push(new Set());
    else if (character === "[") open.push(undefined);
    else if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const start = i;
      i = stringEnd(json, start);
      if (!isKey(json, i + 1)) continue;
      const key: string = JSON.parse(json.slice(start, i + 1));
      const keys = open.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

/** Whether a colon follows, after blanks. */
function isKey(json: string, after: number): boolean {
  let i = after;
  while (json[i] === " " || json[i] === "\n" || json[i] === "\r" || json[i] === "\t") i++;
  return json[i] === ":";
}

/** Where the text that opens at `start` has its closing quote, in valid JSON. */
function stringEnd(json: string, start: number): number {
  let i = start + 1;
  while (json[i] !== '"') i += json[i] === "\\" ? 2 : 1;
  return i;
}

function widen(buffer: ArrayBuffer, type: Exclude<TensorType, "I16">): Float32Array {
  switch (type) {
    case "F32":
      return new Float32Array(buffer);
    case "F16":
      return mapped(new Uint16Array(buffer), halfToFloat);
    case "BF16": {
      const halves = new Uint16Array(buffer);
      const words = new Uint32Array(halves.length);
      for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
      return new Float32Array(words.buffer);
    }
    default:
      return type satisfies never;
  }
}

/** A loop, since Float32Array.from goes through an iterator, at 50 times the cost. */
function mapped(words: Uint16Array, numberOf: (word: number) => number): Float32Array {
  const values = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) values[i] = numberOf(words[i]);
  return values;
}

/** IEEE 754 binary16; Float16Array is too new for the oldest Node that is supported. */
function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function toGrid(data: Float32Array, { bits, name }: { bits: number; name: string }): Int16Array {
  const grid = new Int16Array(data.length);
  const scale = 2 ** bits;
  for (let i = 0; i < data.length; i++) {
    const value = Math.round(data[i] * scale);
    if (!(value >= -32768 && value <= 32767)) {
      const message = `tensor ${quote(name)}: a value does not fit int16 with ${bits} bits`;
      throw new MergenError("E_RANGE", `${message} after the point; choose fewer`);
    }
    grid[i] = value;
  }
  return grid;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** A name from a file, cut so that a message stays readable. */
function quote(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}...` : name);
}
