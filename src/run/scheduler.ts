// Runs the online parts of gates at one party. A gate is run as soon as its inputs exist, until it
// waits for the peer; what all of them want to send goes out as one message when nothing more can
// run. So gates that are ready together share a round without being told to.

import { ensure } from "../errors.ts";
import type { Online } from "../gate/gate.ts";
import { decodeItems, type Item, itemKey, itemsBytes, writeItems } from "./items.ts";

/** One gate of a segment that has not finished. */
export interface Job {
  readonly segment: number;
  readonly gate: number;
  /** Wires of its segment that it reads, and the one that it writes. */
  readonly inputs: readonly number[];
  readonly output: number;
  /** The carried wire that it waits for, or that it makes, by name. */
  readonly loads?: string | undefined;
  readonly stores?: string | undefined;
  /** Whether what follows each of its messages can wait until that has left: see advancePatient. */
  readonly patient?: boolean | undefined;
  /** Whether what it reads exists. */
  ready(): boolean;
  /** Whether a wire exists; without it, none of its inputs is taken to. */
  has?(wire: number): boolean;
  start(): Online;
}

interface Running {
  readonly job: Job;
  online: Online | undefined;
  /** Bytes that it waits for, once started. */
  expects: number;
}

/** Most bytes of items that may wait for gates which have not been added yet. */
const INBOX_LIMIT = 1 << 30;
/** What a waiting item counts on top of its bytes, so that empty ones are bounded too. */
const ITEM_OVERHEAD = 256;
const nothing = new Uint8Array(0);

export class Scheduler {
  /** Called when the last gate of a segment that was added has finished. */
  onSegment: ((segment: number) => void) | undefined;
  /** What can be run now, in order. */
  #runnable: Running[] = [];
  /** Patient ones that have said what they had to. */
  #later: Running[] = [];
  /** Started, and waiting for an item of this key. */
  readonly #waiting = new Map<number, Running>();
  /** Not started: by each wire or carried wire that is missing. */
  readonly #blocked = new Map<number | string, Running[]>();
  /** Unfinished gates by segment. */
  readonly #left = new Map<number, number>();
  #outbox: Item[] = [];
  readonly #inbox = new Map<number, Uint8Array[]>();
  readonly #inboxLimit: number;
  #inboxBytes = 0;

  /** @param inboxLimit most bytes of items that may run ahead; default 1 GiB */
  constructor(inboxLimit = INBOX_LIMIT) {
    this.#inboxLimit = inboxLimit;
  }

  add(jobs: readonly Job[]): void {
    for (const job of jobs) {
      const entry: Running = { job, online: undefined, expects: 0 };
      this.#left.set(job.segment, (this.#left.get(job.segment) ?? 0) + 1);
      if (job.ready()) this.#runnable.push(entry);
      else this.#block(entry);
    }
  }

  /** Whether every gate that was added has finished. */
  get done(): boolean {
    return this.#left.size === 0;
  }

