// What does a message cost on its way, from a bare socket up to a channel, and how true is the
// relay? Ping-pong between two processes over loopback, and through a relay in a third.
// Usage: node bench/transport.ts [ladder | relay] [repetitions]
//
// Each repetition is a burst of some 10 ms; shown are the least, median and greatest of the bursts'
// medians, and the processor time that each side spends on a round trip, from the best burst. Where
// `taskset` exists, both processes are first put on one core (no sleeping core to wake: the work
// alone), then on two.

import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { WebSocket, WebSocketServer } from "ws";
import {
  Channel,
  connectWebSocket,
  listenWebSocket,
  networks,
  startRelay,
  type Transport,
} from "../src/index.ts";

const host = "127.0.0.1";
const SIZES = [1000, 12_000, 25_000, 65_536, 1_000_000];
const BURST_MS = 10;
const TIMEOUT_MS = 60_000;
/** How long the `awake` rung keeps the event loop turning for an answer. */
const BUSY_POLL_MS = 1;
const wsOptions = {
  maxPayload: 2 ** 20,
  perMessageDeflate: false,
  generateMask: (key: Buffer) => void key.fill(0),
};

// ---- the other side

interface Ports {
  readonly tcp: number;
  readonly ws: number;
  readonly channel: string;
  readonly awake: string;
}

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
  const channel = new Channel(transport);
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
  tell({ tcp: portOf(tcp), ws: portOf(ws), channel: channel.url, awake: awake.url });
}

async function serveRelay(name: string, port: string): Promise<void> {
  const network = networks[name as keyof typeof networks];
  tell((await startRelay({ target: { host, port: Number(port) }, ...network })).port);
}

function tell(message: unknown): void {
  process.on("message", () => process.send?.(process.cpuUsage()));
  process.send?.(message);
}

async function child<T>(...args: string[]): Promise<{ process: ChildProcess; says: T }> {
  const process = fork(fileURLToPath(import.meta.url), args);
  const [says] = await once(process, "message");
  return { process, says };
}

async function cpuUs(process: ChildProcess): Promise<number> {
  process.send("cpu");
  const [{ user, system }] = await once(process, "message");
  return user + system;
}

/** A clock that all processes share. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

// ---- this side

interface Pinger {
  /** One message there, one back. Gives the milliseconds that the way there took, if known. */
  trip(): Promise<number | undefined>;
  close(): unknown;
}

interface Rung {
  readonly name: string;
  open(size: number): Promise<Pinger>;
}

async function openTcp(port: number, size: number): Promise<Pinger> {
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
  const channel = new Channel(await transport);
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

function ladder({ tcp, ws, channel, awake }: Ports): Rung[] {
  const open = (url: string, busyPollMs: number) => connectWebSocket(url, { busyPollMs });
  return [
    { name: "TCP socket", open: (size) => openTcp(tcp, size) },
    { name: "WebSocket", open: (size) => openWs(ws, size) },
    { name: "channel", open: (size) => openChannel(open(channel, 0), size, false) },
    { name: "channel, in place", open: (size) => openChannel(open(channel, 0), size, true) },
    { name: "channel, awake", open: (size) => openChannel(open(awake, BUSY_POLL_MS), size, false) },
  ];
}

function quantile(values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(part * values.length)]!;
}

interface Burst {
  readonly us: number;
  readonly hereUs: number;
  readonly thereUs: number;
}

async function burst(pinger: Pinger, trips: number, other: ChildProcess): Promise<Burst> {
  const times: number[] = [];
  const thereBefore = await cpuUs(other);
  const before = process.cpuUsage();
  for (let i = 0; i < trips; i++) {
    const startMs = performance.now();
    await pinger.trip();
    times.push(1000 * (performance.now() - startMs));
  }
  const { user, system } = process.cpuUsage(before);
  const thereUs = (await cpuUs(other)) - thereBefore;
  return { us: quantile(times, 0.5), hereUs: (user + system) / trips, thereUs: thereUs / trips };
}

