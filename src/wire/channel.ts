// Messages over a transport: order, back-pressure, timeouts, byte counts and an orderly end.
// A channel ends once, with one reason. Whole messages that came before the end can still be
// received; then every receive and send rejects with that reason.

import { type ErrorCode, ensure, MergenError } from "../errors.ts";
import { type Clock, maxTimeoutMs, systemClock, type TimerHandle } from "./clock.ts";
import { type ControlMessage, decodeControl, encodeControl, reportedError } from "./control.ts";
import { type Crc32c, crc32c } from "./crc32c.ts";
import {
  checkMessageLength,
  encodeInPlace,
  encodeMessage,
  type FrameKind,
  type FrameMaking,
  FrameReader,
  frameHeaderBytes,
  frameKinds,
  isCounted,
  type Message,
  maxFramePayloadBytes,
} from "./frame.ts";
import { FrameBuffer } from "./frame-buffer.ts";
import type { Transport } from "./transport.ts";

export interface ChannelOptions {
  /** Default: real time. */
  readonly clock?: Clock;
  /** Longest message taken from the peer, in bytes. Default 1 GiB, which is the most. */
  readonly maxMessageBytes?: number;
  /**
   * Unread bytes from which the transport is asked to pause. Default 64 MiB. What may then be held
   * is this, one message, and what the transport had already read. Where a transport cannot pause
   * (a browser), the channel ends with E_PROTOCOL instead, unless a single message is all there is.
   */
  readonly maxQueueBytes?: number;
  /** Longest wait for the transport to take one frame. Default 30 s. */
  readonly sendTimeoutMs?: number;
  /** Longest time that close() spends on sending what waits. Default 5 s. */
  readonly closeTimeoutMs?: number;
  /**
   * CRC-32C of bytes, continued from that of what came before them (0 at the start). Default: this
   * package's own in JavaScript (2.4 GB/s); loadCrc32c gives the native addon's (25).
   */
  readonly crc32c?: Crc32c | undefined;
  /** Who is at the other end, for messages to people. Default "the peer". */
  readonly peer?: string;
}

/** A message that is written where it will be sent from. */
export interface Draft {
  /** Zero at first, 8-byte aligned; to be filled before send(), and left alone after it. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** Sends the message, once. As Channel.send otherwise. */
  send(): Promise<void>;
}

export interface ReceiveOptions {
  readonly timeoutMs: number;
  /** The kinds that the protocol allows here; default any. */
  readonly kinds?: readonly FrameKind[];
}

/** Frames of all kinds but control, header and payload. */
export interface ChannelCounters {
  sentBytes: number;
  receivedBytes: number;
  sentMessages: number;
  receivedMessages: number;
}

interface Waiter {
  readonly resolve: (message: Message) => void;
  readonly reject: (reason: MergenError) => void;
  readonly kinds: readonly FrameKind[] | undefined;
  timer: TimerHandle;
}

const defaults = {
  clock: systemClock,
  maxMessageBytes: 2 ** 30,
  maxQueueBytes: 64 * 2 ** 20,
  sendTimeoutMs: 30_000,
  closeTimeoutMs: 5_000,
  peer: "the peer",
};

type Frames = Iterator<Uint8Array<ArrayBuffer>, void>;

const settled = Promise.resolve();

/** What an unread message counts on top of its payload, so that empty ones are bounded too. */
const messageOverheadBytes = 256;
/** Sends that may wait at one time; more means that a caller does not await them. */
const maxPendingSends = 1024;

/** One end of a conversation; owns its transport. */
export class Channel {
  readonly counters: ChannelCounters = {
    sentBytes: 0,
    receivedBytes: 0,
    sentMessages: 0,
    receivedMessages: 0,
  };
  /** Resolves, never rejects, with the reason when the channel has ended on either side. */
  readonly closed: Promise<MergenError>;

  private readonly transport: Transport;
  private readonly options: Required<ChannelOptions> & { readonly crc32c: Crc32c };
  private readonly reader: FrameReader;
  private readonly frameBuffer = new FrameBuffer();
  private readonly making: FrameMaking;
  private readonly queue: Message[] = [];
  private queuedBytes = 0;
  private readonly waiters: Waiter[] = [];
  private readonly waitingSends = new Set<(reason: MergenError) => void>();
  private sendTail: Promise<void> = Promise.resolve();
  private pendingSends = 0;
  private sendSeq = 0;
  private paused = false;
  private endReason: MergenError | undefined;
  private closing: Promise<void> | undefined;
  private resolveClosed: (reason: MergenError) => void = () => {};

