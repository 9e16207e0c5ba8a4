import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { MergenError } from "../errors.ts";
import { Channel } from "./channel.ts";
import type { Transport } from "./transport.ts";
import {
  connectWebSocket,
  type ListenOptions,
  listenWebSocket,
  type WebSocketListener,
} from "./websocket.ts";
import { connectBrowserWebSocket } from "./websocket-browser.ts";

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

interface Listening extends WebSocketListener {
  readonly accepted: Transport[];
  readonly next: () => Promise<Transport>;
}

async function listen(options: Partial<ListenOptions> = {}): Promise<Listening> {
  const accepted: Transport[] = [];
  const listener = await listenWebSocket({
    onConnection: (transport) => accepted.push(transport),
    closeTimeoutMs: 300,
    ...options,
  });
  cleanUps.push(() => listener.close());
  const next = async () => {
    while (accepted.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    return accepted.shift() as Transport;
  };
  return { ...listener, accepted, next };
}

/** A session that reads and drops everything. */
function ignore(transport: Transport): void {
  transport.onFrame(() => {});
}

function reason(transport: Transport): Promise<MergenError | undefined> {
  return new Promise((resolve) => transport.onClose(resolve));
}

/** A client that is not ours. */
async function foreignClient(url: string): Promise<WebSocket> {
  const ws = new WebSocket(url, ["mergen"]);
  ws.on("error", () => {});
  cleanUps.push(() => ws.terminate());
  await once(ws, "open");
  return ws;
}

const token = "right-token";

describe("token", () => {
  test("right", async () => {
    const { url } = await listen({ token, onConnection: ignore });
    await (await connectWebSocket(url, { token })).close();
    await (await connectBrowserWebSocket(url, { token })).close();
  });

  test.each([
    ["missing", undefined],
    ["wrong", "wrong-token"],
    ["a prefix", "right-toke"],
    ["longer", "right-token-"],
  ])("%s", async (_name, given) => {
    const { url, accepted } = await listen({ token });
    const options = given === undefined ? {} : { token: given };
    await expect(connectWebSocket(url, options)).rejects.toMatchObject({ code: "E_AUTH" });
    const browser = connectBrowserWebSocket(url, options);
    await expect(browser).rejects.toMatchObject({ code: "E_PEER_GONE" });
    expect(accepted).toHaveLength(0);
  });

  test("a token that no header can carry is E_CONFIG, on both sides", async () => {
    for (const bad of ["", "two words", "line\nbreak", "ünicode", "x".repeat(513)]) {
      const connected = connectWebSocket("ws://127.0.0.1:1", { token: bad });
      await expect(connected).rejects.toMatchObject({ code: "E_CONFIG" });
      await expect(listen({ token: bad })).rejects.toMatchObject({ code: "E_CONFIG" });
    }
  });

  test("no error text holds a token", async () => {
    const { url } = await listen({ token });
    const refused = connectWebSocket(url, { token: "my-secret" });
    const text = expect.not.stringMatching(/my-secret|right-token/);
    await expect(refused).rejects.toMatchObject({ message: text });
  });
});

describe("who may connect", () => {
  async function withOrigin(url: string, headers: Record<string, string> = {}): Promise<number> {
    const ws = new WebSocket(url, ["mergen"], { origin: "https://page.example", headers });
    cleanUps.push(() => ws.terminate());
    ws.on("error", () => {});
    return new Promise((resolve) => {
      ws.on("open", () => resolve(101));
      ws.on("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0));
    });
  }

  test("web pages: none without a token, any with one, or those listed", async () => {
    const open = await listen();
    expect(await withOrigin(open.url)).toBe(403);
    const anyPage = await listen({ origins: "any" });
    expect(await withOrigin(anyPage.url)).toBe(101);
    const listed = await listen({ origins: ["https://page.example"] });
    expect(await withOrigin(listed.url)).toBe(101);
    const guarded = await listen({ token });
    expect(await withOrigin(guarded.url)).toBe(401);
    expect(await withOrigin(guarded.url, { authorization: `Bearer ${token}` })).toBe(101);
    const both = await listen({ token, origins: ["https://other.example"] });
    expect(await withOrigin(both.url, { authorization: `Bearer ${token}` })).toBe(403);
  });

  test("no more connections than allowed, and again once one has gone", async () => {
    const { url, connectionCount } = await listen({ maxConnections: 2, onConnection: ignore });
    const [first] = [await connectWebSocket(url), await connectWebSocket(url)];
    expect(connectionCount()).toBe(2);
    await expect(connectWebSocket(url)).rejects.toMatchObject({ code: "E_BUSY" });
    await first.close();
    while (connectionCount() > 1) await new Promise((resolve) => setTimeout(resolve, 2));
    await (await connectWebSocket(url)).close();
  });

  test("plain HTTP gets 426, a WebSocket without our subprotocol 400", async () => {
    const { url, port } = await listen();
    const asked = request({ port, host: "127.0.0.1" });
    asked.end();
    const [response] = await once(asked, "response");
    expect(response.statusCode).toBe(426);
    response.resume();
    const ws = new WebSocket(url);
    const [error] = await once(ws, "error");
    expect(error.message).toContain("400");
  });
});

test("a client masks its messages, as servers want it, with a key of zero", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  cleanUps.push(() => server.close());
  await once(server, "listening");
  const upgraded = once(server, "upgrade");
  const { port } = server.address() as AddressInfo;
  const connecting = connectWebSocket(`ws://127.0.0.1:${port}`, { closeTimeoutMs: 50 });
  const [{ headers }, socket] = await upgraded;
  cleanUps.push(() => socket.destroy());
  const proof = `${headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash("sha1").update(proof).digest("base64");
  const head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
  const rest = [`Sec-WebSocket-Accept: ${accept}`, "Sec-WebSocket-Protocol: mergen", "", ""];
  socket.write([...head, ...rest].join("\r\n"));
  const transport = await connecting;
  await transport.send(Uint8Array.from([1, 2, 3]));
  const [chunk] = await once(socket, "data");
  expect([...chunk]).toEqual([0x82, 0x83, 0, 0, 0, 0, 1, 2, 3]);
  await transport.close();
});

describe("connecting to the wrong place", () => {
  test("a bad address is E_CONFIG", async () => {
    const bad = ["nowhere", "http://127.0.0.1", "ws://u:p@127.0.0.1", "ws://127.0.0.1/#x"];
    for (const url of bad) {
      await expect(connectWebSocket(url)).rejects.toMatchObject({ code: "E_CONFIG" });
      await expect(connectBrowserWebSocket(url)).rejects.toMatchObject({ code: "E_CONFIG" });
    }
  });

  test("nobody listens", async () => {
    const server = createTcpServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    const refused = connectWebSocket(`ws://127.0.0.1:${port}`);
    await expect(refused).rejects.toMatchObject({
      code: "E_PEER_GONE",
      message: `127.0.0.1:${port} refused the connection`,
    });
  });

  test("the host has no address", async () => {
    const refused = connectWebSocket("ws://no-such-host.invalid:1", { connectTimeoutMs: 20_000 });
    await expect(refused).rejects.toMatchObject({ code: "E_PEER_GONE" });
  });

  test("a web server that is not ours", async () => {
    const server = createServer((_request, response) => response.end("hello")).listen(0);
    cleanUps.push(() => server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const refused = connectWebSocket(`ws://127.0.0.1:${port}`);
    await expect(refused).rejects.toMatchObject({ code: "E_PROTOCOL" });
  });

  test("a server that never answers", async () => {
    const server = createTcpServer((socket) => cleanUps.push(() => socket.destroy()));
    cleanUps.push(() => server.close());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const url = `ws://127.0.0.1:${port}`;
    const late = { code: "E_TIMEOUT" };
    await expect(connectWebSocket(url, { connectTimeoutMs: 50 })).rejects.toMatchObject(late);
    const browser = connectBrowserWebSocket(url, { connectTimeoutMs: 50 });
    await expect(browser).rejects.toMatchObject(late);
  });

  test("a port that is taken, or out of range", async () => {
    const { port } = await listen();
    await expect(listen({ port })).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(listen({ port: 70_000 })).rejects.toMatchObject({ code: "E_CONFIG" });
  });
});

