// Control messages: small JSON objects with a `type`. The channel itself sends and consumes two
// types, `close` and `error`; all others are the sessions' business.

import { type ErrorCode, ensure, errorCodes, MergenError } from "../errors.ts";

/** A decoded control message; every field but `type` is unchecked. */
export interface ControlMessage {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** UTF-8 JSON of a control message. */
export function encodeControl(message: ControlMessage): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(message));
}

/** @throws E_PROTOCOL when the payload is not a JSON object with a `type` */
export function decodeControl(payload: Uint8Array): ControlMessage {
  const value = parseJson(payload);
  const isObject = typeof value === "object" && value !== null && "type" in value;
  ensure(isObject && typeof value.type === "string", "E_PROTOCOL", "a control message has no type");
  return value as ControlMessage;
}

function parseJson(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch {
    // The parser's message quotes the text, so it is not passed on.
    throw new MergenError("E_PROTOCOL", "a control message is not JSON");
  }
}

/** The error that a peer's `error` message stands for. Only its code is read. */
export function reportedError(message: ControlMessage): MergenError {
  const { code } = message;
  if (typeof code === "string" && Object.hasOwn(errorCodes, code)) {
    return new MergenError(code as ErrorCode, `the peer reported ${code}`);
  }
  return new MergenError("E_PROTOCOL", "the peer reported an error without a known code");
}
