// The other side of groups/transport.ts: sends back what it is sent, or is a relay. Arguments:
// `echo`, or `relay`, a network's name and a port.

import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { WebSocketServer } from "ws";
import {
  Channel,
  listenWebSocket,
  loadCrc32c,
  networks,
  startRelay,
  type Transport,
} from "../src/index.ts";
import { BUSY_POLL_MS, monotonicMs, type Ports, wsOptions } from "./ping.ts";
import { answerRequests } from "./profile.ts";

const host = "127.0.0.1";
const TIMEOUT_MS = 60_000;

const crc32c = await loadCrc32c();

/** Sends back as many bytes as it is sent, for the size that the first four bytes say. */
function echoTcp(socket: Socket): void {
  let size = 0;
  let got = 0;
  let answer = Buffer.alloc(0);
  socket.setNoDelay(true).on("error", () => {});
  socket.on("data", (chunk) => {
    let { length } = chunk;
    if (size === 0) {
      size = chunk.readUInt32LE(0);
      answer = Buffer.alloc(size);
      length -= 4;
    }
    got += length;
    if (got < size) return;
    got -= size;
    answer.writeDoubleLE(monotonicMs(), 0);
    socket.write(answer);
  });
}

async function echoChannel(transport: Transport): Promise<void> {
  const channel = new Channel(transport, { crc32c });
  try {
    for (;;) {
      const { kind, payload } = await channel.receive({ timeoutMs: TIMEOUT_MS });
      if (kind === "online") {
        await channel.send(kind, payload);
      } else {
        const draft = channel.allocate(kind, payload.length);
        draft.payload[0] = 1;
        await draft.send();
      }
    }
  } catch {
    await channel.close();
  }
}

async function serveEchoes(): Promise<void> {
  const tcp = createServer(echoTcp).listen(0, host);
  const ws = new WebSocketServer({ host, port: 0, ...wsOptions });
  ws.on("connection", (peer, { socket }) => {
    socket.setNoDelay(true);
    peer.on("message", (data) => peer.send(data as Buffer)).on("error", () => {});
  });
  await Promise.all([once(tcp, "listening"), once(ws, "listening")]);
  const onConnection = (transport: Transport) => void echoChannel(transport);
  const channel = await listenWebSocket({ onConnection });
  const awake = await listenWebSocket({ onConnection, busyPollMs: BUSY_POLL_MS });
  const portOf = (server: { address(): unknown }) => (server.address() as AddressInfo).port;
  const ports: Ports = {
    tcp: portOf(tcp),
    ws: portOf(ws),
    channel: channel.url,
    awake: awake.url,
  };
  tell(ports);
}

async function serveRelay(name: string, port: string): Promise<void> {
  const network = networks[name as keyof typeof networks];
  tell((await startRelay({ target: { host, port: Number(port) }, ...network })).port);
}

function tell(message: unknown): void {
  answerRequests();
  process.send?.(message);
}

const [part, name, port] = process.argv.slice(2);
if (part === "echo") await serveEchoes();
else if (part === "relay") await serveRelay(name!, port!);
