// D: keeps each model's masked weights B = W - D_W once, and deals bundles to the server and the
// client of a session. It takes part in the offline phase only; it never sees C and S talk.

import { ensure, MergenError } from "../errors.ts";
import type { RingKernels } from "../kernel/ring-kernels.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import { RingTensors } from "../plan/tensors.ts";
import { Prg } from "../ring/prg.ts";
import { Ring, type Words } from "../ring/ring.ts";
import { type DealerStates, dealBundle } from "../run/dealer.ts";
import type { Channel } from "../wire/channel.ts";
import { check, encodeBundle, expect, greet, type MessageOf, tell } from "./messages.ts";
import { modelDigest } from "./model-digest.ts";
import { type Plan, PlanCache } from "./plan.ts";
import { bundleLabels, freshSeeds, type SeedSource } from "./seeds.ts";

export interface DealerOptions {
  readonly kernels: RingKernels;
  /** Default: fresh seeds. Anything else is for test benches. */
  readonly seeds?: SeedSource;
  /** Longest wait for a peer's next message, in milliseconds. Default 120,000. */
  readonly timeoutMs?: number;
  /** Models kept at one time. Default 4; the one unused for longest goes. */
  readonly maxModels?: number;
}

interface StoredModel {
  readonly config: ModelConfig;
  readonly tensors: RingTensors;
}

/** A session that its server has announced and its client has not joined yet. */
interface Announced {
  readonly server: Channel;
  readonly message: MessageOf<"session">;
}

export class Dealer {
  readonly #options: Required<DealerOptions>;
  readonly #ring: Ring;
  readonly #plans = new PlanCache();
  readonly #models = new Map<string, StoredModel>();
  readonly #announced = new Map<string, Announced>();
  #dealt = 0;

  constructor(options: DealerOptions) {
    this.#options = { seeds: freshSeeds, timeoutMs: 120_000, maxModels: 4, ...options };
    this.#ring = new Ring(options.kernels);
  }

  /**
   * Serves one connection, of a server or a client, until it ends.
   * @throws the reason when it did not end in order; the channel is closed with its code
   */
  async serve(channel: Channel): Promise<void> {
    try {
      const role = await greet(channel, "dealer", this.#options.timeoutMs);
      if (role === "server") await this.#serveServer(channel);
      else if (role === "client") await this.#serveClient(channel);
      else throw new MergenError("E_PROTOCOL", "a peer is neither server nor client");
    } catch (error) {
      await channel.close(error instanceof MergenError ? error.code : "E_INTERNAL");
      throw error;
    }
    await channel.close();
  }

  /** A server registers its model, then (on a session's connection) waits for bundles. */
  async #serveServer(channel: Channel): Promise<void> {
    const { timeoutMs } = this.#options;
    const stated = await expect(channel, "model", timeoutMs);
    if (!this.#use(stated.model)) await this.#receiveModel(channel, stated);
    else await tell(channel, { type: "have", have: true });
    const next = await channel.receiveControl({ timeoutMs });
    if (next.type === "end") return;
    const message = check(next, "session");
    ensure(message.model === stated.model, "E_PROTOCOL", "a session names another model");
    ensure(!this.#announced.has(message.session), "E_PROTOCOL", "a session was announced twice");
    this.#announced.set(message.session, { server: channel, message });
    await tell(channel, { type: "ready" });
    await channel.closed;
    this.#announced.delete(message.session);
  }

  /** A model that is kept here; it becomes the one used last. */
  #use(digest: string): StoredModel | undefined {
    const model = this.#models.get(digest);
    if (!model) return undefined;
    this.#models.delete(digest);
    this.#models.set(digest, model);
    return model;
  }

  async #receiveModel(channel: Channel, stated: MessageOf<"model">): Promise<void> {
    const { timeoutMs, kernels, maxModels } = this.#options;
    const config = parseConfig(stated.config, "the server's config");
    await tell(channel, { type: "have", have: false });
    const tensors = await this.#plans.tensors(config);
    const words = new Map<string, Words>();
    for (const { key, rows, columns } of tensors) {
      const { payload } = await channel.receive({ timeoutMs, kinds: ["model"] });
      const fits = payload.length === 8 * rows * columns;
      ensure(fits, "E_PROTOCOL", "a masked tensor has the wrong size");
      words.set(key, new BigUint64Array(payload.buffer, payload.byteOffset, rows * columns));
    }
    const digest = await modelDigest(config, [...words.values()]);
    ensure(digest === stated.model, "E_DIGEST", "masked weights do not have the stated digest");
    const isNew = !this.#models.has(digest); // Another connection may have brought it meanwhile.
    if (isNew && this.#models.size >= maxModels) this.#models.delete([...this.#models.keys()][0]!);
    const masked = new RingTensors(kernels, tensors, ({ key }) => words.get(key)!);
    this.#models.set(digest, { config, tensors: masked });
    await tell(channel, { type: "stored" });
  }

  /** A client joins a session that its server has announced, and asks for bundle after bundle. */
  async #serveClient(channel: Channel): Promise<void> {
    const { timeoutMs } = this.#options;
    const message = await expect(channel, "session", timeoutMs);
    const announced = this.#announced.get(message.session);
    ensure(announced, "E_PROTOCOL", "no server has announced this session");
    this.#announced.delete(message.session);
    try {
      await this.#deal(channel, announced, message);
    } finally {
      await announced.server.close();
    }
  }

