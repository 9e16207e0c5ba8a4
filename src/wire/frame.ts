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
import { type Crc32c, crc32c } from "./crc32c.ts";

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

/**
 * A whole message. A received payload starts at a multiple of 8 in its buffer, so that words can be
 * read in place; the buffer holds other bytes too, but not more than the payload has (or 256).
 */
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

/** How frames are made. */
export interface FrameMaking {
  /** Default: the one of this package, in JavaScript. */
  readonly crc32c?: Crc32c;
  /** Room for one frame, whatever is in it. Default: new. */
  readonly take?: (byteLength: number) => Uint8Array<ArrayBuffer>;
}

/**
 * Encodes a message, one frame at a time. Frames are made when the caller asks for them, so a large
 * message is never held twice; until then the payload must not change. `nextSeq` is called once a
 * frame.
 * @throws E_RANGE when the payload exceeds 1 GiB, or one frame for a control message
 */
export function* encodeMessage(
  kind: FrameKind,
  payload: Uint8Array,
  nextSeq: () => number,
  { crc32c: checksum = crc32c, take = newBytes }: FrameMaking = {},
): Generator<Uint8Array<ArrayBuffer>, void> {
  checkMessageLength(kind, payload.length);
  for (let left = frameCount(payload.length), at = 0; left > 0; left--) {
    const end = Math.min(at + maxFramePayloadBytes, payload.length);
    const frame = take(frameHeaderBytes + end - at);
    frame.set(left === 1 && at === 0 ? payload : payload.subarray(at, end), frameHeaderBytes);
    sealFrame(frame, { kind, last: left === 1, seq: nextSeq() }, checksum);
    yield frame;
    at = end;
  }
}

function newBytes(byteLength: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(byteLength);
}

/** The one frame of a message whose payload is in place behind the room for its header. */
export function* encodeInPlace(
  kind: FrameKind,
  frame: Uint8Array<ArrayBuffer>,
  nextSeq: () => number,
  { crc32c: checksum = crc32c }: FrameMaking = {},
): Generator<Uint8Array<ArrayBuffer>, void> {
  sealFrame(frame, { kind, last: true, seq: nextSeq() }, checksum);
  yield frame;
}

/** @throws E_RANGE when a message of this kind may not be so long */
export function checkMessageLength(kind: FrameKind, byteLength: number): void {
  const limit = kind === "control" ? maxFramePayloadBytes : maxMessageBytes;
  if (byteLength <= limit) return;
  throw new MergenError("E_RANGE", `a ${kind} message of ${byteLength} bytes, over ${limit}`);
}

/** Writes the header of a frame whose payload is in place. */
function sealFrame(
  frame: Uint8Array,
  { kind, seq, last }: { kind: FrameKind; seq: number; last: boolean },
  checksum: Crc32c,
): void {
  writeU32(frame, 0, frame.length - frameHeaderBytes);
  frame[4] = frameKinds[kind].byte;
  frame[5] = last ? lastFlag : 0;
  frame[6] = protocolVersion & 255;
  frame[7] = protocolVersion >>> 8;
  writeU32(frame, 8, seq);
  writeU32(frame, crcOffset, 0);
  writeU32(frame, crcOffset, checksum(frame, 0));
}

// A DataView for each frame would cost more than what it reads and writes.
function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

function readU32(bytes: Uint8Array, at: number): number {
  const low = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
  return (low | (bytes[at + 3] << 24)) >>> 0;
}

interface FrameHeader {
  readonly kind: FrameKind;
  readonly last: boolean;
  readonly seq: number;
}

/** Header bytes with a checksum of zero; the last four are never written. */
const plainHeader = new Uint8Array(frameHeaderBytes);

/** Checks one frame, all but its sequence number, and reads its header. */
function decodeHeader(frame: Uint8Array, payload: Uint8Array, checksum: Crc32c): FrameHeader {
  const claimed = readU32(frame, 0) + frameHeaderBytes;
  if (claimed > maxFrameBytes) throw malformed(`a frame claims ${claimed} bytes, too long`);
  if (claimed !== frame.length) {
    throw malformed(`a frame claims ${claimed} bytes but has ${frame.length}`);
  }
  for (let i = 0; i < crcOffset; i++) plainHeader[i] = frame[i];
  const crc = checksum(payload, crc32c(plainHeader));
  if (readU32(frame, crcOffset) !== crc) throw malformed("wrong checksum");
  const version = frame[6] | (frame[7] << 8);
  if (version !== protocolVersion) {
    const versions = `the peer speaks version ${version}, this side ${protocolVersion}`;
    throw new MergenError("E_VERSION", versions);
  }
  const kind = kindOfByte.get(frame[4]);
  if (kind === undefined) throw malformed(`unknown kind ${frame[4]}`);
  const flags = frame[5];
  if ((flags & ~lastFlag) !== 0) throw malformed(`unknown flags ${flags}`);
  return { kind, last: flags === lastFlag, seq: readU32(frame, 8) };
}

