// One suite for every transport, alone and under a channel.

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import type { MergenError } from "../errors.ts";
import { Channel } from "./channel.ts";
import { frameBytes, maxFrameBytes } from "./frame.ts";
import { memoryPair } from "./memory.ts";
import type { Transport } from "./transport.ts";
import { connectWebSocket, type ListenOptions, listenWebSocket } from "./websocket.ts";
import { connectBrowserWebSocket } from "./websocket-browser.ts";

const timeoutMs = 10_000;

interface Connected {
  readonly client: Transport;
  readonly server: Transport;
  readonly dispose: () => Promise<void>;
}

/** A self-signed certificate for an address, or undefined without openssl. */
function makeCertificate(address = "127.0.0.1"): { key: string; cert: string } | undefined {
  const folder = mkdtempSync(join(tmpdir(), "mergen-tls-"));
  const [keyFile, certFile] = ["key.pem", "cert.pem"].map((name) => join(folder, name));
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
  const names = ["-subj", "/CN=localhost", "-addext", `subjectAltName=IP:${address}`];
  const files = ["-nodes", "-days", "1", "-keyout", keyFile, "-out", certFile];
  try {
    execFileSync("openssl", ["req", "-x509", ...curve, ...names, ...files], { stdio: "ignore" });
    return { key: readFileSync(keyFile, "utf8"), cert: readFileSync(certFile, "utf8") };
  } catch {
    return undefined;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const certificate = makeCertificate();

async function overSockets(
  options: Omit<ListenOptions, "onConnection">,
  connect: (url: string) => Promise<Transport>,
): Promise<Connected> {
  const accepted = Promise.withResolvers<Transport>();
  const listener = await listenWebSocket({ ...options, onConnection: accepted.resolve });
  const client = await connect(listener.url);
  return { client, server: await accepted.promise, dispose: () => listener.close() };
}

interface Case {
  readonly name: string;
  readonly connect: () => Promise<Connected>;
  readonly canPause: boolean;
}

const token = "a/token+with=signs~";
const cases: Case[] = [
  {
    name: "memory",
    canPause: true,
    connect: async () => {
      const [client, server] = memoryPair();
      return { client, server, dispose: async () => {} };
    },
  },
  {
    name: "WebSocket",
    canPause: true,
    connect: () => overSockets({}, (url) => connectWebSocket(url)),
  },
  {
    name: "WebSocket with token",
    canPause: true,
    connect: () => overSockets({ token }, (url) => connectWebSocket(url, { token })),
  },
  {
    name: "WebSocket that stays awake",
    canPause: true,
    connect: () =>
      overSockets({ busyPollMs: 1 }, (url) => connectWebSocket(url, { busyPollMs: 1 })),
  },
  {
    name: "browser's WebSocket",
    canPause: false,
    connect: () => overSockets({ token }, (url) => connectBrowserWebSocket(url, { token })),
  },
];
if (certificate) {
  cases.push({
    name: "WebSocket over TLS",
    canPause: true,
    connect: () =>
      overSockets({ tls: certificate, token }, (url) =>
        connectWebSocket(url, { ca: certificate.cert, token }),
      ),
  });
}

test.skipIf(certificate !== undefined)("TLS needs openssl: no certificate, not tested", () => {});

function collect(transport: Transport) {
  const frames: Uint8Array[] = [];
  let wake = () => {};
  transport.onFrame((frame) => {
    frames.push(Uint8Array.from(frame));
    wake();
  });
  const until = async (count: number) => {
    while (frames.length < count) await new Promise<void>((resolve) => (wake = resolve));
    return frames;
  };
  return { frames, until };
}

function ended(transport: Transport): Promise<MergenError | undefined> {
  return new Promise((resolve) => transport.onClose(resolve));
}

function frameOf(byteLength: number, seed: number): Uint8Array {
  const out = new Uint8Array(byteLength);
  for (let i = 0; i < byteLength; i++) out[i] = (i * 31 + seed) & 255;
  return out;
}

describe.each(cases)("$name", ({ connect, canPause }) => {
  let pair: Connected;
  beforeEach(async () => {
    pair = await connect();
  });
  afterEach(async () => {
    await Promise.all([pair.client.close(), pair.server.close()]);
    await pair.dispose();
  });

  test("frames of all sizes arrive whole and in order, both ways", async () => {
    const sizes = [16, 17, 125, 126, 127, 65_535, 65_536, maxFrameBytes - 1, maxFrameBytes, 16];
    for (const [from, to] of [
      [pair.client, pair.server],
      [pair.server, pair.client],
    ]) {
      const inbox = collect(to);
      for (const [i, size] of sizes.entries()) await from.send(frameOf(size, i));
      const got = await inbox.until(sizes.length);
      for (const [i, size] of sizes.entries()) {
        expect(Buffer.compare(got[i], frameOf(size, i))).toBe(0);
      }
    }
  });

  test("bytes may be written again as soon as the transport says so", async () => {
    const inbox = collect(pair.server);
    let scratch = new Uint8Array(300_000);
    let reused = 0;
    for (let i = 0; i < 40; i++) {
      scratch.fill(i);
      await pair.client.send(scratch);
      if (pair.client.isFlushed?.()) reused++;
      else scratch = new Uint8Array(scratch.length);
    }
    const got = await inbox.until(40);
    for (const [i, frame] of got.entries()) {
      expect(Buffer.compare(frame, new Uint8Array(300_000).fill(i))).toBe(0);
    }
    if (pair.client.isFlushed) expect(reused).toBeGreaterThan(0);
  });

  test("frames that come before there is a handler wait for it", async () => {
    for (let i = 0; i < 5; i++) await pair.server.send(frameOf(100, i));
    await new Promise((resolve) => setTimeout(resolve, 30));
    const got = await collect(pair.client).until(5);
    expect(got.map((frame) => frame[0])).toEqual([0, 1, 2, 3, 4]);
  });

  test("an orderly close comes after the frames and gives no reason, on both sides", async () => {
    const inbox = collect(pair.server);
    const ends = [ended(pair.client), ended(pair.server)];
    for (let i = 0; i < 20; i++) void pair.client.send(frameOf(200_000, i));
    await pair.client.close();
    expect(await Promise.all(ends)).toEqual([undefined, undefined]);
    expect(inbox.frames).toHaveLength(20);
    await expect(pair.client.send(frameOf(20, 0))).rejects.toMatchObject({ code: "E_PEER_GONE" });
    await expect(pair.server.send(frameOf(20, 0))).rejects.toMatchObject({ code: "E_PEER_GONE" });
    await pair.client.close(); // again, harmless
  });

  test("a close handler set after the end is still called", async () => {
    collect(pair.server);
    collect(pair.client);
    await pair.client.close();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(await ended(pair.client)).toBeUndefined();
    expect(await ended(pair.server)).toBeUndefined();
  });

  test.runIf(canPause)(
    "a paused reader makes the sender wait, without losing a frame",
    async () => {
      const inbox = collect(pair.client);
      pair.client.pause?.();
      let sent = 0;
      const sending = (async () => {
        for (; sent < 64; sent++) await pair.server.send(frameOf(maxFrameBytes, sent));
      })();
      await new Promise((resolve) => setTimeout(resolve, 150));
      expect(sent).toBeLessThan(64);
      pair.client.resume?.();
      await Promise.all([sending, inbox.until(64)]);
      expect(inbox.frames.map((frame) => frame[0])).toEqual(
        Array.from({ length: 64 }, (_, i) => i),
      );
    },
  );

  test("channels: a ping-pong, a large message, a close", async () => {
    const [client, server] = [new Channel(pair.client), new Channel(pair.server)];
    const large = frameOf(5 * 2 ** 20 + 3, 1);
    const serve = async () => {
      for (let i = 0; i < 50; i++) {
        const { payload } = await server.receive({ timeoutMs, kinds: ["online"] });
        await server.send("online", payload);
      }
      await server.send("bundle", large);
    };
    const ask = async () => {
      for (let i = 0; i < 50; i++) {
        await client.send("online", frameOf(100 + i, i));
        const { payload } = await client.receive({ timeoutMs });
        expect(payload).toEqual(frameOf(100 + i, i));
      }
      const { payload } = await client.receive({ timeoutMs, kinds: ["bundle"] });
      expect(Buffer.compare(payload, large)).toBe(0);
      await client.close();
    };
    await Promise.all([serve(), ask()]);
    expect(await server.closed).toMatchObject({
      code: "E_PEER_GONE",
      message: "the peer closed the connection",
    });
    expect(server.counters.sentBytes).toBe(client.counters.receivedBytes);
    expect(server.counters.receivedBytes).toBe(client.counters.sentBytes);
    const small = Array.from({ length: 50 }, (_, i) => frameBytes(100 + i));
    const smallBytes = small.reduce((sum, n) => sum + n, 0);
    expect(client.counters.sentBytes).toBe(smallBytes);
    expect(server.counters.sentBytes).toBe(smallBytes + frameBytes(large.length));
  });

  test("channels: an error reaches the peer as its code", async () => {
    const [client, server] = [new Channel(pair.client), new Channel(pair.server)];
    void server.close("E_DIGEST");
    await expect(client.receive({ timeoutMs })).rejects.toMatchObject({
      code: "E_DIGEST",
      message: "the peer reported E_DIGEST",
    });
  });
});

describe.runIf(certificate !== undefined)("TLS", () => {
  const listeners: { close(): Promise<void> }[] = [];
  afterAll(() => Promise.all(listeners.map((listener) => listener.close())));

  async function listen(tls: ListenOptions["tls"]) {
    const options = { onConnection: () => {}, ...(tls && { tls }) };
    const listener = await listenWebSocket(options);
    listeners.push(listener);
    return listener;
  }

  test("a certificate of an unknown authority is E_AUTH", async () => {
    const { url } = await listen(certificate);
    const refused = connectWebSocket(url);
    await expect(refused).rejects.toMatchObject({
      code: "E_AUTH",
      message: expect.stringContaining("DEPTH_ZERO_SELF_SIGNED_CERT"),
    });
  });

  test("a certificate for another address is E_AUTH", async () => {
    const other = makeCertificate("127.0.0.9");
    const { url } = await listen(other);
    const refused = connectWebSocket(url, { ca: other?.cert ?? "" });
    await expect(refused).rejects.toMatchObject({
      code: "E_AUTH",
      message: expect.stringContaining("ALTNAME"),
    });
  });

  test("TLS against plain and plain against TLS are named errors", async () => {
    const plain = await listen(undefined);
    const secure = await listen(certificate);
    const toPlain = connectWebSocket(plain.url.replace("ws:", "wss:"));
    await expect(toPlain).rejects.toMatchObject({ code: "E_PROTOCOL" });
    const toSecure = connectWebSocket(secure.url.replace("wss:", "ws:"));
    await expect(toSecure).rejects.toMatchObject({
      code: expect.stringMatching(/E_PROTOCOL|E_PEER_GONE/),
    });
  });

  test("a listener closes at once while clients are still in the handshake", async () => {
    const sockets = [];
    for (const tls of [certificate, undefined]) {
      const listener = await listenWebSocket({ onConnection: () => {}, ...(tls && { tls }) });
      const socket = connectTcp(listener.port, "127.0.0.1");
      sockets.push(socket);
      await once(socket, "connect");
      await new Promise((resolve) => setTimeout(resolve, 20));
      const startMs = performance.now();
      await listener.close();
      expect(performance.now() - startMs).toBeLessThan(1000);
    }
    for (const socket of sockets) socket.destroy();
  });

  test("an unusable key, certificate or CA is E_CONFIG", async () => {
    const tls = { key: "no key", cert: "no certificate" };
    await expect(listen(tls)).rejects.toMatchObject({ code: "E_CONFIG" });
    const refused = connectWebSocket("wss://127.0.0.1:1", {
      ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    });
    await expect(refused).rejects.toMatchObject({ code: "E_CONFIG" });
  });
});
