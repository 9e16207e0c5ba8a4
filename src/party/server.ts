// S: holds the weights. Once per model it masks them for D; for each client it runs a session, in
// which it sees masked wires and public numbers alone.

import { ensure, MergenError } from "../errors.ts";
import type { RingKernels } from "../kernel/ring-kernels.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import type { Weights } from "../model/safetensors.ts";
import { checkBounds } from "../plan/bounds.ts";
import { type MaskedTensor, maskTensors, ServerTensors } from "../plan/tensors.ts";
import { Prg } from "../ring/prg.ts";
import { Ring } from "../ring/ring.ts";
import { decodeItems, ItemStore } from "../run/items.ts";
import { type ServerStates, serverJobs } from "../run/party.ts";
import { Scheduler } from "../run/scheduler.ts";
import type { Channel } from "../wire/channel.ts";
import { decodeControl } from "../wire/control.ts";
import { frameBytes } from "../wire/frame.ts";
import { check, decodeBundle, expect, greet, tell, toHex } from "./messages.ts";
import { modelDigest } from "./model-digest.ts";
import { generationOptions, type Plan, PlanCache, serverGroups } from "./plan.ts";
import { freshSeeds, type SeedSource, WEIGHTS_LABEL } from "./seeds.ts";
import { type BundleStore, memoryStore } from "./store.ts";

export interface ServerOptions {
  readonly kernels: RingKernels;
  readonly config: ModelConfig;
  readonly weights: Weights;
  /** tokenizer.json, as it goes to clients. */
  readonly tokenizer: Uint8Array;
  /** Opens a new connection to the dealer. */
  readonly connectDealer: () => Promise<Channel>;
  /** Default: in memory. */
  readonly store?: BundleStore;
  /** Default: fresh seeds. Anything else is for test benches. */
  readonly seeds?: SeedSource;
  /** Longest wait for a peer's next message, in milliseconds. Default 120,000. */
  readonly timeoutMs?: number;
  /** Sessions at one time; more are refused with E_BUSY. Default 8. */
  readonly maxSessions?: number;
}

/** The model as S serves it: integer weights, and their masks' seed. */
interface Served {
  readonly tensors: ServerTensors;
  readonly listed: readonly MaskedTensor[];
  readonly maskSeed: Uint8Array;
  readonly digest: string;
  /** Frames of B, header and payload: sent to D once per model. */
  readonly maskedBytes: number;
}

export class Server {
  readonly #options: Required<ServerOptions>;
  readonly #ring: Ring;
  readonly #plans = new PlanCache();
  readonly #served: Served;
  #sessions = 0;

  private constructor(options: Required<ServerOptions>, served: Served) {
    this.#options = options;
    this.#served = served;
    this.#ring = new Ring(options.kernels);
  }

  /**
   * Checks and masks a model.
   * @throws E_MODEL when stated bounds do not hold, E_PLAN when the recipe has no secure form
   */
  static async create(given: ServerOptions): Promise<Server> {
    const options: Required<ServerOptions> = {
      store: memoryStore(),
      seeds: freshSeeds,
      timeoutMs: 120_000,
      maxSessions: 8,
      ...given,
      // The order of its keys is a part of the digests that all three compare.
      config: parseConfig(given.config),
    };
    const { kernels, config, weights } = options;
    const listed = await new PlanCache().tensors(config);
    checkBounds(config, weights);
    const tensors = new ServerTensors({ kernels, weights, numbers: config, tensors: listed });
    const maskSeed = await options.seeds(WEIGHTS_LABEL);
    const masks = maskTensors(kernels, listed, maskSeed);
    const masked = listed.map(({ key }) => tensors.masked(key, masks));
    const digest = await modelDigest(config, masked);
    const maskedBytes = masked.reduce((sum, words) => sum + frameBytes(8 * words.length), 0);
    return new Server(options, { tensors, listed, maskSeed, digest, maskedBytes });
  }

  /** Hexadecimal name of the served model; see model-digest.ts. */
  get modelDigest(): string {
    return this.#served.digest;
  }

  /** Sends D the masked weights unless it has them: once before the first session. */
  async register(): Promise<void> {
    const dealer = await this.#options.connectDealer();
    try {
      await this.#introduce(dealer);
      await tell(dealer, { type: "end" });
    } finally {
      await dealer.close();
    }
  }

