// D: keeps each model's masked weights B = W - D_W once, and deals bundles to the server and the
// client of a session. It takes part in the offline phase only; it never sees C and S talk.

import { ensure, MergenError } from "../errors.ts";
import type { FunctionPrg, RingKernels } from "../kernel/ring-kernels.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import { slabLengths } from "../plan/masks.ts";
import { type MaskedTensor, RingTensors } from "../plan/tensors.ts";
import { Prg } from "../ring/prg.ts";
import { Ring, type Words } from "../ring/ring.ts";
import { type DealerStates, dealBundle } from "../run/dealer.ts";
import { Rooms } from "../run/rooms.ts";
import type { Channel } from "../wire/channel.ts";
import {
  BUNDLE_HEADER_BYTES,
  check,
  expect,
  greet,
  type MessageOf,
  sealBundle,
  tell,
} from "./messages.ts";
import { ModelHash } from "./model-digest.ts";
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
  readonly #rooms = new Rooms();
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
    const { functionPrgs } = this.#options.kernels;
    const have = this.#use(stated.model) !== undefined;
    await tell(channel, { type: "have", have, functionPrgs: [...functionPrgs] });
    if (!have) await this.#receiveModel(channel, stated);
    const next = await channel.receiveControl({ timeoutMs });
    if (next.type === "end") return;
    const message = check(next, "session");
    ensure(message.model === stated.model, "E_PROTOCOL", "a session names another model");
    const known = functionPrgs.includes(message.functionPrg ?? "chacha12");
    ensure(known, "E_PROTOCOL", "a session asks for a generator that is not here");
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
    const config = parseConfig(stated.config, "the server's config");
    const tensors = new RingTensors(this.#options.kernels);
    const hash = new ModelHash(config);
    for (const tensor of await this.#plans.tensors(config)) {
      tensors.add(tensor, await this.#receiveTensor(channel, tensor, hash));
    }
    const digest = await hash.digest();
    ensure(digest === stated.model, "E_DIGEST", "masked weights do not have the stated digest");
    this.#keep(digest, { config, tensors });
    await tell(channel, { type: "stored" });
  }

  async #receiveTensor(channel: Channel, tensor: MaskedTensor, hash: ModelHash): Promise<Words> {
    const { timeoutMs } = this.#options;
    const words = new BigUint64Array(tensor.rows * tensor.columns);
    let at = 0;
    for (const length of slabLengths(tensor)) {
      const { payload } = await channel.receive({ timeoutMs, kinds: ["model"] });
      const fits = payload.length === 8 * length;
      ensure(fits, "E_PROTOCOL", "a part of a masked tensor has the wrong size");
      const slab = new BigUint64Array(payload.buffer, payload.byteOffset, length);
      await hash.add(slab);
      words.set(slab, at);
      at += length;
    }
    return words;
  }

  /** Keeps a model, in the place of the one unused for longest where there are too many. */
  #keep(digest: string, model: StoredModel): void {
    // Another connection may have brought it meanwhile.
    if (!this.#models.has(digest) && this.#models.size >= this.#options.maxModels) {
      this.#models.delete([...this.#models.keys()][0]!);
    }
    this.#models.set(digest, model);
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
    const { functionPrg = "chacha12" } = byServer;
    const agreed = (message.functionPrg ?? "chacha12") === functionPrg;
    ensure(agreed, "E_PROTOCOL", "the parties name different generators");
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
      const common = { plan, bundle, states, model, generation, functionPrg };
      await this.#dealBundle({ ...common, channel, server });
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
    functionPrg: FunctionPrg;
  }): Promise<void> {
    const { kernels, seeds } = this.#options;
    const labels = bundleLabels(work.generation, work.bundle);
    const clientSeed = await seeds(labels.client);
    const serverSeed = await seeds(labels.server);
    const keySeed = await seeds(labels.keys);
    const prgs = [clientSeed, serverSeed, keySeed].map((seed) => new Prg(kernels, seed));
    const [client, server, own] = prgs as [Prg, Prg, Prg];
    const { room, end } = this.#rooms.lease();
    try {
      const { forServer, forClient } = dealBundle({
        room,
        ring: this.#ring,
        segments: work.plan.bundles[work.bundle]!,
        states: work.states,
        tensors: work.model.tensors,
        client,
        server,
        own,
        functionPrg: work.functionPrg,
        headerBytes: BUNDLE_HEADER_BYTES,
      });
      // C's part is small: it can prepare while S's part is still on its way.
      await both(
        work.server.send("bundle", sealBundle(forServer, work.bundle, serverSeed)),
        work.channel.send("bundle", sealBundle(forClient, work.bundle, clientSeed)),
      );
    } finally {
      end();
      for (const prg of prgs) prg.erase();
      for (const seed of [clientSeed, serverSeed, keySeed]) seed.fill(0);
    }
  }
}

/**
 * Waits for both, also where one fails: what the other still sends lies in memory that is used
 * again afterwards.
 * @throws why the first failed, else why the second did
 */
async function both(first: Promise<void>, second: Promise<void>): Promise<void> {
  await Promise.allSettled([first, second]);
  await Promise.all([first, second]);
}
