// Runs the online parts of gates at one party. Every gate whose inputs exist is run until it waits
// for the peer; what all of them want to send goes out as one message when nothing more can run.
// So gates that are ready together share a round without being told to.

import { ensure } from "../errors.ts";
import type { Online } from "../gate/gate.ts";
import { decodeItems, encodeItems, type Item } from "./items.ts";

/** One gate of a segment that has not finished. */
export interface Job {
  readonly segment: number;
  readonly gate: number;
  /** Whether its inputs exist. */
  ready(): boolean;
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

export class Scheduler {
  #running: Running[] = [];
  #outbox: Item[] = [];
  readonly #inbox = new Map<string, Uint8Array[]>();
  #inboxBytes = 0;

  add(jobs: readonly Job[]): void {
    for (const job of jobs) this.#running.push({ job, online: undefined, expects: 0 });
  }

  /** Whether every gate that was added has finished. */
  get done(): boolean {
    return this.#running.length === 0;
  }

  /** Runs all that can run. */
  advance(): void {
    for (let progress = true; progress; ) {
      progress = false;
      for (const entry of this.#running) if (this.#step(entry)) progress = true;
      if (progress) this.#running = this.#running.filter((entry) => entry.expects >= 0);
    }
  }

  /** What is to be sent now, as one payload; undefined when there is nothing. */
  takeOutbox(): Uint8Array | undefined {
    if (this.#outbox.length === 0) return undefined;
    const payload = encodeItems(this.#outbox);
    this.#outbox = [];
    return payload;
  }

  /** @throws E_FRAME, E_PROTOCOL on a malformed message */
  deliver(payload: Uint8Array): void {
    for (const { segment, gate, bytes } of decodeItems(payload)) {
      const key = `${segment}:${gate}`;
      const queue = this.#inbox.get(key);
      if (queue) queue.push(bytes);
      else this.#inbox.set(key, [bytes]);
      this.#inboxBytes += bytes.length;
    }
    ensure(this.#inboxBytes <= INBOX_LIMIT, "E_PROTOCOL", "too many messages run ahead");
  }

  /** Whether items came that no gate has asked for: a fault once a generation has ended. */
  get unclaimed(): boolean {
    return this.#inbox.size > 0;
  }

  /** Starts or continues one gate; true if it moved. `expects` becomes -1 when it has finished. */
  #step(entry: Running): boolean {
    const { job } = entry;
    if (entry.expects < 0) return false;
    let answer = new Uint8Array(0);
    if (!entry.online) {
      if (!job.ready()) return false;
      entry.online = job.start();
    } else {
      const item = this.#claim(entry);
      if (!item) return false;
      answer = item as Uint8Array<ArrayBuffer>;
    }
    for (;;) {
      const next = entry.online.next(answer);
      if (next.done) {
        entry.expects = -1;
        return true;
      }
      if ("send" in next.value) {
        this.#outbox.push({ segment: job.segment, gate: job.gate, bytes: next.value.send });
        continue;
      }
      entry.expects = next.value.receive;
      const item = this.#claim(entry);
      if (!item) return true;
      answer = item as Uint8Array<ArrayBuffer>;
    }
  }

  #claim(entry: Running): Uint8Array | undefined {
    const key = `${entry.job.segment}:${entry.job.gate}`;
    const queue = this.#inbox.get(key);
    const item = queue?.shift();
    if (!item) return undefined;
    if (queue!.length === 0) this.#inbox.delete(key);
    this.#inboxBytes -= item.length;
    ensure(item.length === entry.expects, "E_PROTOCOL", "a gate's message has the wrong length");
    return item;
  }
}
