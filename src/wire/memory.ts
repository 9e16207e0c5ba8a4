// Two connected transports in one process: for tests, examples and the demo. Frames and ends of
// connection are delivered in microtasks, never inside a call, so both sides see the same order of
// events as with a socket.

import { MergenError } from "../errors.ts";
import type { Transport } from "./transport.ts";

export interface MemoryPairOptions {
  /** Undelivered bytes from which a send waits for the other side. Default 1 MiB. */
  readonly highWaterBytes?: number;
}

/** A transport in memory, which can also lose its connection. */
export interface MemoryTransport extends Transport {
  pause(): void;
  resume(): void;
  /** Breaks the connection: what is under way is lost, both sides see E_PEER_GONE. */
  cut(): void;
}

/** Two connected transports. */
export function memoryPair(options: MemoryPairOptions = {}): [MemoryTransport, MemoryTransport] {
  const { highWaterBytes = 2 ** 20 } = options;
  const a = new MemoryEnd(highWaterBytes);
  const b = new MemoryEnd(highWaterBytes);
  a.connect(b);
  b.connect(a);
  return [a, b];
}

interface RoomWaiter {
  readonly resolve: () => void;
  readonly reject: (reason: MergenError) => void;
}

/** Sends that may wait for room; more means that a caller does not await them. */
const maxRoomWaiters = 4096;

class MemoryEnd implements MemoryTransport {
  private readonly highWaterBytes: number;
  private peer: MemoryEnd | undefined;
  private inbox: Uint8Array[] = [];
  private inboxBytes = 0;
  private roomWaiters: RoomWaiter[] = []; // of the peer's sends
  private paused = false;
  private pumping = false;
  private frameHandler: ((bytes: Uint8Array) => void) | undefined;
  private closeHandler: ((reason?: MergenError) => void) | undefined;
  private open = true; // for sends from this side
  private ended: { reason: MergenError | undefined } | undefined; // after the inbox is empty
  private told = false;

  constructor(highWaterBytes: number) {
    this.highWaterBytes = highWaterBytes;
  }

  connect(peer: MemoryEnd): void {
    this.peer = peer;
  }

  send(bytes: Uint8Array): Promise<void> | undefined {
    if (!this.open || !this.peer) return Promise.reject(gone("the connection is closed"));
    return this.peer.take(bytes);
  }

  onFrame(handler: (bytes: Uint8Array) => void): void {
    this.frameHandler = handler;
    this.schedule();
  }

  onClose(handler: (reason?: MergenError) => void): void {
    this.closeHandler = handler;
    this.schedule();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.schedule();
  }

  /** The peer still gets what was sent; what was not yet delivered to this side is dropped. */
  close(): Promise<void> {
    this.peer?.finish(undefined);
    this.drop(undefined);
    return Promise.resolve();
  }

  cut(): void {
    const reason = gone("the connection was cut");
    this.peer?.drop(reason);
    this.drop(reason);
  }

  private take(bytes: Uint8Array): Promise<void> | undefined {
    this.inbox.push(bytes);
    this.inboxBytes += bytes.length;
    this.schedule();
    if (this.inboxBytes <= this.highWaterBytes) return undefined;
    if (this.roomWaiters.length >= maxRoomWaiters) {
      return Promise.reject(new MergenError("E_INTERNAL", "sends are not awaited"));
    }
    return new Promise((resolve, reject) => this.roomWaiters.push({ resolve, reject }));
  }

  /** Ends this side once its inbox is empty. */
  private finish(reason: MergenError | undefined): void {
    this.open = false;
    this.ended ??= { reason };
    this.schedule();
  }

  private drop(reason: MergenError | undefined): void {
    this.inbox = [];
    this.inboxBytes = 0;
    this.paused = false;
    for (const { reject } of this.roomWaiters.splice(0)) reject(gone("the peer has closed"));
    this.finish(reason);
  }

  private schedule(): void {
    if (this.pumping) return;
    this.pumping = true;
    queueMicrotask(() => {
      this.pumping = false;
      this.pump();
    });
  }

  private pump(): void {
    while (this.frameHandler && !this.paused) {
      const frame = this.inbox.shift();
      if (!frame) break;
      this.inboxBytes -= frame.length;
      if (this.inboxBytes <= this.highWaterBytes) this.admit();
      this.frameHandler(frame);
    }
    if (this.ended && this.inbox.length === 0 && this.closeHandler && !this.told) {
      this.told = true;
      this.closeHandler(this.ended.reason);
    }
  }

  private admit(): void {
    for (const { resolve } of this.roomWaiters.splice(0)) resolve();
  }
}

function gone(message: string): MergenError {
  return new MergenError("E_PEER_GONE", message);
}
