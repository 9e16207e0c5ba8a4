import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import corpus from "../../test/vectors/frames/corpus.json" with { type: "json" };
import { type ErrorCode, MergenError } from "../errors.ts";
import { crc32c } from "./crc32c.ts";
import {
  encodeMessage,
  type FrameKind,
  FrameReader,
  frameBytes,
  frameHeaderBytes,
  frameKinds,
  isCounted,
  type Message,
  maxFrameBytes,
  maxFramePayloadBytes,
  maxMessageBytes,
} from "./frame.ts";

const kinds = Object.keys(frameKinds) as FrameKind[];
const limits = { maxMessageBytes: 8 * 2 ** 20 };

function counter(start = 0): () => number {
  let seq = start;
  return () => seq++;
}

function filled(byteLength: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(byteLength);
  for (let i = 0; i < byteLength; i++) out[i] = (i * 2654435761) >>> 24;
  return out;
}

function readAll(frames: Iterable<Uint8Array>, reader = new FrameReader(limits)): Message[] {
  const messages: Message[] = [];
  for (const frame of frames) {
    const message = reader.push(frame);
    if (message) messages.push(message);
  }
  return messages;
}

/** The code that reading these frames ends in. */
function codeOf(frames: Iterable<Uint8Array>, reader = new FrameReader(limits)): ErrorCode {
  try {
    readAll(frames, reader);
  } catch (error) {
    if (error instanceof MergenError) return error.code;
    throw error;
  }
  throw new Error("no error");
}

/** A copy with changed header fields and a checksum that fits again. */
function forge(frame: Uint8Array, change: (view: DataView) => void): Uint8Array {
  const out = new Uint8Array(frame);
  const view = new DataView(out.buffer);
  change(view);
  view.setUint32(12, 0, true);
  view.setUint32(12, crc32c(out), true);
  return out;
}

describe("round trip", () => {
  const messages = fc.array(
    fc.record({ kind: fc.constantFrom(...kinds), payload: fc.uint8Array({ maxLength: 300 }) }),
    { maxLength: 10 },
  );

  test("many small messages keep kind, bytes and order", () => {
    fc.assert(
      fc.property(messages, (sent) => {
        const nextSeq = counter();
        const frames = sent.flatMap((m) => [...encodeMessage(m.kind, m.payload, nextSeq)]);
        expect(readAll(frames)).toEqual(sent);
      }),
    );
  });

  test.each([0, 1, -1])("around every frame border (%i)", (offset) => {
    for (let frameCount = 1; frameCount <= 3; frameCount++) {
      const payload = filled(frameCount * maxFramePayloadBytes + offset);
      const frames = [...encodeMessage("bundle", payload, counter())];
      const [message] = readAll(frames);
      expect(Buffer.compare(message.payload, payload)).toBe(0);
      const total = frames.reduce((sum, frame) => sum + frame.length, 0);
      expect(frameBytes(payload.length)).toBe(total);
      expect(Math.max(...frames.map((frame) => frame.length))).toBeLessThanOrEqual(maxFrameBytes);
    }
  });

  test("a payload is aligned, and its buffer not much larger, wherever its frame lay", () => {
    const place = fc.record({
      kind: fc.constantFrom(...kinds),
      size: fc.nat(3000),
      before: fc.nat(40),
      after: fc.oneof(fc.nat(40), fc.nat(5000)),
    });
    fc.assert(
      fc.property(place, ({ kind, size, before, after }) => {
        const [frame] = encodeMessage(kind, filled(size), counter());
        const slab = new Uint8Array(before + frame.length + after);
        slab.set(frame, before);
        const [{ payload }] = readAll([Buffer.from(slab.buffer, before, frame.length)]);
        expect(payload).toEqual(filled(size));
        expect(payload.byteOffset % 8).toBe(0);
        const idleBytes = payload.buffer.byteLength - size;
        expect(idleBytes).toBeLessThanOrEqual(Math.max(size, 256));
        // A Buffer's `slice` would not copy.
        expect(Object.getPrototypeOf(payload)).toBe(Uint8Array.prototype);
      }),
    );
  });

  test.each([
    ["a frame of its own", 0, 0, true],
    ["behind eight bytes of a socket's", 8, 0, true],
    ["behind four", 4, 0, false],
    ["a small part of what was read", 0, 60_000, false],
  ])("read in place or copied: %s", (_name, before, after, inPlace) => {
    const [frame] = encodeMessage("online", filled(20_000), counter());
    const slab = new Uint8Array(before + frame.length + after);
    slab.set(frame, before);
    const [{ payload }] = readAll([slab.subarray(before, before + frame.length)]);
    expect(payload.buffer === slab.buffer).toBe(inPlace);
    expect(payload).toEqual(filled(20_000));
  });

  test("frames are the same with another implementation of the checksum, on either side", () => {
    let calls = 0;
    const other = (bytes: Uint8Array, previous: number) => {
      calls++;
      return crc32c(bytes, previous);
    };
    const payload = filled(maxFramePayloadBytes + 100);
    const frames = [...encodeMessage("model", payload, counter(), { crc32c: other })];
    expect(calls).toBe(2);
    const same = [...encodeMessage("model", payload, counter())];
    expect(frames.every((frame, i) => Buffer.compare(frame, same[i]) === 0)).toBe(true);
    const [message] = readAll(frames, new FrameReader({ ...limits, crc32c: other }));
    expect(calls).toBe(4);
    expect(Buffer.compare(message.payload, payload)).toBe(0);
    const wrong = () => 7;
    expect(codeOf(frames, new FrameReader({ ...limits, crc32c: wrong }))).toBe("E_FRAME");
  });

  test("a frame is the same in used memory", () => {
    const used = (byteLength: number) => new Uint8Array(byteLength).fill(255);
    const [frame] = encodeMessage("online", filled(100), counter(9), { take: used });
    expect(frame).toEqual([...encodeMessage("online", filled(100), counter(9))][0]);
  });

  test("a control message may come between the frames of a data message", () => {
    const nextSeq = counter();
    const payload = filled(maxFramePayloadBytes + 5);
    const large = encodeMessage("model", payload, nextSeq);
    const first = large.next().value as Uint8Array;
    const [control] = encodeMessage("control", filled(3), nextSeq);
    const second = large.next().value as Uint8Array;
    const messages = readAll([first, control, second]);
    expect(messages.map((m) => m.kind)).toEqual(["control", "model"]);
    expect(Buffer.compare(messages[1].payload, payload)).toBe(0);
  });

  test("sequence numbers go on after 2^32 - 1 with 0", () => {
    const reader = new FrameReader(limits);
    Object.assign(reader, { nextSeq: 2 ** 32 - 1 });
    const frames = [2 ** 32 - 1, 0].flatMap((seq) => [
      ...encodeMessage("online", filled(1), () => seq),
    ]);
    expect(readAll(frames, reader)).toHaveLength(2);
  });

  test("everything but control is counted", () => {
    const counted = kinds.filter((kind) => {
      const [frame] = encodeMessage(kind, filled(1), counter());
      return isCounted(frame);
    });
    expect(counted).toEqual(["bundle", "online", "upload", "model"]);
  });
});