/** Built where it is needed: an error, even its text, costs more than reading a small frame. */
function malformed(message: string): MergenError {
  return new MergenError("E_FRAME", message);
}

/** Whether the bytes of a valid frame are counted, by its kind. */
export function isCounted(frame: Uint8Array): boolean {
  const kind = kindOfByte.get(frame[4]);
  return kind !== undefined && frameKinds[kind].counted;
}

export interface FrameReaderOptions {
  /** Longest message to put together, in bytes; at most 1 GiB. */
  readonly maxMessageBytes: number;
  /** Default: the one of this package, in JavaScript. */
  readonly crc32c?: Crc32c;
}

/**
 * Reads the frames of one direction and puts messages together. It keeps at most the bytes that
 * have really arrived for the message under way, and copies them once more when it is whole; the
 * payload of a single frame stays where it is if it may (see Message). After the first error it
 * refuses every further frame with that error.
 */
export class FrameReader {
  private readonly limit: number;
  private readonly checksum: Crc32c;
  private nextSeq = 0;
  private kind: FrameKind | undefined; // of the message under way
  private parts: Uint8Array[] = [];
  private partBytes = 0;
  private failure: MergenError | undefined;

  /** @throws E_RANGE when the limit is not in 0 .. 1 GiB */
  constructor(options: FrameReaderOptions) {
    this.limit = options.maxMessageBytes;
    this.checksum = options.crc32c ?? crc32c;
    frameBytes(this.limit); // the same range
  }

  /** Payload bytes held for the message under way. */
  get heldBytes(): number {
    return this.partBytes;
  }

  /**
   * Takes one frame, exactly as the transport delivered it, and returns the message that it ends.
   * The frame's bytes must stay as they are from then on.
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
    const { length } = frame;
    if (length < frameHeaderBytes) throw malformed(`a header cut to ${length} bytes`);
    if (length > maxFrameBytes) throw malformed(`a frame of ${length} bytes is too long`);
    const payload = payloadOf(frame);
    const { kind, last, seq } = decodeHeader(frame, payload, this.checksum);
    if (seq !== this.nextSeq) throw malformed(`frame ${seq} came where ${this.nextSeq} was due`);
    this.nextSeq = (seq + 1) >>> 0;
    if (kind === "control") {
      ensure(last, "E_FRAME", "a control message of more than one frame");
      return { kind, payload: inPlaceOrCopy(payload) };
    }
    this.checkPart({ kind, last }, payload.length);
    if (last && this.parts.length === 0) return { kind, payload: inPlaceOrCopy(payload) };
    this.parts.push(payload);
    this.partBytes += payload.length;
    this.kind = kind;
    return last ? this.finish(kind) : undefined;
  }

  private checkPart({ kind, last }: { kind: FrameKind; last: boolean }, byteLength: number): void {
    if (this.kind !== undefined && this.kind !== kind) {
      throw malformed(`a ${kind} frame inside a ${this.kind} message`);
    }
    const full = byteLength === maxFramePayloadBytes;
    ensure(last || full, "E_FRAME", "a frame before the last is not full");
    const needed = byteLength > 0 || this.kind === undefined;
    ensure(needed, "E_FRAME", "an empty frame ends a message that is not empty");
    if (this.partBytes + byteLength > this.limit) {
      throw malformed(`a message of over ${this.limit} bytes, the limit`);
    }
  }

  private finish(kind: FrameKind): Message {
    const payload = join(this.parts, this.partBytes);
    this.parts = [];
    this.partBytes = 0;
    this.kind = undefined;
    return { kind, payload };
  }
}

/** A plain array's view: a Buffer's own `subarray` is a Buffer, whose `slice` does not copy. */
function payloadOf(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const at = frame.byteOffset + frameHeaderBytes;
  return new Uint8Array(frame.buffer as ArrayBuffer, at, frame.length - frameHeaderBytes);
}

/** Bytes beside a payload that its buffer may keep alive, whatever the payload's own length. */
const maxIdleBytes = 256;

/**
 * The payload itself, where it is aligned and does not keep a much larger buffer alive (sockets
 * hand out slices of what they read in one go), else a copy.
 */
function inPlaceOrCopy(payload: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const idleBytes = payload.buffer.byteLength - payload.length;
  const isAligned = payload.byteOffset % 8 === 0;
  if (isAligned && idleBytes <= Math.max(payload.length, maxIdleBytes)) return payload;
  return new Uint8Array(payload);
}

function join(parts: readonly Uint8Array[], byteLength: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(byteLength);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
