// Client, server and dealer in one process over memory, for tests of the sessions: every
// connection is made by a function that a test may put its own in place of, and every service's
// end is kept.

import type { RingKernels } from "../src/kernel/ring-kernels.ts";
import { Client, type ClientOptions } from "../src/party/client.ts";
import { Dealer, type DealerOptions } from "../src/party/dealer.ts";
import type { LocalModel } from "../src/party/local.ts";
import type { Generation } from "../src/party/report.ts";
import { insecureSeeds } from "../src/party/seeds.ts";
import { Server, type ServerOptions } from "../src/party/server.ts";
import { Channel } from "../src/wire/channel.ts";
import { type Clock, systemClock } from "../src/wire/clock.ts";
import { memoryPair } from "../src/wire/memory.ts";
import type { Transport } from "../src/wire/transport.ts";
import { tokenizerBytes } from "./merged-model.ts";

/** Who connects to whom; the first opens the connection. */
export type Link = "client-server" | "client-dealer" | "server-dealer";
export const allLinks: readonly Link[] = ["client-server", "client-dealer", "server-dealer"];

export interface WorldOptions {
  readonly model: LocalModel;
  readonly kernels: RingKernels;
  readonly clock?: Clock;
  /** Makes a connection: the end of who opens it, then the other. */
  readonly connect?: (link: Link) => readonly [Transport, Transport];
  readonly client?: Partial<ClientOptions>;
  readonly server?: Partial<ServerOptions>;
  readonly dealer?: Partial<DealerOptions>;
  readonly seed?: number;
  readonly timeoutMs?: number;
}

export type GenerateSettings = Omit<
  Parameters<Client["generate"]>[0],
  "connectServer" | "connectDealer"
>;

export interface World {
  readonly server: Server;
  readonly dealer: Dealer;
  readonly client: Client;
  readonly connectServer: () => Promise<Channel>;
  readonly connectDealer: () => Promise<Channel>;
  /** Every service so far, by link: how it ended, undefined for in order. */
  readonly services: { readonly link: Link; readonly ended: Promise<unknown> }[];
  generate(settings: GenerateSettings): Promise<Generation>;
}

export async function createWorld(options: WorldOptions): Promise<World> {
  const { model, kernels, clock = systemClock, seed = 1, timeoutMs = 10_000 } = options;
  const connect = options.connect ?? (() => memoryPair());
  const seeds = insecureSeeds(seed);
  const services: World["services"] = [];
  const open = (link: Link, service: () => { serve(channel: Channel): Promise<void> }) => {
    return async () => {
      const [near, far] = connect(link);
      const serving = service().serve(new Channel(far, { clock }));
      const ended = serving.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      services.push({ link, ended });
      return new Channel(near, { clock });
    };
  };
  const dealer = new Dealer({ kernels, seeds, timeoutMs, ...options.dealer });
  const server = await Server.create({
    kernels,
    config: model.config,
    weights: model.weights,
    tokenizer: tokenizerBytes(model),
    connectDealer: open("server-dealer", () => dealer),
    seeds,
    timeoutMs,
    ...options.server,
  });
  const client = new Client({ kernels, clock, timeoutMs, ...options.client });
  const connectServer = open("client-server", () => server);
  const connectDealer = open("client-dealer", () => dealer);
  const generate = (settings: GenerateSettings) =>
    client.generate({ connectServer, connectDealer, ...settings });
  return { server, dealer, client, connectServer, connectDealer, services, generate };
}
