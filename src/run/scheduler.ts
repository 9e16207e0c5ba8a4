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
  readonly online: Online;
  /** Bytes that it waits for. */
  expects: number;
}

/** Gates of one segment that have not started, in an order in which they can. */
interface Segment {
  readonly id: number;
  jobs: Job[];
  begun: boolean;
}

/** Most bytes of items that may wait for gates which have not been added yet. */
const INBOX_LIMIT = 1 << 30;

export class Scheduler {
  #segments: Segment[] = [];
  #outbox: Item[] = [];
  #unfinished = 0;
  /** Gates that wait for the peer, and those whose answer has come since, by segment and gate. */
  readonly #waiting = new Map<string, Running>();
  #answered: Running[] = [];
  readonly #inbox = new Map<string, Uint8Array[]>();
  #inboxBytes = 0;

  /**
   * Gates come in an order in which they can run. A segment begins when the first of its gates
   * can: before that none is looked at. (A bundle of 16 steps of 12 layers has 3,900 gates. Asking
   * all of them whenever anything moves made the prediction of 508 tokens take 12 s, now 1.)
   */
  add(jobs: readonly Job[]): void {
    for (const job of jobs) {
      const last = this.#segments.at(-1);
      if (last?.id === job.segment && !last.begun) last.jobs.push(job);
      else this.#segments.push({ id: job.segment, jobs: [job], begun: false });
    }
    this.#unfinished += jobs.length;
  }

  /** Whether every gate that was added has finished. */
  get done(): boolean {
    return this.#unfinished === 0;
  }

  /** Runs all that can run: one pass, as no gate waits for one that was added after it. */
  advance(): void {
    const answered = this.#answered;
    this.#answered = [];
    for (const entry of answered) this.#run(entry, this.#claim(entry)!);
    for (const segment of this.#segments) this.#start(segment);
    this.#segments = this.#segments.filter(({ jobs }) => jobs.length > 0);
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
      const entry = this.#waiting.get(key);
      if (entry) this.#answered.push(entry);
      this.#waiting.delete(key);
    }
    ensure(this.#inboxBytes <= INBOX_LIMIT, "E_PROTOCOL", "too many messages run ahead");
  }

  /** Whether items came that no gate has asked for: a fault once a generation has ended. */
  get unclaimed(): boolean {
    return this.#inbox.size > 0;
  }

  /** Starts what is ready of a segment. */
  #start(segment: Segment): void {
    segment.begun ||= segment.jobs[0]!.ready();
    if (!segment.begun) return;
    const left: Job[] = [];
    for (const job of segment.jobs) {
      if (job.ready()) this.#run({ job, online: job.start(), expects: 0 }, new Uint8Array(0));
      else left.push(job);
    }
    segment.jobs = left;
  }

  /** Runs one gate until it waits for the peer or has finished. */
  #run(entry: Running, first: Uint8Array): void {
    const { job, online } = entry;
    let answer: Uint8Array | undefined = first;
    while (answer) {
      const next = online.next(answer as Uint8Array<ArrayBuffer>);
      if (next.done) {
        this.#unfinished--;
        return;
      }
      if ("send" in next.value) {
        this.#outbox.push({ segment: job.segment, gate: job.gate, bytes: next.value.send });
        answer = new Uint8Array(0);
      } else {
        entry.expects = next.value.receive;
        answer = this.#claim(entry);
      }
    }
    const key = `${job.segment}:${job.gate}`;
    ensure(!this.#waiting.has(key), "E_INTERNAL", "two gates have one number");
    this.#waiting.set(key, entry);
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
