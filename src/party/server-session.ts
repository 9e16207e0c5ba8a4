// One client's generation at S: bundles that arrive ahead of use, and the online part. Online
// messages and uploads of later bundles come on one connection, in any order.

import { ensure } from "../errors.ts";
import type { FunctionPrg, RingKernels } from "../kernel/ring-kernels.ts";
import { RING_BITS } from "../plan/format.ts";
import type { ServerTensors } from "../plan/tensors.ts";
import { type ArenaPool, SegmentArenas } from "../ring/memory.ts";
import { Prg } from "../ring/prg.ts";
import { Ring } from "../ring/ring.ts";
import { decodeItems, ItemStore } from "../run/items.ts";
import { type GateWatch, type ServerStates, serverJobs } from "../run/party.ts";
import { Scheduler } from "../run/scheduler.ts";
import type { Channel } from "../wire/channel.ts";
import { decodeControl } from "../wire/control.ts";
import { frameBytes } from "../wire/frame.ts";
import { check, decodeBundle, tell } from "./messages.ts";
import { type Plan, type PlannedSegment, serverGroups } from "./plan.ts";
import type { BundleStore } from "./store.ts";

/** What all sessions of a server have in common. */
export interface SessionOptions {
  readonly kernels: RingKernels;
  readonly tensors: ServerTensors;
  readonly timeoutMs: number;
  readonly store: BundleStore;
  readonly functionPrg: FunctionPrg;
  readonly watch: GateWatch | undefined;
  readonly arenas: ArenaPool;
}

export interface SessionPeers {
  readonly channel: Channel;
  readonly dealer: Channel;
  readonly plan: Plan;
  /** Hexadecimal name of the session. */
  readonly session: string;
  /** Called when all is done, before C is told: C may then come again at once. */
  readonly onDone: () => void;
}

export class ServerSession {
  readonly #options: SessionOptions;
  readonly #peers: SessionPeers;
  readonly #scheduler = new Scheduler();
  readonly #arenas: SegmentArenas;
  readonly #states: ServerStates = new Map();
  /** Bundles whose upload has come, by number: kept once D's part is here too. */
  readonly #arrivals: Promise<void>[] = [];
  #dealtBytes = 0;
  #ended = false;

  constructor(options: SessionOptions, peers: SessionPeers) {
    this.#options = options;
    this.#peers = peers;
    this.#arenas = new SegmentArenas(options.arenas);
    this.#scheduler.onSegment = (segment) => this.#arenas.finish(segment);
  }

  /** Runs until C ends the generation. @throws why it did not end in order */
  async run(): Promise<void> {
    const { plan, channel } = this.#peers;
    for (const [index, segments] of plan.bundles.entries()) {
      while (!this.#ended && this.#arrivals.length <= index) await this.#take();
      if (this.#ended) break;
      await this.#runBundle(index, segments);
    }
    while (!this.#ended) await this.#take();
    await Promise.all(this.#arrivals);
    const left = this.#scheduler.done && this.#scheduler.unclaimed;
    ensure(!left, "E_PROTOCOL", "the client sent what no gate asks for");
    this.#peers.onDone();
    await tell(channel, { type: "ended", dealerToServerBytes: this.#dealtBytes });
    this.#arenas.close();
  }

  /** Takes one message of C, whatever it may send now. */
  async #take(): Promise<void> {
    const { channel, plan } = this.#peers;
    const { timeoutMs } = this.#options;
    const kinds = ["online", "upload", "control"] as const;
    const { kind, payload } = await channel.receive({ timeoutMs, kinds });
    if (kind === "online") {
      this.#scheduler.deliver(payload);
    } else if (kind === "upload") {
      const index = this.#arrivals.length;
      ensure(index < plan.bundles.length, "E_PROTOCOL", "more bundles were uploaded than planned");
      const arrival = this.#keep(index, payload);
      arrival.catch(() => {}); // whoever waits for the bundle meets the reason
      this.#arrivals.push(arrival);
    } else {
      check(decodeControl(payload), "end");
      this.#ended = true;
    }
  }

  /** Keeps both parts of a bundle: D sent its own before C could upload. */
  async #keep(index: number, upload: Uint8Array): Promise<void> {
    const { timeoutMs, store } = this.#options;
    const key = `${this.#peers.session}/${index}`;
    const { payload } = await this.#peers.dealer.receive({ timeoutMs, kinds: ["bundle"] });
    this.#dealtBytes += frameBytes(payload.length);
    await store.put(`${key}/dealt`, payload);
    await store.put(`${key}/upload`, upload);
  }

  /** Takes a bundle out of the store, durably, before its first online frame; then uses it. */
  async #runBundle(index: number, segments: readonly PlannedSegment[]): Promise<void> {
    const { store, kernels, tensors, functionPrg, watch } = this.#options;
    const key = `${this.#peers.session}/${index}`;
    await this.#arrivals[index];
    const { seed, items } = decodeBundle(await store.take(`${key}/dealt`), index);
    const dealt = new ItemStore();
    dealt.add(decodeItems(items));
    const uploaded = new ItemStore();
    uploaded.add(decodeItems(await store.take(`${key}/upload`)));
    const random = new Prg(kernels, seed);
    seed.fill(0);
    const states = this.#states;
    const common = { states, tensors, functionPrg, dealt, uploaded, watch };
    const jobsOf = (segment: PlannedSegment) => {
      const arena = this.#arenas.of(segment.id);
      const ring = new Ring(kernels, RING_BITS, arena);
      return serverJobs({ ...common, segment, ring, random: random.within(arena) });
    };
    try {
      for (const group of serverGroups(segments)) {
        for (const segment of group) this.#scheduler.add(jobsOf(segment));
        await this.#runOnline();
        if (this.#ended) break;
      }
    } finally {
      random.erase();
    }
  }

  /** Runs what has been added, to its end or C's. */
  async #runOnline(): Promise<void> {
    this.#scheduler.advance();
    await this.#settle();
    while (!this.#scheduler.done && !this.#ended) {
      await this.#take();
      await this.#settle();
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
    const draft = outboxBytes > 0 && this.#peers.channel.allocate("online", outboxBytes);
    if (draft) this.#scheduler.writeOutbox(draft.payload);
    this.#arenas.release();
    if (draft) await draft.send();
  }
}
