// Messages there and back, by a bare socket, a WebSocket or a channel. The other side is
// echo-process.ts.

import { once } from "node:events";
import { connect } from "node:net";
import { WebSocket } from "ws";
import { Channel, connectWebSocket, loadCrc32c, type Transport } from "../src/index.ts";

const host = "127.0.0.1";
const TIMEOUT_MS = 60_000;
/** How long the `awake` rung keeps the event loop turning for an answer. */
export const BUSY_POLL_MS = 1;

export const wsOptions = {
  maxPayload: 2 ** 20,
  perMessageDeflate: false,
  generateMask: (key: Buffer) => void key.fill(0),
};

/** Where the other side listens, for each rung. */
export interface Ports {
  readonly tcp: number;
  readonly ws: number;
  readonly channel: string;
  readonly awake: string;
}

export interface Pinger {
  /** One message there, one back. Gives the milliseconds that the way there took, if known. */
  trip(): Promise<number | undefined>;
  close(): unknown;
}

export interface Rung {
  readonly name: string;
  open(size: number): Promise<Pinger>;
}

/** A clock that all processes share. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export async function openTcp(port: number, size: number): Promise<Pinger> {
  const socket = connect(port, host).setNoDelay(true);
  await once(socket, "connect");
  const head = Buffer.alloc(4);
  head.writeUInt32LE(size);
  socket.write(head);
  const message = Buffer.alloc(size);
  let got = 0;
  let sentMs = 0;
  let thereMs = 0;
  let done = (_wayMs: number) => {};
  socket.on("data", (chunk) => {
    if (got === 0) thereMs = chunk.readDoubleLE(0);
    got += chunk.length;
    if (got < size) return;
    got -= size;
    done(thereMs - sentMs);
  });
  const trip = () =>
    new Promise<number>((resolve) => {
      done = resolve;
      sentMs = monotonicMs();
      socket.write(message);
    });
  return { trip, close: () => socket.destroy() };
}

async function openWs(port: number, size: number): Promise<Pinger> {
  const ws = new WebSocket(`ws://${host}:${port}`, wsOptions as object);
  ws.once("upgrade", ({ socket }) => socket.setNoDelay(true));
  await once(ws, "open");
  let done = (_wayMs: undefined) => {};
  ws.on("message", () => done(undefined));
  const message = Buffer.alloc(size);
  const trip = () =>
    new Promise<undefined>((resolve) => {
      done = resolve;
      ws.send(message);
    });
  return { trip, close: () => ws.terminate() };
}

async function openChannel(transport: Promise<Transport>, size: number, draft: boolean) {
  const crc32c = await loadCrc32c();
  const channel = new Channel(await transport, { crc32c });
  const payload = new Uint8Array(size);
  const send = () => {
    if (!draft) return channel.send("online", payload);
    const message = channel.allocate("upload", size);
    message.payload[0] = 1;
    return message.send();
  };
  const trip = async () => {
    await send();
    await channel.receive({ timeoutMs: TIMEOUT_MS });
    return undefined;
  };
  return { trip, close: () => channel.close() };
}

export function ladder({ tcp, ws, channel, awake }: Ports): Rung[] {
  const open = (url: string, busyPollMs: number) => connectWebSocket(url, { busyPollMs });
  return [
    { name: "TCP socket", open: (size) => openTcp(tcp, size) },
    { name: "WebSocket", open: (size) => openWs(ws, size) },
    { name: "channel", open: (size) => openChannel(open(channel, 0), size, false) },
    { name: "channel, in place", open: (size) => openChannel(open(channel, 0), size, true) },
    { name: "channel, awake", open: (size) => openChannel(open(awake, BUSY_POLL_MS), size, false) },
  ];
}
