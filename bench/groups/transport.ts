// What does a message cost on its way, from a bare socket up to a channel, and how true is the
// relay? Ping-pong between two processes over loopback, and through a relay in a third.
//
// A sample of the ladder is the median of a burst of some 10 ms. Where `taskset` exists, both
// processes are first put on one core (no sleeping core to wake: the work alone), then on two.

import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { networks } from "../../src/index.ts";
import type { BenchContext, Group } from "../context.ts";
import { ladder, openTcp, type Ports, type Rung } from "../ping.ts";
import { ask } from "../profile.ts";
import { makeRow, median, type Row } from "../rows.ts";

const BURST_MS = 10;
const SIZES = [1000, 12_000, 25_000, 65_536, 1_000_000];
const QUICK_SIZES = [1000, 25_000];

async function child<T>(...args: string[]): Promise<{ process: ChildProcess; says: T }> {
  const file = import.meta.url.endsWith(".ts") ? "../echo-process.ts" : "../echo-process.js";
  const process = fork(fileURLToPath(new URL(file, import.meta.url)), args, { execArgv: [] });
  const [says] = await once(process, "message");
  return { process, says };
}

interface Burst {
  /** Median of its round trips. */
  readonly us: number;
  /** Processor time of a round trip, on this side and on the other. */
  readonly hereUs: number;
  readonly thereUs: number;
}

async function burst(trip: () => Promise<unknown>, trips: number, other: ChildProcess) {
  const times: number[] = [];
  const thereBefore = (await ask(other, "report")).cpuSeconds;
  const before = process.cpuUsage();
  for (let i = 0; i < trips; i++) {
    const startMs = performance.now();
    await trip();
    times.push(1000 * (performance.now() - startMs));
  }
  const { user, system } = process.cpuUsage(before);
  const thereUs = 1e6 * ((await ask(other, "report")).cpuSeconds - thereBefore);
  return { us: median(times), hereUs: (user + system) / trips, thereUs: thereUs / trips };
}

async function bursts(rung: Rung, size: number, other: ChildProcess, count: number) {
  const pinger = await rung.open(size);
  const trip = () => pinger.trip();
  const warmMs = performance.now();
  let warmTrips = 0;
  for (; performance.now() - warmMs < 20 * BURST_MS; warmTrips++) await trip();
  const all: Burst[] = [];
  for (let i = 0; i < count; i++) all.push(await burst(trip, Math.ceil(warmTrips / 20), other));
  await pinger.close();
  return all;
}

/** One size, up the ladder; each rung against the bare socket. */
async function rungs(
  context: BenchContext,
  where: string,
  { size, ports, other }: { size: number; ports: Ports; other: ChildProcess },
): Promise<Row[]> {
  const rows: Row[] = [];
  let bare: number | undefined;
  for (const rung of ladder(ports)) {
    const all = await bursts(rung, size, other, context.quick ? 5 : 15);
    const title = `${rung.name}, ${size} bytes, ${where}`;
    const row = makeRow({
      name: `${title}: round trip`,
      unit: "us",
      better: "less",
      samples: all.map(({ us }) => us),
      reference: bare === undefined ? undefined : { name: "TCP socket", value: bare },
    });
    bare ??= row.median;
    const cpu = makeRow({
      name: `${title}: processor time of both sides`,
      unit: "us",
      better: "less",
      samples: all.map(({ hereUs, thereUs }) => hereUs + thereUs),
    });
    rows.push(row, cpu);
  }
  return rows;
}

/** Puts a process on cores, as taskset lists them; whether that was possible. */
function pin({ pid }: { pid?: number | undefined }, cores: string): boolean {
  try {
    execFileSync("taskset", ["-acp", cores, String(pid)], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** The cores that this process may use, where taskset tells. */
function ownCores(): string | undefined {
  try {
    const told = execFileSync("taskset", ["-cp", String(process.pid)], { encoding: "utf8" });
    return told.split(":").at(-1)!.trim();
  } catch {
    return undefined;
  }
}

async function runLadder(context: BenchContext): Promise<Row[]> {
  const { process: other, says: ports } = await child<Ports>("echo");
  const cores = context.quick ? undefined : ownCores();
  const rows: Row[] = [];
  const climb = async (where: string) => {
    for (const size of context.quick ? QUICK_SIZES : SIZES) {
      rows.push(...(await rungs(context, where, { size, ports, other })));
    }
  };
  try {
    if (cores !== undefined && pin(process, "0") && pin(other, "0")) {
      await climb("one core");
      if (cpus().length > 1 && pin(other, "1")) await climb("two cores");
    } else await climb("unpinned");
  } finally {
    if (cores !== undefined) pin(process, cores);
    other.kill();
  }
  return rows;
}

/** Every process runs where the system puts it, as in use. */
async function runRelay(name: "lan" | "wan", context: BenchContext): Promise<Row[]> {
  const { process: echo, says: ports } = await child<Ports>("echo");
  const { process: relay, says: port } = await child<number>("relay", name, String(ports.tcp));
  const { delayMs, bitsPerSecond } = networks[name];
  const rows: Row[] = [];
  for (const size of [64, 65_536]) {
    const pinger = await openTcp(port, size);
    const idealMs = delayMs + (8000 * size) / bitsPerSecond;
    const ways: number[] = [];
    const trips = Math.ceil((context.quick ? 500 : 2000) / (2 * idealMs));
    for (let i = 0; i < trips; i++) ways.push((await pinger.trip()) ?? Number.NaN);
    pinger.close();
    rows.push(
      makeRow({
        name: `relay as ${name}, ${size} bytes: one way`,
        unit: "ms",
        better: "less",
        samples: ways,
        reference: { name: "delay and rate alone", value: idealMs },
      }),
    );
  }
  for (const each of [echo, relay]) each.kill();
  return rows;
}

async function run(context: BenchContext): Promise<Row[]> {
  const rows = await runLadder(context);
  for (const name of ["lan", "wan"] as const) rows.push(...(await runRelay(name, context)));
  return rows;
}

export const transport: Group = {
  name: "transport",
  question: "a message's way, from a bare socket up to a channel, and through a relay",
  run,
};
