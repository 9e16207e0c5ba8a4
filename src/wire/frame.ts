// The frame codec: messages to frames and back, bytes only, the same in Node and in a browser.
//
// A message (kind, payload) travels as one or more frames of at most 1 MiB, each one message of
// the transport below (a WebSocket binary message). Frame header, little-endian:
//
//   0  u32  payload bytes of this frame
//   4  u8   kind
//   5  u8   flags, bit 0 = last frame of its message
//   6  u16  protocol version
//   8  u32  sequence number, counts the frames of one direction from 0, modulo 2^32
//  12  u32  CRC-32C of header (with this field zero) and payload
//
// There is one way to encode a message: every frame but the last is full, and the last is empty
// only if the message is. So frameBytes() is exact and no peer can send endless empty frames.
// Frames of data messages never interleave; a control message is always one frame and may come
// between two frames of a data message, so that an error need not wait for a large one to end.
// Header layout and CRC keep their meaning in every version.

import { ensure, MergenError } from "../errors.ts";
import { crc32c } from "./crc32c.ts";

/** Version of the frame format and of everything sent in frames. */
export const protocolVersion = 1;
/** Longest frame, header included, in bytes. */
export const maxFrameBytes = 2 ** 20;
export const frameHeaderBytes = 16;
/** Longest payload of one frame, in bytes. */
export const maxFramePayloadBytes = maxFrameBytes - frameHeaderBytes;
/** Longest payload of a message, in bytes; a reader may be given a lower limit. */
export const maxMessageBytes = 2 ** 30;

const lastFlag = 1;
const crcOffset = 12;

/** All kinds of message: the byte on the wire, and whether byte counters include it. */
export const frameKinds = {
  /** JSON: hello, open, close, error, ... At most one frame; never counted. */
  control: { byte: 1, counted: false },
  /** Offline correlations, dealer to a party. */
  bundle: { byte: 2, counted: true },
  /** Opened words of the online phase, either way. */
  online: { byte: 3, counted: true },
  /** Input-independent uploads of the offline phase, client to server. */
  upload: { byte: 4, counted: true },
  /** Masked weights and other once-per-model data. */
  model: { byte: 5, counted: true },
} as const;

export type FrameKind = keyof typeof frameKinds;

const kindOfByte = new Map<number, FrameKind>(
  Object.entries(frameKinds).map(([kind, { byte }]) => [byte, kind as FrameKind]),
);

/** A whole message. A received payload owns its buffer and starts at offset 0 of it. */
export interface Message {
  readonly kind: FrameKind;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/**
 * Bytes on the wire of a message with this many payload bytes, headers included: one header for
 * each started 1,048,560 bytes of payload, and at least one. Transport framing (2 to 14 bytes a
 * frame for WebSocket), TLS and TCP come on top.
 * @throws E_RANGE when the length is not an integer in 0 .. 1 GiB
 */
export function frameBytes(payloadLength: number): number {
  const whole = Number.isInteger(payloadLength);
  ensure(
    whole && payloadLength >= 0 && payloadLength <= maxMessageBytes,
    "E_RANGE",
    `a message of ${payloadLength} bytes is not between 0 and ${maxMessageBytes}`,
  );
  return payloadLength + frameHeaderBytes * frameCount(payloadLength);
}

function frameCount(payloadLength: number): number {
  return Math.max(1, Math.ceil(payloadLength / maxFramePayloadBytes));
}

/**
 * Encodes a message, one frame at a time, each in a buffer of its own. Frames are made when the
 * caller asks for them, so a large message is never held twice; until then the payload must not
 * change. `nextSeq` is called once a frame.
 * @throws E_RANGE when the payload exceeds 1 GiB, or one frame for a control message
 */
export function* encodeMessage(
  kind: FrameKind,
  payload: Uint8Array,
  nextSeq: () => number,
): Generator<Uint8Array<ArrayBuffer>, void> {
  checkMessageLength(kind, payload.length);
  for (let left = frameCount(payload.length), at = 0; left > 0; left--) {
    const end = Math.min(at + maxFramePayloadBytes, payload.length);
    yield encodeFrame(kind, payload.subarray(at, end), { seq: nextSeq(), last: left === 1 });
    at = end;
  }
}

/** @throws E_RANGE when a message of this kind may not be so long */
export function checkMessageLength(kind: FrameKind, byteLength: number): void {
  const limit = kind === "control" ? maxFramePayloadBytes : maxMessageBytes;
  ensure(byteLength <= limit, "E_RANGE", `a ${kind} message of ${byteLength} bytes, over ${limit}`);
}

function encodeFrame(
  kind: FrameKind,
  payload: Uint8Array,
  { seq, last }: { seq: number; last: boolean },
): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(frameHeaderBytes + payload.length);
  const header = new DataView(frame.buffer);
  header.setUint32(0, payload.length, true);
  header.setUint8(4, frameKinds[kind].byte);
  header.setUint8(5, last ? lastFlag : 0);
  header.setUint16(6, protocolVersion, true);
  header.setUint32(8, seq, true);
  frame.set(payload, frameHeaderBytes);
  header.setUint32(crcOffset, frameCrc(frame), true);
  return frame;
}

const zeroCrc = new Uint8Array(4);

function frameCrc(frame: Uint8Array): number {
  const head = crc32c(zeroCrc, crc32c(frame.subarray(0, crcOffset)));
  return crc32c(frame.subarray(frameHeaderBytes), head);
}