  /**
   * Serves one client until its generation ends.
   * @throws the reason when it did not end in order; the channel is closed with its code
   */
  async serve(channel: Channel): Promise<void> {
    this.#sessions++;
    try {
      const { maxSessions } = this.#options;
      ensure(this.#sessions <= maxSessions, "E_BUSY", `${maxSessions} sessions run already`);
      await this.#session(channel);
    } catch (error) {
      await channel.close(error instanceof MergenError ? error.code : "E_INTERNAL");
      throw error;
    } finally {
      this.#sessions--;
    }
    await channel.close();
  }

  async #session(channel: Channel): Promise<void> {
    const { timeoutMs, config, tokenizer } = this.#options;
    const role = await greet(channel, "server", timeoutMs);
    ensure(role === "client", "E_PROTOCOL", "the peer is not a client");
    const session = toHex(crypto.getRandomValues(new Uint8Array(16)));
    const { digest: model, maskSeed } = this.#served;
    await tell(channel, { type: "offer", model, config, maskSeed: toHex(maskSeed), session });
    await channel.send("model", tokenizer);
    const { options, digest } = await expect(channel, "open", timeoutMs);
    const asked = generationOptions(config, options.promptPositions, options);
    const plan = await this.#plans.get(config, asked);
    ensure(plan.digest === digest, "E_DIGEST", "the client holds another plan");
    const dealer = await this.#options.connectDealer();
    try {
      await this.#introduce(dealer);
      await tell(dealer, { type: "session", session, model, options, digest });
      await expect(dealer, "ready", timeoutMs);
      await tell(channel, { type: "opened", modelBytes: this.#served.maskedBytes });
      await this.#generate({ channel, dealer, plan, session });
    } finally {
      await dealer.close();
      await this.#options.store.drop(session);
    }
  }

  /** Says hello to D and sees to it that D has the masked weights. */
  async #introduce(dealer: Channel): Promise<void> {
    const { timeoutMs, config, kernels } = this.#options;
    const { digest, listed, maskSeed, tensors } = this.#served;
    const role = await greet(dealer, "server", timeoutMs);
    ensure(role === "dealer", "E_PROTOCOL", "the peer is not a dealer");
    await tell(dealer, { type: "model", model: digest, config });
    const { have } = await expect(dealer, "have", timeoutMs);
    if (have) return;
    const masks = maskTensors(kernels, listed, maskSeed);
    for (const { key } of listed) {
      const words = tensors.masked(key, masks);
      await dealer.send("model", new Uint8Array(words.buffer));
    }
    await expect(dealer, "stored", timeoutMs);
  }

  async #generate(session: {
    channel: Channel;
    dealer: Channel;
    plan: Plan;
    session: string;
  }): Promise<void> {
    const { channel, dealer, plan } = session;
    const states: ServerStates = new Map();
    const scheduler = new Scheduler();
    let ended = false;
    for (let bundle = 0; bundle < plan.bundles.length && !ended; bundle++) {
      const received = await this.#receiveBundle({ ...session, bundle });
      if (!received) {
        ended = true;
        break;
      }
      const { random, dealt, uploaded } = received;
      const { tensors } = this.#served;
      const common = { ring: this.#ring, states, tensors, random, dealt, uploaded };
      try {
        for (const group of serverGroups(plan.bundles[bundle]!)) {
          for (const segment of group) scheduler.add(serverJobs({ ...common, segment }));
          ended = await this.#runOnline(channel, scheduler);
          if (ended) break;
        }
        await this.#flush(channel, scheduler);
      } finally {
        random.erase();
      }
    }
    if (!ended) {
      await expect(channel, "end", this.#options.timeoutMs);
      ensure(!scheduler.unclaimed, "E_PROTOCOL", "the client sent what no gate asks for");
    }
    const dealerToServerBytes = dealer.counters.receivedBytes;
    await tell(channel, { type: "ended", dealerToServerBytes });
  }

  /**
   * Waits for a bundle's two parts, from C and from D, and records the bundle as used before its
   * first online frame. Undefined when C ends the generation instead.
   */
  async #receiveBundle(work: {
    channel: Channel;
    dealer: Channel;
    session: string;
    bundle: number;
  }) {
    const { timeoutMs, store, kernels } = this.#options;
    const upload = await work.channel.receive({ timeoutMs, kinds: ["upload", "control"] });
    if (upload.kind === "control") {
      check(decodeControl(upload.payload), "end");
      return undefined;
    }
    const dealtMessage = await work.dealer.receive({ timeoutMs, kinds: ["bundle"] });
    const key = `${work.session}/${work.bundle}`;
    await store.put(`${key}/dealt`, dealtMessage.payload);
    await store.put(`${key}/upload`, upload.payload);
    const { seed, items } = decodeBundle(await store.take(`${key}/dealt`), work.bundle);
    const dealt = new ItemStore();
    dealt.add(decodeItems(items));
    const uploaded = new ItemStore();
    uploaded.add(decodeItems(await store.take(`${key}/upload`)));
    return { random: new Prg(kernels, seed), dealt, uploaded };
  }

  /** Runs what has been added; true when C ended the generation meanwhile. */
  async #runOnline(channel: Channel, scheduler: Scheduler): Promise<boolean> {
    const { timeoutMs } = this.#options;
    for (;;) {
      scheduler.advance();
      if (scheduler.done) return false;
      await this.#flush(channel, scheduler);
      const message = await channel.receive({ timeoutMs, kinds: ["online", "control"] });
      if (message.kind === "control") {
        check(decodeControl(message.payload), "end");
        return true;
      }
      scheduler.deliver(message.payload);
    }
  }

  async #flush(channel: Channel, scheduler: Scheduler): Promise<void> {
    const out = scheduler.takeOutbox();
    if (out) await channel.send("online", out);
  }
}
