// Options and connections of the commands that talk over WebSocket.

import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import {
  Channel,
  connectWebSocket,
  ensure,
  listenWebSocket,
  MergenError,
  type Transport,
  type WebSocketListener,
} from "../../src/index.ts";
import { integer } from "./options.ts";

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
    .option("--json", "print the listening line as JSON");
}

/** Listens, and hands each connection over as a channel. */
export async function listen(
  flags: ListenFlags,
  serve: (channel: Channel, peer: string) => void,
  maxConnections?: number,
): Promise<WebSocketListener> {
  const { host, port, token, tlsKey, tlsCert } = flags;
  ensure(
    (tlsKey === undefined) === (tlsCert === undefined),
    "E_USAGE",
    "--tls-key and --tls-cert go together",
  );
  return listenWebSocket({
    host,
    port,
    ...(token !== undefined && { token }),
    ...(tlsKey !== undefined && {
      tls: { key: pem("--tls-key", tlsKey), cert: pem("--tls-cert", tlsCert!) },
    }),
    ...(maxConnections !== undefined && { maxConnections }),
    onConnection: (transport: Transport, { address }) => serve(new Channel(transport), address),
  });
}

/** Opens channels to one address, as often as asked. */
export function connector(
  url: string,
  options: { token?: string | undefined; ca?: string | undefined },
): () => Promise<Channel> {
  const { token, ca } = options;
  const pemText = ca === undefined ? undefined : pem("--ca", ca);
  return async () =>
    new Channel(
      await connectWebSocket(url, {
        ...(token !== undefined && { token }),
        ...(pemText !== undefined && { ca: pemText }),
      }),
    );
}

/** Resolves on Ctrl-C, on termination, and when the process that started this one has gone. */
export function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => stop.abort());
  }
  if (process.channel) process.once("disconnect", () => stop.abort());
  return stop.signal;
}

export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
