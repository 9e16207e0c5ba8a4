import type { Command } from "commander";
import { pino } from "pino";
import { Dealer, loadRingKernels, MergenError } from "../../../src/index.ts";
import { type ListenFlags, listen, listenOptions, serveUntil, stopSignal } from "../network.ts";
import { announce } from "./serve.ts";

/** `mergen dealer`: deals correlations; must collude with neither side. */
export function addDealer(root: Command): void {
  const command = root
    .command("dealer")
    .description("deal correlations to a server and its clients (must collude with neither)");
  listenOptions(command, 8702)
    .addHelpText(
      "after",
      "\nExamples:\n  $ mergen dealer --port 8702\n  $ MERGEN_TOKEN=... mergen dealer --host 0.0.0.0 --tls-key key.pem --tls-cert cert.pem",
    )
    .action(async (flags: ListenFlags) => {
      const log = pino({ name: "dealer" }, pino.destination(2));
      const stop = stopSignal();
      const dealer = new Dealer({
        kernels: await loadRingKernels(),
        timeoutMs: flags.timeout * 1000,
      });
      const listener = await listen(flags, (channel) => {
        dealer.serve(channel).then(
          () => log.info("connection ended"),
          (error) => log.warn({ code: codeOf(error) }, "connection failed"),
        );
      });
      announce("dealer", listener.url, flags);
      await serveUntil(stop, listener);
    });
}

/** The code alone: messages stay out of logs. */
export function codeOf(error: unknown): string {
  return error instanceof MergenError ? error.code : "E_INTERNAL";
}
