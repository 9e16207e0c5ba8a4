// A dealer and a server that stay for the next measurement of the same model: starting them takes
// longer than many a run.

import type { CountingParties } from "../../bench/paper/measure.ts";
import type { NetworkName } from "../../bench/paper/result.ts";
import { ask } from "../../bench/profile.ts";
import { connector } from "./network.ts";
import {
  type Family,
  type LocalParties,
  startParties,
  startRelayTo,
  withFamily,
} from "./processes.ts";

interface Kept {
  readonly folder: string;
  readonly family: Family;
  readonly parties: LocalParties;
  /** Where the server is reached. */
  readonly urls: Map<NetworkName, string>;
  /** Ends the processes. */
  readonly end: () => Promise<void>;
}

export class KeptParties {
  readonly #signal: AbortSignal;
  #kept: Kept | undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Those of a model's folder, behind a network; ones of another folder end first. */
  async of(folder: string, network: NetworkName): Promise<CountingParties> {
    if (this.#kept?.folder !== folder) {
      await this.end();
      this.#kept = await started(this.#signal, folder);
    }
    const { family, parties, urls } = this.#kept!;
    const { processes, server, connectDealer } = parties;
    const url = urls.get(network) ?? (await startRelayTo(server.url, network, family));
    urls.set(network, url);
    return {
      connectServer: connector("server", url, { token: server.token }),
      connectDealer,
      report: () => ask(processes.server, "report"),
      reset: async () => void (await ask(processes.server, "reset")),
    };
  }

  async end(): Promise<void> {
    const kept = this.#kept;
    this.#kept = undefined;
    await kept?.end();
  }
}

function started(signal: AbortSignal, folder: string): Promise<Kept> {
  return new Promise((resolve, reject) => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const ended = withFamily(signal, async (family) => {
      const parties = await startParties(folder, family, { measure: "gates" });
      const end = () => {
        release();
        return ended;
      };
      const urls = new Map<NetworkName, string>([["loopback", parties.server.url]]);
      resolve({ folder, family, parties, urls, end });
      await released;
    });
    ended.catch(reject);
  });
}
