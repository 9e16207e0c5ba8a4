// The control messages of the sessions and their checks, and the few bytes that lead a bundle.
// A peer's fields are unchecked until they have passed these schemas.

import * as z from "zod/mini";
import { ensure, MergenError } from "../errors.ts";
import { SEED_BYTES } from "../ring/prg.ts";
import type { Channel } from "../wire/channel.ts";
import { PROTOCOL_VERSION } from "./plan.ts";

/** Generators of function keys that a party has, best first. */
const prg = z.enum(["chacha12", "aes128"]);
const prgs = z.array(prg).check(z.maxLength(8));
const hex = (bytes: number) => z.string().check(z.regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`)));
/** Positions and tokens of a generation at most. */
const LIMIT = 1 << 16;
const natural = z.int().check(z.nonnegative());
const count = z.int().check(z.positive(), z.lte(LIMIT));
const generation = z.strictObject({
  promptPositions: count,
  maxTokens: count,
  chunk: count,
  anchor: z.int().check(z.nonnegative(), z.lte(LIMIT)),
  next: z.optional(z.literal("lookup")),
  reveal: z.optional(z.literal("token")),
});

const schemas = {
  hello: z.strictObject({ type: z.literal("hello"), version: z.int(), role: z.string() }),
  /** S to C: all that is public of the model, and the seed of D_W, which D must not learn. */
  offer: z.strictObject({
    type: z.literal("offer"),
    model: hex(32),
    config: z.unknown(),
    maskSeed: hex(SEED_BYTES),
    session: hex(16),
    /** What both S and D have. */
    functionPrgs: prgs,
  }),
  /** C to S. */
  open: z.strictObject({
    type: z.literal("open"),
    options: generation,
    digest: hex(32),
    /** Of the offered ones; without it ChaCha12. */
    functionPrg: z.optional(prg),
  }),
  /** S to C, once D expects the session. */
  opened: z.strictObject({ type: z.literal("opened"), modelBytes: natural }),
  /** S to D: which model; D answers whether it has its masked weights. */
  model: z.strictObject({ type: z.literal("model"), model: hex(32), config: z.unknown() }),
  have: z.strictObject({ type: z.literal("have"), have: z.boolean(), functionPrgs: prgs }),
  stored: z.strictObject({ type: z.literal("stored") }),
  /** S and C to D. */
  session: z.strictObject({
    type: z.literal("session"),
    session: hex(16),
    model: hex(32),
    options: generation,
    digest: hex(32),
    /** Of the offered ones; without it ChaCha12. */
    functionPrg: z.optional(prg),
  }),
  ready: z.strictObject({ type: z.literal("ready") }),
  /** C to D: the next bundle. */
  deal: z.strictObject({ type: z.literal("deal"), bundle: natural }),
  /** C to S: no more; S answers what it has counted. */
  end: z.strictObject({ type: z.literal("end") }),
  ended: z.strictObject({
    type: z.literal("ended"),
    dealerToServerBytes: natural,
  }),
};

type Schemas = typeof schemas;
export type MessageType = keyof Schemas;
export type MessageOf<T extends MessageType> = z.infer<Schemas[T]>;

/** Receives a control message of this type. @throws E_PROTOCOL when it is another or malformed */
export async function expect<T extends MessageType>(
  channel: Channel,
  type: T,
  timeoutMs: number,
): Promise<MessageOf<T>> {
  return check(await channel.receiveControl({ timeoutMs }), type);
}

export function check<T extends MessageType>(
  message: { readonly type: string },
  type: T,
): MessageOf<T> {
  ensure(
    message.type === type,
    "E_PROTOCOL",
    `the peer sent ${type === "end" ? "data" : "a message"} out of order`,
  );
  const result = schemas[type].safeParse(message);
  ensure(result.success, "E_PROTOCOL", `the peer's ${type} message is malformed`);
  return result.data as MessageOf<T>;
}

export async function tell(
  channel: Channel,
  message: { [T in MessageType]: MessageOf<T> }[MessageType],
): Promise<void> {
  await channel.sendControl(message);
}

/** Both sides say who they are; a peer of another version is refused. */
export async function greet(
  channel: Channel,
  role: "client" | "server" | "dealer",
  timeoutMs: number,
): Promise<string> {
  await tell(channel, { type: "hello", version: PROTOCOL_VERSION, role });
  const hello = await expect(channel, "hello", timeoutMs);
  if (hello.version !== PROTOCOL_VERSION) {
    const versions = `${hello.version}, this side ${PROTOCOL_VERSION}`;
    throw new MergenError("E_VERSION", `the peer speaks version ${versions}: update the older one`);
  }
  return hello.role;
}

/** A dealt payload: bundle number u32, the party's seed, then items. */
export const BUNDLE_HEADER_BYTES = 4 + SEED_BYTES;

/** Writes the header into a payload that leads with room for it. */
export function sealBundle(payload: Uint8Array, bundle: number, seed: Uint8Array): Uint8Array {
  new DataView(payload.buffer, payload.byteOffset).setUint32(0, bundle, true);
  payload.set(seed, 4);
  return payload;
}

/** @throws E_PROTOCOL when it is not the bundle that is due */
export function decodeBundle(
  payload: Uint8Array,
  bundle: number,
): { seed: Uint8Array; items: Uint8Array } {
  ensure(payload.length >= BUNDLE_HEADER_BYTES, "E_FRAME", "a bundle is cut off");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  ensure(view.getUint32(0, true) === bundle, "E_PROTOCOL", "a bundle came out of order");
  const seed = payload.slice(4, BUNDLE_HEADER_BYTES);
  return { seed, items: payload.subarray(BUNDLE_HEADER_BYTES) };
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
