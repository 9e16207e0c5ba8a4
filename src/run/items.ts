// Several gates' bytes in one payload, each found by its segment and gate: online messages,
// bundles and uploads alike. Nothing is found by its position.

import { ensure } from "../errors.ts";

/** Segment u32, gate u16, zero u16, length u32, little-endian. */
export const ITEM_HEADER_BYTES = 12;

/** A number for a gate, or a wire, of a segment. */
export function itemKey(segment: number, gate: number): number {
  return segment * 65_536 + gate;
}

export interface Item {
  readonly segment: number;
  readonly gate: number;
  readonly bytes: Uint8Array;
}

/** Bytes of a payload that holds items of these sizes. */
export function itemsBytes(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + ITEM_HEADER_BYTES + size, 0);
}

/** One payload. */
export function encodeItems(items: readonly Item[]): Uint8Array {
  const sizes = items.map((item) => item.bytes.length);
  const out = new Uint8Array(itemsBytes(sizes));
  writeItems(out, items);
  return out;
}

/** Writes items into memory of exactly their size. */
export function writeItems(out: Uint8Array, items: readonly Item[]): void {
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  let at = 0;
  for (const { segment, gate, bytes } of items) {
    writeHeader(view, at, { segment, gate, length: bytes.length });
    out.set(bytes, at + ITEM_HEADER_BYTES);
    at += ITEM_HEADER_BYTES + bytes.length;
  }
}

function writeHeader(
  view: DataView,
  at: number,
  { segment, gate, length }: { segment: number; gate: number; length: number },
): void {
  view.setUint32(at, segment, true);
  view.setUint16(at + 4, gate, true);
  view.setUint16(at + 6, 0, true);
  view.setUint32(at + 8, length, true);
}

/** An item whose bytes are not in one piece yet. */
export interface ItemParts {
  readonly segment: number;
  readonly gate: number;
  readonly parts: readonly Uint8Array[];
}

const lengthOf = ({ parts }: ItemParts) => parts.reduce((sum, part) => sum + part.length, 0);

/** One payload in memory of `room`; the `headerBytes` that lead it are not written. */
export function encodeParts(
  items: readonly ItemParts[],
  headerBytes: number,
  room: (byteLength: number) => Uint8Array,
): Uint8Array {
  const sizes = items.map(lengthOf);
  const out = room(headerBytes + itemsBytes(sizes));
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  let at = headerBytes;
  for (const [i, { segment, gate, parts }] of items.entries()) {
    writeHeader(view, at, { segment, gate, length: sizes[i]! });
    at += ITEM_HEADER_BYTES;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
  }
  return out;
}

/** @throws E_FRAME when a length exceeds the payload or a reserved field is not zero */
export function decodeItems(payload: Uint8Array): Item[] {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const items: Item[] = [];
  let at = 0;
  while (at < payload.length) {
    ensure(payload.length - at >= ITEM_HEADER_BYTES, "E_FRAME", "an item's header is cut off");
    ensure(view.getUint16(at + 6, true) === 0, "E_FRAME", "an item's reserved field is not zero");
    const length = view.getUint32(at + 8, true);
    const start = at + ITEM_HEADER_BYTES;
    ensure(length <= payload.length - start, "E_FRAME", "an item is longer than its message");
    const bytes = payload.subarray(start, start + length);
    items.push({ segment: view.getUint32(at, true), gate: view.getUint16(at + 4, true), bytes });
    at = start + length;
  }
  return items;
}

/** Items that are handed out once each. */
export class ItemStore {
  readonly #items = new Map<number, Uint8Array>();

  add(items: readonly Item[]): void {
    for (const { segment, gate, bytes } of items) {
      const key = itemKey(segment, gate);
      ensure(!this.#items.has(key), "E_PROTOCOL", "a correlation was sent twice");
      this.#items.set(key, bytes);
    }
  }

  /** @throws E_CORRELATION when there is none, or it was taken before */
  take(segment: number, gate: number): Uint8Array {
    const key = itemKey(segment, gate);
    const bytes = this.#items.get(key);
    ensure(bytes, "E_CORRELATION", "a correlation is missing or was used before");
    this.#items.delete(key);
    return bytes;
  }

  get size(): number {
    return this.#items.size;
  }
}
