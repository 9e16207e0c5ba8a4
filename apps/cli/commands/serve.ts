import { type Command, Option } from "commander";
import { pino } from "pino";
import {
  type Channel,
  fileStore,
  loadFloatKernels,
  loadModel,
  loadRingKernels,
  memoryStore,
  Server,
  servable,
} from "../../../src/index.ts";
import {
  connector,
  type ListenFlags,
  listen,
  listenOptions,
  measuring,
  serveUntil,
  stopSignal,
  tlsOf,
} from "../network.ts";
import { boundsOption, integer, modelOption } from "../options.ts";
import { note, printJson } from "../output.ts";
import { codeOf } from "./dealer.ts";

interface ServeFlags extends ListenFlags {
  readonly model: string;
  readonly dealer: string;
  readonly dealerToken?: string;
  readonly ca?: string;
  readonly maxSessions: number;
  readonly bundles?: string;
  readonly calibratedBounds?: boolean;
}

/** `mergen serve`: holds a model and serves clients that it learns nothing about. */
export function addServe(root: Command): void {
  const command = root
    .command("serve")
    .description("serve a model privately: this side never sees a prompt or a text")
    .addOption(modelOption)
    .addOption(boundsOption)
    .requiredOption("--dealer <url>", "address of the dealer, ws:// or wss://")
    .addOption(
      new Option("--dealer-token <text>", "bearer token for the dealer").env("MERGEN_DEALER_TOKEN"),
    )
    .option("--ca <file>", "PEM of the authority that signed the dealer's certificate")
    .option("--max-sessions <n>", "sessions at one time", integer(1), 8)
    .option("--bundles <dir>", "keep bundles in this folder instead of in memory");
  listenOptions(command, 8701)
    .addHelpText(
      "after",
      "\nExample:\n  $ mergen serve --model models/e2e-merge --dealer ws://127.0.0.1:8702",
    )
    .action(serve);
}

async function serve(flags: ServeFlags): Promise<void> {
  const log = pino({ name: "server" }, pino.destination(2));
  const stop = stopSignal();
  tlsOf(flags); // what is wrong with it should show before the model is read
  const { profile, gates } = measuring(flags);
  const floatKernels = await loadFloatKernels();
  const model = servable(await loadModel(flags.model), floatKernels, flags);
  const { config, weights, tokenizer } = model;
  const kernels = await loadRingKernels();
  const server = await Server.create({
    kernels: profile ? profile.kernels(kernels) : kernels,
    floatKernels,
    config,
    weights,
    tokenizer: new TextEncoder().encode(JSON.stringify(tokenizer.files.tokenizer)),
    connectDealer: connector("dealer", flags.dealer, { token: flags.dealerToken, ca: flags.ca }),
    store: flags.bundles === undefined ? memoryStore() : await fileStore(flags.bundles),
    timeoutMs: flags.timeout * 1000,
    maxSessions: flags.maxSessions,
    watch: gates?.watch,
  });
  await server.register();
  const serve = (channel: Channel) => {
    server.serve(channel).then(
      () => log.info("session ended"),
      (error) => log.warn({ code: codeOf(error) }, "session failed"),
    );
  };
  const maxConnections = flags.maxSessions + 8;
  const listener = await listen(flags, { serve, maxConnections, profile });
  announce("server", listener.url, flags);
  await serveUntil(stop, listener);
}

/** Says where a process listens: the line that scripts wait for. */
export function announce(role: string, url: string, flags: { json?: boolean }): void {
  if (flags.json) printJson({ event: "listening", role, url });
  else note(`${role} listens on ${url}`);
  if (process.channel) process.send?.({ event: "listening", role, url });
}
