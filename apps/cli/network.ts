// Options and connections of the commands that talk over WebSocket.

import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type Command, Option } from "commander";
import { GateTimes } from "../../bench/paper/gate-times.ts";
import { answerRequests, type Counting, Profile } from "../../bench/profile.ts";
import {
  Channel,
  connectWebSocket,
  crc32c,
  ensure,
  listenWebSocket,
  loadCrc32c,
  MergenError,
  type Transport,
  type WebSocketListener,
} from "../../src/index.ts";
import { integer } from "./options.ts";
import { note } from "./output.ts";

/** The whole of a PEM file. @throws E_USAGE naming the option */
function pem(option: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new MergenError("E_USAGE", `${option}: ${path} cannot be read`, { cause });
  }
}

export interface ListenFlags {
  readonly host: string;
  readonly port: number;
  readonly token?: string;
  readonly tlsKey?: string;
  readonly tlsCert?: string;
  readonly timeout: number;
  readonly busyPoll: number;
  readonly measure?: "memory" | "profile" | "gates";
  readonly json?: boolean;
}

export function listenOptions(command: Command, defaultPort: number): Command {
  return command
    .option("--host <name>", "address to listen on", "127.0.0.1")
    .option("--port <n>", "port to listen on; 0 lets the system choose", integer(0), defaultPort)
    .addOption(
      new Option("--token <text>", "bearer token that peers must show").env("MERGEN_TOKEN"),
    )
    .option("--tls-key <file>", "PEM key; with --tls-cert, connections are encrypted")
    .option("--tls-cert <file>", "PEM certificate chain")
    .option("--timeout <seconds>", "longest wait for a peer's next message", integer(1), 120)
    .addOption(busyPollOption())
    .addOption(
      new Option("--measure <what>", "answer the process that started this one, in benchmarks")
        .choices(["memory", "profile", "gates"])
        .hideHelp(),
    )
    .option("--json", "print the listening line as JSON");
}

/** Where a benchmark asks for it, answers its questions, and counts what it wants counted. */
export function measuring({ measure }: ListenFlags): Counting {
  if (measure === undefined) return {};
  const counting: Counting = {
    profile: measure === "profile" ? new Profile() : undefined,
    gates: measure === "gates" ? new GateTimes() : undefined,
  };
  answerRequests(counting);
  return counting;
}

/** Saves some 30 us of waking up each way; 0 where every core is needed by somebody else. */
export const BUSY_POLL_MS = 1;

export function busyPollOption(): Option {
  return new Option("--busy-poll <ms>", "keep awake so long for an answer; 0 never")
    .argParser(integer(0))
    .default(BUSY_POLL_MS);
}

/** Key and certificate, where the flags name them. @throws E_USAGE */
export function tlsOf({ tlsKey, tlsCert }: ListenFlags): { key: string; cert: string } | undefined {
  const both = (tlsKey === undefined) === (tlsCert === undefined);
  ensure(both, "E_USAGE", "--tls-key and --tls-cert go together: give both or neither");
  if (tlsKey === undefined) return undefined;
  return { key: pem("--tls-key", tlsKey), cert: pem("--tls-cert", tlsCert!) };
}

export interface Serving {
  readonly serve: (channel: Channel) => void;
  readonly maxConnections: number;
  /** Counts what channels do. */
  readonly profile?: Profile | undefined;
}

/**
 * Listens, and hands each connection over as a channel.
 * @throws E_USAGE, E_CONFIG naming the option to change
 */
export async function listen(
  flags: ListenFlags,
  { serve, maxConnections, profile }: Serving,
): Promise<WebSocketListener> {
  const { host, port, token } = flags;
  const tls = tlsOf(flags);
  warnOfExposure(host, { token, tls });
  const native = await loadCrc32c();
  const open = (transport: Transport) => {
    if (!profile) return new Channel(transport, { crc32c: native });
    return profile.watch(new Channel(transport, { crc32c: profile.checksum(native ?? crc32c) }));
  };
  const listening = listenWebSocket({
    host,
    port,
    busyPollMs: flags.busyPoll,
    ...(token !== undefined && { token }),
    ...(tls !== undefined && { tls }),
    maxConnections,
    onConnection: (transport: Transport) => serve(open(transport)),
  });
  return withRemedy(listening, ({ code, message }) => {
    if (code !== "E_CONFIG" || !message.startsWith("cannot listen")) return undefined;
    return "choose another --port or --host";
  });
}

