// C: holds the prompt. It learns the text, in the clear from its truncated logits, and nothing of
// the weights; S and D learn public numbers alone. No Node imports: this runs in the browser too.

import { ensure, MergenError } from "../errors.ts";
import { createSampler } from "../generate/sample.ts";
import type { RingKernels } from "../kernel/ring-kernels.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import { encodePrompt } from "../model/prompt.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { ArenaPool } from "../ring/memory.ts";
import type { GateWatch } from "../run/party.ts";
import type { Channel } from "../wire/channel.ts";
import { type Clock, systemClock } from "../wire/clock.ts";
import { ClientRun, type OpenedRun, type RunOptions } from "./client-run.ts";
import { expect, fromHex, greet, type MessageOf, tell, toHex } from "./messages.ts";
import { type AskedOptions, generationOptions, PlanCache } from "./plan.ts";
import { inlinePreparer, type StartPreparer } from "./preparer.ts";
import type { Generation } from "./report.ts";
import { type BundleStore, memoryStore } from "./store.ts";

export interface ClientOptions {
  readonly kernels: RingKernels;
  /** Default: in memory. */
  readonly store?: BundleStore;
  /** Longest wait for a peer's next message, in milliseconds. Default 120,000. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
  /** How bundles are prepared; default on the caller's thread, each when it is needed. */
  readonly startPreparer?: StartPreparer;
  /** Sees the gates' online parts: for measurements. */
  readonly watch?: GateWatch | undefined;
}

export interface GenerateOptions extends RunOptions {
  /** Opens a connection to the server. */
  readonly connectServer: () => Promise<Channel>;
  /** Opens a connection to the dealer. */
  readonly connectDealer: () => Promise<Channel>;
  /** Defaults of these three come from the model's config. */
  readonly maxTokens?: number;
  readonly chunk?: number;
  readonly anchor?: number;
  /** What a step takes in, and what C learns of a head: see AskedOptions. */
  readonly next?: AskedOptions["next"];
  readonly reveal?: AskedOptions["reveal"];
  /** Refuse a server whose model has another public config. */
  readonly expectedConfig?: ModelConfig;
  /** Refuse a model of another recipe. */
  readonly recipe?: string;
}

/** What S offered, understood. */
interface Offer {
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly message: MessageOf<"offer">;
}

/** Tokenizers kept at one time. */
const MOST_TOKENIZERS = 4;

/** A client; keeps a few plans and tokenizers of models that it has used. */
export class Client {
  readonly #options: Required<ClientOptions>;
  readonly #plans = new PlanCache();
  readonly #arenas = new ArenaPool();
  /** By the SHA-256 of their files: what a server says of its model is its own word alone. */
  readonly #tokenizers = new Map<string, Tokenizer>();

  constructor(options: ClientOptions) {
    this.#options = {
      store: memoryStore(),
      timeoutMs: 120_000,
      clock: systemClock,
      startPreparer: inlinePreparer,
      watch: undefined,
      ...options,
    };
  }

  /**
   * One private generation, in a session of its own.
   * @throws E_USAGE before anything is sent; E_PROMPT before the session is opened; E_AUTH, E_BUSY,
   *         E_VERSION, E_DIGEST, E_PEER_GONE, E_TIMEOUT, E_PROTOCOL, E_FRAME from the conversation;
   *         E_STORE
   */
  async generate(options: GenerateOptions): Promise<Generation> {
    createSampler(options.sampling ?? {}); // refuses bad options before anybody is asked
    const server = await options.connectServer();
    let dealer: Channel | undefined;
    // Closing this side makes whatever waits for a peer fail with E_INTERRUPTED at once.
    const interrupt = () => void Promise.all([server.close(), dealer?.close()]);
    options.signal?.addEventListener("abort", interrupt, { once: true });
    try {
      const offer = await this.#receiveOffer(server);
      checkOffer(offer.config, options);
      const ids = encodePrompt(options.prompt, offer.config, offer.tokenizer, options);
      const run = await this.#open(server, offer, ids, options);
      dealer = await options.connectDealer();
      await this.#join(dealer, run);
      const means = { ...this.#options, arenas: this.#arenas };
      const generation = await new ClientRun(means, run, options, { server, dealer }).finish();
      await dealer.close();
      await server.close();
      return generation;
    } catch (error) {
      const code = error instanceof MergenError ? error.code : "E_INTERNAL";
      await Promise.all([server.close(code), dealer?.close(code)]);
      throw error;
    } finally {
      options.signal?.removeEventListener("abort", interrupt);
    }
  }

  async #receiveOffer(server: Channel): Promise<Offer> {
    const { timeoutMs } = this.#options;
    const role = await greet(server, "client", timeoutMs);
    ensure(role === "server", "E_PROTOCOL", "the peer is not a server");
    const message = await expect(server, "offer", timeoutMs);
    const config = parseConfig(message.config, "the server's config");
    const { payload } = await server.receive({ timeoutMs, kinds: ["model"] });
    return { config, tokenizer: await this.#tokenizer(payload), message };
  }

  async #tokenizer(payload: Uint8Array<ArrayBuffer>): Promise<Tokenizer> {
    const digest = toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", payload)));
    const known = this.#tokenizers.get(digest);
    if (known) return known;
    let json: unknown;
    try {
      json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
    } catch {
      throw new MergenError("E_TOKENIZER", "the server's tokenizer is not JSON");
    }
    const tokenizer = new Tokenizer({ tokenizer: json }, "the server's tokenizer");
    if (this.#tokenizers.size >= MOST_TOKENIZERS) {
      this.#tokenizers.delete([...this.#tokenizers.keys()][0]!);
    }
    this.#tokenizers.set(digest, tokenizer);
    return tokenizer;
  }

  async #open(
    server: Channel,
    offer: Offer,
    ids: readonly number[],
    options: GenerateOptions,
  ): Promise<OpenedRun> {
    const { config, tokenizer, message } = offer;
    const asked = generationOptions(config, ids.length, options);
    const plan = await this.#plans.get(config, asked);
    const { functionPrgs } = this.#options.kernels;
    const functionPrg = functionPrgs.find((prg) => message.functionPrgs.includes(prg));
    ensure(functionPrg, "E_PROTOCOL", "the server offers no generator of function keys");
    await tell(server, { type: "open", options: asked, digest: plan.digest, functionPrg });
    const { modelBytes } = await expect(server, "opened", this.#options.timeoutMs);
    const { model, session } = message;
    const maskSeed = fromHex(message.maskSeed);
    return { plan, tokenizer, ids, model, session, maskSeed, modelBytes, functionPrg };
  }

  async #join(dealer: Channel, run: OpenedRun): Promise<void> {
    const { timeoutMs } = this.#options;
    const role = await greet(dealer, "client", timeoutMs);
    ensure(role === "dealer", "E_PROTOCOL", "the peer is not a dealer");
    const { model, session, plan, functionPrg } = run;
    const { options, digest } = plan;
    await tell(dealer, { type: "session", session, model, options, digest, functionPrg });
    await expect(dealer, "ready", timeoutMs);
  }
}

/** @throws E_DIGEST, E_CONFIG when the server offers another model than was asked for */
function checkOffer(config: ModelConfig, { expectedConfig, recipe }: GenerateOptions): void {
  const same = !expectedConfig || JSON.stringify(config) === JSON.stringify(expectedConfig);
  ensure(same, "E_DIGEST", "the server offers another model than the one that was named");
  const fits = recipe === undefined || recipe === config.recipe;
  ensure(fits, "E_CONFIG", `the server's model has the recipe ${config.recipe}, not ${recipe}`);
}