describe("peers that misbehave or vanish", () => {
  test("a socket cut without a word", async () => {
    const { url, next } = await listen();
    const ws = await foreignClient(url);
    const channel = new Channel(await next());
    const waiting = channel.receive({ timeoutMs: 5000 });
    ws.terminate();
    await expect(waiting).rejects.toMatchObject({
      code: "E_PEER_GONE",
      message: "the connection was cut (1006)",
    });
    await expect(channel.send("online", new Uint8Array(1))).rejects.toMatchObject({
      code: "E_PEER_GONE",
    });
  });

  test("a text message", async () => {
    const { url, next } = await listen();
    const ws = await foreignClient(url);
    const server = await next();
    server.onFrame(() => {});
    const ended = reason(server);
    const closed = once(ws, "close");
    ws.send("hello");
    expect(await ended).toMatchObject({ code: "E_FRAME" });
    await closed;
  });

  test("a WebSocket message over 1 MiB", async () => {
    const { url, next } = await listen();
    const ws = await foreignClient(url);
    const channel = new Channel(await next());
    const waiting = channel.receive({ timeoutMs: 5000 });
    ws.send(new Uint8Array(2 ** 20 + 1));
    await expect(waiting).rejects.toMatchObject({ code: "E_FRAME" });
  });

  test("bytes that are no WebSocket traffic", async () => {
    const { port, next } = await listen();
    const socket = connectTcp(port, "127.0.0.1");
    cleanUps.push(() => socket.destroy());
    const head = ["GET / HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"];
    const key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    const rest = [key, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: mergen", "", ""];
    socket.write([...head, ...rest].join("\r\n"));
    const server = await next();
    server.onFrame(() => {});
    const ended = reason(server);
    socket.write(Buffer.alloc(100, 0xff));
    expect(await ended).toMatchObject({ code: "E_FRAME" });
  });

  test("one that does not answer the close is dropped in time", async () => {
    const { url, next } = await listen();
    const ws = await foreignClient(url);
    ws.pause();
    const server = await next();
    server.onFrame(() => {});
    const startMs = performance.now();
    await server.close();
    expect(performance.now() - startMs).toBeGreaterThan(250);
    expect(performance.now() - startMs).toBeLessThan(3000);
  });

  test("closing the listener ends every connection and refuses new ones", async () => {
    const listener = await listen();
    const client = new Channel(await connectWebSocket(listener.url));
    await listener.next();
    const waiting = expect(client.receive({ timeoutMs: 5000 })).rejects.toMatchObject({
      code: "E_PEER_GONE",
    });
    await listener.close();
    await waiting;
    const again = connectWebSocket(listener.url);
    await expect(again).rejects.toMatchObject({ code: "E_PEER_GONE" });
  });
});