describe("sizes", () => {
  test("frameBytes is the closed formula up to 1 GiB", () => {
    fc.assert(
      fc.property(fc.nat(maxMessageBytes), (n) => {
        expect(frameBytes(n)).toBe(n + 16 * Math.max(1, Math.ceil(n / 1048560)));
      }),
    );
    expect(frameBytes(0)).toBe(frameHeaderBytes);
    expect(frameBytes(maxMessageBytes)).toBe(2 ** 30 + 16 * 1025);
  });

  test.each([-1, 0.5, Number.NaN, maxMessageBytes + 1])("frameBytes refuses %d", (n) => {
    expect(() => frameBytes(n)).toThrow(expect.objectContaining({ code: "E_RANGE" }));
  });

  test("the writer refuses a control message of more than one frame", () => {
    const frames = encodeMessage("control", filled(maxFramePayloadBytes + 1), counter());
    expect(() => frames.next()).toThrow(expect.objectContaining({ code: "E_RANGE" }));
  });

  test("the reader refuses a message over the caller's limit, also in parts", () => {
    const limit = maxFramePayloadBytes + 10;
    const make = (n: number) => [...encodeMessage("bundle", filled(n), counter())];
    const reader = () => new FrameReader({ maxMessageBytes: limit });
    expect(readAll(make(limit), reader())).toHaveLength(1);
    expect(codeOf(make(limit + 1), reader())).toBe("E_FRAME");
    expect(codeOf(make(5 * 2 ** 20), reader())).toBe("E_FRAME");
  });
});

