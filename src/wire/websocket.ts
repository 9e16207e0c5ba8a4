// WebSocket transports in Node: a listener and a client, over TCP or TLS.
//
// - One frame is one binary WebSocket message of at most 1 MiB; no compression (the payload is
//   pseudo-random, and compressed lengths leak); TCP_NODELAY, since rounds cost latency.
// - The bearer token is checked before the connection becomes a WebSocket, in constant time. Node
//   clients send it as an Authorization header, browsers, which cannot set headers, as subprotocol
//   `mergen.bearer.<base64url of the token>`. All clients offer subprotocol `mergen`, which the
//   server echoes.
// - RFC 6455 has clients mask what they send, with a random key, so that a web page cannot choose
//   the bytes that a proxy sees (section 10.3). No web page runs here: this client's bytes are our
//   frames, of which nobody chooses the contents (headers, fixed JSON, pseudo-random words). So its
//   key is zero everywhere: masked frames still, as every server wants them, but `ws` leaves the
//   bytes alone on both sides. A random key costs each side 40 us for 25 kB, where all the rest
//   costs 10. There is nothing to negotiate; browsers go on with random keys.
// - One message is one system call on either side: header and frame go out in one writev, and what
//   fits 64 KiB comes in by one read.

import { createHash, timingSafeEqual, X509Certificate } from "node:crypto";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import { MergenError } from "../errors.ts";
import { type Clock, systemClock } from "./clock.ts";
import { maxFrameBytes } from "./frame.ts";
import type { Transport } from "./transport.ts";
import { bearerPrefix, checkToken, checkUrl, subprotocol } from "./websocket-handshake.ts";

/** Bytes buffered in this process from which a send waits for the kernel. */
const highWaterBytes = 4 * 2 ** 20;
const defaultCloseTimeoutMs = 5_000;
const handshakeTimeoutMs = 10_000;
/** Connections that may be in the HTTP or TLS handshake on top of the open ones. */
const maxHandshakes = 64;
const keepAliveMs = 30_000;
const maxBusyPollMs = 100;
/** At most 2^8 sends in a row go without looking for an answer. */
const maxMisses = 8;

/** What either side may set. */
export interface SocketOptions {
  /** How long a close may take to send what is buffered. Default 5 s. */
  readonly closeTimeoutMs?: number;
  /**
   * How long to go on looking for the next frame after a send, before the thread sleeps. Default 0,
   * at most 100. Waking a core that sleeps takes 30 us in a virtual machine: where each side has a
   * core of its own, a round trip of 25 kB takes 45 us instead of 115, and no more processor time.
   * Where both share one, each makes the other wait for as long as this: so a look that finds
   * nothing in time is followed by twice as many sends without one as the last such look.
   */
  readonly busyPollMs?: number;
}

export interface ListenOptions extends SocketOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: the system chooses; see WebSocketListener.port. */
  readonly port?: number;
  /** PEM texts; without them the connection is not encrypted. */
  readonly tls?: { readonly key: string | Buffer; readonly cert: string | Buffer };
  /** 1 to 512 printable ASCII characters; without one, everybody may connect. */
  readonly token?: string;
  /**
   * Web origins whose pages may connect (`https://example.org`), or "any". Default: with a token
   * any, without one none, so that no web page reaches a server on the visitor's own machine.
   */
  readonly origins?: readonly string[] | "any";
  /** Open connections at one time; more get E_BUSY. Default 16. */
  readonly maxConnections?: number;
  /** Called for each new connection; must not throw. Give the transport to a Channel at once. */
  readonly onConnection: (transport: Transport, peer: { readonly address: string }) => void;
}

export interface WebSocketListener {
  readonly host: string;
  readonly port: number;
  /** ws:// or wss:// address with the host that was listened on. */
  readonly url: string;
  /** Open connections. */
  readonly connectionCount: () => number;
  /** Stops listening and closes all connections, each within closeTimeoutMs. */
  close(): Promise<void>;
}

export interface ConnectOptions extends SocketOptions {
  readonly token?: string;
  /** PEM of the certificate authority to trust in place of the system's. */
  readonly ca?: string | Buffer;
  /** For TCP, TLS and the WebSocket handshake together. Default 10 s. */
  readonly connectTimeoutMs?: number;
  readonly clock?: Clock;
}

/**
 * Listens for WebSocket connections.
 * @throws E_CONFIG for a bad token, key, certificate, host or port, or when the port is taken
 */
