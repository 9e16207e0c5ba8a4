// The WebSocket transport of a browser. What it cannot do, compared with Node: set headers (the
// token goes as a subprotocol), see why a connection failed (one error for refused, unauthorised
// and TLS), stop reading (a channel that reads too slowly ends with E_PROTOCOL), or be told when
// there is room again (it looks every few milliseconds).

import { ensure, MergenError } from "../errors.ts";
import { type Clock, systemClock } from "./clock.ts";
import { maxFrameBytes } from "./frame.ts";
import type { Transport } from "./transport.ts";
import { bearerPrefix, checkToken, checkUrl, subprotocol } from "./websocket-handshake.ts";

/** Bytes buffered by the browser from which a send waits. */
const highWaterBytes = 4 * 2 ** 20;
const pollMs = 4;
/** Frames kept until there is a handler, in bytes. */
const maxEarlyBytes = 4 * 2 ** 20;

export interface BrowserConnectOptions {
  readonly token?: string;
  /** Default 10 s. */
  readonly connectTimeoutMs?: number;
  /** How long a close may take to send what is buffered. Default 5 s. */
  readonly closeTimeoutMs?: number;
  readonly clock?: Clock;
  /** Default: the platform's. */
  readonly WebSocket?: typeof WebSocket;
}

/**
 * Connects to a Mergen server from a browser.
 * @throws E_CONFIG for a bad address or token; E_TIMEOUT; E_PEER_GONE when the connection fails,
 *         whatever the cause (browsers do not tell)
 */
export async function connectBrowserWebSocket(
  url: string,
  options: BrowserConnectOptions = {},
): Promise<Transport> {
  const { clock = systemClock, connectTimeoutMs = 10_000, closeTimeoutMs = 5_000 } = options;
  const { host } = checkUrl(url);
  const protocols = [subprotocol, ...bearer(options.token)];
  const socket = openSocket(url, protocols, options.WebSocket ?? globalThis.WebSocket);
  const transport = new BrowserTransport(socket, { clock, closeTimeoutMs });
  return new Promise((resolve, reject) => {
    const fail = (code: "E_TIMEOUT" | "E_PEER_GONE", message: string) => {
      clock.clearTimeout(timer);
      reject(new MergenError(code, message));
      socket.close();
    };
    const late = `no connection to ${host} within ${connectTimeoutMs} ms`;
    const timer = clock.setTimeout(() => fail("E_TIMEOUT", late), connectTimeoutMs);
    const failed = `cannot connect to ${host}: not reachable, token refused, or TLS not trusted`;
    socket.addEventListener("error", () => fail("E_PEER_GONE", failed));
    socket.addEventListener("close", () => fail("E_PEER_GONE", failed));
    socket.addEventListener("open", () => {
      clock.clearTimeout(timer);
      resolve(transport);
    });
  });
}

function bearer(token: string | undefined): string[] {
  if (token === undefined) return [];
  checkToken(token);
  const base64 = btoa(token).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return [bearerPrefix + base64];
}

function openSocket(url: string, protocols: string[], Socket: typeof WebSocket): WebSocket {
  const exists = typeof Socket === "function";
  ensure(
    exists,
    "E_CONFIG",
    "no WebSocket here: take Node 22 or newer, or pass one as `WebSocket`",
  );
  try {
    return new Socket(url, protocols);
  } catch (cause) {
    // A secure page may not open ws:// addresses.
    throw new MergenError("E_CONFIG", "the platform refuses this address", { cause });
  }
}

class BrowserTransport implements Transport {
  private readonly socket: WebSocket;
  private readonly clock: Clock;
  private readonly closeTimeoutMs: number;
  private early: Uint8Array[] = [];
  private earlyBytes = 0;
  private frameHandler: ((bytes: Uint8Array) => void) | undefined;
  private closeHandler: ((reason?: MergenError) => void) | undefined;
  private fault: MergenError | undefined;
  private ended: { reason: MergenError | undefined } | undefined;
  private readonly whenEnded: (() => void)[] = [];

  constructor(socket: WebSocket, options: { clock: Clock; closeTimeoutMs: number }) {
    this.socket = socket;
    this.clock = options.clock;
    this.closeTimeoutMs = options.closeTimeoutMs;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => this.accept(data));
    socket.addEventListener("close", ({ code }) => {
      const orderly = code === 1000 || code === 1001 || code === 1005;
      this.finish(orderly ? undefined : gone(`the connection was cut (${code})`));
    });
  }

  send(bytes: Uint8Array<ArrayBuffer>): Promise<void> | undefined {
    if (!this.isOpen()) return Promise.reject(gone("the connection is closed"));
    this.socket.send(bytes);
    return this.socket.bufferedAmount > highWaterBytes ? this.untilRoom() : undefined;
  }

  /** A browser copies what it is given before `send` returns. */
  isFlushed(): boolean {
    return true;
  }

  private async untilRoom(): Promise<void> {
    while (this.socket.bufferedAmount > highWaterBytes) {
      await new Promise<void>((resolve) => this.clock.setTimeout(resolve, pollMs));
      if (!this.isOpen()) throw gone("the connection is closed");
    }
  }

  onFrame(handler: (bytes: Uint8Array) => void): void {
    this.frameHandler = handler;
    queueMicrotask(() => this.flushEarly());
  }

  onClose(handler: (reason?: MergenError) => void): void {
    this.closeHandler = handler;
    if (this.ended) queueMicrotask(() => handler(this.ended?.reason));
  }

  /** A browser sends what is buffered before its close; the peer's answer ends the wait. */
  close(): Promise<void> {
    if (this.ended) return Promise.resolve();
    this.frameHandler = () => {};
    this.socket.close(1000);
    return new Promise((resolve) => {
      const late = () => this.finish(gone("the peer did not answer the close"));
      const timer = this.clock.setTimeout(late, this.closeTimeoutMs);
      this.whenEnded.push(() => {
        this.clock.clearTimeout(timer);
        resolve();
      });
    });
  }

  private isOpen(): boolean {
    return !this.ended && this.socket.readyState === 1;
  }

  private accept(data: unknown): void {
    if (!(data instanceof ArrayBuffer)) {
      this.refuse("E_FRAME", "a text message came where frames are expected");
    } else if (data.byteLength > maxFrameBytes) {
      this.refuse("E_FRAME", `a message of over ${maxFrameBytes} bytes`);
    } else if (this.frameHandler && this.early.length === 0) {
      this.frameHandler(new Uint8Array(data));
    } else {
      this.keepEarly(new Uint8Array(data));
    }
  }

  private keepEarly(bytes: Uint8Array): void {
    this.early.push(bytes);
    this.earlyBytes += bytes.length;
    if (this.earlyBytes > maxEarlyBytes) this.refuse("E_PROTOCOL", "frames come and nobody reads");
  }

  private flushEarly(): void {
    for (const bytes of this.early.splice(0)) this.frameHandler?.(bytes);
  }

  private refuse(code: "E_FRAME" | "E_PROTOCOL", message: string): void {
    this.fault ??= new MergenError(code, message);
    this.early = [];
    void this.close();
  }

  private finish(reason: MergenError | undefined): void {
    if (this.ended) return;
    this.ended = { reason: this.fault ?? reason };
    this.closeHandler?.(this.ended.reason);
    for (const resolve of this.whenEnded.splice(0)) resolve();
  }
}

function gone(message: string): MergenError {
  return new MergenError("E_PEER_GONE", message);
}
