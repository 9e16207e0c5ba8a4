import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { ErrorCode } from "../errors.ts";
import { Channel, type ChannelOptions } from "./channel.ts";
import { encodeControl } from "./control.ts";
import { crc32c } from "./crc32c.ts";
import { encodeMessage, type FrameKind, frameBytes, maxFramePayloadBytes } from "./frame.ts";
import { type MemoryTransport, memoryPair } from "./memory.ts";
import type { Transport } from "./transport.ts";
import { VirtualClock } from "./virtual-clock.ts";

const timeoutMs = 60_000;

function bytes(...values: number[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(values);
}

function code(expected: ErrorCode, message?: string) {
  return message ? { code: expected, message } : { code: expected };
}

interface Pair {
  readonly clock: VirtualClock;
  readonly a: Channel;
  readonly b: Channel;
  readonly inner: [MemoryTransport, MemoryTransport];
}

function channels(options: ChannelOptions = {}, highWaterBytes = 2 ** 20): Pair {
  const clock = new VirtualClock();
  const inner = memoryPair({ highWaterBytes });
  const [a, b] = inner.map((end) => new Channel(end, { clock, ...options }));
  return { clock, a, b, inner };
}

/** A channel whose peer is the test itself. */
function rawPeer(options: ChannelOptions = {}) {
  const clock = new VirtualClock();
  const [near, far] = memoryPair();
  const channel = new Channel(near, { clock, ...options });
  const frames: Uint8Array[] = [];
  far.onFrame((frame) => frames.push(frame));
  let seq = 0;
  const send = (kind: FrameKind, payload: Uint8Array) => {
    for (const frame of encodeMessage(kind, payload, () => seq++)) void far.send(frame);
  };
  return { clock, channel, far, frames, send };
}

describe("order and contents", () => {
  test("random messages both ways arrive in order", async () => {
    const kind = fc.constantFrom<FrameKind>("control", "bundle", "online", "upload", "model");
    const message = fc.record({ kind, payload: fc.uint8Array({ maxLength: 40 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(message, { maxLength: 20 }), async (drawn) => {
        const sent = drawn.map((m) =>
          m.kind === "control" ? { ...m, payload: encodeControl({ type: "hello" }) } : m,
        );
        const { clock, a, b } = channels();
        const talk = async (out: Channel, into: Channel) => {
          for (const m of sent) void out.send(m.kind, m.payload);
          for (const m of sent) expect(await into.receive({ timeoutMs })).toEqual(m);
        };
        await clock.run(Promise.all([talk(a, b), talk(b, a)]));
        expect(clock.pendingTimers).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  test("waiting receives are served in turn", async () => {
    const { clock, a, b } = channels();
    const waiting = [1, 2, 3].map(() => b.receive({ timeoutMs }));
    for (const n of [1, 2, 3]) void a.send("online", bytes(n));
    const got = await clock.run(Promise.all(waiting));
    expect(got.map((m) => m.payload[0])).toEqual([1, 2, 3]);
  });

  test("control messages", async () => {
    const { clock, a, b } = channels();
    void a.sendControl({ type: "hello", version: 1 });
    const hello = await clock.run(b.receiveControl({ timeoutMs, types: ["hello"] }));
    expect(hello).toEqual({ type: "hello", version: 1 });
    void a.sendControl({ type: "open" });
    const wrong = clock.run(b.receiveControl({ timeoutMs, types: ["hello"] }));
    await expect(wrong).rejects.toMatchObject(code("E_PROTOCOL"));
  });
});

describe("drafts", () => {
  const sizes = [0, 1, 25_000, maxFramePayloadBytes, maxFramePayloadBytes + 1];

  test("arrive as if they had been sent, in the order of sending, and count alike", async () => {
    const { clock, a, b } = channels();
    const run = async () => {
      const drafts = sizes.map((size) => a.allocate("online", size));
      for (const [i, { payload }] of drafts.entries()) {
        expect(payload).toHaveLength(sizes[i]);
        expect(payload.byteOffset % 8).toBe(0);
        expect(payload.every((byte) => byte === 0)).toBe(true);
        payload.fill(i + 1);
      }
      for (const [i, draft] of drafts.entries()) {
        void a.send("bundle", bytes(i));
        void draft.send();
      }
      for (const [i, size] of sizes.entries()) {
        expect(await b.receive({ timeoutMs })).toEqual({ kind: "bundle", payload: bytes(i) });
        const { kind, payload } = await b.receive({ timeoutMs });
        expect(kind).toBe("online");
        expect(Buffer.compare(payload, new Uint8Array(size).fill(i + 1))).toBe(0);
      }
    };
    await clock.run(run());
    const total = sizes.reduce((sum, size) => sum + frameBytes(size) + frameBytes(1), 0);
    expect(a.counters.sentBytes).toBe(total);
    expect(b.counters.receivedBytes).toBe(total);
    expect(a.counters.sentMessages).toBe(2 * sizes.length);
  });

  test.each([10, maxFramePayloadBytes + 1])("of %d bytes are sent once", async (size) => {
    const { clock, a, b } = channels();
    const draft = a.allocate("online", size);
    await clock.run(draft.send());
    await expect(draft.send()).rejects.toMatchObject(code("E_INTERNAL"));
    expect((await clock.run(b.receive({ timeoutMs }))).payload).toHaveLength(size);
    expect(a.counters.sentMessages).toBe(1);
  });

  test("are refused as sends are", async () => {
    const { clock, a } = channels();
    const over = () => a.allocate("control", maxFramePayloadBytes + 1);
    expect(over).toThrow(expect.objectContaining(code("E_RANGE")));
    const draft = a.allocate("online", 10);
    await clock.run(a.close());
    await expect(draft.send()).rejects.toMatchObject(code("E_INTERRUPTED"));
  });
});

describe("memory of frames", () => {
  /** Keeps frames as they are until told that they have left. */
  function slowTransport() {
    const frames: Uint8Array[] = [];
    let isFlushed = false;
    const transport: Transport = {
      send: (frame) => void frames.push(frame),
      isFlushed: () => isFlushed,
      onFrame: () => {},
      onClose: () => {},
      close: async () => {},
    };
    return { transport, frames, flush: (is: boolean) => void (isFlushed = is) };
  }

  test("is written again only when the transport has let go of it", async () => {
    const { transport, frames, flush } = slowTransport();
    const channel = new Channel(transport);
    const kept: Uint8Array[] = [];
    const send = async (byteLength: number) => {
      await channel.send("online", new Uint8Array(byteLength).fill(byteLength));
      kept.push(Uint8Array.from(frames.at(-1)!));
    };
    for (const size of [30, 20, 30]) await send(size);
    expect(frames).toEqual(kept);
    expect(new Set(frames.map((frame) => frame.buffer)).size).toBe(3);
    flush(true);
    for (const size of [30, 20, 30, 0]) await send(size);
    expect(new Set(frames.slice(3).map((frame) => frame.buffer)).size).toBe(1);
    expect(frames.slice(0, 3)).toEqual(kept.slice(0, 3));
    await send(40);
    expect(frames.at(-1)!.buffer).not.toBe(frames.at(-2)!.buffer);
  });

  test("a draft keeps its memory while others are sent, and starts with zeros", async () => {
    const { transport, frames, flush } = slowTransport();
    flush(true);
    const channel = new Channel(transport);
    await channel.send("online", new Uint8Array(100).fill(1));
    const first = channel.allocate("online", 50);
    expect(first.payload).toEqual(new Uint8Array(50));
    expect(first.payload.buffer).toBe(frames[0].buffer);
    first.payload.fill(2);
    await channel.send("online", new Uint8Array(60).fill(3));
    const second = channel.allocate("online", 50);
    expect(second.payload.buffer).not.toBe(first.payload.buffer);
    expect(first.payload).toEqual(new Uint8Array(50).fill(2));
    await first.send();
    expect(frames.at(-1)!.subarray(16)).toEqual(new Uint8Array(50).fill(2));
  });
});

describe("another implementation of the checksum", () => {
  test("sees all bytes both ways; one that is wrong ends the channel", async () => {
    let seenBytes = 0;
    const counting = (part: Uint8Array, previous: number) => {
      seenBytes += part.length;
      return crc32c(part, previous);
    };
    const [near, far] = memoryPair();
    const clock = new VirtualClock();
    const a = new Channel(near, { clock, crc32c: counting });
    const b = new Channel(far, { clock, crc32c: counting });
    void a.send("online", bytes(1, 2, 3));
    expect((await clock.run(b.receive({ timeoutMs }))).payload).toEqual(bytes(1, 2, 3));
    expect(seenBytes).toBe(16 + 3 + 3); // the writer's frame, the reader's payload
    const [left, right] = memoryPair();
    const c = new Channel(left, { clock, crc32c: () => 0 });
    const d = new Channel(right, { clock });
    void c.send("online", bytes(1));
    await expect(clock.run(d.receive({ timeoutMs }))).rejects.toMatchObject(code("E_FRAME"));
  });
});

describe("counters", () => {
  test("count frames of all kinds but control, on both sides alike", async () => {
    const { clock, a, b } = channels();
    const sizes = [0, 1, 1000, maxFramePayloadBytes + 1];
    const run = async () => {
      for (const size of sizes) void a.send("bundle", new Uint8Array(size));
      void a.sendControl({ type: "hello" });
      for (const _ of [...sizes, "hello"]) await b.receive({ timeoutMs });
    };
    await clock.run(run());
    const total = sizes.reduce((sum, size) => sum + frameBytes(size), 0);
    const none = { sentBytes: 0, sentMessages: 0, receivedBytes: 0, receivedMessages: 0 };
    expect(a.counters).toEqual({ ...none, sentBytes: total, sentMessages: sizes.length });
    expect(b.counters).toEqual({ ...none, receivedBytes: total, receivedMessages: sizes.length });
  });
});

describe("timeouts", () => {
  test("a receive ends on time; the channel goes on", async () => {
    const { clock, a, b } = channels();
    const late = clock.run(b.receive({ timeoutMs: 250 }));
    await expect(late).rejects.toMatchObject(code("E_TIMEOUT"));
    expect(clock.now()).toBe(250);
    void a.send("online", bytes(7));
    expect((await clock.run(b.receive({ timeoutMs }))).payload).toEqual(bytes(7));
    expect(clock.now()).toBe(250);
  });

  test("a send that finds no room ends the channel", async () => {
    const { clock, a, b, inner } = channels({ sendTimeoutMs: 900 }, 1000);
    inner[1].pause();
    const stuck = a.send("bundle", new Uint8Array(5000));
    await expect(clock.run(stuck)).rejects.toMatchObject(code("E_TIMEOUT"));
    expect(clock.now()).toBe(900);
    expect(await clock.run(a.closed)).toMatchObject(code("E_TIMEOUT"));
    inner[1].resume();
    await clock.run(b.receive({ timeoutMs })); // what had been sent whole
    const told = clock.run(b.receive({ timeoutMs }));
    await expect(told).rejects.toMatchObject(code("E_TIMEOUT", "the peer reported E_TIMEOUT"));
  });

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])("timeout %d is refused", async (ms) => {
    const { a } = channels();
    await expect(a.receive({ timeoutMs: ms })).rejects.toMatchObject(code("E_RANGE"));
  });
});

describe("back-pressure", () => {
  test("a reader that does not read stops the writer; what is held is bounded", async () => {
    const { clock, a, b } = channels({ maxQueueBytes: 10_000 }, 5_000);
    let sent = 0;
    const writer = (async () => {
      for (; sent < 100; sent++) await a.send("bundle", new Uint8Array(1000));
    })();
    await clock.run(Promise.resolve());
    expect(sent).toBeGreaterThan(5);
    expect(sent).toBeLessThan(16); // 10,000 unread and 5,000 under way
    const reader = (async () => {
      for (let i = 0; i < 100; i++) await b.receive({ timeoutMs });
    })();
    await clock.run(Promise.all([writer, reader]));
    expect(sent).toBe(100);
    expect(clock.now()).toBe(0);
  });

  test("one message larger than the queue passes", async () => {
    const { clock, a, b } = channels({ maxQueueBytes: 1000 });
    void a.send("model", new Uint8Array(3 * 2 ** 20));
    await clock.run(Promise.resolve());
    expect((await clock.run(b.receive({ timeoutMs }))).payload).toHaveLength(3 * 2 ** 20);
  });

  test("where a transport cannot pause, too much unread ends the channel", async () => {
    const clock = new VirtualClock();
    const [near, far] = memoryPair();
    const noPause: Transport = {
      send: (frame) => far.send(frame),
      onFrame: (handler) => far.onFrame(handler),
      onClose: (handler) => far.onClose(handler),
      close: () => far.close(),
    };
    const a = new Channel(near, { clock });
    const b = new Channel(noPause, { clock, maxQueueBytes: 1000 });
    for (let i = 0; i < 5; i++) a.send("online", new Uint8Array(500)).catch(() => {});
    expect(await clock.run(b.closed)).toMatchObject(code("E_PROTOCOL"));
    const told = await clock.run(a.closed);
    expect(told).toMatchObject(code("E_PROTOCOL", "the peer reported E_PROTOCOL"));
  });

  test("a caller that never waits is stopped", async () => {
    const { clock, a, inner } = channels({}, 10);
    inner[1].pause();
    const sends = Array.from({ length: 1025 }, () => a.send("online", bytes(1)));
    const results = clock.run(Promise.allSettled(sends));
    await expect(sends[1024]).rejects.toMatchObject(code("E_INTERNAL"));
    await results;
  });
});

describe("a channel ends once, with one reason", () => {
  test("close flushes, tells the peer, and leaves what came before readable", async () => {
    const { clock, a, b } = channels({}, 100);
    for (const n of [1, 2, 3]) void a.send("online", new Uint8Array(200).fill(n));
    const closed = a.close();
    for (const n of [1, 2, 3]) {
      const { payload } = await clock.run(b.receive({ timeoutMs }));
      expect(payload[0]).toBe(n);
    }
    await clock.run(closed);
    const gone = code("E_PEER_GONE", "the peer closed the connection");
    await expect(clock.run(b.receive({ timeoutMs }))).rejects.toMatchObject(gone);
    await expect(b.send("online", bytes(1))).rejects.toMatchObject(gone);
    await expect(a.send("online", bytes(1))).rejects.toMatchObject(code("E_INTERRUPTED"));
    await expect(a.receive({ timeoutMs })).rejects.toMatchObject(code("E_INTERRUPTED"));
    expect(a.close()).toBe(closed);
    expect(clock.pendingTimers).toBe(0);
  });

  test("who has gone is named where the channel knows", async () => {
    const orderly = channels({ peer: "the dealer" });
    await orderly.clock.run(orderly.a.close());
    const closed = code("E_PEER_GONE", "the dealer closed the connection");
    const read = orderly.clock.run(orderly.b.receive({ timeoutMs }));
    await expect(read).rejects.toMatchObject(closed);
    const broken = channels({ peer: "the dealer" });
    broken.inner[0].cut();
    const told = await broken.clock.run(broken.b.closed);
    expect(told).toMatchObject({ code: "E_PEER_GONE" });
    expect(told.message).toMatch(/^the dealer: the connection /);
  });

  test("close is bounded when the peer takes nothing", async () => {
    const { clock, a, inner } = channels({ closeTimeoutMs: 700 }, 100);
    inner[1].pause();
    const stuck = a.send("online", new Uint8Array(500));
    const refused = expect(stuck).rejects.toMatchObject(code("E_INTERRUPTED"));
    const closed = a.close();
    const late = clock.run(a.receive({ timeoutMs: 1 }));
    await expect(late).rejects.toMatchObject(code("E_INTERRUPTED"));
    await clock.run(closed);
    expect(clock.now()).toBeLessThanOrEqual(1400);
    await refused;
  });

  test("close with a code: the peer raises that code after the messages before it", async () => {
    const { clock, a, b } = channels();
    void a.send("online", bytes(1));
    void a.close("E_DIGEST");
    await clock.run(b.receive({ timeoutMs }));
    const told = code("E_DIGEST", "the peer reported E_DIGEST");
    await expect(clock.run(b.receive({ timeoutMs }))).rejects.toMatchObject(told);
    expect(await clock.run(b.closed)).toMatchObject(told);
  });

  test("pending receives and sends reject when the peer vanishes", async () => {
    const { clock, a, b, inner } = channels({}, 10);
    inner[1].pause();
    const sending = a.send("bundle", new Uint8Array(2 ** 21));
    const waiting = [a, b].map((side) => side.receive({ timeoutMs }));
    clock.setTimeout(() => inner[0].cut(), 50);
    const results = await clock.run(Promise.allSettled([sending, ...waiting]));
    for (const result of results) {
      expect(result).toMatchObject({ status: "rejected", reason: code("E_PEER_GONE") });
    }
    expect(clock.now()).toBe(50);
    expect(clock.pendingTimers).toBe(0);
  });

  test("another kind than allowed ends it on both sides", async () => {
    const { clock, a, b } = channels();
    void a.send("upload", bytes(1));
    const wrong = clock.run(b.receive({ timeoutMs, kinds: ["online", "control"] }));
    await expect(wrong).rejects.toMatchObject(code("E_PROTOCOL"));
    expect(await clock.run(a.closed)).toMatchObject(code("E_PROTOCOL"));
  });

  test("a malformed frame ends it; the peer is sent the code alone", async () => {
    const { clock, channel, far, frames, send } = rawPeer();
    send("online", bytes(5));
    void far.send(bytes(1, 2, 3));
    expect((await clock.run(channel.receive({ timeoutMs }))).payload).toEqual(bytes(5));
    const bad = clock.run(channel.receive({ timeoutMs }));
    await expect(bad).rejects.toMatchObject(code("E_FRAME"));
    const body = new TextDecoder().decode(frames[0].subarray(16));
    expect(JSON.parse(body)).toEqual({ type: "error", code: "E_FRAME" });
    expect(frames).toHaveLength(1);
  });

  test.each([
    ["not JSON", new TextEncoder().encode("{secret")],
    ["not UTF-8", bytes(0xff, 0xfe)],
    ["no type", encodeControl({} as never)],
    ["null", new TextEncoder().encode("null")],
    ["unknown code", encodeControl({ type: "error", code: "toString" })],
    ["no code", encodeControl({ type: "error" })],
  ])("a bad control message: %s", async (_name, payload) => {
    const { clock, channel, send } = rawPeer();
    send("control", payload);
    const bad = clock.run(channel.receive({ timeoutMs }));
    await expect(bad).rejects.toMatchObject({
      code: "E_PROTOCOL",
      message: expect.not.stringContaining("secret"),
    });
  });

  test("an error passes a large message that is under way", async () => {
    const { clock, a, b } = channels({}, 1000);
    const large = a.send("bundle", new Uint8Array(40 * 2 ** 20));
    const refused = expect(large).rejects.toMatchObject(code("E_PROTOCOL"));
    void b.send("upload", bytes(1));
    const fault = clock.run(a.receive({ timeoutMs, kinds: ["online"] }));
    await expect(fault).rejects.toMatchObject(code("E_PROTOCOL"));
    await refused;
    const told = await clock.run(b.closed);
    expect(told.message).toBe("the peer reported E_PROTOCOL");
  });

  test("the peer's reason wins over a send that its closing refused", async () => {
    const { clock, a, b, inner } = channels();
    inner[0].pause();
    await clock.run(b.close("E_DIGEST"));
    const late = a.send("online", bytes(1));
    clock.setTimeout(() => inner[0].resume(), 10);
    await expect(clock.run(late)).rejects.toMatchObject(code("E_DIGEST"));
  });

  test("a message over this side's limit", async () => {
    const { clock, a, b } = channels({ maxMessageBytes: 100 });
    a.send("online", new Uint8Array(101)).catch(() => {});
    await expect(clock.run(b.receive({ timeoutMs }))).rejects.toMatchObject(code("E_FRAME"));
    expect(await clock.run(a.closed)).toMatchObject(code("E_FRAME", "the peer reported E_FRAME"));
  });
});

describe("the real clock is the default", () => {
  afterEach(() => void vi.useRealTimers());

  test("a receive ends on time", async () => {
    vi.useFakeTimers();
    const [near] = memoryPair();
    const late = new Channel(near).receive({ timeoutMs: 1000 });
    const refused = expect(late).rejects.toMatchObject(code("E_TIMEOUT"));
    await vi.advanceTimersByTimeAsync(1000);
    await refused;
  });
});
