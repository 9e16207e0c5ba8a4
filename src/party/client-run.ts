// One generation at C, after its session has been opened: bundles are asked for and prepared ahead
// of use, and used one after the other online.

import { ensure } from "../errors.ts";
import type { FunctionPrg, RingKernels } from "../kernel/ring-kernels.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { RING_BITS } from "../plan/format.ts";
import { type ArenaPool, SegmentArenas } from "../ring/memory.ts";
import { Prg } from "../ring/prg.ts";
import { Ring } from "../ring/ring.ts";
import { decodeItems, ItemStore } from "../run/items.ts";
import {
  type ClientSegment,
  type ClientStates,
  clientSegment,
  type GateWatch,
} from "../run/party.ts";
import { Scheduler } from "../run/scheduler.ts";
import type { Channel } from "../wire/channel.ts";
import type { Clock } from "../wire/clock.ts";
import { decodeControl } from "../wire/control.ts";
import { frameBytes } from "../wire/frame.ts";
import { check, decodeBundle, expect, type MessageOf, tell } from "./messages.ts";
import { Picker, type PickerOptions, privateIds } from "./picker.ts";
import { IDS, type Plan, type PlannedSegment } from "./plan.ts";
import type { PreparedBundle, Preparer, StartPreparer } from "./preparer.ts";
import type { Generation } from "./report.ts";
import type { BundleStore } from "./store.ts";

/** Messages that S can have under way when C ends: it waits for C's part after each of them. */
const LATE_MESSAGES = 4;

export interface RunOptions extends PickerOptions {
  readonly prompt: string;
  /** Aborts between messages with E_INTERRUPTED. */
  readonly signal?: AbortSignal;
  /**
   * Bundles that are prepared while another one is used; "all": none is used before all are there;
   * a batch: none of so many before all of them are, and none is prepared meanwhile. Default 1
   * where they are prepared in the background, else 0.
   */
  readonly ahead?: number | "all" | { readonly batch: number };
  /** Awaited before the first online message, when the bundles that are waited for are there. */
  readonly beforeOnline?: () => Promise<void>;
  /** Called when a segment is done, with the online totals so far: for measurements. */
  readonly onSegment?: (progress: SegmentProgress) => void;
}

export interface SegmentProgress {
  readonly segment: PlannedSegment["segment"];
  /** When, in milliseconds of the client's clock. */
  readonly atMs: number;
  /** Online time so far. */
  readonly onlineMs: number;
  readonly roundTrips: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** What the client gives each of its generations. */
export interface RunClient {
  readonly kernels: RingKernels;
  readonly store: BundleStore;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly startPreparer: StartPreparer;
  readonly watch: GateWatch | undefined;
  readonly arenas: ArenaPool;
}

/** A session that both S and D have accepted. */
export interface OpenedRun {
  readonly plan: Plan;
  readonly tokenizer: Tokenizer;
  /** Token ids of the prompt. */
  readonly ids: readonly number[];
  /** Hexadecimal names. */
  readonly model: string;
  readonly session: string;
  /** Seed of D_W. */
  readonly maskSeed: Uint8Array;
  readonly modelBytes: number;
  readonly functionPrg: FunctionPrg;
}

/** A bundle that can be used. */
interface ReadyBundle extends PreparedBundle {
  readonly index: number;
  readonly seed: Uint8Array;
  readonly dealt: ItemStore;
}

/** A bundle of which nothing was made, since the text has ended. */
function unused(index: number, seed: Uint8Array): ReadyBundle {
  return { index, seed, dealt: new ItemStore(), wires: [], upload: new Uint8Array(0) };
}

export class ClientRun {
  readonly #client: RunClient;
  readonly #run: OpenedRun;
  readonly #options: RunOptions;
  readonly #server: Channel;
  readonly #dealer: Channel;
  readonly #scheduler = new Scheduler();
  readonly #arenas: SegmentArenas;
  /** Opened wires that are carried from segment to segment. */
  readonly #opened: ClientStates = new Map();
  readonly #preparer: Preparer;
  readonly #picker: Picker;
  /** Bundles that have been asked for, by number. */
  readonly #ready: Promise<ReadyBundle>[] = [];
  #roundTrips = 0;
  #onlineMs = 0;
  /** When the bundle that is being used was begun. */
  #usedFrom = 0;
  #offlineMs = 0;
  readonly #online = { sent: 0, received: 0 };
  readonly #offline = { dealt: 0, uploaded: 0 };

