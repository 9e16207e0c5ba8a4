// C: holds the prompt. It learns the text, in the clear from its truncated logits, and nothing of
// the weights; S and D learn public numbers alone. No Node imports: this runs in the browser too.

import { ensure, MergenError } from "../errors.ts";
import { createSampler } from "../generate/sample.ts";
import type { RingKernels } from "../kernel/ring-kernels.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import { encodePrompt } from "../model/prompt.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { type MaskTensors, maskTensors } from "../plan/tensors.ts";
import { Prg } from "../ring/prg.ts";
import { Ring } from "../ring/ring.ts";
import { decodeItems, ItemStore } from "../run/items.ts";
import {
  type ClientStates,
  clientJobs,
  type PreparedSegment,
  prepareBundle,
} from "../run/party.ts";
import { Scheduler } from "../run/scheduler.ts";
import type { Channel } from "../wire/channel.ts";
import { type Clock, systemClock } from "../wire/clock.ts";
import { decodeBundle, expect, fromHex, greet, type MessageOf, tell } from "./messages.ts";
import { Picker, type PickerOptions, privateIds } from "./picker.ts";
import {
  generationOptions,
  IDS,
  LOGITS,
  type Plan,
  PlanCache,
  type PlannedSegment,
  realLogits,
} from "./plan.ts";
import type { Generation } from "./report.ts";
import { type BundleStore, memoryStore } from "./store.ts";

export interface ClientOptions {
  readonly kernels: RingKernels;
  /** Default: in memory. */
  readonly store?: BundleStore;
  /** Longest wait for a peer's next message, in milliseconds. Default 120,000. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

export interface GenerateOptions extends PickerOptions {
  /** Opens a connection to the server. */
  readonly connectServer: () => Promise<Channel>;
  /** Opens a connection to the dealer. */
  readonly connectDealer: () => Promise<Channel>;
  readonly prompt: string;
  /** Defaults of these three come from the model's config. */
  readonly maxTokens?: number;
  readonly chunk?: number;
  readonly anchor?: number;
  /** Refuse a server whose model has another public config. */
  readonly expectedConfig?: ModelConfig;
  /** Refuse a model of another recipe. */
  readonly recipe?: string;
  /** Aborts between messages with E_INTERRUPTED. */
  readonly signal?: AbortSignal;
}

/** What S offered, understood. */
interface Offer {
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly message: MessageOf<"offer">;
}

/** Models whose D_W a client keeps at one time. */
const MODELS_KEPT = 4;

/** A client; keeps plans and the D_W of models that it has used. */
export class Client {
  readonly #options: Required<ClientOptions>;
  readonly #ring: Ring;
  readonly #plans = new PlanCache();
  readonly #masks = new Map<string, MaskTensors>();
  readonly #tokenizers = new Map<string, Tokenizer>();

  constructor(options: ClientOptions) {
    this.#options = { store: memoryStore(), timeoutMs: 120_000, clock: systemClock, ...options };
    this.#ring = new Ring(options.kernels);
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
      const ids = encodePrompt(options.prompt, offer.config, offer.tokenizer);
      const run = await this.#open(server, offer, ids, options);
      dealer = await options.connectDealer();
      await this.#join(dealer, offer, run.plan);
      const generation = await new Run(this.#options, this.#ring, run, options, {
        server,
        dealer,
      }).finish();
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
    return { config, tokenizer: this.#tokenizer(message.model, payload), message };
  }