  async #deal(
    channel: Channel,
    { server, message: byServer }: Announced,
    message: MessageOf<"session">,
  ): Promise<void> {
    ensure(message.model === byServer.model, "E_DIGEST", "the parties name different models");
    const model = this.#use(message.model);
    ensure(model, "E_PROTOCOL", "the session's model is not known here");
    const plan = await this.#plans.get(model.config, message.options);
    for (const stated of [message.digest, byServer.digest]) {
      ensure(stated === plan.digest, "E_DIGEST", "the parties hold different plans");
    }
    await tell(channel, { type: "ready" });
    const states: DealerStates = new Map();
    const generation = `generation/${this.#dealt++}`;
    for (let bundle = 0; bundle < plan.bundles.length; bundle++) {
      const next = await channel.receiveControl({ timeoutMs: this.#options.timeoutMs });
      if (next.type === "end") return;
      ensure(check(next, "deal").bundle === bundle, "E_PROTOCOL", "a bundle is asked for twice");
      await this.#dealBundle({ channel, server, plan, bundle, states, model, generation });
    }
    await expect(channel, "end", this.#options.timeoutMs);
  }

  async #dealBundle(work: {
    channel: Channel;
    server: Channel;
    plan: Plan;
    bundle: number;
    states: DealerStates;
    model: StoredModel;
    generation: string;
  }): Promise<void> {
    const { kernels, seeds } = this.#options;
    const labels = bundleLabels(work.generation, work.bundle);
    const clientSeed = await seeds(labels.client);
    const serverSeed = await seeds(labels.server);
    const keySeed = await seeds(labels.keys);
    const prgs = [clientSeed, serverSeed, keySeed].map((seed) => new Prg(kernels, seed));
    const [client, server, own] = prgs as [Prg, Prg, Prg];
    const { forServer, forClient } = dealBundle({
      ring: this.#ring,
      segments: work.plan.bundles[work.bundle]!,
      states: work.states,
      tensors: work.model.tensors,
      client,
      server,
      own,
    });
    for (const prg of prgs) prg.erase();
    await work.server.send("bundle", encodeBundle(work.bundle, serverSeed, forServer));
    await work.channel.send("bundle", encodeBundle(work.bundle, clientSeed, forClient));
    for (const seed of [clientSeed, serverSeed, keySeed]) seed.fill(0);
  }
}
