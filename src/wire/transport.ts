// What the channel needs of whatever carries its frames.

import type { MergenError } from "../errors.ts";

/**
 * One end of a connection that carries frames whole and in order (a WebSocket, a pair of queues).
 * Frames and the close that arrive before a handler is set wait for it.
 */
export interface Transport {
  /**
   * Sends one frame of at most 1 MiB. Gives nothing when there is room for the next one, which may
   * be before this one has left; else a promise of room. The bytes belong to the transport from
   * then on. The promise rejects with E_PEER_GONE when the connection is closed.
   */
  send(bytes: Uint8Array): Promise<void> | undefined;
  /** Sets the one handler of received frames. The bytes stay as they are. */
  onFrame(handler: (bytes: Uint8Array) => void): void;
  /**
   * Sets the one handler of the end, called once, after the last frame: without a reason for an
   * orderly close by either side, else with E_PEER_GONE (cut) or E_FRAME (not our protocol).
   */
  onClose(handler: (reason?: MergenError) => void): void;
  /** Sends what is still buffered, then closes; bounded by a timeout. Never rejects. */
  close(): Promise<void>;
  /**
   * Whether the bytes of every frame sent have been copied out or have left, so that they may be
   * written to again. Absent where that never comes to be (memory hands the bytes themselves over).
   */
  isFlushed?(): boolean;
  /** Stops reading, so that the peer's sends come to wait. Absent where it cannot be done. */
  pause?(): void;
  resume?(): void;
}
