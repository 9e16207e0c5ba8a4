// A relay between real sockets. Times are asserted from below only, to a millisecond: machines may
// always be slower.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { Channel } from "./channel.ts";
import { networks } from "./link.ts";
import { type RelayOptions, startRelay } from "./relay.ts";
import { connectWebSocket, listenWebSocket } from "./websocket.ts";

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const host = "127.0.0.1";
const fast = { delayMs: 1, bitsPerSecond: 1e10 };

/** A target, a relay to it with these options, and as many connections through it as asked. */
async function relayed(options: Omit<RelayOptions, "target">) {
  const target = createServer({ allowHalfOpen: true }).listen(0, host);
  cleanUps.push(() => target.close());
  await once(target, "listening");
  const { port } = target.address() as AddressInfo;
  const relay = await startRelay({ target: { host, port }, ...options });
  cleanUps.push(() => relay.close());
  const open = async (): Promise<{ near: Socket; far: Socket }> => {
    const accepted = once(target, "connection");
    const near = connect({ host, port: relay.port, allowHalfOpen: true });
    const [far] = await accepted;
    for (const socket of [near, far]) {
      socket.on("error", () => {});
      cleanUps.push(() => socket.destroy());
    }
    return { near, far };
  };
  return { relay, open, ...(await open()) };
}

function filled(byteLength: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: byteLength }, (_, i) => (i * 31 + seed) >>> 3));
}

/** The next bytes of a socket, this many. */
async function read(socket: Socket, byteLength: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let left = byteLength;
  return new Promise((resolve) => {
    const take = (chunk: Buffer) => {
      parts.push(chunk);
      left -= chunk.length;
      if (left > 0) return;
      socket.off("data", take);
      resolve(Buffer.concat(parts));
    };
    socket.on("data", take);
  });
}

describe("bytes", () => {
  test.each([
    ["loopback", networks.loopback],
    ["lan", networks.lan],
    ["fast", fast],
  ])("go through both ways at once, whole and in order: %s", async (_name, network) => {
    const { relay, near, far } = await relayed(network);
    const [up, down] = [filled(3_000_000, 1), filled(2_000_000, 5)];
    const got = [read(far, up.length), read(near, down.length)];
    for (let at = 0; at < up.length; at += 70_001) near.write(up.subarray(at, at + 70_001));
    far.write(down);
    const [gotUp, gotDown] = await Promise.all(got);
    expect(gotUp.equals(up)).toBe(true);
    expect(gotDown.equals(down)).toBe(true);
    expect(relay.counters).toEqual({ upBytes: up.length, downBytes: down.length });
  });

  test("channels over WebSocket", async () => {
    const listener = await listenWebSocket({
      onConnection: async (transport) => {
        const channel = new Channel(transport);
        const { payload } = await channel.receive({ timeoutMs: 5000 });
        await channel.send("online", payload);
      },
    });
    cleanUps.push(() => listener.close());
    const relay = await startRelay({ target: { host, port: listener.port }, ...fast });
    cleanUps.push(() => relay.close());
    const channel = new Channel(await connectWebSocket(`ws://${host}:${relay.port}`));
    const sent = new Uint8Array(filled(2_500_000, 3));
    await channel.send("online", sent);
    const { payload } = await channel.receive({ timeoutMs: 5000 });
    expect(Buffer.compare(payload, sent)).toBe(0);
    await channel.close();
  });
});

describe("time", () => {
  async function elapsedMs(work: () => Promise<unknown>): Promise<number> {
    const startMs = performance.now();
    await work();
    return performance.now() - startMs;
  }

  test("every byte takes the delay, each way", async () => {
    const { near, far } = await relayed({ delayMs: 40, bitsPerSecond: 1e10 });
    far.on("data", (chunk) => far.write(chunk));
    const tripMs = await elapsedMs(async () => {
      near.write("x");
      await read(near, 1);
    });
    expect(tripMs).toBeGreaterThanOrEqual(79);
    expect(tripMs).toBeLessThan(5000);
  });

  test("bytes take their time on the link, and what follows waits for them", async () => {
    const { near, far } = await relayed({ delayMs: 5, bitsPerSecond: 8e6 }); // 1 kB a millisecond
    const waitMs = await elapsedMs(async () => {
      near.write(filled(60_000, 1));
      near.write(filled(40_000, 1));
      await read(far, 100_000);
    });
    expect(waitMs).toBeGreaterThanOrEqual(104);
  });

  test("connections share one link only if told to", async () => {
    for (const shared of [true, false]) {
      const { open, ...first } = await relayed({ delayMs: 0, bitsPerSecond: 8e6, shared });
      const second = await open();
      const bothMs = await elapsedMs(async () => {
        for (const { near } of [first, second]) near.write(filled(50_000, 1));
        await Promise.all([first, second].map(({ far }) => read(far, 50_000)));
      });
      expect(bothMs).toBeGreaterThanOrEqual(shared ? 99 : 49);
    }
  });
});

