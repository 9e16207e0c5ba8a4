// S: holds the weights. Once per model it masks them for D; for each client it runs a session, in
// which it sees masked wires and public numbers alone.

import { ensure, MergenError } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { FunctionPrg, RingKernels } from "../kernel/ring-kernels.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import type { Weights } from "../model/safetensors.ts";
import { checkBounds } from "../plan/bounds.ts";
import { MaskTensors, maskedSlabs } from "../plan/masks.ts";
import { checkRanges } from "../plan/ranges.ts";
import { type MaskedTensor, ServerTensors } from "../plan/tensors.ts";
import { ArenaPool } from "../ring/memory.ts";
import type { GateWatch } from "../run/party.ts";
import type { Channel } from "../wire/channel.ts";
import { frameBytes } from "../wire/frame.ts";
import { expect, greet, tell, toHex } from "./messages.ts";
import { ModelHash } from "./model-digest.ts";
import { generationOptions, PlanCache } from "./plan.ts";
import { freshSeeds, type SeedSource, WEIGHTS_LABEL } from "./seeds.ts";
import { ServerSession } from "./server-session.ts";
import { type BundleStore, memoryStore } from "./store.ts";

export interface ServerOptions {
  readonly kernels: RingKernels;
  readonly config: ModelConfig;
  readonly weights: Weights;
  /** tokenizer.json, as it goes to clients. */
  readonly tokenizer: Uint8Array;
  /** Make the check of stated bounds fast. */
  readonly floatKernels?: FloatKernels | undefined;
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
  /** Sees the gates' online parts, of all sessions: for measurements. */
  readonly watch?: GateWatch | undefined;
}

type FullOptions = Required<ServerOptions>;

/** The model as S serves it: integer weights, and their masks' seed. */
interface Served {
  readonly tensors: ServerTensors;
  readonly listed: readonly MaskedTensor[];
  readonly masks: MaskTensors;
  readonly maskSeed: Uint8Array;
  readonly digest: string;
  /** Frames of B, header and payload: sent to D once per model. */
  readonly maskedBytes: number;
}

export class Server {
  readonly #options: FullOptions;
  readonly #plans = new PlanCache();
  readonly #arenas = new ArenaPool();
  readonly #served: Served;
  /** What D said that it has, once it was asked. */
  #dealerPrgs: readonly FunctionPrg[] = ["chacha12"];
  #sessions = 0;

  private constructor(options: FullOptions, served: Served) {
    this.#options = options;
    this.#served = served;
  }

  /**
   * Checks and masks a model.
   * @throws E_MODEL when stated bounds do not hold, E_PLAN when the recipe has no secure form
   */
  static async create(given: ServerOptions): Promise<Server> {
    const options: FullOptions = {
      floatKernels: undefined,
      store: memoryStore(),
      seeds: freshSeeds,
      timeoutMs: 120_000,
      maxSessions: 8,
      watch: undefined,
      ...given,
      // The order of its keys is a part of the digests that all three compare.
      config: parseConfig(given.config),
    };
    const { kernels, config, weights } = options;
    const listed = await new PlanCache().tensors(config);
    const check = config.attention === "constant" ? checkBounds : checkRanges;
    check(config, weights, options.floatKernels);
    const tensors = new ServerTensors({ kernels, weights, numbers: config, tensors: listed });
    const maskSeed = await options.seeds(WEIGHTS_LABEL);
    const masks = new MaskTensors(kernels, listed, maskSeed);
    const hash = new ModelHash(config);
    let maskedBytes = 0;
    for (const tensor of listed) {
      for (const slab of maskedSlabs(kernels, { weights: tensors, masks }, tensor)) {
        await hash.add(slab);
        maskedBytes += frameBytes(slab.byteLength);
      }
    }
    const digest = await hash.digest();
    return new Server(options, { tensors, listed, masks, maskSeed, digest, maskedBytes });
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
    let held = true;
    const release = () => {
      if (held) this.#sessions--;
      held = false;
    };
    try {
      const { maxSessions } = this.#options;
      ensure(this.#sessions <= maxSessions, "E_BUSY", `${maxSessions} sessions run already`);
      await this.#session(channel, release);
    } catch (error) {
      await channel.close(error instanceof MergenError ? error.code : "E_INTERNAL");
      throw error;
    } finally {
      release();
    }
    await channel.close();
  }

  async #session(channel: Channel, onDone: () => void): Promise<void> {
    const { timeoutMs, config, tokenizer, kernels, store } = this.#options;
    const role = await greet(channel, "server", timeoutMs);
    ensure(role === "client", "E_PROTOCOL", "the peer is not a client");
    const session = toHex(crypto.getRandomValues(new Uint8Array(16)));
    const { digest: model, maskSeed, tensors } = this.#served;
    const functionPrgs = kernels.functionPrgs.filter((prg) => this.#dealerPrgs.includes(prg));
    const offer = { type: "offer", model, config, session, functionPrgs } as const;
    await tell(channel, { ...offer, maskSeed: toHex(maskSeed) });
    await channel.send("model", tokenizer);
    const opened = await expect(channel, "open", timeoutMs);
    const { options, digest, functionPrg = "chacha12" } = opened;
    ensure(functionPrgs.includes(functionPrg), "E_PROTOCOL", "a generator that was not offered");
    const asked = generationOptions(config, options.promptPositions, options);
    const plan = await this.#plans.get(config, asked);
    ensure(plan.digest === digest, "E_DIGEST", "the client holds another plan");
    const dealer = await this.#options.connectDealer();
    try {
      await this.#introduce(dealer);
      await tell(dealer, { type: "session", session, model, options, digest, functionPrg });
      await expect(dealer, "ready", timeoutMs);
      await tell(channel, { type: "opened", modelBytes: this.#served.maskedBytes });
      const { watch } = this.#options;
      const arenas = this.#arenas;
      const shared = { kernels, tensors, timeoutMs, store, functionPrg, watch, arenas };
      await new ServerSession(shared, { channel, dealer, plan, session, onDone }).run();
    } finally {
      await dealer.close();
      await store.drop(session);
    }
  }

  /** Says hello to D and sees to it that D has the masked weights. */
  async #introduce(dealer: Channel): Promise<void> {
    const { timeoutMs, config, kernels } = this.#options;
    const { digest, listed, tensors, masks } = this.#served;
    const role = await greet(dealer, "server", timeoutMs);
    ensure(role === "dealer", "E_PROTOCOL", "the peer is not a dealer");
    await tell(dealer, { type: "model", model: digest, config });
    const { have, functionPrgs } = await expect(dealer, "have", timeoutMs);
    this.#dealerPrgs = functionPrgs;
    if (have) return;
    for (const tensor of listed) {
      for (const slab of maskedSlabs(kernels, { weights: tensors, masks }, tensor)) {
        await dealer.send("model", new Uint8Array(slab.buffer));
      }
    }
    await expect(dealer, "stored", timeoutMs);
  }
}