  constructor(transport: Transport, options: ChannelOptions = {}) {
    this.transport = transport;
    this.options = { ...defaults, ...options, crc32c: options.crc32c ?? crc32c };
    this.reader = new FrameReader(this.options);
    const take = (byteLength: number) => this.frameBuffer.take(byteLength);
    this.making = { crc32c: this.options.crc32c, take };
    this.closed = new Promise((resolve) => {
      this.resolveClosed = resolve;
    });
    const { peer } = this.options;
    transport.onClose((reason) => this.end(gone(peer, reason)));
    transport.onFrame((frame) => this.acceptFrame(frame));
  }

  /**
   * Sends one message; messages arrive in the order of the calls. Resolves when the transport has
   * taken its last frame and has room for more: wait for it before making the next large message.
   * The payload must not change until then.
   * Cost     frameBytes(payload.length) bytes; one message
   * @throws E_RANGE for a payload over 1 GiB (control: one frame); E_TIMEOUT when the transport
   *         takes no frame within sendTimeoutMs, which ends the channel; else why it has ended
   */
  send(kind: FrameKind, payload: Uint8Array): Promise<void> {
    return this.post(kind, encodeMessage(kind, payload, this.takeSeq, this.making));
  }

  /**
   * Room for a message of this many payload bytes, to be written in place and then sent without
   * another copy; over one frame (1,048,560 bytes) it is copied frame by frame, as send() does.
   * @throws E_RANGE for over 1 GiB (control: one frame)
   */
  allocate(kind: FrameKind, payloadBytes: number): Draft {
    checkMessageLength(kind, payloadBytes);
    if (payloadBytes > maxFramePayloadBytes) {
      const payload = new Uint8Array(payloadBytes);
      return { payload, send: once(() => this.send(kind, payload)) };
    }
    const frame = this.frameBuffer.take(frameHeaderBytes + payloadBytes).fill(0);
    const post = () => this.post(kind, encodeInPlace(kind, frame, this.takeSeq, this.making));
    return { payload: frame.subarray(frameHeaderBytes), send: once(post) };
  }