describe("ends", () => {
  test("an end is passed on after the bytes before it; the other direction goes on", async () => {
    const { near, far } = await relayed({ delayMs: 5, bitsPerSecond: 1e9 });
    const got = read(far, 300_000);
    const ended = once(far, "end");
    near.end(filled(300_000, 1));
    await Promise.all([got, ended]);
    const answer = read(near, 10);
    const answered = once(near, "end");
    near.resume();
    far.end(filled(10, 1));
    await Promise.all([answer, answered]);
    await Promise.all([near, far].map((socket) => socket.closed || once(socket, "close")));
  });

  test.each(["near", "far"] as const)("a reset by the %s side is passed on", async (side) => {
    const { near, far } = await relayed(fast);
    const [from, to] = side === "near" ? [near, far] : [far, near];
    await Promise.all([once(to, "data"), from.write("x")]);
    const failed = once(to, "error");
    from.resetAndDestroy();
    const [error] = await failed;
    expect(error).toMatchObject({ code: "ECONNRESET" });
  });

  test("a target that cannot be reached resets the connection", async () => {
    const server = createServer().listen(0, host);
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    const relay = await startRelay({ target: { host, port }, ...fast });
    cleanUps.push(() => relay.close());
    const socket = connect(relay.port, host);
    const [error] = await once(socket, "error");
    expect(error).toMatchObject({ code: "ECONNRESET" });
  });

  test("closing the relay breaks connections and refuses new ones", async () => {
    const { relay, near, far } = await relayed(networks.wan);
    near.write(filled(100_000, 1));
    while (relay.counters.upBytes < 100_000) await new Promise((resolve) => setTimeout(resolve, 2));
    const broken = [near, far].map((socket) => once(socket.resume(), "error"));
    await relay.close(); // the bytes are still under way
    for (const [error] of await Promise.all(broken)) {
      expect(error).toMatchObject({ code: "ECONNRESET" });
    }
    const refused = connect(relay.port, host);
    const [error] = await once(refused, "error");
    expect(error).toMatchObject({ code: "ECONNREFUSED" });
  });
});

test("a receiver that does not read stops the sender; what is held is bounded", async () => {
  const { relay, near, far } = await relayed(fast);
  far.pause();
  const chunk = filled(2 ** 20, 1);
  let offered = 0;
  for (let quietMs = 0; quietMs < 300; ) {
    const before = relay.counters.upBytes;
    for (; near.writableLength < 2 ** 21; offered += chunk.length) near.write(chunk);
    await new Promise((resolve) => setTimeout(resolve, 20));
    quietMs = relay.counters.upBytes === before ? quietMs + 20 : 0;
    expect(relay.counters.upBytes).toBeLessThan(64 * 2 ** 20); // the system's buffers and ours
  }
  far.resume();
  await read(far, offered);
  expect(relay.counters.upBytes).toBe(offered);
});

describe("options", () => {
  const target = { host, port: 1 };

  test("an impossible network is E_RANGE", async () => {
    const started = startRelay({ target, delayMs: -1, bitsPerSecond: 1 });
    await expect(started).rejects.toMatchObject({ code: "E_RANGE" });
  });

  test("a port that is taken or out of range is E_CONFIG", async () => {
    const { relay } = await relayed(fast);
    for (const port of [relay.port, 70_000]) {
      const started = startRelay({ target, port, ...fast });
      await expect(started).rejects.toMatchObject({ code: "E_CONFIG" });
    }
  });
});