/** Beyond this machine, everybody who can reach a port reads along or joins in. */
function warnOfExposure(host: string, given: { token: unknown; tls: unknown }): void {
  if (["127.0.0.1", "::1", "localhost"].includes(host)) return;
  if (given.tls === undefined) note(`warning: ${host} without --tls-key: traffic is not encrypted`);
  if (given.token === undefined) note(`warning: ${host} without --token: anybody may connect`);
}

/** Opens channels to one address, as often as asked. `peer` is whose options errors name. */
export function connector(
  peer: "server" | "dealer",
  url: string,
  options: { token?: string | undefined; ca?: string | undefined; busyPollMs?: number },
): () => Promise<Channel> {
  const { token, ca, busyPollMs = BUSY_POLL_MS } = options;
  const pemText = ca === undefined ? undefined : pem("--ca", ca);
  return async () => {
    const native = await loadCrc32c();
    const transport = connectWebSocket(url, {
      busyPollMs,
      ...(token !== undefined && { token }),
      ...(pemText !== undefined && { ca: pemText }),
    });
    const remedy = (error: MergenError) => connectRemedy(peer, error);
    const options = { crc32c: native, peer: `the ${peer}` };
    return new Channel(await withRemedy(transport, remedy), options);
  };
}

/** What to do about a connection that did not come about. */
function connectRemedy(peer: string, { code, message }: MergenError): string | undefined {
  switch (code) {
    case "E_AUTH":
      if (message.includes("another name")) return "mend --server or --dealer";
      if (message.includes("certificate")) return "give the authority that signed it with --ca";
      return `give the ${peer}'s token with --${peer}-token or in the environment`;
    case "E_PEER_GONE":
    case "E_TIMEOUT":
      return `start the ${peer} first, or mend --${peer}`;
    case "E_BUSY":
      return "try again later";
    case "E_CONFIG":
    case "E_PROTOCOL":
      return `mend --${peer}, --${peer}-token or --ca`;
    default:
      return undefined;
  }
}

async function withRemedy<T>(
  work: Promise<T>,
  remedyOf: (error: MergenError) => string | undefined,
): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const remedy = error instanceof MergenError ? remedyOf(error) : undefined;
    if (remedy === undefined) throw error;
    const { code, message } = error as MergenError;
    throw new MergenError(code, `${message}; ${remedy}`, { cause: error });
  }
}

/** How long an orderly end may take once it has been asked for. */
const STOP_GRACE_MS = 3000;

const SIGNAL_DELAY_MS = 100;

/** The exit status of a run that was interrupted. */
export const INTERRUPTED = 130;

/**
 * Aborts on Ctrl-C, on termination, and when the process that started this one has gone. Unless
 * `patient`, the process ends soon after whatever its peers do. The reason is the signal's name.
 */
export function stopSignal({ patient = false } = {}): AbortSignal {
  const stop = new AbortController();
  const abort = (reason: string) => {
    if (process.connected) process.disconnect(); // an open channel would keep the process alive
    if (!patient) setTimeout(exitNow, STOP_GRACE_MS).unref();
    stop.abort(reason);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, abort);
  if (process.channel) process.once("disconnect", () => abort("disconnect"));
  return stop.signal;
}

function exitNow(): void {
  process.stderr.write("E_INTERRUPTED: ended without waiting for the peers\n");
  process.exit(INTERRUPTED);
}

/** @throws E_INTERRUPTED when the signal has been given */
export function checkSignal(signal: AbortSignal): void {
  if (signal.aborted) throw new MergenError("E_INTERRUPTED", "the run was interrupted");
}

/**
 * Work whose failure after the signal is the interruption, whatever else it looks like. A terminal
 * sends Ctrl-C to peers of the same process group, too: their end may be seen before the signal.
 */
export async function interruptible<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    await delay(SIGNAL_DELAY_MS);
    checkSignal(signal);
    throw error;
  }
}

/** Serves until told to stop. Ctrl-C shows in the exit status, an orderly termination does not. */
export async function serveUntil(
  stop: AbortSignal,
  listener: Pick<WebSocketListener, "close">,
): Promise<void> {
  await aborted(stop);
  await listener.close();
  if (stop.reason === "SIGINT") process.exitCode = INTERRUPTED;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