interface FrameHeader {
  readonly payloadBytes: number;
  readonly kind: FrameKind;
  readonly last: boolean;
  readonly seq: number;
}

/** Checks one frame, all but its sequence number, and reads its header. Allocates no payload. */
function decodeHeader(frame: Uint8Array): FrameHeader {
  ensure(frame.length >= frameHeaderBytes, "E_FRAME", `a header cut to ${frame.length} bytes`);
  ensure(frame.length <= maxFrameBytes, "E_FRAME", `a frame of ${frame.length} bytes is too long`);
  const view = new DataView(frame.buffer, frame.byteOffset, frameHeaderBytes);
  const payloadBytes = view.getUint32(0, true);
  const claimed = payloadBytes + frameHeaderBytes;
  ensure(claimed <= maxFrameBytes, "E_FRAME", `a frame claims ${claimed} bytes, too long`);
  const honest = claimed === frame.length;
  ensure(honest, "E_FRAME", `a frame claims ${claimed} bytes but has ${frame.length}`);
  ensure(view.getUint32(crcOffset, true) === frameCrc(frame), "E_FRAME", "wrong checksum");
  const version = view.getUint16(6, true);
  const versions = `the peer speaks version ${version}, this side ${protocolVersion}`;
  ensure(version === protocolVersion, "E_VERSION", versions);
  const kind = kindOfByte.get(view.getUint8(4));
  ensure(kind !== undefined, "E_FRAME", `unknown kind ${view.getUint8(4)}`);
  const flags = view.getUint8(5);
  ensure((flags & ~lastFlag) === 0, "E_FRAME", `unknown flags ${flags}`);
  return { payloadBytes, kind, last: flags === lastFlag, seq: view.getUint32(8, true) };
}

/** Whether the bytes of a valid frame are counted, by its kind. */
export function isCounted(frame: Uint8Array): boolean {
  const kind = kindOfByte.get(frame[4]);
  return kind !== undefined && frameKinds[kind].counted;
}

export interface FrameReaderOptions {
  /** Longest message to put together, in bytes; at most 1 GiB. */
  readonly maxMessageBytes: number;
}

/**
 * Reads the frames of one direction and puts messages together. It keeps at most the bytes that
 * have really arrived for the message under way, and copies them once more when it is whole. After
 * the first error it refuses every further frame with that error.
 */
export class FrameReader {
  private readonly limit: number;
  private nextSeq = 0;
  private kind: FrameKind | undefined; // of the message under way
  private parts: Uint8Array[] = [];
  private partBytes = 0;
  private failure: MergenError | undefined;

  /** @throws E_RANGE when the limit is not in 0 .. 1 GiB */
  constructor(options: FrameReaderOptions) {
    this.limit = options.maxMessageBytes;
    frameBytes(this.limit); // the same range
  }

  /** Payload bytes held for the message under way. */
  get heldBytes(): number {
    return this.partBytes;
  }

  /**
   * Takes one frame, exactly as the transport delivered it, and returns the message that it ends.
   * @throws E_FRAME when it is malformed, corrupt, too long, or lost, repeated or out of order;
   *         E_VERSION when the peer speaks another version
   */
  push(frame: Uint8Array): Message | undefined {
    if (this.failure) throw this.failure;
    try {
      return this.accept(frame);
    } catch (error) {
      this.parts = [];
      this.partBytes = 0;
      if (error instanceof MergenError) this.failure = error;
      throw error;
    }
  }

  private accept(frame: Uint8Array): Message | undefined {
    const header = decodeHeader(frame);
    const order = `frame ${header.seq} came where ${this.nextSeq} was due`;
    ensure(header.seq === this.nextSeq, "E_FRAME", order);
    this.checkShape(header);
    this.nextSeq = (this.nextSeq + 1) >>> 0;
    const payload = frame.subarray(frameHeaderBytes);
    if (header.kind === "control") return { kind: "control", payload: join([payload]) };
    const total = this.partBytes + payload.length;
    ensure(total <= this.limit, "E_FRAME", `a message of over ${this.limit} bytes, the limit`);
    this.parts.push(payload);
    this.partBytes = total;
    this.kind = header.kind;
    return header.last ? this.finish(header.kind) : undefined;
  }

  private checkShape({ kind, last, payloadBytes }: FrameHeader): void {
    if (kind === "control") {
      ensure(last, "E_FRAME", "a control message of more than one frame");
      return;
    }
    const same = this.kind === undefined || this.kind === kind;
    ensure(same, "E_FRAME", `a ${kind} frame inside a ${this.kind} message`);
    const full = payloadBytes === maxFramePayloadBytes;
    ensure(last || full, "E_FRAME", "a frame before the last is not full");
    const needed = payloadBytes > 0 || this.kind === undefined;
    ensure(needed, "E_FRAME", "an empty frame ends a message that is not empty");
  }

  private finish(kind: FrameKind): Message {
    const payload = join(this.parts);
    this.parts = [];
    this.partBytes = 0;
    this.kind = undefined;
    return { kind, payload };
  }
}

/** A copy, also of one part: sockets hand out slices of shared buffers at odd offsets. */
function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let byteLength = 0;
  for (const part of parts) byteLength += part.length;
  const out = new Uint8Array(byteLength);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
