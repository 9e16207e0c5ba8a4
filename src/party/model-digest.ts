// The name of a served model: SHA-256 over its public config and its masked weights. Content-
// addressed, so D keeps masked weights once, and other weights, another grid or another mask seed
// always have another name.

import type { ModelConfig } from "../model/config.ts";
import type { Words } from "../ring/ring.ts";

/** Hexadecimal. Hashes each tensor apart, so no copy of the whole is made. */
export async function modelDigest(config: ModelConfig, masked: readonly Words[]): Promise<string> {
  const parts = [new TextEncoder().encode(JSON.stringify(config))];
  for (const words of masked) {
    const bytes = new Uint8Array(words.buffer as ArrayBuffer, words.byteOffset, words.byteLength);
    parts.push(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
  }
  const joined = new Uint8Array(await new Blob(parts).arrayBuffer());
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", joined));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
