// Processes of this same program that a command starts: a dealer and a server on this machine.

import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type Channel, MergenError } from "../../src/index.ts";
import { checkSignal, connector, type ListenFlags } from "./network.ts";
import { launcher } from "./package-info.ts";

/** A loaded model of 500 MB takes some seconds, and sending its masked weights some more. */
const START_TIMEOUT_MS = 300_000;
/** Before the end of a process is forced. */
const STOP_TIMEOUT_MS = 2000;

/** The processes that this one has started, and what ends them all. */
export interface Family {
  readonly signal: AbortSignal;
  readonly children: ChildProcess[];
}

/** Runs work with a family, whose processes end with it or with the signal. */
export async function withFamily<T>(
  signal: AbortSignal,
  work: (family: Family) => Promise<T>,
): Promise<T> {
  const family: Family = { signal, children: [] };
  const stop = () => void family.children.forEach((child) => void child.kill("SIGTERM"));
  signal.addEventListener("abort", stop);
  try {
    return await work(family);
  } finally {
    stop();
    signal.removeEventListener("abort", stop);
    await Promise.all(family.children.map(ended));
  }
}

/** Waits for a process that has been told to end, and ends it where it does not. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  await once(child, "exit");
  clearTimeout(timer);
}

/** A process that listens. */
export interface Started {
  readonly url: string;
  readonly process: ChildProcess;
}

/** Starts a process of this program and waits for the address it listens on. */
export function startProcess(
  args: readonly string[],
  env: Record<string, string>,
  { signal, children }: Family,
): Promise<Started> {
  checkSignal(signal);
  const child = fork(launcher(), [...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  children.push(child);
  let said = "";
  child.stderr!.on("data", (chunk) => {
    said = (said + chunk).slice(-2000);
  });
  return new Promise((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer);
      reject(new MergenError("E_PEER_GONE", `the ${args[0]} process ${why}\n${said.trim()}`));
    };
    const timer = setTimeout(() => fail("did not start in time"), START_TIMEOUT_MS);
    child.once("exit", (code) => fail(`ended with status ${code}`));
    child.once("message", (message: { url: string }) => {
      clearTimeout(timer);
      child.removeAllListeners("exit");
      resolve({ url: message.url, process: child });
    });
  });
}

/** Puts a network between whoever connects and a server: the address to connect to instead. */
export async function startRelayTo(url: string, network: string, family: Family): Promise<string> {
  const { protocol, host } = new URL(url);
  const { url: relay } = await startProcess(
    ["relay", "--target", host, "--network", network],
    {},
    family,
  );
  return `${protocol}//${new URL(relay).host}`;
}

/** A dealer and a server that a client can connect to. */
export interface LocalParties {
  readonly dealer: { readonly url: string; readonly token: string };
  readonly server: { readonly url: string; readonly token: string };
  readonly connectDealer: () => Promise<Channel>;
  readonly connectServer: () => Promise<Channel>;
  readonly processes: { readonly dealer: ChildProcess; readonly server: ChildProcess };
}

export interface PartyOptions {
  readonly serverOptions?: readonly string[];
  /** Between the client and the server; the dealer is next door. */
  readonly network?: string;
  /** What both answer; see measuring() in network.ts. */
  readonly measure?: ListenFlags["measure"];
}

/** Starts both, with fresh tokens, on ports that the system chooses. */
export async function startParties(
  model: string,
  family: Family,
  { serverOptions = [], network = "loopback", measure }: PartyOptions = {},
): Promise<LocalParties> {
  const dealerToken = randomBytes(24).toString("base64url");
  const serverToken = randomBytes(24).toString("base64url");
  const listening = ["--port", "0", ...(measure === undefined ? [] : ["--measure", measure])];
  const { url: dealer, process: dealing } = await startProcess(
    ["dealer", ...listening],
    { MERGEN_TOKEN: dealerToken },
    family,
  );
  const { url: direct, process: serving } = await startProcess(
    ["serve", ...listening, "--model", model, "--dealer", dealer, ...serverOptions],
    { MERGEN_TOKEN: serverToken, MERGEN_DEALER_TOKEN: dealerToken },
    family,
  );
  const isDirect = network === "loopback";
  const server = isDirect ? direct : await startRelayTo(direct, network, family);
  return {
    dealer: { url: dealer, token: dealerToken },
    server: { url: server, token: serverToken },
    connectDealer: connector("dealer", dealer, { token: dealerToken }),
    connectServer: connector("server", server, { token: serverToken }),
    processes: { dealer: dealing, server: serving },
  };
}