export async function listenWebSocket(options: ListenOptions): Promise<WebSocketListener> {
  const { host = "127.0.0.1", port = 0, tls, token } = options;
  if (token !== undefined) checkToken(token);
  const server = createHttpServer(tls);
  const maxConnections = options.maxConnections ?? 16;
  server.maxConnections = maxConnections + maxHandshakes;
  server.on("request", (_request, response) => {
    response.writeHead(426, { connection: "close" }).end("WebSocket only\n");
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const open = new Set<WsTransport>();
  const upgrader = new WebSocketServer({
    ...socketOptions(options),
    noServer: true,
    clientTracking: false,
    handleProtocols: (offered) => (offered.has(subprotocol) ? subprotocol : false),
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const refusal = refuse(request, { ...options, isFull: open.size >= maxConnections });
    if (refusal) return answer(socket, refusal);
    upgrader.handleUpgrade(request, socket, head, (ws) => {
      request.socket.setNoDelay(true);
      request.socket.setKeepAlive(true, keepAliveMs);
      const transport = new WsTransport(ws, { ...options, clock: systemClock });
      open.add(transport);
      ws.once("close", () => open.delete(transport));
      options.onConnection(transport, { address: request.socket.remoteAddress ?? "" });
    });
  });
  const address = await startListening(server, { host, port });
  return {
    host,
    port: address.port,
    url: `${tls ? "wss" : "ws"}://${host.includes(":") ? `[${host}]` : host}:${address.port}`,
    connectionCount: () => open.size,
    close: () => stopListening(server, { open, sockets }),
  };
}

/** What both sides tell `ws`; closeTimeout (limit on a close begun by the peer) is untyped. */
function socketOptions({ closeTimeoutMs }: SocketOptions) {
  const closeTimeout = closeTimeoutMs ?? defaultCloseTimeoutMs;
  return { maxPayload: maxFrameBytes, perMessageDeflate: false, closeTimeout };
}

function createHttpServer(tls: ListenOptions["tls"]): Server {
  const limits = { headersTimeout: handshakeTimeoutMs, requestTimeout: handshakeTimeoutMs };
  if (!tls) return createServer(limits);
  const tlsLimits = { handshakeTimeout: handshakeTimeoutMs, minVersion: "TLSv1.3" } as const;
  try {
    return createTlsServer({ ...limits, ...tlsLimits, key: tls.key, cert: tls.cert });
  } catch (cause) {
    throw new MergenError("E_CONFIG", "the TLS key or certificate cannot be used", { cause });
  }
}

function startListening(server: Server, at: { host: string; port: number }): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) => {
      const message = `cannot listen on ${at.host}:${at.port} (${cause.code ?? cause.message})`;
      reject(new MergenError("E_CONFIG", message, { cause }));
    };
    server.once("error", failed);
    try {
      server.listen(at, () => {
        server.off("error", failed);
        server.on("error", () => {}); // a failed accept ends nobody's session
        resolve(server.address() as AddressInfo);
      });
    } catch (cause) {
      failed(cause as NodeJS.ErrnoException); // a port out of range
    }
  });
}

async function stopListening(
  server: Server,
  { open, sockets }: { open: Set<WsTransport>; sockets: Set<Socket> },
): Promise<void> {
  const stopped = new Promise<void>((resolve) => server.close(() => resolve()));
  await Promise.all([...open].map((transport) => transport.close()));
  for (const socket of sockets) socket.destroy(); // those still in a handshake
  await stopped;
}

interface Refusal {
  readonly status: string;
}

/** Why a request may not become a connection, if it may not. */
function refuse(
  request: IncomingMessage,
  options: Pick<ListenOptions, "token" | "origins"> & { isFull: boolean },
): Refusal | undefined {
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((p) => p.trim());
  const { token, isFull } = options;
  if (token !== undefined && !isAuthorised(token, request.headers.authorization, offered)) {
    return { status: "401 Unauthorized" };
  }
  const origins = options.origins ?? (token === undefined ? [] : "any");
  const { origin } = request.headers;
  if (origin !== undefined && origins !== "any" && !origins.includes(origin)) {
    return { status: "403 Forbidden" };
  }
  if (!offered.includes(subprotocol)) return { status: "400 Bad Request" };
  return isFull ? { status: "503 Service Unavailable" } : undefined;
}

function isAuthorised(token: string, header: string | undefined, offered: string[]): boolean {
  const scheme = "bearer ";
  if (header?.slice(0, scheme.length).toLowerCase() === scheme) {
    return equalSecrets(header.slice(scheme.length).trim(), token);
  }
  const bearer = offered.find((protocol) => protocol.startsWith(bearerPrefix));
  if (bearer === undefined) return false;
  const given = Buffer.from(bearer.slice(bearerPrefix.length), "base64url");
  return equalSecrets(given.toString("latin1"), token);
}

