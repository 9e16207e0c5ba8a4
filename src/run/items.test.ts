import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import {
  decodeItems,
  encodeItems,
  encodeParts,
  ITEM_HEADER_BYTES,
  ItemStore,
  itemKey,
  itemsBytes,
  writeItems,
} from "./items.ts";

const item = fc.record({
  segment: fc.nat(2 ** 32 - 1),
  gate: fc.nat(2 ** 16 - 1),
  bytes: fc.uint8Array({ maxLength: 40 }),
});

describe("items", () => {
  it("come back as they went, and are as long as stated", () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 12 }), fc.nat(7), (items, offset) => {
        const payload = encodeItems(items);
        expect(payload.length).toBe(itemsBytes(items.map(({ bytes }) => bytes.length)));
        // Also from the middle of a larger buffer, as sockets hand them out.
        const shifted = new Uint8Array(payload.length + offset).subarray(offset);
        shifted.set(payload);
        const plain = (list: typeof items) =>
          list.map((one) => ({ ...one, bytes: [...one.bytes] }));
        expect(plain(decodeItems(shifted) as typeof items)).toEqual(plain(items));
      }),
    );
  });

  it("have keys of their own, up to the greatest numbers", () => {
    const numbers = [0, 1, 255, 256, 65_535];
    const keys = [...numbers, 65_536, 2 ** 32 - 1].flatMap((segment) =>
      numbers.map((gate) => itemKey(segment, gate)),
    );
    expect(new Set(keys).size).toBe(7 * 5);
    for (const key of keys) expect(Number.isSafeInteger(key)).toBe(true);
  });

  it("a layout as documented", () => {
    const [bytes] = [
      encodeItems([{ segment: 0x01020304, gate: 0x0506, bytes: Uint8Array.of(9, 8) }]),
    ];
    expect([...bytes]).toEqual([4, 3, 2, 1, 6, 5, 0, 0, 2, 0, 0, 0, 9, 8]);
  });

  it("leave room for a header, and overwrite whatever memory held", () => {
    const items = [
      { segment: 7, gate: 1, bytes: Uint8Array.of(1, 2, 3) },
      { segment: 7, gate: 2, bytes: new Uint8Array(0) },
    ];
    const plain = encodeItems(items);
    const inParts = items.map(({ bytes, ...item }) => ({
      ...item,
      parts: [bytes.subarray(0, 1), bytes.subarray(1)],
    }));
    const led = encodeParts(inParts, 36, (length) => new Uint8Array(length));
    expect([...led]).toEqual([...new Uint8Array(36), ...plain]);
    const dirty = new Uint8Array(plain.length + 9).fill(255);
    writeItems(dirty.subarray(5, 5 + plain.length), items);
    expect([...dirty.subarray(5, 5 + plain.length)]).toEqual([...plain]);
    expect([...dirty].filter((byte) => byte === 255).length).toBeGreaterThanOrEqual(9);
    expect([dirty[4], dirty[5 + plain.length]]).toEqual([255, 255]);
  });

  it("are refused when they are cut, too long or not zero where they must be", () => {
    const payload = encodeItems([
      { segment: 1, gate: 2, bytes: new Uint8Array(5) },
      { segment: 1, gate: 3, bytes: new Uint8Array(0) },
    ]);
    const whole = ITEM_HEADER_BYTES + 5;
    for (let length = 1; length < payload.length; length++) {
      if (length === whole) continue;
      errorOf("E_FRAME", () => decodeItems(payload.slice(0, length)));
    }
    const long = payload.slice();
    new DataView(long.buffer).setUint32(8, 0xffffffff, true);
    errorOf("E_FRAME", () => decodeItems(long));
    const reserved = payload.slice();
    reserved[7] = 1;
    errorOf("E_FRAME", () => decodeItems(reserved));
  });

  it("of any bytes are items or E_FRAME", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (payload) => {
        try {
          expect(encodeItems(decodeItems(payload))).toEqual(payload);
        } catch (error) {
          expect(error).toMatchObject({ code: "E_FRAME" });
        }
      }),
    );
  });
});

describe("a store of items", () => {
  const one = { segment: 3, gate: 4, bytes: Uint8Array.of(1) };

  it("hands each out once", () => {
    const store = new ItemStore();
    store.add([one, { ...one, gate: 5, bytes: new Uint8Array(0) }]);
    expect(store.size).toBe(2);
    expect(store.take(3, 4)).toEqual(one.bytes);
    expect(store.take(3, 5)).toHaveLength(0);
    expect(store.size).toBe(0);
    errorOf("E_CORRELATION", () => store.take(3, 4));
    errorOf("E_CORRELATION", () => store.take(3, 6));
  });

  it("takes no second one of a gate", () => {
    const store = new ItemStore();
    store.add([one]);
    errorOf("E_PROTOCOL", () => store.add([{ ...one, bytes: Uint8Array.of(2) }]));
    errorOf("E_PROTOCOL", () => new ItemStore().add([one, one]));
    expect(store.take(3, 4)).toEqual(one.bytes);
  });
});