  private post(kind: FrameKind, frames: Frames): Promise<void> {
    try {
      ensure(this.pendingSends < maxPendingSends, "E_INTERNAL", "sends are not awaited");
      if (this.closing) throw this.endReason ?? closedHere();
      if (this.pendingSends > 0) {
        return this.pend(this.sendTail.then(() => this.transmit(kind, frames)));
      }
      const rest = this.transmit(kind, frames);
      return rest ? this.pend(rest) : settled;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  private pend(sent: Promise<void>): Promise<void> {
    this.pendingSends++;
    const settle = () => {
      this.pendingSends--;
    };
    this.sendTail = sent.then(settle, settle);
    return sent;
  }

  /** Sends a control message. The types `close` and `error` are the channel's own. */
  sendControl(message: ControlMessage): Promise<void> {
    return this.send("control", encodeControl(message));
  }

  /**
   * The next message. Several receives may wait; they are served in turn.
   * @throws E_TIMEOUT when none is there in time (the channel stays open); E_PROTOCOL when it is of
   *         another kind than allowed, which ends the channel; E_PEER_GONE when the peer has
   *         closed or vanished; the code that the peer reported; E_FRAME or E_VERSION when it sent
   *         something malformed; E_INTERRUPTED when this side has closed
   */
  receive(options: ReceiveOptions): Promise<Message> {
    const { timeoutMs, kinds } = options;
    return new Promise((resolve, reject) => {
      ensure(timeoutMs > 0 && timeoutMs <= maxTimeoutMs, "E_RANGE", `timeoutMs is ${timeoutMs}`);
      const waiter: Waiter = { resolve, reject, kinds, timer: undefined };
      const next = this.takeQueued();
      if (next) return this.deliver(waiter, next);
      if (this.endReason) return reject(this.endReason);
      if (this.closing) return reject(closedHere());
      // Rejected: one timer for all receives, armed again when it fires too early. It saves 1 us of
      // 40 a round trip, and keeps a process alive that has nothing left to receive.
      waiter.timer = this.options.clock.setTimeout(() => this.expire(waiter, timeoutMs), timeoutMs);
      this.waiters.push(waiter);
    });
  }

  /** The next message, which must be a control message of one of the types. @throws as receive */
  async receiveControl(options: {
    timeoutMs: number;
    types?: readonly string[];
  }): Promise<ControlMessage> {
    const { timeoutMs, types } = options;
    const { payload } = await this.receive({ timeoutMs, kinds: ["control"] });
    const message = decodeControl(payload);
    if (types && !types.includes(message.type)) {
      throw this.fail(new MergenError("E_PROTOCOL", "a control message that is not allowed here"));
    }
    return message;
  }

  /**
   * Ends the channel in order: takes no new sends, drops what has not been received, sends what
   * already waits, tells the peer (`close`, or an error code) and closes the transport. Bounded by
   * closeTimeoutMs for sending and the transport's own limit for closing. Never rejects.
   */
  close(code?: ErrorCode): Promise<void> {
    this.closing ??= this.shutDown(code);
    return this.closing;
  }

  private async shutDown(code: ErrorCode | undefined): Promise<void> {
    const reason = closedHere();
    this.dropQueue();
    this.rejectWaiters(reason);
    this.resume();
    await this.bounded(this.sendTail);
    const alreadyEnded = this.endReason !== undefined;
    this.end(reason);
    if (!alreadyEnded) await this.sayGoodbye(code);
    await this.transport.close();
  }

  /** Ends the channel for a fault found on this side; the peer is sent the code alone. */
  private fail(reason: MergenError): MergenError {
    this.end(reason);
    this.closing ??= this.sayGoodbye(reason.code).then(() => this.transport.close());
    return reason;
  }

  private async sayGoodbye(code: ErrorCode | undefined): Promise<void> {
    const message = code === undefined ? { type: "close" } : { type: "error", code };
    const [frame] = encodeMessage("control", encodeControl(message), this.takeSeq);
    const taken = this.transport.send(frame);
    if (taken) await this.bounded(taken);
  }

  /** Waits for work to settle, but no longer than closeTimeoutMs. */
  private bounded(work: Promise<void>): Promise<void> {
    const { clock, closeTimeoutMs } = this.options;
    return new Promise((resolve) => {
      const timer = clock.setTimeout(resolve, closeTimeoutMs);
      const done = () => {
        clock.clearTimeout(timer);
        resolve();
      };
      work.then(done, done);
    });
  }

  private readonly takeSeq = (): number => {
    const seq = this.sendSeq;
    this.sendSeq = (seq + 1) >>> 0;
    return seq;
  };

  /** Sends all frames: at once where the transport has room, else there is a promise. */
  private transmit(kind: FrameKind, frames: Frames): Promise<void> | undefined {
    const taken = this.handOver(kind, frames);
    return taken && this.transmitRest(kind, { frames, taken });
  }

  private async transmitRest(
    kind: FrameKind,
    { frames, taken }: { frames: Frames; taken: Promise<void> },
  ): Promise<void> {
    let next: Promise<void> | undefined = taken;
    while (next) {
      await this.untilTaken(next);
      next = this.handOver(kind, frames);
    }
  }

  /** Gives frames to the transport until one has to wait; nothing when the message is sent. */
  private handOver(kind: FrameKind, frames: Frames): Promise<void> | undefined {
    const { counted } = frameKinds[kind];
    for (;;) {
      if (this.endReason) throw this.endReason;
      const { value: frame } = frames.next();
      if (!frame) break;
      if (counted) this.counters.sentBytes += frame.length;
      const taken = this.transport.send(frame);
      if (taken) return taken;
      if (this.transport.isFlushed?.()) this.frameBuffer.giveBack(frame);
    }
    if (counted) this.counters.sentMessages++;
    return undefined;
  }

  /**
   * Waits for the transport to take a frame; settles early when the channel ends meanwhile. A
   * refusal alone does not end the channel: frames that say why may still be on their way here.
   */
  private untilTaken(taken: Promise<void>): Promise<void> {
    const { clock, sendTimeoutMs } = this.options;
    return new Promise((resolve, reject) => {
      let reason: MergenError | undefined;
      const late = () => timeout(`the peer took no frame within ${sendTimeoutMs} ms`);
      const timer = clock.setTimeout(() => this.fail(reason ?? late()), sendTimeoutMs);
      const settle = (finish: () => void) => {
        clock.clearTimeout(timer);
        this.waitingSends.delete(abort);
        finish();
      };
      const abort = (why: MergenError) => settle(() => reject(why));
      this.waitingSends.add(abort);
      taken.then(
        () => settle(resolve),
        (error) => {
          reason = asMergenError(error);
        },
      );
    });
  }

  private acceptFrame(frame: Uint8Array): void {
    if (this.endReason || this.closing) return;
    try {
      const message = this.reader.push(frame);
      const counted = isCounted(frame);
      if (counted) this.counters.receivedBytes += frame.length;
      if (!message) return;
      if (counted) this.counters.receivedMessages++;
      if (message.kind !== "control" || !this.consumeControl(message)) this.enqueue(message);
    } catch (error) {
      this.fail(asMergenError(error));
    }
  }

  /** Acts on the two control types that end a channel; false for all others. */
  private consumeControl(message: Message): boolean {
    const control = decodeControl(message.payload);
    if (control.type !== "close" && control.type !== "error") return false;
    this.end(
      control.type === "close" ? gone(this.options.peer, undefined) : reportedError(control),
    );
    this.closing ??= this.transport.close();
    return true;
  }

  private enqueue(message: Message): void {
    const waiter = this.waiters.shift();
    if (waiter) {
      this.deliver(waiter, message);
      return;
    }
    this.queue.push(message);
    this.queuedBytes += queueBytes(message);
    if (this.queuedBytes <= this.options.maxQueueBytes) return;
    if (this.transport.pause && this.transport.resume) {
      this.paused = true;
      this.transport.pause();
      return;
    }
    const excess = "the peer sent more than this side takes unread";
    ensure(this.queue.length === 1, "E_PROTOCOL", excess);
  }

  private takeQueued(): Message | undefined {
    const message = this.queue.shift();
    if (!message) return undefined;
    this.queuedBytes -= queueBytes(message);
    if (this.queuedBytes <= this.options.maxQueueBytes / 2) this.resume();
    return message;
  }

  private dropQueue(): void {
    this.queue.length = 0;
    this.queuedBytes = 0;
  }

  private resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.transport.resume?.();
  }

  private deliver(waiter: Waiter, message: Message): void {
    this.options.clock.clearTimeout(waiter.timer);
    if (!waiter.kinds || waiter.kinds.includes(message.kind)) {
      waiter.resolve(message);
      return;
    }
    const wrong = `a ${message.kind} message came where only ${waiter.kinds.join(", ")} may`;
    this.dropQueue();
    waiter.reject(this.fail(new MergenError("E_PROTOCOL", wrong)));
  }

  private expire(waiter: Waiter, timeoutMs: number): void {
    this.waiters.splice(this.waiters.indexOf(waiter), 1);
    waiter.reject(timeout(`no message came within ${timeoutMs} ms`));
  }

  private rejectWaiters(reason: MergenError): void {
    for (const waiter of this.waiters.splice(0)) {
      this.options.clock.clearTimeout(waiter.timer);
      waiter.reject(reason);
    }
  }

  /** The first reason counts. */
  private end(reason: MergenError): void {
    if (this.endReason) return;
    this.endReason = reason;
    this.rejectWaiters(reason);
    for (const abort of this.waitingSends) abort(reason);
    this.resolveClosed(reason);
  }
}

function once(send: () => Promise<void>): () => Promise<void> {
  let isSent = false;
  return () => {
    if (isSent) return Promise.reject(new MergenError("E_INTERNAL", "a draft is sent twice"));
    isSent = true;
    return send();
  };
}

function queueBytes(message: Message): number {
  return message.payload.length + messageOverheadBytes;
}

/** An orderly close has no reason of its own. */
function gone(peer: string, reason: MergenError | undefined): MergenError {
  if (!reason) return new MergenError("E_PEER_GONE", `${peer} closed the connection`);
  if (reason.code !== "E_PEER_GONE" || peer === defaults.peer) return reason;
  return new MergenError("E_PEER_GONE", `${peer}: ${reason.message}`, { cause: reason });
}

function closedHere(): MergenError {
  return new MergenError("E_INTERRUPTED", "this side closed the connection");
}

function timeout(message: string): MergenError {
  return new MergenError("E_TIMEOUT", message);
}

function asMergenError(error: unknown): MergenError {
  if (error instanceof MergenError) return error;
  return new MergenError("E_INTERNAL", "the transport failed", { cause: error });
}