describe("malformed frames", () => {
  const nextSeq = counter();
  const [first, second] = [...encodeMessage("online", filled(maxFramePayloadBytes + 9), nextSeq)];
  const [small] = [...encodeMessage("online", filled(20), counter())];

  test.each([
    ["shorter than a header", () => [small.subarray(0, 15)]],
    ["cut payload", () => [small.subarray(0, 30)]],
    ["bytes after the end", () => [Buffer.concat([small, Buffer.alloc(1)])]],
    ["longer than 1 MiB", () => [new Uint8Array(maxFrameBytes + 1)]],
    ["a claim over 1 MiB", () => [forge(small, (v) => v.setUint32(0, maxFrameBytes, true))]],
    ["repeated", () => [small, small]],
    ["starts in the middle", () => [second]],
    ["second before first", () => [second, first]],
    ["another kind in the middle", () => [first, forge(second, (v) => v.setUint8(4, 2))]],
    ["part not full", () => [forge(small, (v) => v.setUint8(5, 0))]],
    ["empty end", () => [first, [...encodeMessage("online", filled(0), counter(1))][0]]],
    ["unknown kind", () => [forge(small, (v) => v.setUint8(4, 77))]],
    ["unknown flags", () => [forge(small, (v) => v.setUint8(5, 129))]],
  ])("%s", (_name, frames) => {
    expect(codeOf(frames())).toBe("E_FRAME");
  });

  test("another version", () => {
    expect(codeOf([forge(small, (v) => v.setUint16(6, 9, true))])).toBe("E_VERSION");
  });

  test("lying lengths allocate nothing", () => {
    const lies = [2 ** 20, 2 ** 30, 2 ** 32 - 1, 2 ** 32 - 16].map((claim) =>
      forge(small, (v) => v.setUint32(0, claim, true)),
    );
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 400; i++) {
      const reader = new FrameReader({ maxMessageBytes });
      expect(codeOf([lies[i % lies.length]], reader)).toBe("E_FRAME");
      expect(reader.heldBytes).toBe(0);
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 20);
  });

  test("after an error the reader refuses valid frames with the same error", () => {
    const reader = new FrameReader(limits);
    readAll([first], reader);
    expect(reader.heldBytes).toBe(maxFramePayloadBytes);
    expect(codeOf([small], reader)).toBe("E_FRAME");
    expect(reader.heldBytes).toBe(0);
    expect(() => reader.push(second)).toThrow("frame 0 came where 1 was due");
  });

  test("error texts hold no payload bytes", () => {
    const secret = new TextEncoder().encode("sesame-sesame");
    const [frame] = encodeMessage("online", secret, counter());
    frame[20] ^= 1;
    expect(() => new FrameReader(limits).push(frame)).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("esame") }),
    );
  });
});

describe("saved corpus", () => {
  test.each(corpus.cases.map((one) => [one.name, one] as const))("%s", (_name, one) => {
    const frames = one.frames.map((hex) => new Uint8Array(Buffer.from(hex, "hex")));
    if (one.error !== undefined) {
      expect(codeOf(frames)).toBe(one.error);
      return;
    }
    const messages = readAll(frames);
    expect(messages).toHaveLength(frames.length);
    expect(messages[0].kind).toBe(one.kind);
    const nextSeq = counter();
    const again = messages.flatMap((m) => [...encodeMessage(m.kind, m.payload, nextSeq)]);
    expect(again.map((frame) => Buffer.from(frame).toString("hex"))).toEqual(one.frames);
  });

  test("names its origin, which exists", () => {
    const [path] = corpus.origin.split(",");
    expect(readFileSync(path, "utf8")).toContain("corpus.json");
  });
});

describe("fuzz", () => {
  const named: ErrorCode[] = ["E_FRAME", "E_VERSION"];

  test("random bytes are refused by name", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(named).toContain(codeOf([bytes]));
      }),
      { numRuns: 2000 },
    );
  });

  test("any one changed byte is caught, and so is any cut", () => {
    const [frame] = encodeMessage("upload", filled(40), counter());
    const change = fc.record({
      at: fc.nat(frame.length - 1),
      by: fc.integer({ min: 1, max: 255 }),
    });
    fc.assert(
      fc.property(change, ({ at, by }) => {
        const changed = frame.slice();
        changed[at] ^= by;
        expect(named).toContain(codeOf([changed]));
        expect(codeOf([frame.subarray(0, at)])).toBe("E_FRAME");
      }),
      { numRuns: 2000 },
    );
  });

  test("random headers with a right checksum end in a message or a named error", () => {
    const header = fc.record({
      claim: fc.oneof(fc.nat(80), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
      kind: fc.nat(8),
      flags: fc.nat(3),
      version: fc.integer({ min: 1, max: 2 }),
      seq: fc.nat(2),
      payload: fc.uint8Array({ maxLength: 80 }),
    });
    fc.assert(
      fc.property(fc.array(header, { minLength: 1, maxLength: 4 }), (headers) => {
        const reader = new FrameReader({ maxMessageBytes: 60 });
        const frames = headers.map((h) => {
          const frame = Buffer.concat([Buffer.alloc(16), h.payload]);
          return forge(frame, (view) => {
            view.setUint32(0, h.claim, true);
            view.setUint8(4, h.kind);
            view.setUint8(5, h.flags);
            view.setUint16(6, h.version, true);
            view.setUint32(8, h.seq, true);
          });
        });
        try {
          for (const message of readAll(frames, reader)) {
            expect(message.payload.length).toBeLessThanOrEqual(80);
          }
        } catch (error) {
          expect(named).toContain((error as MergenError).code);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("shuffled, repeated or missing frames are refused; the right order is not", () => {
    const nextSeq = counter();
    const frames = [1, 2, 3, 4].flatMap((n) => [...encodeMessage("online", filled(n), nextSeq)]);
    fc.assert(
      fc.property(fc.array(fc.nat(3), { minLength: 1, maxLength: 5 }), (order) => {
        const inOrder = order.every((index, place) => index === place);
        const picked = order.map((index) => frames[index]);
        if (inOrder) expect(readAll(picked)).toHaveLength(order.length);
        else expect(codeOf(picked)).toBe("E_FRAME");
      }),
    );
  });
});