async function measure(rung: Rung, size: number, other: ChildProcess): Promise<void> {
  const pinger = await rung.open(size);
  const warmMs = performance.now();
  let warmTrips = 0;
  for (; performance.now() - warmMs < 20 * BURST_MS; warmTrips++) await pinger.trip();
  const trips = Math.ceil(warmTrips / 20);
  const bursts: Burst[] = [];
  for (let i = 0; i < repetitions; i++) bursts.push(await burst(pinger, trips, other));
  await pinger.close();
  const times = bursts.map(({ us }) => us);
  const least = (part: keyof Burst) => Math.min(...bursts.map((each) => each[part]));
  const spread = [0, 0.5, 0.999].map((part) => quantile(times, part).toFixed(1));
  const cpu = [least("hereUs"), least("thereUs")].map((us) => us.toFixed(0));
  print(rung.name.padEnd(18), [String(size), ...spread, ...cpu]);
}

/** Puts processes on cores; whether that was possible. */
function pin(processes: readonly ChildProcess[], cores: readonly number[]): boolean {
  try {
    [process, ...processes].forEach(({ pid }, i) => {
      const core = String(cores[i % cores.length]);
      execFileSync("taskset", ["-acp", core, String(pid)], { stdio: "ignore" });
    });
    return true;
  } catch {
    return false;
  }
}

async function runLadder(): Promise<void> {
  const { process: other, says: ports } = await child<Ports>("echo-process");
  const places: [string, number[]][] = [
    ["one core", [0]],
    ["two cores", [0, 1]],
  ];
  for (const [where, cores] of places.slice(0, cpus().length)) {
    const pinned = pin([other], cores);
    const titles = ["bytes", "least us", "median", "most", "cpu here", "there"];
    print(`\n${pinned ? where : "unpinned"}, round trips`.padEnd(19), titles);
    for (const size of SIZES) {
      for (const rung of ladder(ports)) {
        await measure(rung, size, other);
      }
    }
    if (!pinned) break;
  }
  other.kill();
}

/** Every process runs where the system puts it, as in use. */
async function runRelay(name: "lan" | "wan"): Promise<void> {
  const { process: echo, says: ports } = await child<Ports>("echo-process");
  const args = ["relay-process", name, String(ports.tcp)];
  const { process: relay, says: port } = await child<number>(...args);
  const titles = ["bytes", "ideal ms", "median", "p95", "ideal ms", "median", "p95", "cpu"];
  print(`\n${name}, one way, round trip`.padEnd(27), titles);
  for (const size of [64, 65_536]) {
    const pinger = await openTcp(port, size);
    const idealMs = networks[name].delayMs + (8000 * size) / networks[name].bitsPerSecond;
    const trips = Math.ceil(2000 / (2 * idealMs));
    const [ways, times]: [number[], number[]] = [[], []];
    const before = await cpuUs(relay);
    const startMs = performance.now();
    for (let i = 0; i < trips; i++) {
      const sentMs = performance.now();
      ways.push((await pinger.trip()) ?? 0);
      times.push(performance.now() - sentMs);
    }
    const tookMs = performance.now() - startMs;
    const busy = ((await cpuUs(relay)) - before) / (10 * tookMs);
    const spread = (values: number[]) =>
      [0.5, 0.95].map((part) => quantile(values, part).toFixed(3));
    const ideals = [idealMs, 2 * idealMs].map((ms) => ms.toFixed(3));
    print("".padEnd(26), [
      ...[String(size), ideals[0]!, ...spread(ways), ideals[1]!, ...spread(times)],
      `${busy.toFixed(0)}%`,
    ]);
    pinger.close();
  }
  for (const each of [echo, relay]) each.kill();
}

function print(title: string, cells: readonly string[]): void {
  process.stdout.write(`${title}${cells.map((cell) => cell.padStart(9)).join("")}\n`);
}

const [part, ...args] = process.argv.slice(2);
const repetitions = Number(args[0] ?? 15);
if (part === "echo-process") {
  await serveEchoes();
} else if (part === "relay-process") {
  await serveRelay(args[0]!, args[1]!);
} else {
  const machine = `${cpus()[0]?.model}, ${cpus().length} cores`;
  process.stdout.write(`machine      ${machine}, node ${process.version}\n`);
  process.stdout.write(`bursts       ${repetitions} of ${BURST_MS} ms each\n`);
  if (part !== "ladder") for (const name of ["lan", "wan"] as const) await runRelay(name);
  if (part !== "relay") await runLadder();
  process.exit(0);
}