/** Compares digests, so that neither contents nor length show in the time taken. */
function equalSecrets(given: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text, "latin1").digest();
  return timingSafeEqual(digest(given), digest(expected));
}

function answer(socket: Duplex, { status }: Refusal): void {
  socket.on("error", () => socket.destroy());
  socket.once("finish", () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/**
 * Connects to a Mergen server.
 * @throws E_CONFIG for a bad address, token or CA; E_PEER_GONE when the host cannot be found or
 *         reached, or refuses; E_AUTH when the server refuses the token, or its certificate is not
 *         to be trusted; E_BUSY when it is full; E_TIMEOUT; E_PROTOCOL when it is no Mergen server
 */
export async function connectWebSocket(
  url: string,
  options: ConnectOptions = {},
): Promise<Transport> {
  const { token, clock = systemClock, connectTimeoutMs = 10_000 } = options;
  const { host } = checkUrl(url);
  if (token !== undefined) checkToken(token);
  const ws = openSocket(url, options);
  return new Promise((resolve, reject) => {
    const fail = (error: MergenError) => {
      clock.clearTimeout(timer);
      reject(error);
      ws.terminate();
    };
    const late = `no connection to ${host} within ${connectTimeoutMs} ms`;
    const timer = clock.setTimeout(
      () => fail(new MergenError("E_TIMEOUT", late)),
      connectTimeoutMs,
    );
    ws.on("error", (error) => fail(connectError(error, host)));
    ws.on("unexpected-response", (_request, response) => {
      fail(refusalError(response.statusCode ?? 0, host));
    });
    ws.once("upgrade", (response) => response.socket.setKeepAlive(true, keepAliveMs));
    ws.once("open", () => {
      clock.clearTimeout(timer);
      ws.removeAllListeners();
      resolve(new WsTransport(ws, { ...options, clock }));
    });
  });
}

function openSocket(url: string, options: ConnectOptions): WebSocket {
  const { token, ca } = options;
  try {
    if (ca !== undefined) new X509Certificate(ca); // Node passes over what it cannot read
    return new WebSocket(url, [subprotocol], {
      ...socketOptions(options),
      followRedirects: false,
      ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
      ...(ca !== undefined && { ca }),
      generateMask: (key: Buffer) => void key.fill(0),
    });
  } catch (cause) {
    throw new MergenError("E_CONFIG", "the address or the CA cannot be used", { cause });
  }
}

function refusalError(status: number, host: string): MergenError {
  if (status === 401) return new MergenError("E_AUTH", `${host} refused the bearer token`);
  if (status === 403) return new MergenError("E_AUTH", `${host} refused this origin`);
  if (status === 503) return new MergenError("E_BUSY", `${host} has no free connection`);
  return new MergenError("E_PROTOCOL", `${host} is no Mergen server (HTTP status ${status})`);
}

function connectError(cause: NodeJS.ErrnoException, host: string): MergenError {
  const code = cause.code ?? "";
  const made = (ours: "E_AUTH" | "E_PEER_GONE" | "E_PROTOCOL", message: string) =>
    new MergenError(ours, message, { cause });
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return made(
      "E_AUTH",
      `the certificate is for another name than ${host}; use its name (${code})`,
    );
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO_|TLS_CERT/.test(code)) {
    return made("E_AUTH", `the certificate of ${host} is not to be trusted (${code})`);
  }
  if (code === "EPROTO" || code.startsWith("ERR_SSL")) {
    return made("E_PROTOCOL", `${host} does not speak TLS as expected (${code})`);
  }
  if (code === "ECONNREFUSED") return made("E_PEER_GONE", `${host} refused the connection`);
  if (code === "" || code.startsWith("HPE_"))
    return made("E_PROTOCOL", `${host} is no Mergen server`);
  const tls = code === "ECONNRESET" ? "; if it expects TLS, use wss://" : "";
  return made("E_PEER_GONE", `cannot reach ${host} (${code})${tls}`);
}

interface WsTransportOptions extends SocketOptions {
  readonly clock: Clock;
}

class WsTransport implements Transport {
  private readonly ws: WebSocket;
  private readonly clock: Clock;
  private readonly closeTimeoutMs: number;
  private readonly busyPollMs: number;
  private awakeUntilMs = 0;
  /** Looks in a row that found nothing, and sends to go before the next look. */
  private misses = 0;
  private rest = 0;
  private isAwake = false;
  private frameHandler: ((bytes: Uint8Array) => void) | undefined;
  private closeHandler: ((reason?: MergenError) => void) | undefined;
  private ended: { reason: MergenError | undefined } | undefined;
  private closing: Promise<void> | undefined;

  constructor(ws: WebSocket, options: WsTransportOptions) {
    this.ws = ws;
    this.clock = options.clock;
    this.closeTimeoutMs = options.closeTimeoutMs ?? defaultCloseTimeoutMs;
    this.busyPollMs = Math.min(options.busyPollMs ?? 0, maxBusyPollMs);
    ws.pause(); // until there is a handler
    ws.on("message", (data, isBinary) => this.accept(data, isBinary));
    ws.on("error", (error) => this.abandon(socketError(error)));
    ws.once("close", (code) => this.finish(closeReason(code)));
  }

  send(bytes: Uint8Array): Promise<void> | undefined {
    const { ws } = this;
    if (ws.readyState !== WebSocket.OPEN) return Promise.reject(gone("the connection is closed"));
    if (this.busyPollMs > 0) this.stayAwake();
    if (ws.bufferedAmount + bytes.length <= highWaterBytes) {
      ws.send(bytes); // a connection that breaks tells of its end by itself
      return undefined;
    }
    return new Promise((resolve, reject) => {
      ws.send(bytes, (error) => {
        if (error) reject(gone("the connection broke while sending"));
        else resolve();
      });
      if (ws.bufferedAmount <= highWaterBytes) resolve();
    });
  }

  /** Keeps the event loop turning until the next frame, or for busyPollMs. */
  private stayAwake(): void {
    if (this.rest > 0) {
      this.rest--;
      return;
    }
    this.awakeUntilMs = performance.now() + this.busyPollMs;
    if (this.isAwake) return;
    this.isAwake = true;
    const turn = () => {
      this.isAwake = performance.now() < this.awakeUntilMs;
      if (this.isAwake) setImmediate(turn);
      else if (this.awakeUntilMs > 0) this.rest = 2 ** Math.min(this.misses++, maxMisses);
    };
    setImmediate(turn);
  }

  isFlushed(): boolean {
    return this.ws.bufferedAmount === 0;
  }

  onFrame(handler: (bytes: Uint8Array) => void): void {
    this.frameHandler = handler;
    this.resume();
  }

  onClose(handler: (reason?: MergenError) => void): void {
    this.closeHandler = handler;
    if (this.ended) queueMicrotask(() => handler(this.ended?.reason));
  }

  pause(): void {
    this.ws.pause();
  }

  resume(): void {
    this.ws.resume();
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private shutDown(): Promise<void> {
    if (this.ws.readyState === WebSocket.CLOSED) return Promise.resolve();
    this.frameHandler = () => {};
    this.resume(); // to see the peer's answer to the close
    this.ws.close(1000);
    return new Promise((resolve) => {
      const timer = this.clock.setTimeout(() => this.ws.terminate(), this.closeTimeoutMs);
      this.ws.once("close", () => {
        this.clock.clearTimeout(timer);
        resolve();
      });
    });
  }

  private accept(data: RawData, isBinary: boolean): void {
    if (this.isAwake) this.misses = 0;
    this.awakeUntilMs = 0;
    if (isBinary && data instanceof Uint8Array) {
      this.frameHandler?.(data);
      return;
    }
    this.abandon(new MergenError("E_FRAME", "a text message came where frames are expected"));
  }

  /** Tells of a fault at once; the peer's answer to the close does not matter any more. */
  private abandon(fault: MergenError): void {
    this.finish(fault);
    void this.close();
  }

  private finish(reason: MergenError | undefined): void {
    this.awakeUntilMs = 0;
    if (this.ended) return;
    this.ended = { reason };
    this.closeHandler?.(reason);
  }
}

function closeReason(code: number): MergenError | undefined {
  const orderly = code === 1000 || code === 1001 || code === 1005;
  return orderly ? undefined : gone(`the connection was cut (${code})`);
}

function socketError(cause: NodeJS.ErrnoException): MergenError {
  if (cause.code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH") {
    return new MergenError("E_FRAME", `a message of over ${maxFrameBytes} bytes`, { cause });
  }
  if (cause.code?.startsWith("WS_ERR_")) {
    return new MergenError("E_FRAME", `malformed WebSocket traffic (${cause.code})`, { cause });
  }
  return new MergenError("E_PEER_GONE", "the connection broke", { cause });
}

function gone(message: string): MergenError {
  return new MergenError("E_PEER_GONE", message);
}
