import type { Command } from "commander";
import { pino } from "pino";
import { type Channel, Dealer, loadRingKernels, MergenError } from "../../../src/index.ts";
import {
  type ListenFlags,
  listen,
  listenOptions,
  measuring,
  serveUntil,
  stopSignal,
} from "../network.ts";
import { integer } from "../options.ts";
import { announce } from "./serve.ts";

/** `mergen dealer`: deals correlations; must collude with neither side. */
export function addDealer(root: Command): void {
  const command = root
    .command("dealer")
    .description("deal correlations to a server and its clients (must collude with neither)");
  listenOptions(command, 8702)
    .option(
      "--max-sessions <n>",
      "sessions at one time; each takes two connections",
      integer(1),
      16,
    )
    .addHelpText(
      "after",
      "\nExamples:\n  $ mergen dealer --port 8702\n" +
        "  $ MERGEN_TOKEN=... mergen dealer --host 0.0.0.0 --tls-key key.pem --tls-cert cert.pem",
    )
    .action(async (flags: ListenFlags & { maxSessions: number }) => {
      const log = pino({ name: "dealer" }, pino.destination(2));
      const stop = stopSignal();
      measuring(flags);
      const dealer = new Dealer({
        kernels: await loadRingKernels(),
        timeoutMs: flags.timeout * 1000,
      });
      const serve = (channel: Channel) => {
        dealer.serve(channel).then(
          () => log.info("connection ended"),
          (error) => log.warn({ code: codeOf(error) }, "connection failed"),
        );
      };
      const maxConnections = 2 * flags.maxSessions + SPARE_CONNECTIONS;
      const listener = await listen(flags, { serve, maxConnections });
      announce("dealer", listener.url, flags);
      await serveUntil(stop, listener);
    });
}

/** For servers that register, and for connections on their way out. */
const SPARE_CONNECTIONS = 8;

/** The code alone: messages stay out of logs. */
export function codeOf(error: unknown): string {
  return error instanceof MergenError ? error.code : "E_INTERNAL";
}
