import { type Command, InvalidArgumentError, Option } from "commander";
import { ensure, networks, startRelay } from "../../../src/index.ts";
import { serveUntil, stopSignal } from "../network.ts";
import { real } from "../options.ts";
import { bytes, note, printJson } from "../output.ts";

interface Address {
  readonly host: string;
  readonly port: number;
}

interface RelayFlags {
  readonly target: Address;
  readonly listen: Address;
  readonly network?: keyof typeof networks;
  readonly delay?: number;
  readonly rate?: number;
  readonly shared?: boolean;
  readonly json?: boolean;
}

/** `mergen relay`: a network between two processes of one machine, for measurements. */
export function addRelay(root: Command): void {
  root
    .command("relay")
    .description("pass TCP connections on with the delay and the rate of a network, to measure")
    .requiredOption("--target <host:port>", "where connections are passed on to", address)
    .addOption(
      new Option("--listen <host:port>", "where to listen; port 0 lets the system choose")
        .argParser(address)
        .default({ host: "127.0.0.1", port: 0 }, "127.0.0.1:0"),
    )
    .addOption(
      new Option("--network <name>", "lan: 1 Gbit/s, 0.5 ms one way; wan: 100 Mbit/s, 40 ms")
        .choices(Object.keys(networks))
        .conflicts(["delay", "rate"]),
    )
    .option("--delay <ms>", "one way, in each direction", real)
    .option("--rate <mbit>", "megabits a second, in each direction", real)
    .option("--shared", "one line for all connections instead of one for each")
    .option("--json", "print the listening line and the final counts as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  $ mergen relay --target 127.0.0.1:8701 --network lan --listen 127.0.0.1:9701\n" +
        "  $ mergen relay --target 127.0.0.1:8701 --delay 10 --rate 200 --json\n\n" +
        "Where all cores are busy, delays are right only for a real-time process (as root):\n" +
        "  $ chrt -f 1 mergen relay ...",
    )
    .action(relay);
}

async function relay(flags: RelayFlags): Promise<void> {
  const stop = stopSignal();
  const { target, listen, shared = false, json } = flags;
  const running = await startRelay({ target, ...listen, ...networkOf(flags), shared });
  const { host, port, counters } = running;
  const url = `tcp://${host.includes(":") ? `[${host}]` : host}:${port}`;
  if (json) printJson({ event: "listening", role: "relay", url, port });
  else note(`relay listens on ${url}`);
  if (process.channel) process.send?.({ event: "listening", role: "relay", url });
  await serveUntil(stop, running);
  if (json) printJson({ event: "ended", ...counters });
  else note(`relayed ${bytes(counters.upBytes)} up, ${bytes(counters.downBytes)} down`);
}

/** @throws E_USAGE unless the flags name one network */
function networkOf({ network, delay, rate }: RelayFlags) {
  if (network !== undefined) return networks[network];
  const both = delay !== undefined && rate !== undefined;
  ensure(both, "E_USAGE", "which network? Give --network, or --delay and --rate");
  ensure(delay >= 0 && rate > 0, "E_USAGE", "--delay must not be below 0, and --rate above it");
  return { delayMs: delay, bitsPerSecond: rate * 1e6 };
}

function address(text: string): Address {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || !(port <= 65_535)) {
    throw new InvalidArgumentError("It must be HOST:PORT, as 127.0.0.1:8701 or [::1]:8701.");
  }
  return { host, port };
}
