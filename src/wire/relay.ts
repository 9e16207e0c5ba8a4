// A relay that makes a connection on one machine behave like one across a network: it passes TCP
// connections on to a target, each direction delayed and limited in rate as a Link says. Node only,
// in user space: no privileges, no change to the system. It knows bytes only, so whatever runs over
// TCP runs through it, encrypted or not.
//
// What is emulated is when bytes arrive. What is not: the round trip of TCP's own handshake, its
// slow start, loss, jitter, headers (a real line of 1 Gbit/s carries 0.94 Gbit/s of payload), and
// cutting into packets: what was read in one go (at most 64 KiB) arrives when its last byte does.
// Times are right to 0.1 ms (bench/groups/transport.ts) while the system gives the relay a core
// when it asks for one; where others want all cores, Linux lets it wait up to 4 ms, unless it runs
// as a real-time process.

import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { MergenError } from "../errors.ts";
import { Alarm } from "./alarm.ts";
import { Link, type LinkOptions } from "./link.ts";

export interface RelayOptions extends LinkOptions {
  readonly target: { readonly host: string; readonly port: number };
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: the system chooses; see Relay.port. */
  readonly port?: number;
  /** One line for all connections together, instead of a line for each. Default false. */
  readonly shared?: boolean;
}

/** Bytes that have come in: from the connecting side (up) and from the target (down). */
export interface RelayCounters {
  upBytes: number;
  downBytes: number;
}

export interface Relay {
  readonly host: string;
  readonly port: number;
  readonly counters: Readonly<RelayCounters>;
  /** Stops listening and breaks all connections. */
  close(): Promise<void>;
}

/** What a direction may hold beyond what fills its link, so that the link never runs dry. */
const marginBytes = 512 * 2 ** 10;
/** The most that a direction may hold, whatever the link. */
const maxHeldBytes = 64 * 2 ** 20;

/**
 * Starts a relay.
 * @throws E_RANGE for an impossible delay or rate; E_CONFIG when the port is taken or out of range
 */
export async function startRelay(options: RelayOptions): Promise<Relay> {
  const { target, host = "127.0.0.1", port = 0, shared = false } = options;
  const commonLinks = [new Link(options), new Link(options)];
  const counters: RelayCounters = { upBytes: 0, downBytes: 0 };
  const pipes = new Set<Pipe>();
  const alarm = await Alarm.start(() => {
    for (const pipe of pipes) pipe.release();
    setAlarm();
  });
  const setAlarm = () => {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const pipe of pipes) dueMs = Math.min(dueMs, pipe.dueMs);
    alarm.set(dueMs);
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ ...target, allowHalfOpen: true, noDelay: true });
    const links = shared ? commonLinks : [new Link(options), new Link(options)];
    const [up, down] = [near, far].map((from, i) => {
      const to = i === 0 ? far : near;
      const count = (byteLength: number) => {
        counters[i === 0 ? "upBytes" : "downBytes"] += byteLength;
      };
      return new Pipe({ from, to, link: links[i], count, setAlarm });
    });
    for (const pipe of [up, down]) {
      pipes.add(pipe);
      pipe.whenDone(() => pipes.delete(pipe));
    }
  });
  try {
    await listen(server, { host, port });
  } catch (error) {
    await alarm.close();
    throw error;
  }
  return {
    host,
    port: (server.address() as AddressInfo).port,
    counters,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const pipe of pipes) pipe.cut();
      await Promise.all([closed, alarm.close()]);
    },
  };
}

function listen(server: Server, at: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) => {
      const message = `cannot listen on ${at.host}:${at.port} (${cause.code ?? cause.message})`;
      reject(new MergenError("E_CONFIG", message, { cause }));
    };
    server.once("error", failed);
    try {
      server.listen(at, () => {
        server.off("error", failed);
        server.on("error", () => {}); // a failed accept breaks no other connection
        resolve();
      });
    } catch (cause) {
      failed(cause as NodeJS.ErrnoException); // a port out of range
    }
  });
}

/**
 * What passing through takes by itself, and so is taken off the delay: waking up for the bytes (40
 * us in all where sender and relay share a core, 90 where a core has to be woken from sleep), and
 * reading and writing them.
 */
function passingMs(byteLength: number): number {
  return 0.06 + 1e-6 * byteLength;
}

/** What comes out of a direction at a time: bytes, the end of them, or a break. */
interface Arrival {
  readonly dueMs: number;
  readonly what: Uint8Array | "end" | "reset";
}

interface PipeOptions {
  readonly from: Socket;
  readonly to: Socket;
  readonly link: Link;
  readonly count: (byteLength: number) => void;
  /** Called when the time of the next arrival may have changed. */
  readonly setAlarm: () => void;
}

/** One direction of one connection. */
class Pipe {
  private readonly options: PipeOptions;
  private readonly maxHeldBytes: number;
  private readonly arrivals: Arrival[] = [];
  private linkBytes = 0; // in `arrivals`
  private hasEnded = false;

  constructor(options: PipeOptions) {
    this.options = options;
    this.maxHeldBytes = Math.min(maxHeldBytes, options.link.capacityBytes + marginBytes);
    const { from, to } = options;
    from.on("data", (chunk) => this.accept(chunk));
    from.on("end", () => this.arrive("end", 0));
    from.on("error", () => {}); // the close tells
    from.on("close", (isBroken) => {
      if (isBroken) this.arrive("reset", 0);
    });
    to.on("drain", () => this.limit());
  }

  /** When the next bytes arrive; Infinity when none are under way. */
  get dueMs(): number {
    return this.arrivals[0]?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  /** Calls back when nothing more will come out. */
  whenDone(done: () => void): void {
    this.options.to.once("close", done);
  }

  /** Hands over what has arrived by now. */
  release(): void {
    const nowMs = performance.now();
    while (this.dueMs <= nowMs) this.handOver((this.arrivals.shift() as Arrival).what);
    this.limit();
  }

  /** Breaks the connection at its receiving end. */
  cut(): void {
    const { to } = this.options;
    if (to.connecting) to.destroy();
    else if (!to.destroyed) to.resetAndDestroy();
  }

  private accept(chunk: Uint8Array): void {
    this.options.count(chunk.length);
    this.linkBytes += chunk.length;
    this.arrive(chunk, chunk.length);
    this.limit();
  }

  private arrive(what: Arrival["what"], byteLength: number): void {
    if (this.hasEnded) return;
    this.hasEnded = what === "reset";
    const nowMs = performance.now();
    const { arriveMs } = this.options.link.carry(nowMs, byteLength);
    const dueMs = arriveMs - passingMs(byteLength);
    if (this.arrivals.length === 0 && dueMs <= nowMs) {
      this.handOver(what);
    } else {
      this.arrivals.push({ dueMs, what });
      if (this.arrivals.length === 1) this.options.setAlarm();
    }
  }

  private handOver(what: Arrival["what"]): void {
    const { to } = this.options;
    if (typeof what !== "string") this.linkBytes -= what.length;
    if (to.destroyed) return;
    if (what === "end") to.end();
    else if (what === "reset") to.resetAndDestroy();
    else to.write(what);
  }

  /** Reads on only while what is held has room for more. */
  private limit(): void {
    const { from, to } = this.options;
    const isFull = this.linkBytes + to.writableLength > this.maxHeldBytes;
    if (isFull === from.isPaused()) return;
    if (isFull) from.pause();
    else from.resume();
  }
}