  /** Runs all that can run. */
  advance(): void {
    for (let i = 0; i < this.#runnable.length; i++) this.#start(this.#runnable[i]!);
    this.#runnable = [];
  }

  /**
   * Goes on with gates that waited for their message to leave: call it when the outbox has been
   * sent, and look at the outbox again.
   */
  advancePatient(): void {
    const entries = this.#later;
    this.#later = [];
    for (const entry of entries) this.#run(entry, nothing);
    this.advance();
  }

  /** Bytes of what is to be sent now, as one payload; 0 when there is nothing. */
  get outboxBytes(): number {
    return itemsBytes(this.#outbox.map((item) => item.bytes.length));
  }

  /** Writes what is to be sent into memory of exactly that many bytes. */
  writeOutbox(payload: Uint8Array): void {
    writeItems(payload, this.#outbox);
    this.#outbox = [];
  }

  /** What is to be sent now in memory of its own; undefined when there is nothing. */
  takeOutbox(): Uint8Array | undefined {
    const payload = new Uint8Array(this.outboxBytes);
    if (payload.length === 0) return undefined;
    this.writeOutbox(payload);
    return payload;
  }

  /**
   * Takes a message and runs what it lets run.
   * @throws E_FRAME, E_PROTOCOL on a malformed message, or one of no items: nobody sends that, and
   *         a peer could put off every timeout with it
   */
  deliver(payload: Uint8Array): void {
    ensure(payload.length > 0, "E_PROTOCOL", "a message holds no items");
    for (const item of decodeItems(payload)) {
      const key = itemKey(item.segment, item.gate);
      const entry = this.#waiting.get(key);
      if (entry) {
        this.#waiting.delete(key);
        this.#resume(entry, item.bytes);
        continue;
      }
      const queue = this.#inbox.get(key);
      if (queue) queue.push(item.bytes);
      else this.#inbox.set(key, [item.bytes]);
      this.#inboxBytes += item.bytes.length + ITEM_OVERHEAD;
      const fits = this.#inboxBytes <= this.#inboxLimit;
      ensure(fits, "E_PROTOCOL", "too many messages run ahead");
    }
    this.advance();
  }

  /** Whether items came that no gate has asked for: a fault once a generation has ended. */
  get unclaimed(): boolean {
    return this.#inbox.size > 0;
  }

  #block(entry: Running): void {
    const { segment, inputs, loads } = entry.job;
    for (const wire of inputs) {
      if (!entry.job.has?.(wire)) this.#blockOn(itemKey(segment, wire), entry);
    }
    if (loads !== undefined) this.#blockOn(loads, entry);
  }

  #blockOn(key: number | string, entry: Running): void {
    const list = this.#blocked.get(key);
    if (list) list.push(entry);
    else this.#blocked.set(key, [entry]);
  }

  /** What was missing is there. */
  #wake(key: number | string): void {
    const list = this.#blocked.get(key);
    if (!list) return;
    this.#blocked.delete(key);
    for (const entry of list) {
      if (!entry.online && entry.job.ready()) this.#runnable.push(entry);
    }
  }

  #start(entry: Running): void {
    if (entry.online) return; // Woken twice: both its inputs came at one time.
    entry.online = entry.job.start();
    this.#run(entry, nothing);
  }

  #resume(entry: Running, item: Uint8Array): void {
    ensure(item.length === entry.expects, "E_PROTOCOL", "a gate's message has the wrong length");
    this.#run(entry, item);
  }

  /** Runs a gate until it has finished or waits for an item that is not here. */
  #run(entry: Running, first: Uint8Array): void {
    const { segment, gate } = entry.job;
    let answer = first;
    for (;;) {
      const next = entry.online!.next(answer as Uint8Array<ArrayBuffer>);
      if (next.done) {
        this.#finish(entry.job);
        return;
      }
      if ("send" in next.value) {
        this.#outbox.push({ segment, gate, bytes: next.value.send });
        if (!entry.job.patient) continue;
        this.#later.push(entry);
        return;
      }
      entry.expects = next.value.receive;
      const item = this.#claim(itemKey(segment, gate));
      if (!item) {
        this.#waiting.set(itemKey(segment, gate), entry);
        return;
      }
      ensure(item.length === entry.expects, "E_PROTOCOL", "a gate's message has the wrong length");
      answer = item;
    }
  }

  #claim(key: number): Uint8Array | undefined {
    const queue = this.#inbox.get(key);
    const item = queue?.shift();
    if (!item) return undefined;
    if (queue!.length === 0) this.#inbox.delete(key);
    this.#inboxBytes -= item.length + ITEM_OVERHEAD;
    return item;
  }

  #finish({ segment, output, stores }: Job): void {
    this.#wake(itemKey(segment, output));
    if (stores !== undefined) this.#wake(stores);
    const left = this.#left.get(segment)! - 1;
    if (left > 0) {
      this.#left.set(segment, left);
    } else {
      this.#left.delete(segment);
      this.onSegment?.(segment);
    }
  }
}