  constructor(
    client: RunClient,
    run: OpenedRun,
    options: RunOptions,
    channels: { server: Channel; dealer: Channel },
  ) {
    this.#client = client;
    this.#run = run;
    this.#options = options;
    this.#server = channels.server;
    this.#dealer = channels.dealer;
    this.#picker = new Picker(run.plan.config, run.tokenizer, options);
    const { plan, maskSeed } = run;
    this.#arenas = new SegmentArenas(client.arenas);
    this.#preparer = client.startPreparer({ plan, maskSeed }, client.kernels);
    this.#scheduler.onSegment = (segment) => {
      this.#arenas.finish(segment);
      this.#report(segment);
    };
  }

  async finish(): Promise<Generation> {
    try {
      await this.#runBundles();
    } finally {
      this.#preparer.close();
      // Also of bundles that nobody used.
      for (const ready of this.#ready)
        void ready.then(
          ({ seed }) => seed.fill(0),
          () => {},
        );
      await this.#client.store.drop(this.#run.session);
    }
    await tell(this.#dealer, { type: "end" });
    await tell(this.#server, { type: "end" });
    const { dealerToServerBytes } = await this.#ended();
    this.#arenas.close();
    return this.#generation(dealerToServerBytes);
  }

  /** S's report. Where S finds the tokens it may be in the next step, and have sent its part. */
  async #ended(): Promise<MessageOf<"ended">> {
    const { timeoutMs } = this.#client;
    const kinds = ["control", "online"] as const;
    for (let late = 0; this.#picker.ended && late < LATE_MESSAGES; late++) {
      const { kind, payload } = await this.#server.receive({ timeoutMs, kinds });
      if (kind === "control") return check(decodeControl(payload), "ended");
      this.#online.received += frameBytes(payload.length);
    }
    return expect(this.#server, "ended", timeoutMs);
  }

  async #runBundles(): Promise<void> {
    const { bundles } = this.#run.plan;
    const { ahead = this.#preparer.background ? 1 : 0 } = this.#options;
    const batch = ahead === "all" ? bundles.length : typeof ahead === "object" ? ahead.batch : 0;
    for (let index = 0; index < bundles.length && !this.#picker.ended; index++) {
      const last = batch > 0 ? index - (index % batch) + batch - 1 : index + (ahead as number);
      this.#ask(Math.min(last, bundles.length - 1));
      if (batch > 0) await Promise.all(this.#ready);
      const ready = await this.#ready[index]!;
      if (index === 0) await this.#options.beforeOnline?.();
      await this.#use(ready);
    }
    // A bundle under way is of no use any more, but its messages come in order before the end.
    await Promise.all(this.#ready);
  }

  /** Asks for all bundles up to this one, one after the other. */
  #ask(last: number): void {
    while (this.#ready.length <= last) {
      const index = this.#ready.length;
      const before = this.#ready.at(-1);
      const ready = before ? before.then(() => this.#prepare(index)) : this.#prepare(index);
      ready.catch(() => {}); // whoever waits for the bundle meets the reason
      this.#ready.push(ready);
    }
  }

  /** Asks D for a bundle, has C's offline part of it made and uploads it to S. */
  async #prepare(index: number): Promise<ReadyBundle> {
    const { clock, timeoutMs, store } = this.#client;
    const started = clock.now();
    this.#checkSignal();
    if (this.#picker.ended) return unused(index, new Uint8Array(0));
    await tell(this.#dealer, { type: "deal", bundle: index });
    const { payload } = await this.#dealer.receive({ timeoutMs, kinds: ["bundle"] });
    this.#offline.dealt += frameBytes(payload.length);
    await store.put(this.#keyOf(index), payload);
    const { seed, items } = decodeBundle(payload, index);
    const dealt = new ItemStore();
    dealt.add(decodeItems(items));
    if (this.#picker.ended) return unused(index, seed);
    const prepared = await this.#preparer.prepare(seed);
    await this.#server.send("upload", prepared.upload);
    this.#offline.uploaded += frameBytes(prepared.upload.length);
    this.#offlineMs += clock.now() - started;
    return { ...prepared, index, seed, dealt };
  }

  #keyOf(index: number): string {
    return `${this.#run.session}/${index}/client`;
  }

  /** Uses a bundle up, durably before its first online frame. */
  async #use(bundle: ReadyBundle): Promise<void> {
    const { store, kernels, clock } = this.#client;
    await store.take(this.#keyOf(bundle.index));
    const random = new Prg(kernels, bundle.seed);
    bundle.seed.fill(0);
    this.#usedFrom = clock.now();
    try {
      await this.#runOnline(bundle, random);
    } finally {
      random.erase();
      this.#onlineMs += clock.now() - this.#usedFrom;
    }
  }

  /** Runs a bundle's segments; after each head, picks tokens and may stop. */
  async #runOnline(bundle: ReadyBundle, random: Prg): Promise<void> {
    const { plan } = this.#run;
    for (const [i, segment] of plan.bundles[bundle.index]!.entries()) {
      const added = this.#segment(bundle, i, random);
      this.#scheduler.add(added.jobs);
      if (segment.segment.kind !== "head") continue;
      await this.#drive();
      this.#picker.takeShown(plan, added.context);
      if (this.#picker.ended) break;
    }
    if (!this.#picker.ended) {
      await this.#drive();
      ensure(!this.#scheduler.unclaimed, "E_PROTOCOL", "the server sent what no gate asks for");
    }
    await this.#flush();
  }

  #segment(bundle: ReadyBundle, i: number, random: Prg): ClientSegment {
    const { plan, functionPrg } = this.#run;
    const segment = plan.bundles[bundle.index]![i]!;
    const arena = this.#arenas.of(segment.id);
    return clientSegment({
      ring: new Ring(this.#client.kernels, RING_BITS, arena),
      segment,
      wires: bundle.wires[i]!,
      random: random.within(arena),
      functionPrg,
      dealt: bundle.dealt,
      states: this.#opened,
      watch: this.#client.watch,
      ids: this.#privateInputs(segment),
    });
  }

  #privateInputs({ segment }: PlannedSegment): Map<string, readonly number[]> {
    const ids = privateIds(segment, this.#run.ids, this.#picker.tokens);
    return new Map(ids ? [[IDS, ids]] : []);
  }

  /** Runs what has been added to its end. */
  async #drive(): Promise<void> {
    const { timeoutMs } = this.#client;
    this.#scheduler.advance();
    while (!this.#scheduler.done) {
      this.#checkSignal();
      await this.#settle();
      if (this.#scheduler.done) break;
      const { payload } = await this.#server.receive({ timeoutMs, kinds: ["online"] });
      this.#roundTrips++;
      this.#online.received += frameBytes(payload.length);
      this.#scheduler.deliver(payload);
    }
  }

  /** Sends what there is to send, and goes on with what waited for that. */
  async #settle(): Promise<void> {
    do {
      await this.#flush();
      this.#scheduler.advancePatient();
    } while (this.#scheduler.outboxBytes > 0);
  }

  async #flush(): Promise<void> {
    const { outboxBytes } = this.#scheduler;
    const draft = outboxBytes > 0 && this.#server.allocate("online", outboxBytes);
    if (draft) this.#scheduler.writeOutbox(draft.payload);
    this.#arenas.release();
    if (!draft) return;
    this.#online.sent += frameBytes(outboxBytes);
    await draft.send();
  }

  #checkSignal(): void {
    ensure(!this.#options.signal?.aborted, "E_INTERRUPTED", "the generation was interrupted");
  }

  #report(id: number): void {
    const { onSegment } = this.#options;
    if (!onSegment) return;
    const { segment } = this.#run.plan.segments[id]!;
    const { sent: sentBytes, received: receivedBytes } = this.#online;
    const atMs = this.#client.clock.now();
    const onlineMs = this.#onlineMs + atMs - this.#usedFrom;
    onSegment({ segment, atMs, onlineMs, roundTrips: this.#roundTrips, sentBytes, receivedBytes });
  }

  #generation(dealerToServerBytes: number): Generation {
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
        dealerToClientBytes: this.#offline.dealt,
        clientToServerBytes: this.#offline.uploaded,
        serverToDealerBytes: this.#run.modelBytes,
      },
    };
  }
}