  #tokenizer(model: string, payload: Uint8Array): Tokenizer {
    const known = this.#tokenizers.get(model);
    if (known) return known;
    let json: unknown;
    try {
      json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
    } catch {
      throw new MergenError("E_TOKENIZER", "the server's tokenizer is not JSON");
    }
    const tokenizer = new Tokenizer({ tokenizer: json }, "the server's tokenizer");
    this.#tokenizers.set(model, tokenizer);
    return tokenizer;
  }

  async #open(server: Channel, offer: Offer, ids: readonly number[], options: GenerateOptions) {
    const { config } = offer;
    const asked = generationOptions(config, ids.length, options);
    const plan = await this.#plans.get(config, asked);
    await tell(server, { type: "open", options: asked, digest: plan.digest });
    const { modelBytes } = await expect(server, "opened", this.#options.timeoutMs);
    return { plan, offer, ids, modelBytes, masks: this.#masksOf(offer, plan) };
  }

  #masksOf({ message }: Offer, plan: Plan): MaskTensors {
    const known = this.#masks.get(message.model);
    if (known) return known;
    const made = maskTensors(this.#options.kernels, plan.tensors, fromHex(message.maskSeed));
    if (this.#masks.size >= MODELS_KEPT) this.#masks.delete([...this.#masks.keys()][0]!);
    this.#masks.set(message.model, made);
    return made;
  }

  async #join(dealer: Channel, { message }: Offer, plan: Plan): Promise<void> {
    const { timeoutMs } = this.#options;
    const role = await greet(dealer, "client", timeoutMs);
    ensure(role === "dealer", "E_PROTOCOL", "the peer is not a dealer");
    const { model, session } = message;
    const { options, digest } = plan;
    await tell(dealer, { type: "session", session, model, options, digest });
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

interface OpenedRun {
  readonly plan: Plan;
  readonly offer: Offer;
  readonly ids: readonly number[];
  readonly modelBytes: number;
  readonly masks: MaskTensors;
}

/** One generation after its session has been opened. */
class Run {
  readonly #client: Required<ClientOptions>;
  readonly #ring: Ring;
  readonly #run: OpenedRun;
  readonly #options: GenerateOptions;
  readonly #server: Channel;
  readonly #dealer: Channel;
  readonly #scheduler = new Scheduler();
  readonly #states: ClientStates = new Map();
  readonly #picker: Picker;
  #roundTrips = 0;
  #onlineMs = 0;
  #offlineMs = 0;
  readonly #online = { sent: 0, received: 0 };
  #uploaded = 0;

  constructor(
    client: Required<ClientOptions>,
    ring: Ring,
    run: OpenedRun,
    options: GenerateOptions,
    channels: { server: Channel; dealer: Channel },
  ) {
    this.#client = client;
    this.#ring = ring;
    this.#run = run;
    this.#options = options;
    this.#server = channels.server;
    this.#dealer = channels.dealer;
    this.#picker = new Picker(run.offer.config, run.offer.tokenizer, options);
  }

  async finish(): Promise<Generation> {
    const { plan } = this.#run;
    for (let bundle = 0; bundle < plan.bundles.length && !this.#picker.ended; bundle++) {
      const { prepared, random } = await this.#prepare(bundle);
      try {
        await this.#runOnline(plan.bundles[bundle]!, prepared);
      } finally {
        random.erase();
      }
    }
    await tell(this.#dealer, { type: "end" });
    await tell(this.#server, { type: "end" });
    const ended = await expect(this.#server, "ended", this.#client.timeoutMs);
    return this.#report(ended.dealerToServerBytes);
  }

  /** Asks D for a bundle, computes C's offline part of it and uploads it to S. */
  async #prepare(bundle: number): Promise<{ prepared: PreparedSegment[]; random: Prg }> {
    const { clock, timeoutMs, store, kernels } = this.#client;
    const started = clock.now();
    this.#checkSignal();
    await tell(this.#dealer, { type: "deal", bundle });
    const { payload } = await this.#dealer.receive({ timeoutMs, kinds: ["bundle"] });
    const key = `${this.#run.offer.message.session}/${bundle}/client`;
    await store.put(key, payload);
    const { seed, items } = decodeBundle(await store.take(key), bundle);
    const dealt = new ItemStore();
    dealt.add(decodeItems(items));
    const random = new Prg(kernels, seed);
    const { prepared, upload } = prepareBundle({
      ring: this.#ring,
      segments: this.#run.plan.bundles[bundle]!,
      states: this.#states,
      tensors: this.#run.masks,
      random,
      dealt,
    });
    const before = this.#server.counters.sentBytes;
    await this.#server.send("upload", upload);
    this.#uploaded += this.#server.counters.sentBytes - before;
    this.#offlineMs += clock.now() - started;
    return { prepared, random };
  }

  /** Runs a bundle's segments; after each head, picks tokens and may stop. */
  async #runOnline(
    segments: readonly PlannedSegment[],
    prepared: readonly PreparedSegment[],
  ): Promise<void> {
    const { clock } = this.#client;
    const { sentBytes, receivedBytes } = this.#server.counters;
    const started = clock.now();
    for (const [index, { segment }] of segments.entries()) {
      this.#scheduler.add(clientJobs(prepared[index]!, this.#privateInputs(segment)));
      if (segment.kind !== "head") continue;
      await this.#drive();
      const logits = prepared[index]!.context.logits.get(LOGITS)!;
      this.#picker.pick(realLogits(this.#run.plan, logits));
      if (this.#picker.ended) break;
    }
    if (!this.#picker.ended) {
      await this.#drive();
      ensure(!this.#scheduler.unclaimed, "E_PROTOCOL", "the server sent what no gate asks for");
    }
    await this.#flush();
    this.#onlineMs += clock.now() - started;
    this.#online.sent += this.#server.counters.sentBytes - sentBytes;
    this.#online.received += this.#server.counters.receivedBytes - receivedBytes;
  }

  #privateInputs(segment: PlannedSegment["segment"]): Map<string, readonly number[]> {
    const ids = privateIds(segment, this.#run.ids, this.#picker.tokens);
    return new Map(ids ? [[IDS, ids]] : []);
  }

  /** Runs what has been added to its end. */
  async #drive(): Promise<void> {
    const { timeoutMs } = this.#client;
    for (;;) {
      this.#scheduler.advance();
      if (this.#scheduler.done) return;
      this.#checkSignal();
      await this.#flush();
      const { payload } = await this.#server.receive({ timeoutMs, kinds: ["online"] });
      this.#roundTrips++;
      this.#scheduler.deliver(payload);
    }
  }

  async #flush(): Promise<void> {
    const out = this.#scheduler.takeOutbox();
    if (out) await this.#server.send("online", out);
  }

  #checkSignal(): void {
    ensure(!this.#options.signal?.aborted, "E_INTERRUPTED", "the generation was interrupted");
  }

  #report(dealerToServerBytes: number): Generation {
    return {
      input: this.#options.prompt,
      text: this.#picker.finish(),
      tokens: this.#picker.tokens,
      mode: "secure",
      stopped: this.#picker.ended ? "end" : "length",
      online: {
        seconds: this.#onlineMs / 1000,
        roundTrips: this.#roundTrips,
        clientSentBytes: this.#online.sent,
        serverSentBytes: this.#online.received,
      },
      offline: {
        seconds: this.#offlineMs / 1000,
        dealerToServerBytes,
        dealerToClientBytes: this.#dealer.counters.receivedBytes,
        clientToServerBytes: this.#uploaded,
        serverToDealerBytes: this.#run.modelBytes,
      },
    };
  }
}
